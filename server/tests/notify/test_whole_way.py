"""From messages to the receiver: the insight that people see is the one that programs get, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mona_server.insights import listing
from mona_server.notify import deliver_due
from tests.insights.mill import DAY, TENANT, Mill
from tests.insights.test_runs import CONFIG, NAME, T0, day

from .conftest import Hooks, MailServer


@pytest.fixture
def start_mill(tmp_path: Path) -> Iterator[Callable[..., Mill]]:
    made: list[Mill] = []

    def start(entries: dict[str, Any], **settings: Any) -> Mill:
        mill = Mill(tmp_path / "data", **settings)
        made.append(mill)
        mill.configure({**CONFIG, "notifications": entries})
        return mill

    yield start
    for mill in made:
        mill.close()


def test_the_webhook_gets_the_insight_of_the_list(start_mill: Callable[..., Mill], hooks: Hooks) -> None:
    """A drift that lasts three days is three runs and one notification, whose body is exactly the insight that was saved."""
    mill = start_mill(
        {"ops": {"webhook": hooks.url, "metrics": ["score"]}, "other": {"webhook": hooks.url, "min_score": 1e6}}
    )
    for number in range(17):
        mill.send(day(number, shift=6.0 if number >= 13 else 0.0))
    told: list[Any] = []
    for number in (14, 15, 16):
        outcome = mill.run(NAME, T0 + number * DAY)
        deliver_due(mill.store, mill.settings, datetime.fromtimestamp(T0 + number * DAY + 60, UTC))
        if number == 14:
            told = json.loads(json.dumps(listing.find(mill.store, TENANT, listing.InsightQuery(context_class="LOAN"))))
        assert outcome.run["state"] == "done"
    ((_, headers, body),) = hooks.got
    assert headers["x-mona-event"] == "insights"
    assert json.loads(body) == {"insights": told}
    assert list(told[0])[:6] == ["user_id", "arc_class", "stanza_name", "verse_name", "score", "main_signal"]


def test_the_mail_shows_the_chart_of_the_run(start_mill: Callable[..., Mill], mail_server: MailServer) -> None:
    """Title, link and an inline picture, from the sums that were kept with the insight."""
    smtp = f"smtp://127.0.0.1:{mail_server.port}?from=mona@example.org"
    mill = start_mill(
        {"team": {"emails": ["anna@example.org"]}},
        notifications={"smtp_url": smtp},
        server={"public_url": "https://mona.example.org"},
    )
    for number in range(14):
        mill.send(day(number, shift=6.0 if number == 13 else 0.0))
    outcome = mill.run(NAME, T0 + 14 * DAY)
    deliver_due(mill.store, mill.settings, datetime.fromtimestamp(T0 + 14 * DAY + 60, UTC))
    ((_, _, message),) = mail_server.got
    (insight,) = outcome.insights
    assert message["Subject"] == insight["title"]
    plain = message.get_body(("plain",))
    assert plain is not None
    assert f"https://mona.example.org/insights/{insight['insight_id']}" in plain.get_content()
    assert [part.get_content_type() for part in message.walk()].count("image/png") == 1
