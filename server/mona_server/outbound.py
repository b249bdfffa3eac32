"""Every HTTP request that this server makes by itself goes through here: bounded, and kept out of private networks.

The server calls addresses that people configured (webhooks, sign-in providers). Without this guard such an address
could point into the network the server stands in. The name is resolved once, each of its addresses is judged, and the
connection goes to the address that was judged: a name that resolves differently a moment later gains nothing. Redirects
are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from mona_server.errors import BadRequest, Unavailable
from mona_server.settings import Settings

_MOST_BYTES = 2**20


class Refused(BadRequest):
    """The address is not one that this server may call."""


class Unreachable(Unavailable):
    """No answer within the time, or none that is HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``headers`` by lower-case name; ``body`` is cut at 1 MiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def private_allowed(settings: Settings) -> bool:
    """``notifications.allow_private``; unset, it follows from the server listening on loopback only."""
    allowed = settings.notifications.allow_private
    return is_loopback(settings.server.host) if allowed is None else allowed


def is_loopback(host: str) -> bool:
    """
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def post(
    url: str, body: bytes, *, headers: Mapping[str, str], timeout_s: float = 10, allow_private: bool = False
) -> Answer:
    """One ``POST``. Raises :class:`Refused` or :class:`Unreachable`, neither of which shows the path of the URL."""
    return _request("POST", url, body, headers, timeout_s, allow_private)


def get(
    url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 10, allow_private: bool = False
) -> Answer:
    """One ``GET``; as :func:`post`."""
    return _request("GET", url, None, headers or {}, timeout_s, allow_private)


def _request(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float, allow_private: bool
) -> Answer:
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise Refused("only http and https addresses can be called")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = resolve(host, port, allow_private=allow_private)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = _PinnedHTTPS(host, port, address, timeout_s)
    else:
        connection = _Pinned(host, port, address, timeout_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        content = answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{host} does not answer: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)


def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """One IP address of the host. Raises :class:`Refused` when any of its addresses is private and that is not allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable(f"{host} is not known to the name service") from None
    addresses = [str(item[4][0]) for item in found]
    for address in addresses:
        if not allow_private and not _public(address):
            raise Refused(
                f"{host} is in a private address range", hint="set notifications.allow_private to true to allow that"
            )
    return addresses[0]


def _public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast


class _Pinned(http.client.HTTPConnection):
    """Speaks to ``host``, but connects to the address that was judged."""

    def __init__(self, host: str, port: int, address: str, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _PinnedHTTPS(http.client.HTTPSConnection):
    """The same under TLS; the certificate must be the one of ``host``."""

    def __init__(self, host: str, port: int, address: str, timeout_s: float) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout_s, context=self._tls)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
