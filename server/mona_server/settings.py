"""Settings: ``mona.toml`` in the data directory, each key also by environment ``MONA_SERVER_<SECTION>_<KEY>``.

The environment wins. An unknown key is an error at start, with the nearest known name.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mona_server.errors import BadRequest

PREFIX = "MONA_SERVER_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Section):
    host: str = "127.0.0.1"
    port: int = 8420
    public_url: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def address(self) -> str:
        """Where people reach this server, without a slash at the end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


class Auth(_Section):
    allow_no_auth: bool = False
    """Data and service calls without a token; the body's user id names the tenant."""
    jwt_alg: Literal["RS256", "HS256"] = "RS256"
    token_hours: float = 24
    legacy_generation: Literal["0.0.58", "0.0.11"] = "0.0.58"


class Limits(_Section):
    """Bounds of the sending path (bytes unless the name says otherwise)."""

    max_body_bytes: int = Field(default=64 * 2**20, ge=16 * 2**20)
    max_compressed_bytes: int = 32 * 2**20
    max_expansion_ratio: int = 200
    max_messages: int = 100_000
    max_message_bytes: int = 2**20
    max_keys: int = 5_000
    max_depth: int = 32
    max_array_length: int = 10_000
    max_text_bytes: int = 256 * 2**10
    max_class_characters: int = 128
    max_id_characters: int = 512
    max_requests_in_work: int = 64
    max_wait_s: float = 10
    max_inbox_bytes: int = 2 * 2**30
    max_bytes_in_work: int = 256 * 2**20
    """Byte budget over all bodies being read or parsed at once."""
    max_idempotency_keys: int = 20_000_000
    idempotency_hours: float = 48


class Ingest(_Section):
    max_future_days: float = 7
    fold_batch_messages: int = 5_000
    fold_idle_s: float = 0.2
    flush_rows: int = 250_000
    flush_interval_s: float = 60
    asof_days: float = 30


class Storage(_Section):
    disk_budget: str = "80%"
    """Share of the volume (``80%``) or bytes (``50GB``); beyond it the oldest data goes first."""
    retention_days: int | None = None


class Engine(_Section):
    kind: Literal["duckdb", "spark"] = "duckdb"
    url: str | None = None
    memory: str = "50%"
    threads: int | None = None
    max_candidates: int = 2_000_000
    query_timeout_s: float = 60


class Notifications(_Section):
    smtp_url: str | None = None
    allow_private: bool | None = None
    """Targets in private address ranges; unset = only while the server itself listens on loopback."""


class Imports(_Section):
    roots: tuple[str, ...] = ()
    """Folders from which the server may read files that a client names."""
    max_upload_bytes: int = Field(default=2 * 2**30, ge=1)
    """The largest file that a client may send for an import."""


class Store(_Section):
    url: str | None = None


class Settings(_Section):
    """All settings of one server. ``data_dir`` is where everything is kept."""

    data_dir: Path
    server: Server = Server()
    auth: Auth = Auth()
    limits: Limits = Limits()
    ingest: Ingest = Ingest()
    storage: Storage = Storage()
    engine: Engine = Engine()
    notifications: Notifications = Notifications()
    imports: Imports = Imports()
    store: Store = Store()


def load(data_dir: Path, *, environ: dict[str, str] | None = None, **overrides: dict[str, Any]) -> Settings:
    """Settings of a data directory. ``overrides`` are sections from the command line and win over all.

    Raises :class:`BadRequest` that names each bad key, what is wrong, and the nearest known key.
    """
    environ = dict(os.environ) if environ is None else environ
    given: dict[str, Any] = {}
    file = data_dir / "mona.toml"
    if file.exists():
        try:
            given = tomllib.loads(file.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise BadRequest(f"{file} is not TOML: {error}") from None
    sections = [name for name in Settings.model_fields if name != "data_dir"]
    for key, text in environ.items():
        if not key.startswith(PREFIX):
            continue
        section, _, name = key.removeprefix(PREFIX).lower().partition("_")
        if section not in sections or not name:
            raise BadRequest(f"environment variable {key}: no such setting", hint=_nearest(section, sections))
        given.setdefault(section, {})[name] = text
    for section, values in overrides.items():
        given.setdefault(section, {}).update({key: value for key, value in values.items() if value is not None})
    try:
        return Settings(data_dir=data_dir, **given)
    except ValidationError as error:
        raise BadRequest("; ".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    text = f"setting {'.'.join(path)}: {problem['msg']}"
    if problem["type"] == "extra_forbidden":
        model: Any = Settings
        for part in path[:-1]:
            model = model.model_fields[part].annotation
        known = [name for name in model.model_fields if name != "data_dir"]
        text = f"setting {'.'.join(path)}: no such setting {_nearest(path[-1], known)}"
    return text


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
