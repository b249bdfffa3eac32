"""The exceptions of the SDK. None is raised unless the matching `raise_...` setting asks for it, but the last.

MonaException
├── MonaExportException           a message was not accepted, or the server was not reached
├── MonaAuthenticationException   credentials refused, or the client is not authenticated
├── MonaServiceException          a service call failed
│   └── MonaConfigUploadException   ... of the configuration (the name of 0.0.11)
└── MonaInitializationException   the client was constructed wrongly; always raised
"""

from __future__ import annotations


class MonaException(Exception):
    """Base of all exceptions of this package."""


class MonaExportException(MonaException):
    """Some messages were not accepted; the text holds the result."""


class MonaAuthenticationException(MonaException):
    """The credentials were refused, or nobody answered who could tell."""


class MonaServiceException(MonaException):
    """A service call failed; the text is the server's, or says why there is none."""


class MonaConfigUploadException(MonaServiceException):
    """A configuration could not be read or uploaded."""


class MonaInitializationException(MonaException):
    """The arguments of the client contradict each other or lack something."""
