"""Real receivers on this machine: an HTTP server and an SMTP server that keep what they get."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from mona_server import settings as settings_module
from mona_server.config.model import ContextClass
from mona_server.notify import InsightEvent
from mona_server.settings import Settings
from mona_server.store.meta import open_meta

with warnings.catch_warnings():
    # The library still imports modules of the standard library that are on their way out.
    warnings.simplefilter("ignore", DeprecationWarning)
    import apprise

    apprise.Apprise.instantiate("json://localhost")

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """The server in a thread; its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


@dataclass
class Hooks:
    """An HTTP server that records requests and answers as told; 200 when nothing is told."""

    port: int
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
            receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        receiver = Hooks(port)
        yield receiver


@dataclass
class MailServer:
    """An SMTP server that keeps the mails; ``refuse`` is the reply to RCPT, when set."""

    port: int
    got: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    refuse: str = ""


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            def say(text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            sender, recipients = "", list[str]()
            say("220 here")
            while line := self.rfile.readline().decode().strip():
                verb, _, rest = line.partition(" ")
                if verb.upper() in ("MAIL", "RCPT"):
                    address = rest.partition("<")[2].partition(">")[0]
                    if verb.upper() == "RCPT" and receiver.refuse:
                        say(receiver.refuse)
                        continue
                    if verb.upper() == "MAIL":
                        sender = address
                    else:
                        recipients.append(address)
                    say("250 ok")
                elif verb.upper() == "DATA":
                    say("354 go on")
                    lines = []
                    while (data := self.rfile.readline()) != b".\r\n":
                        lines.append(data.removeprefix(b".") if data.startswith(b"..") else data)
                    message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    assert isinstance(message, EmailMessage)
                    receiver.got.append((sender, recipients, message))
                    say("250 kept")
                elif verb.upper() == "QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 ok")

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        receiver = MailServer(port)
        yield receiver


@dataclass(frozen=True)
class Storage:
    """What the notify room needs of a store."""

    meta: Engine
    data_dir: Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Storage]:
    engine = open_meta(tmp_path / "meta.db")
    yield Storage(engine, tmp_path)
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, mail_server: MailServer) -> Settings:
    smtp = f"smtp://127.0.0.1:{mail_server.port}?from=mona@example.org"
    return settings_module.load(
        tmp_path,
        environ={},
        notifications={"smtp_url": smtp},
        server={"public_url": "https://mona.example.org/"},
    )


def loan(**notifications: Any) -> ContextClass:
    return ContextClass(name="LOAN", notifications=notifications)


@pytest.fixture
def insight() -> Callable[..., dict[str, Any]]:
    """``insight("ins_1", score=3.6, ...)``: an insight of the shape of the specification."""

    def make(insight_id: str = "ins_1", **changes: Any) -> dict[str, Any]:
        signal = {
            "signal_type": "KapiAverageDriftInSegment",
            "kapi": "offered_amount",
            "segment": {"purpose": [{"value": "Vacation costs"}]},
            "baseline_segment": {},
            "anomaly_level": 0.1227,
            "is_score_inf": False,
            "is_desc": True,
            "value": 7763.6,
            "benchmark": 8803.7,
            "segment_size": 861.0,
            "segment_ratio": 0.0351,
        }
        changes = dict(changes)
        signal |= changes.pop("signal", {})
        return {
            "user_id": "default",
            "arc_class": "LOAN",
            "stanza_name": "loan",
            "verse_name": "loan__AverageDrift",
            "score": 3.6,
            "main_signal": signal,
            "related_signals": [],
            "related_anomalies": [],
            "insight_id": insight_id,
            "state": "new",
            "urgency": "normal",
            "title": "offered_amount average fell from 8,804 to 7,764 where purpose = Vacation costs",
            "last_discovered": 1619654400,
            "reopened": 0,
            **changes,
        }

    return make


@pytest.fixture
def event(insight: Callable[..., dict[str, Any]]) -> Callable[..., InsightEvent]:
    """``event("new", "ins_1", score=...)``."""

    def make(kind: Any = "new", insight_id: str = "ins_1", **changes: Any) -> InsightEvent:
        return InsightEvent(kind, insight(insight_id, **changes))

    return make
