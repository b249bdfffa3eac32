"""Runners of the portable SQL that :mod:`mona_server.query` writes: one module per engine."""
