"""After a change of the configuration: runs are repeated however often the server stops, and people are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from mona_server.insights import people, work
from mona_server.notify import deliver_due
from mona_server.settings import Settings
from mona_server.store import jobs
from mona_server.store.tables_identity import tenants, users
from mona_server.store.tables_insights import insights, runs
from mona_server.store.tables_notify import deliveries
from tests.insights.mill import TENANT, Mill
from tests.insights.test_runs import CONFIG, states
from tests.insights.test_work import at, fill, run_times, worked
from tests.notify.conftest import MailServer, mail_server

__all__ = ["mail_server"]

STRICTER = CONFIG | {
    "stanzas": {"main": {"verses": [CONFIG["stanzas"]["main"]["verses"][0] | {"min_segment_size": 10_000}]}}
}


def mailing(tmp_path: Path, port: int) -> Mill:
    """A store whose server can mail."""
    made = Settings.model_validate(
        {"data_dir": tmp_path, "notifications": {"smtp_url": f"smtp://127.0.0.1:{port}?from=mona@example.org"}}
    )
    return Mill(tmp_path, **made.model_dump(exclude={"data_dir"}))


def found_once(mill: Mill) -> str:
    """An insight that three runs looked for; returns its id."""
    mill.configure(CONFIG)
    fill(mill, 0, 15, {13: 6.0, 14: 60.0})
    for number in (13, 14, 15):
        worked(mill, at(number))
    with mill.store.meta.connect() as connection:
        return str(connection.execute(select(insights.c.id)).scalar_one())


def test_a_restart_in_between_loses_no_run(mill: Mill) -> None:
    """A server that is stopped after the first repeated run does the rest when it is back."""
    found_once(mill)
    mill.configure(STRICTER)
    asked = iter([False, False, True])
    work.work(mill.desk, lambda: at(15, 40), lambda: next(asked, True))
    assert len(run_times(mill)) < 3
    while len(run_times(mill)) < 3:
        assert worked(mill, at(15, 45))
    with mill.store.meta.connect() as connection:
        assert set(connection.execute(select(runs.c.reason)).scalars()) == {"config"}
    assert states(mill)[0][1] == "resolved"
    (job,) = jobs.recent(mill.store.meta, TENANT, kind="run")
    assert (job.state, job.result["runs"]) == ("done", 3)


@pytest.mark.parametrize("gone", [False, True])
def test_the_people_concerned_are_mailed(tmp_path: Path, mail_server: MailServer, gone: bool) -> None:
    """The author of the change hears of all insights, those who worked on one of theirs; once, and with the reason."""
    mill = mailing(tmp_path, mail_server.port)
    insight_id = found_once(mill)
    with mill.store.meta.begin() as connection:
        connection.execute(insert(tenants).values(id=TENANT, name=TENANT, created_ms=0))
        user: dict[str, Any] = {"tenant": TENANT, "roles": [], "created_ms": 0}
        for key, email, state in (("usr_1", "bea@example.org", "active"), ("usr_2", "cid@example.org", "disabled")):
            connection.execute(insert(users).values(id=key, email=email, state=state, **user))
    now = at(15, 35)
    people.comment(mill.store, TENANT, insight_id, "usr_2", "I have left since", now)
    people.change(mill.store, TENANT, insight_id, {"feedback": "useful"}, now, by="usr_1")
    changed = CONFIG | {"stanzas": {}} if gone else STRICTER
    save(mill, changed, author="ann@example.org")
    worked(mill, at(15, 40))
    worked(mill, at(15, 45))
    deliver_due(mill.store, mill.settings, at(15, 50))
    mails = {recipients[0]: message for _, recipients, message in mail_server.got}
    assert set(mails) == {"ann@example.org", "bea@example.org"}
    assert len(mail_server.got) == 2
    message = mails["ann@example.org"]
    assert message["Subject"] == "Configuration of LOAN changed: 1 insight, 1 closed"
    text = message.get_body(("plain",))
    page = message.get_body(("html",))
    assert text is not None
    assert page is not None
    why = "its verse is no longer in the configuration" if gone else "no longer found"
    assert "score" in text.get_content()
    assert why in text.get_content()
    assert "were repeated" in page.get_content()
    mill.close()


def test_an_api_key_is_no_address(tmp_path: Path, mail_server: MailServer) -> None:
    """Nobody is mailed of a change that a program made; nor without a mail server."""
    mill = mailing(tmp_path, mail_server.port)
    found_once(mill)
    save(mill, STRICTER, author="key-4711")
    worked(mill, at(15, 40))
    with mill.store.meta.connect() as connection:
        assert connection.execute(select(deliveries)).all() == []
    mill.close()


def save(mill: Mill, given: dict[str, Any], author: str) -> None:
    """A new revision by somebody."""
    from mona_server.config import revisions

    mill.now_ms += 1000
    revisions.save(mill.store.meta, TENANT, {mill.name: given}, author=author, commit_message="", now_ms=mill.now_ms)
