"""From a run's events to real receivers: once, in order, however often things break in between."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from mona_server import outbound
from mona_server import settings as settings_module
from mona_server.notify import InsightEvent, Series, chart_picture, deliver_due, enqueue, queue, send_test
from mona_server.sealing import Sealer
from mona_server.settings import Settings
from mona_server.store.tables_notify import deliveries, delivery_items

from .conftest import NOW, Hooks, MailServer, Storage, loan

MakeEvent = Callable[..., InsightEvent]


def bodies(hooks: Hooks) -> list[Any]:
    return [json.loads(body) for _, _, body in hooks.got]


def states(store: Storage) -> list[str]:
    with store.meta.connect() as connection:
        return list(connection.execute(select(deliveries.c.state).order_by(deliveries.c.created_ms)).scalars())


def test_a_webhook_gets_the_insight_exactly(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """Body, headers and signature arrive as specified."""
    target = {"url": f"{hooks.url}/in?x=1", "secret": "s3cret", "headers": {"X-Team": "ml"}}
    enqueue(store, "default", loan(ops={"webhook": target}), [event()], NOW)
    assert deliver_due(store, settings, NOW) == 1
    ((path, headers, body),) = hooks.got
    assert path == "/in?x=1"
    assert json.loads(body) == {"insights": [event().insight]}
    assert headers["content-type"] == "application/json"
    assert headers["x-mona-event"] == "insights"
    assert headers["x-team"] == "ml"
    assert headers["x-mona-signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert deliver_due(store, settings, NOW) == 0


def test_ten_runs_one_notification(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """The same state event, reported again by later runs or after a crash, is told once."""
    team = loan(ops={"webhook": hooks.url})
    for day in range(10):
        enqueue(store, "default", team, [event("new")], NOW + timedelta(days=day))
        deliver_due(store, settings, NOW + timedelta(days=day))
    assert len(hooks.got) == 1


def test_reopened_is_told_again(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """Resolved and found again is a new state event of the same insight."""
    team = loan(ops={"webhook": hooks.url})
    for kind, reopened in (("new", 0), ("resolved", 0), ("reopened", 1), ("reopened", 1)):
        enqueue(store, "default", team, [event(kind, reopened=reopened)], NOW)
    deliver_due(store, settings, NOW)
    assert len(hooks.got) == 2


def test_insights_of_one_run_go_into_one_message_urgent_apart(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent
) -> None:
    """Three insights, one of them urgent: two messages, the urgent one marked."""
    events = [event("new", "a"), event("new", "b", urgency="high"), event("new", "c", score=9.0)]
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), events, NOW)
    deliver_due(store, settings, NOW)
    found = sorted(([one["insight_id"] for one in body["insights"]], body.get("urgent")) for body in bodies(hooks))
    assert found == [(["b"], True), (["c", "a"], None)]


def test_resolved_is_a_message_of_its_own(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """An entry that asks for it hears of the end, under its own event name."""
    team = loan(ops={"webhook": hooks.url, "only_states": ["new", "resolved"]})
    enqueue(store, "default", team, [event("new", "a"), event("resolved", "b")], NOW)
    deliver_due(store, settings, NOW)
    assert sorted(headers["x-mona-event"] for _, headers, _ in hooks.got) == ["insights", "resolved"]


def test_two_entries_with_one_destination_send_once(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent
) -> None:
    """Entries that match the same insight and share a destination: the one that is due first tells it."""
    team = loan(
        daily={"webhook": hooks.url, "schedule": "daily@18:00"},
        ops={"webhooks": [hooks.url]},
        all={"webhook": hooks.url},
    )
    enqueue(store, "default", team, [event()], NOW)
    assert deliver_due(store, settings, NOW) == 1
    assert deliver_due(store, settings, NOW + timedelta(days=2)) == 0


def test_tenants_do_not_share_what_was_told(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """The same insight id and address in another tenant is another notification."""
    for tenant in ("one", "two"):
        enqueue(store, tenant, loan(ops={"webhook": hooks.url}), [event()], NOW)
    deliver_due(store, settings, NOW)
    assert len(hooks.got) == 2


def test_a_digest_gathers_over_runs(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """What several runs find before the hour goes into one message at that hour."""
    team = loan(ops={"webhook": hooks.url, "schedule": "daily@18:00"})
    for hour, name in enumerate("abc"):
        enqueue(store, "default", team, [event("new", name)], NOW + timedelta(hours=hour))
    assert deliver_due(store, settings, NOW + timedelta(hours=5)) == 0
    assert deliver_due(store, settings, NOW + timedelta(hours=6)) == 1
    (body,) = bodies(hooks)
    assert len(body["insights"]) == 3
    enqueue(store, "default", team, [event("new", "d")], NOW + timedelta(hours=7))
    assert deliver_due(store, settings, NOW + timedelta(hours=29)) == 0
    assert deliver_due(store, settings, NOW + timedelta(hours=30)) == 1


def test_quiet_hours_hold_all_but_urgent(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """At night the urgent one passes; the rest comes together in the morning."""
    night = datetime(2026, 11, 24, 23, tzinfo=UTC)
    team = loan(ops={"webhook": hooks.url, "quiet_hours": {"from": "22:00", "to": "07:00"}})
    for name, urgency in (("a", "normal"), ("b", "high"), ("c", "normal")):
        enqueue(store, "default", team, [event("new", name, urgency=urgency)], night)
    assert deliver_due(store, settings, night) == 1
    assert deliver_due(store, settings, night + timedelta(hours=8)) == 1
    assert [len(body["insights"]) for body in bodies(hooks)] == [1, 2]


def test_max_per_day_puts_the_rest_into_one_digest(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent
) -> None:
    """Two messages go out today; three more insights wait for one digest at midnight."""
    team = loan(ops={"webhook": hooks.url, "max_per_day": 2})
    for name in "abcde":
        enqueue(store, "default", team, [event("new", name)], NOW)
        deliver_due(store, settings, NOW)
    assert len(hooks.got) == 2
    deliver_due(store, settings, datetime(2026, 11, 25, tzinfo=UTC))
    assert [len(body["insights"]) for body in bodies(hooks)] == [1, 1, 3]


def test_retries_keep_the_delivery_id(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """Server errors are tried again after 1 m, 5 m, 30 m, 2 h and 6 h, then the delivery has failed."""
    hooks.answers = [(503, {})] * 6
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event()], NOW)
    now = NOW
    for pause_s in (0, *queue.RETRY_AFTER_S):
        assert deliver_due(store, settings, now + timedelta(seconds=pause_s * 0.99)) == 0 or pause_s == 0
        now += timedelta(seconds=pause_s * 1.11)
        deliver_due(store, settings, now)
    assert len(hooks.got) == 6
    assert len({headers["x-mona-delivery"] for _, headers, _ in hooks.got}) == 1
    assert states(store) == ["failed"]
    assert deliver_due(store, settings, now + timedelta(days=9)) == 0
    (shown,) = queue.recent(store.meta, "default", "LOAN")
    assert (shown["last_status"], shown["last_error"]) == (503, "answered 503")
    assert queue.retry(store.meta, "default", shown["id"], now)
    assert not queue.retry(store.meta, "other", shown["id"], now)
    assert deliver_due(store, settings, now) == 1


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (404, False), (410, False), (301, False), (408, True), (429, True)]
)
def test_refusals_stop(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent, status: int, again: bool
) -> None:
    """A receiver that refuses for good is not asked again; one that is only busy is."""
    hooks.answers = [(status, {"Location": f"{hooks.url}/elsewhere"})]
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event()], NOW)
    deliver_due(store, settings, NOW)
    assert len(hooks.got) == 1
    assert states(store) == (["queued"] if again else ["failed"])


def test_retry_after_is_honoured(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """A busy receiver says when to come back, and is not asked before."""
    hooks.answers = [(429, {"Retry-After": "600"})]
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event()], NOW)
    deliver_due(store, settings, NOW)
    assert deliver_due(store, settings, NOW + timedelta(seconds=599)) == 0
    assert deliver_due(store, settings, NOW + timedelta(seconds=601)) == 1


def test_a_dead_destination_blocks_nobody(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent, free_address: str
) -> None:
    """Nothing listens at one address; the other one gets its message in the same pass."""
    team = loan(dead={"webhook": free_address}, alive={"webhook": hooks.url})
    enqueue(store, "default", team, [event()], NOW)
    assert deliver_due(store, settings, NOW) == 1
    assert sorted(states(store)) == ["queued", "sent"]


@pytest.fixture
def free_address() -> Iterator[str]:
    import socket

    with socket.socket() as held:  # bound, but not listening: connections are refused, and nobody else gets the port
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_sender_that_died_loses_and_doubles_nothing(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent
) -> None:
    """A claimed delivery whose sender is gone is sent again later, under the same id."""
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event()], NOW)
    (claimed,) = queue.claim(store.meta, Sealer(store.data_dir), NOW, base_url="")
    assert deliver_due(store, settings, NOW) == 0
    assert deliver_due(store, settings, NOW + timedelta(seconds=queue.CLAIM_S + 1)) == 1
    assert hooks.got[0][1]["x-mona-delivery"] == claimed.id


def test_two_senders_never_hold_the_same_delivery(store: Storage, hooks: Hooks, event: MakeEvent) -> None:
    """The conditional update gives a row to one of them."""
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event()], NOW)
    sealer = Sealer(store.data_dir)
    taken = [queue.claim(store.meta, sealer, NOW, base_url="") for _ in range(2)]
    assert [len(one) for one in taken] == [1, 0]


def test_mail_arrives_with_its_picture(
    store: Storage, settings: Settings, mail_server: MailServer, event: MakeEvent
) -> None:
    """Plain text, HTML and the chart, from the configured sender to the address of the entry."""
    told = InsightEvent("new", event(urgency="high").insight, Series((1.0, 2.0, 9.0), (1.0, 1.0, 1.0), 2))
    enqueue(store, "default", loan(team={"emails": ["anna@example.org"]}), [told], NOW)
    assert deliver_due(store, settings, NOW) == 1
    ((sender, recipients, message),) = mail_server.got
    assert (sender, recipients) == ("mona@example.org", ["anna@example.org"])
    assert message["Subject"].startswith("URGENT: offered_amount average fell")
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "https://mona.example.org/insights/ins_1" in plain.get_content()
    assert "cid:ins_1@mona" in html.get_content()
    assert [part.get_content_type() for part in message.walk()].count("image/png") == 1


def test_pagerduty_mail(store: Storage, settings: Settings, mail_server: MailServer, event: MakeEvent) -> None:
    """Subject is the title; the body is text."""
    enqueue(store, "default", loan(team={"pagerduty_emails": ["pd@example.org"]}), [event()], NOW)
    deliver_due(store, settings, NOW)
    ((_, _, message),) = mail_server.got
    assert message["Subject"] == event().insight["title"]


@pytest.mark.parametrize(("reply", "state"), [("550 no such user", "failed"), ("451 later", "queued")])
def test_mail_refusals(
    store: Storage, settings: Settings, mail_server: MailServer, event: MakeEvent, reply: str, state: str
) -> None:
    """A recipient that does not exist is final; a busy server is tried again."""
    mail_server.refuse = reply
    enqueue(store, "default", loan(team={"emails": ["anna@example.org"]}), [event()], NOW)
    deliver_due(store, settings, NOW)
    assert states(store) == [state]


@pytest.mark.parametrize("key", ["slack_webhooks", "teams_webhooks", "google_chat"])
def test_chat_channels_reach_their_receiver(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent, key: str
) -> None:
    """Each chat service gets a JSON body with the title in it, with the link to the page."""
    enqueue(store, "default", loan(team={key: [hooks.url]}), [event()], NOW)
    assert deliver_due(store, settings, NOW) == 1
    ((_, headers, body),) = hooks.got
    assert headers["content-type"].startswith("application/json")
    assert event().insight["title"] in body.decode()
    assert "https://mona.example.org/insights/ins_1" in body.decode()


def test_slack_links_a_chart_that_it_can_fetch(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent
) -> None:
    """The address holds a key that fits one picture of one message, and is the same in every attempt."""
    told = InsightEvent("new", event().insight, Series((1.0, 2.0, 9.0), (1.0, 1.0, 1.0), 2))
    enqueue(store, "default", loan(team={"slack_webhooks": hooks.url}), [told], NOW)
    hooks.answers = [(503, {})]
    deliver_due(store, settings, NOW)
    deliver_due(store, settings, NOW + timedelta(hours=1))
    assert bodies(hooks)[0] == bodies(hooks)[1]
    text = bodies(hooks)[0]["blocks"][0]["text"]["text"]
    address = text.partition("\n<")[2].partition("|Time chart>")[0]
    place, _, key = address.removeprefix("https://mona.example.org/charts/").partition(".png?key=")
    delivery_id, _, insight_id = place.partition("/")
    png = chart_picture(store, delivery_id, insight_id, key)
    assert png is not None
    assert png.startswith(b"\x89PNG")
    for other in ((delivery_id, "ins_2", key), (delivery_id, insight_id, key[:-1] + "x"), ("d", insight_id, key)):
        assert chart_picture(store, *other) is None
    near = settings_module.load(store.data_dir, environ={})
    enqueue(store, "default", loan(team={"slack_webhooks": f"{hooks.url}/2"}), [told], NOW)
    deliver_due(store, near, NOW)
    assert "Time chart" not in json.dumps(bodies(hooks)[2])


def test_apprise_reaches_its_service(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest goes through apprise; here Discord, with its address pointed at the local receiver."""
    from apprise.plugins.discord import NotifyDiscord

    monkeypatch.setattr(NotifyDiscord, "notify_url", hooks.url)
    address = f"https://discord.com/api/webhooks/{'1' * 18}/{'a' * 68}"
    enqueue(store, "default", loan(team={"discord_webhooks": address}), [event()], NOW)
    assert deliver_due(store, settings, NOW) == 1
    assert event().insight["title"] in hooks.got[0][2].decode()


def test_private_targets_are_refused_unless_allowed(
    store: Storage, hooks: Hooks, event: MakeEvent, settings: Settings
) -> None:
    """A server that others can reach calls nothing inside of its own network, unless told to."""
    open_to_all = settings_module.load(store.data_dir, environ={}, server={"host": "0.0.0.0"})
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event()], NOW)
    assert deliver_due(store, open_to_all, NOW) == 0
    assert hooks.got == []
    assert states(store) == ["failed"]
    (shown,) = queue.recent(store.meta, "default", "LOAN")
    assert "private" in shown["last_error"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost/", "http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest",
     "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://2130706433/", "file:///etc/passwd"],
)  # fmt: skip
def test_the_guard_knows_the_disguises(url: str) -> None:
    """Loopback, private and link-local ranges in all their spellings, and schemes other than http."""
    with pytest.raises((outbound.Refused, outbound.Unreachable)):
        outbound.get(url)


def test_addresses_are_sealed_at_rest(store: Storage, settings: Settings, event: MakeEvent) -> None:
    """The database alone gives away neither address nor secret, and the log shows neither."""
    target = {"url": "https://hooks.example.org/very/secret/path", "secret": "s3cret-key"}
    enqueue(store, "default", loan(ops={"webhook": target}), [event()], NOW)
    with store.meta.connect() as connection:
        text = str(connection.execute(select(deliveries)).all())
    assert "very/secret" not in text
    assert "s3cret-key" not in text


def test_a_test_message_reaches_each_destination(store: Storage, settings: Settings, hooks: Hooks) -> None:
    """ "Send test" of one entry: no insight, its own event name; an unknown entry sends nothing."""
    team = loan(ops={"webhooks": [f"{hooks.url}/a", f"{hooks.url}/b"]})
    assert len(send_test(store, "default", team, "ops", NOW)) == 2
    assert send_test(store, "default", team, "nobody", NOW) == []
    deliver_due(store, settings, NOW)
    assert sorted((path, headers["x-mona-event"]) for path, headers, _ in hooks.got) == [("/a", "test"), ("/b", "test")]


def test_old_deliveries_are_forgotten(store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent) -> None:
    """Ninety days after their end deliveries and their items go; what is still queued stays."""
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event("new", "a")], NOW)
    deliver_due(store, settings, NOW)
    later = NOW + timedelta(days=91)
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event("new", "b")], later)
    assert queue.sweep(store.meta, later) == 1
    assert states(store) == ["queued"]
    with store.meta.connect() as connection:
        assert len(connection.execute(select(delivery_items)).all()) == 1


def test_a_broken_delivery_does_not_hold_the_next(
    store: Storage, settings: Settings, hooks: Hooks, event: MakeEvent
) -> None:
    """An insight that cannot be packed fails alone, with a word in the log."""
    for name in "ab":
        enqueue(store, "default", loan(ops={"slack_webhooks": hooks.url}), [event("new", name)], NOW)
    with store.meta.begin() as connection:
        broken = connection.execute(select(delivery_items.c.position).order_by(delivery_items.c.position)).scalar()
        connection.execute(
            update(delivery_items)
            .where(delivery_items.c.position == broken)
            .values(insight={"insight_id": "a", "score": 1})
        )
    deliver_due(store, settings, NOW)
    assert len(hooks.got) == 1
    assert sorted(states(store)) == ["queued", "sent"]
