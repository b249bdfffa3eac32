"""What ``mona demo`` does: a whole server, three months of real flights through the real client, what the search finds.

The sending part is written as a user of ``mona_sdk`` would write it. It is the only place where the server knows the client.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mona_server import settings as settings_module
from mona_server import words
from mona_server.cli import demo_data, up
from mona_server.cli.common import now_ms, open_store
from mona_server.errors import BadRequest, Conflict, Unavailable
from mona_server.settings import Settings

if TYPE_CHECKING:
    from mona_sdk import Client, MonaSingleMessage
    from mona_server.store import Store

PORT = 8420
TENANT = "default"
BATCH = 2000
FIRST_FRAMES = 15
"""Days of data before the first search: a sudden change needs half of its 30 frames."""
TIMEOUT_S = 600

_SETTINGS = """\
# Made by `mona demo`. The flights are public, and only programs on this machine can reach the address:
# so the pages open without a sign-in.
[auth]
allow_no_auth = true
"""


@dataclass
class Told:
    """What the demo did, for people and for programs."""

    address: str
    data_dir: str
    messages: int = 0
    contexts: int = 0
    failed: int = 0
    runs: int = 0
    insights: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    page: str = ""

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)


def run(*, data: Path | None, port: int | None, leave: bool, as_json: bool) -> None:
    """The whole demo. ``leave``: end when the insights are there; ``as_json``: one object on standard output."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server and the directory go with it
    console = Console(stderr=True, highlight=False)
    with data_directory(data) as data_dir:
        settings = settings_module.load(data_dir, server={"host": "127.0.0.1", "port": port or free_port()})
        told = Told(up.address(settings), str(data_dir))
        began = time.monotonic()
        with _server(settings, told, console):
            _work(settings, told, console, date.today())  # noqa: DTZ011 - the calendar of the person
            told.seconds["total"] = round(time.monotonic() - began, 2)
            told.page = f"{told.address}/insights?class={demo_data.CONTEXT_CLASS}&range=90d"
            if as_json:
                print(json.dumps(told.__dict__), flush=True)
            else:
                _show(told)
            if not leave:
                console.print("Serving until Ctrl-C.")
                with contextlib.suppress(KeyboardInterrupt):
                    threading.Event().wait()


@contextlib.contextmanager
def data_directory(given: Path | None) -> Iterator[Path]:
    """An empty directory with the demo's settings; a temporary one goes at the end."""
    if given is None:
        made = Path(tempfile.mkdtemp(prefix="mona-demo-"))
        try:
            (made / "mona.toml").write_text(_SETTINGS, encoding="utf-8")
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return
    if given.exists() and (not given.is_dir() or any(given.iterdir())):
        raise BadRequest(f"{given} is not empty", hint="the demo starts from nothing: choose another --data")
    given.mkdir(parents=True, exist_ok=True)
    (given / "mona.toml").write_text(_SETTINGS, encoding="utf-8")
    yield given


def free_port() -> int:
    """8420 if nobody listens there, else one that is free."""
    try:
        up.check_port("127.0.0.1", PORT)
        return PORT
    except Conflict:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])


@contextlib.contextmanager
def _server(settings: Settings, told: Told, console: Console) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with console.status("Starting the server"), told.timed("start"):
            stack.enter_context(up.running(settings))
        yield


def _work(settings: Settings, told: Told, console: Console, today: date) -> None:
    from mona_sdk import Client
    from mona_server.api.identity import tokens

    with console.status("Reading the flights of 2013, fitting a model on January to September"), told.timed("prepare"):
        learnt, served = demo_data.split(demo_data.read())
        messages = demo_data.events(served, demo_data.Model.fit(learnt), today)
    first = demo_data.FIRST_SERVED + demo_data.weeks_moved(today)
    last = demo_data.LAST_DAY + demo_data.weeks_moved(today)
    with open_store(settings.data_dir) as store:
        token = tokens.create_token(store.meta, ["Admin"], now_ms=now_ms(), description="mona demo")
        with Client(token.client_id, token.secret, server_url=told.address) as client:
            with told.timed("send"):
                _send(client, messages, told, console)
            with told.timed("configure"):
                _configure(client, store, told, console, first, last)
            with told.timed("detect"):
                _detect(store, told, console, first, last)
            told.insights = _insights(client, told, first, last, today)


def message_of(event: demo_data.Event) -> MonaSingleMessage:
    """What is sent of a departure or landing."""
    from mona_sdk import MonaSingleMessage

    return MonaSingleMessage(
        message=event.values,
        contextClass=demo_data.CONTEXT_CLASS,
        contextId=event.context_id,
        exportTimestamp=event.at.timestamp(),
    )


def _send(client: Client, messages: Sequence[demo_data.Event], told: Told, console: Console) -> None:
    """Every departure and every landing, in the order in which they happened."""
    with _progress(console) as progress:
        task = progress.add_task("Sending departures and landings", total=len(messages))
        for start in range(0, len(messages), BATCH):
            batch = [message_of(event) for event in messages[start : start + BATCH]]
            result = client.export_batch(batch)
            told.messages += result["sent"]
            told.failed += result["failed"]
            if result["failed"]:
                reason = next(iter(result["failure_reasons"].values()))
                raise Unavailable(f"the server did not take {result['failed']} messages: {reason}")
            progress.advance(task, len(batch))


def _configure(client: Client, store: Store, told: Told, console: Console, first: date, last: date) -> None:
    """Upload the configuration after the data, and let the server build the fields of what it has."""
    with console.status("Applying a configuration, building fields"):
        _wait(lambda: store.inbox.backlog().rows == 0, "the messages to be merged")
        answer = client.upload_config(demo_data.configuration(), "The demo's fields and verses", "mona demo")
        if not answer["success"]:
            raise Unavailable(f"the configuration was refused: {answer['error_message']}")
        # The upload rebuilds the last eight weeks by itself; these are older.
        older = {"context_class": demo_data.CONTEXT_CLASS, "from": _midnight(first), "to": _midnight(last)}
        _call(told, "POST", "/api/v1/backfill", older)
        _wait(lambda: not _open_jobs(told), "the fields to be built")
        told.contexts = _contexts(told)


def _detect(store: Store, told: Told, console: Console, first: date, last: date) -> None:
    """Every verse for every day of the autumn on which its window ends: a job of the server's own detect process."""
    from mona_server.insights import work
    from mona_server.store import jobs

    begin, end = first + timedelta(days=FIRST_FRAMES - 1), last + timedelta(days=1)
    job_id = work.ask(
        store,
        TENANT,
        demo_data.CONTEXT_CLASS,
        now=datetime.now(UTC),
        from_s=_midnight(begin),
        to_s=_midnight(end),
        author="mona demo",
    )
    with _progress(console) as progress:
        task = progress.add_task("Searching, one day after the other", total=(end - begin).days)

        def done() -> bool:
            job = jobs.get(store.meta, TENANT, job_id)
            progress.update(task, completed=round(job.progress * (end - begin).days))
            if job.state in ("failed", "cancelled"):
                raise Unavailable(f"the search failed: {job.error}")
            told.runs = len((job.result or {}).get("runs", ()))
            return job.state == "done"

        _wait(done, "the search")


def _insights(client: Client, told: Told, first: date, last: date, today: date) -> list[dict[str, Any]]:
    """What was found, strongest first, asked for as any program would."""
    moved = demo_data.weeks_moved(today)
    answer = client.get_insights(
        demo_data.CONTEXT_CLASS, 1, time_range_seconds=[_midnight(first), _midnight(last + timedelta(days=2))]
    )
    if not answer["success"]:
        raise Unavailable(f"the insights cannot be read: {answer['error_message']}")
    found = []
    for insight in answer["data"]:
        signal = insight["main_signal"]
        # The last day that was judged: a run at midnight looks at the day before.
        judged = datetime.fromtimestamp(signal["window"]["to"], UTC).date() - timedelta(days=1)
        found.append(
            {
                "title": insight["title"],
                "segment": signal["segment"],
                "metric": signal["kapi"],
                "level": signal["anomaly_level"],
                "score": insight["score"],
                "value": signal["value"],
                "benchmark": signal["benchmark"],
                "contexts": signal["segment_size"],
                "verse": insight["verse_name"],
                "urgency": insight["urgency"],
                "day": judged.isoformat(),
                "day_2013": (judged - moved).isoformat(),
                "url": f"{told.address}/insights/{insight['insight_id']}",
                "related": [
                    {"segment": one["segment"], "metric": one["kapi"], "level": one["anomaly_level"]}
                    for one in insight["related_signals"]
                ],
            }
        )
    return found


def _show(told: Told) -> None:
    console = Console(highlight=False)
    table = Table(title=None, box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("What changed", ratio=1)
    table.add_column("Day", no_wrap=True)
    table.add_column("that is", no_wrap=True)
    table.add_column("Level", justify="right")
    for one in told.insights:
        title = ("[red]urgent[/red] " if one["urgency"] == "high" else "") + escape(one["title"])
        was = date.fromisoformat(one["day_2013"])
        table.add_row(title, one["day"], f"{was:%-d %b %Y}", words.number(one["level"]))
    console.print(table)
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in told.seconds.items())
    console.print(
        f"\n{words.count(told.messages)} messages about {words.count(told.contexts)} flights, "
        f"{told.runs} runs, {words.plural(len(told.insights), 'insight')} ({parts})."
    )
    console.print(f"Look at them: [bold]{told.page}[/bold]")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _call(told: Told, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """A call of the server's REST interface."""
    request = urllib.request.Request(  # noqa: S310 - our own address
        told.address + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def _contexts(told: Told) -> int:
    classes = {one["name"]: one for one in _call(told, "GET", "/api/v1/classes")["items"]}
    return int(classes.get(demo_data.CONTEXT_CLASS, {}).get("contexts", 0))


def _open_jobs(told: Told) -> bool:
    jobs = _call(told, "GET", "/api/v1/jobs?kind=backfill")["items"]
    for job in jobs:
        if job["state"] in ("failed", "cancelled"):
            raise Unavailable(f"building the fields failed: {job['error']}")
    return any(job["state"] in ("queued", "running") for job in jobs)


def _wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {TIMEOUT_S} s for {what}", hint="is the machine very busy?")
        time.sleep(0.2)


def _midnight(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp())
