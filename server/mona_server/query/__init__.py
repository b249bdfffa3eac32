"""Typed questions → SQL over signed facts → columns.

:mod:`facts` is the relation that everything reads, :mod:`sums` what the search reads, :mod:`service` what people ask.
"""
