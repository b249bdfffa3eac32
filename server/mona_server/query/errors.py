"""What a query can meet, besides a request that cannot be understood."""

from __future__ import annotations

from mona_server.errors import MonaError


class QueryTimeout(MonaError):
    """The query ran longer than ``engine.query_timeout_s`` and was stopped."""

    status = 504


class QueryTooLarge(MonaError):
    """The query needs more memory or spill space than ``engine.memory`` and the disk allow."""

    status = 413
