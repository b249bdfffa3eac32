"""Payloads: one contract for all channels, and the exact form of each."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from mona_server.notify import texts
from mona_server.notify.channels import CHANNELS, DESTINATION_KEYS
from mona_server.notify.notice import Apprised, Destination, Mail, Notice, Parcel, Post, Series
from mona_server.notify.picture import HEIGHT, WIDTH, draw

MakeInsight = Callable[..., dict[str, Any]]

ADDRESSES: dict[str, Any] = {
    "mail": "anna@example.org",
    "pagerduty_mail": "service@example.org",
    "pagerduty_keys": "12345678901234567890123456789012",
    "discord_webhooks": "https://discord.com/api/webhooks/123456789012345678/" + "a" * 68,
    "telegram": "tgram://123456789:AAFabcdefghijklmnopqrstuvwxyz012345/987654321",
    "opsgenie": "abcdef01-2345-6789-abcd-ef0123456789",
    "jira": "abcdef01-2345-6789-abcd-ef0123456789",
}


def destination(name: str) -> Destination:
    channel = CHANNELS[name]
    (found,) = channel.destinations(ADDRESSES.get(name, "https://hooks.example.org/secret/path"))
    return found


def notice(*insights: dict[str, Any], **changes: Any) -> Notice:
    given: dict[str, Any] = {"delivery_id": "d-1", "kind": "insights", "context_class": "LOAN", "insights": insights}
    return Notice(**given | {"base_url": "https://mona.example.org"} | changes)


def content(parcel: Parcel) -> str:
    if isinstance(parcel, Post):
        return parcel.body.decode()
    if isinstance(parcel, Apprised):
        return parcel.title + parcel.body
    body = parcel.message.get_body(("plain",))
    assert body is not None
    return f"{parcel.message['Subject']}{body.get_content()}"


@pytest.mark.parametrize("name", list(CHANNELS))
class TestEveryChannel:
    def test_packing_is_pure(self, name: str, insight: MakeInsight) -> None:
        """The same notice gives the same bytes, so that a repeated attempt is the same message."""
        first, again = (CHANNELS[name].pack(notice(insight()), destination(name)) for _ in range(2))
        assert content(first) == content(again)

    def test_carries_every_insight(self, name: str, insight: MakeInsight) -> None:
        """One message holds all insights of the run, and its title is in it."""
        parcel = CHANNELS[name].pack(
            notice(insight("ins_1"), insight("ins_2", title="Second < & >")), destination(name)
        )
        assert "offered_amount average fell" in content(parcel)
        assert "Second" in content(parcel)

    def test_many_insights_are_bounded(self, name: str, insight: MakeInsight) -> None:
        """A message for people spells out some and counts the rest; a program gets all."""
        many = [insight(f"ins_{i}") for i in range(300)]
        text = content(CHANNELS[name].pack(notice(*many), destination(name)))
        if name == "webhook":
            assert len(json.loads(text)["insights"]) == 300
        else:
            assert len(text.encode()) < 20_000
            assert "more" in text or "…" in text

    def test_test_message(self, name: str, insight: MakeInsight) -> None:
        """A test message needs no insight."""
        parcel = CHANNELS[name].pack(notice(kind="test"), destination(name))
        assert content(parcel)

    def test_urgent_is_said(self, name: str, insight: MakeInsight) -> None:
        """An urgent message says so."""
        text = content(CHANNELS[name].pack(notice(insight(urgency="high"), urgent=True), destination(name)))
        assert "URGENT: " in text or json.loads(text)["urgent"] is True

    def test_targets_are_not_shown(self, name: str) -> None:
        """What people and logs see of a destination does not give it away, and neither does its repr."""
        target = destination(name)
        assert "secret/path" not in target.shown + repr(target)
        assert "AAFabcdef" not in target.shown + repr(target)
        assert Destination.from_text(target.to_text()) == target


def test_every_key_of_the_specification_is_read() -> None:
    """The destinations that entries may name, original and ours."""
    assert set(DESTINATION_KEYS) == {
        "emails", "slack_webhooks", "teams_webhooks", "google_chat", "pagerduty_emails", "webhook", "webhooks",
        "pagerduty_keys", "discord_webhooks", "telegram", "opsgenie", "jira",
    }  # fmt: skip


def test_webhook_body_is_the_insights_exactly(insight: MakeInsight) -> None:
    """Body and headers of the generic webhook, to the byte that a receiver checks."""
    (target,) = CHANNELS["webhook"].destinations(
        {"url": "https://x.example/in", "headers": {"X-Team": "ml"}, "secret": "s3cret"}
    )
    parcel = CHANNELS["webhook"].pack(notice(insight()), target)
    assert isinstance(parcel, Post)
    assert json.loads(parcel.body) == {"insights": [insight()]}
    assert list(json.loads(parcel.body)["insights"][0])[:6] == [
        "user_id", "arc_class", "stanza_name", "verse_name", "score", "main_signal"
    ]  # fmt: skip
    assert parcel.headers == {
        "Content-Type": "application/json",
        "X-Team": "ml",
        "X-Mona-Event": "insights",
        "X-Mona-Delivery": "d-1",
        "X-Mona-Signature": "sha256=" + hmac.new(b"s3cret", parcel.body, hashlib.sha256).hexdigest(),
    }
    urgent = CHANNELS["webhook"].pack(notice(insight(), urgent=True), target)
    assert json.loads(content(urgent))["urgent"] is True


def test_slack_payload(insight: MakeInsight) -> None:
    """One section per insight with title, numbers and a button; Slack's control characters are escaped."""
    payload = json.loads(content(CHANNELS["slack"].pack(notice(insight(title="a < b & c")), destination("slack"))))
    assert payload == {
        "text": "a &lt; b &amp; c",
        "blocks": [
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "*a &lt; b &amp; c*\nloan__AverageDrift: level 0.123, 861 contexts (3.5\u202f%), new",
                },
                "accessory": {
                    "type": "button",
                    "text": {"type": "plain_text", "text": "Open"},
                    "url": "https://mona.example.org/insights/ins_1",
                    "action_id": "ins_1",
                },
            }
        ],
    }


def test_teams_payload(insight: MakeInsight) -> None:
    """An Adaptive Card inside of one attachment, with a link."""
    payload = json.loads(content(CHANNELS["teams"].pack(notice(insight()), destination("teams"))))
    (attachment,) = payload["attachments"]
    assert payload["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert card["body"][0]["text"] == insight()["title"]
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "Open", "url": "https://mona.example.org/insights/ins_1"}
    ]


def test_google_chat_payload(insight: MakeInsight) -> None:
    """Nothing but a text, below the service's limit even for hundreds of insights."""
    payload = json.loads(content(CHANNELS["google_chat"].pack(notice(insight()), destination("google_chat"))))
    assert list(payload) == ["text"]
    assert payload["text"].startswith("*offered_amount average fell")
    many = [insight(f"ins_{i}", title="long " * 60) for i in range(20)]
    parcel = CHANNELS["google_chat"].pack(notice(*many), destination("google_chat"))
    assert isinstance(parcel, Post)
    assert len(parcel.body) < 4096


def test_mail_has_text_html_and_picture(insight: MakeInsight) -> None:
    """Plain text first, HTML beside it, the chart inline, and a way out."""
    series = {"ins_1": Series((1.0, 2.0, None, 9.0), (1.0, 1.0, 1.0, 1.0), 3)}
    parcel = CHANNELS["mail"].pack(notice(insight(title="a <b> & c"), series=series), destination("mail"))
    assert isinstance(parcel, Mail)
    message = parcel.message
    html = message.get_body(("html",))
    assert html is not None
    assert "a &lt;b&gt; &amp; c" in html.get_content()
    assert 'src="cid:ins_1@mona"' in html.get_content()
    pictures = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert [part["Content-ID"] for part in pictures] == ["<ins_1@mona>"]
    assert message["List-Unsubscribe"] == "<https://mona.example.org/notifications?class=LOAN>"
    assert message["Subject"] == "a <b> & c"


def test_pagerduty_mail_is_subject_and_text_only(insight: MakeInsight) -> None:
    """It becomes an incident: title as subject, plain text as body."""
    parcel = CHANNELS["pagerduty_mail"].pack(notice(insight()), destination("pagerduty_mail"))
    assert isinstance(parcel, Mail)
    assert parcel.message.get_content_type() == "text/plain"
    assert parcel.message["Subject"] == insight()["title"]


def test_no_link_without_an_address(insight: MakeInsight) -> None:
    """A server that nobody else can reach sends no dead links."""
    assert texts.link(notice(insight(), base_url=""), insight()) == ""
    text = content(CHANNELS["slack"].pack(notice(insight(), base_url=""), destination("slack")))
    assert "accessory" not in text


@pytest.mark.parametrize(
    "series",
    [Series(()), Series((None, None)), Series((3.0,)), Series((1.0, 1.0), (2.0,), 1), Series((0.0, 5.0, None, 2.0))],
    ids=["empty", "no value", "one", "flat", "gap"],
)
def test_picture_of_any_series(series: Series) -> None:
    """A valid PNG of the promised size whatever the series holds; decoded here to be sure."""
    png = draw(series)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (WIDTH, HEIGHT)
    length = struct.unpack(">I", png[33:37])[0]
    assert len(zlib.decompress(png[41 : 41 + length])) == HEIGHT * (WIDTH * 3 + 1)
