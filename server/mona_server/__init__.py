"""Mona server: messages in, contexts, fields, segments and insights out."""

__version__ = "0.1.0"
