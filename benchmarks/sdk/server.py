"""The server of the benchmark, in a process of its own: ``python -m benchmarks.sdk.server DELAY_MS ANNOUNCE CERT``.

It answers as fast as it can, after `DELAY_MS`, and tells at `/figures` how many connections and bytes it has seen.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time

from mona_sdk.tests.servers import Answer, RecordingServer, Request, hang


def main(arguments: list[str]) -> None:
    """Serve until killed; the address is the first line of the output."""
    delay_ms, announce, certificate = arguments
    tls = None
    if certificate != "-":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    server = RecordingServer(keep_requests=False, announce=announce == "yes", delay_s=float(delay_ms) / 1000, tls=tls)

    def accept(_: Request) -> Answer:
        return Answer(200, {"total": 1, "failed": 0, "sent": 1, "failure_reasons": {}})

    def figures(_: Request) -> Answer:
        return Answer(200, {"connections": server.connections, "bytes": server.bytes_received})

    for path in ("/export", "/monaExport"):
        server.routes[path] = accept
    server.routes["/figures"] = figures
    server.routes["/silent/export"] = hang(threading.Event())
    print(server.url, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])
