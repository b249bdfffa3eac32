"""The exceptions, under the name of the original."""

from __future__ import annotations

from mona_sdk.errors import (
    MonaAuthenticationException,
    MonaConfigUploadException,
    MonaException,
    MonaExportException,
    MonaInitializationException,
    MonaServiceException,
)

__all__ = [
    "MonaAuthenticationException",
    "MonaConfigUploadException",
    "MonaException",
    "MonaExportException",
    "MonaInitializationException",
    "MonaServiceException",
]
