"""Connections: urllib3 opens them, one per thread and host is kept, and every read ends with the call it is part of.

Of urllib3 this uses addresses, proxies and TLS. A request itself goes by the standard library's http.client, whose
subclass a connection of urllib3 is: `urlopen` does much more (retries, redirects, streams), which is not used here,
at twice the CPU time of the whole call. Imported at the first call, as urllib3 takes longer to import than all of this
package.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import time
import weakref
import zlib
from collections.abc import Mapping
from typing import Any, Optional
from urllib import request as environment
from urllib.parse import urlsplit

import urllib3
from urllib3 import connection, connectionpool, response, util
from urllib3 import exceptions as errors

from mona_sdk.delivery.http import Limits, this_thread

# Bodies above this are not worth a copy to send them together with the head.
HELD_WITH = 65_536
POOLS = 16
ADDRESSES = 256

# In Python 3.9 the time limit of a socket is an error of its own.
TIMEOUTS = (errors.TimeoutError, TimeoutError, socket.timeout)
BAD_ADDRESS = errors.LocationValueError
# OSError has those of TLS; a refused certificate is a ValueError too.
FAILURES = (errors.HTTPError, http.client.HTTPException, OSError, zlib.error)


def _seconds_left() -> float:
    return max(0.001, this_thread.deadline - time.monotonic())


class _DeadlineReader(io.RawIOBase):
    """The socket as a file whose every read is limited by the end of the whole call, so that a server which sends one
    byte now and then cannot hold the caller."""

    def __init__(self, sock: Any, raw: Any, read_timeout: float) -> None:
        self._sock, self._raw, self._read_timeout = sock, raw, read_timeout
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        left = this_thread.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for this call is over")
        self._sock.settimeout(min(left, self._read_timeout))
        count: Optional[int] = self._raw.readinto(buffer)
        self.ended = self.ended or count == 0
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        timeout = sock.gettimeout()
        self._reader = _DeadlineReader(sock, self.fp.detach(), timeout if timeout is not None else 1e9)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        if self._reader.ended:
            # http.client takes the end of the connection for the end of the headers: half an answer for a whole.
            raise http.client.RemoteDisconnected("the connection ended in the headers")


class _Counted:
    """What both kinds of connection do."""

    response_class: Any = _DeadlineResponse
    sock: Any
    timeout: Any
    # urllib3's own looks for headers to skip, of which there are none here.
    putheader = http.client.HTTPConnection.putheader
    _holds = False
    _held = b""

    def connect(self) -> None:
        this_thread.connected += 1
        super().connect()  # type: ignore[misc]

    def exchange(self, method: str, target: str, body: bytes, headers: dict[str, str], read_s: float) -> Any:
        """One request and the head of its answer."""
        self.sock.settimeout(_seconds_left())
        self._holds, self._held = True, b""
        http.client.HTTPConnection.request(self, method, target, body, headers)  # type: ignore[arg-type]
        if self._held:
            self.send(b"")
        self.sock.settimeout(read_s)
        return http.client.HTTPConnection.getresponse(self)  # type: ignore[arg-type]

    def send(self, data: Any) -> None:
        """Head and body go out together: http.client writes one after the other, which wakes the reader twice."""
        if self._holds:
            self._holds, self._held = False, data
            return
        held, self._held = self._held, b""
        if held and len(data) > HELD_WITH:
            super().send(held)  # type: ignore[misc]
            held = b""
        super().send(held + data if held else data)  # type: ignore[misc]


class _PlainConnection(_Counted, connection.HTTPConnection):
    pass


class _TlsConnection(_Counted, connection.HTTPSConnection):
    pass


class _OneConnection:
    """A pool of urllib3 as the maker of one connection, which is kept."""

    is_tls = False
    proxy: Any
    proxy_headers: Any
    kept: Any = None

    def exchange(
        self, method: str, target: str, body: bytes, headers: dict[str, str], limits: Limits
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and whole body of the answer."""
        kept = self.kept
        if kept is None:
            kept = self.kept = self._new_conn()  # type: ignore[attr-defined]
            weakref.finalize(self, kept.close)
        try:
            if kept.sock is not None and util.is_connection_dropped(kept):
                kept.close()
            if kept.sock is None:
                kept.timeout = min(limits[0], _seconds_left())
                if self.proxy is not None and self.is_tls:
                    self._prepare_proxy(kept)  # type: ignore[attr-defined]
                else:
                    kept.connect()
            if self.proxy_headers and not self.is_tls:
                headers = {**headers, **self.proxy_headers}
            answer = kept.exchange(method, target, body, headers, limits[1])
            content = answer.read()
            answered = response.HTTPHeaderDict(answer.headers.items())  # type: ignore[attr-defined]
            if "gzip" in answered.get("content-encoding", ""):
                content = zlib.decompress(content, 31)
        except BaseException:
            kept.close()
            raise
        return answer.status, answered, content

    def close(self) -> None:
        if self.kept is not None:
            self.kept.close()
        super().close()  # type: ignore[misc]


class _PlainPool(_OneConnection, connectionpool.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(_OneConnection, connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
    is_tls = True


class Manager:
    """The connections of one thread; proxies and certificates are those of the environment when it is made."""

    def __init__(self) -> None:
        self._proxies = environment.getproxies_environment()
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._tls: dict[str, Any] = {}
        if bundle:
            self._tls["ca_cert_dir" if os.path.isdir(bundle) else "ca_certs"] = bundle
        self._direct = self._prepared(urllib3.PoolManager(num_pools=POOLS, **self._tls))
        self._proxied: dict[str, Any] = {}
        self._known: dict[str, tuple[Any, str]] = {}

    def find(self, url: str) -> tuple[Any, str]:
        """The pool for an address, through a proxy where one is set, and what to ask it for."""
        known = self._known.get(url)
        if known is None:
            manager = self._through(url)
            target = util.parse_url(url)
            whole = manager is not self._direct and target.scheme == "http"
            known = manager.connection_from_url(url), url if whole else target.request_uri
            if len(self._known) < ADDRESSES:
                self._known[url] = known
        return known

    def clear(self) -> None:
        """Close everything."""
        self._known.clear()
        for manager in (self._direct, *self._proxied.values()):
            with contextlib.suppress(OSError):
                manager.clear()

    def _through(self, url: str) -> Any:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not proxy or environment.proxy_bypass_environment(parts.hostname or "", self._proxies):  # type: ignore[attr-defined]
            return self._direct
        if proxy not in self._proxied:
            self._proxied[proxy] = self._prepared(urllib3.ProxyManager(proxy, num_pools=POOLS, **self._tls))
        return self._proxied[proxy]

    @staticmethod
    def _prepared(manager: Any) -> Any:
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
        return manager
