"""Invitations and links for new passwords: mailed where a mail server is set, shown where not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mona_server.api.identity import users
from mona_server.api.identity.roles import Grant
from mona_server.api.link_mails import hand_over
from tests.api.conftest import Api
from tests.notify import conftest as receivers
from tests.notify.conftest import MailServer

mail_server = receivers.mail_server
"""The receiver that notifications are tested with."""

USERS = "/api/v1/users"
ANN = {"email": "ann@example.com", "name": "Ann", "roles": ["Viewer"]}
PASSWORD = "violet harbour stapler 9"


@pytest.fixture
def mailing(make_api: Callable[..., Api], mail_server: MailServer) -> Api:
    smtp = f"smtp://127.0.0.1:{mail_server.port}?from=mona@example.org"
    return make_api(notifications={"smtp_url": smtp}, server={"public_url": "https://mona.example.org/"})


def mailed_link(server: MailServer) -> str:
    """The link of the newest mail."""
    body: str = server.got[-1][2].get_content()
    return next(line for line in body.splitlines() if line.startswith("https://"))


def test_invitation_resend_and_reset_are_mailed_and_not_shown(mailing: Api, mail_server: MailServer) -> None:
    """Each mail goes to the user alone and its link works; the administrator's answer holds no link."""
    made = mailing.post(USERS, ANN)
    assert made.status_code == 201
    assert (made.json()["activation_link"], made.json()["mailed"], made.json()["mail_error"]) == (None, True, None)
    sender, recipients, mail = mail_server.got[-1]
    assert (sender, recipients) == ("mona@example.org", ["ann@example.com"])
    assert mail["Subject"] == "Your invitation to Mona"
    assert "Hello Ann," in mail.get_content()
    first = mailed_link(mail_server)

    again = mailing.post(f"{USERS}/{made.json()['id']}/link")
    link = mailed_link(mail_server)
    assert (again.json()["link"], again.json()["mailed"]) == (None, True)
    assert link.startswith("https://mona.example.org/activate?link=")
    assert link != first
    secret = link.partition("link=")[2]
    assert secret not in made.text + again.text
    chosen = mailing.post("/api/v1/session/password", {"link": secret, "password": PASSWORD}, token={})
    assert chosen.status_code < 300, chosen.text

    reset = mailing.post(f"{USERS}/{made.json()['id']}/link")
    assert reset.json()["expires"] == mailing.now_ms / 1000 + 3600
    assert mail_server.got[-1][2]["Subject"] == "A new password for Mona"
    assert len(mail_server.got) == 3


@pytest.mark.parametrize("port", [None, 1])
def test_when_the_mail_does_not_go_the_link_is_shown_with_the_reason(
    mailing: Api, make_api: Callable[..., Api], mail_server: MailServer, port: int | None
) -> None:
    """A recipient that is refused, a server that is not there: the user is made, the administrator gets link and reason."""
    mail_server.refuse = "550 no such user here"
    api = mailing if port is None else make_api(notifications={"smtp_url": f"smtp://127.0.0.1:{port}"})
    made = api.post(USERS, ANN)
    assert made.status_code == 201
    assert "/activate?link=" in made.json()["activation_link"]
    assert made.json()["mailed"] is False
    assert ("no such user here" if port is None else "mail server") in made.json()["mail_error"]
    assert mail_server.got == []
    assert api.post(f"{USERS}/{made.json()['id']}/link").json()["link"]


def test_without_a_mail_server_the_link_is_shown(api: Api) -> None:
    """The default: no mail, no complaint about it."""
    made = api.post(USERS, ANN).json()
    assert "/activate?link=" in made["activation_link"]
    assert (made["mailed"], made["mail_error"]) == (False, None)


@pytest.mark.parametrize("refuse", ["", "550 we do not like https://mona.example.org/activate?link={secret}"])
def test_a_link_is_in_no_log(
    mailing: Api, mail_server: MailServer, capsys: pytest.CaptureFixture[str], refuse: str
) -> None:
    """Neither when the mail goes nor when a server refuses it with a text that repeats the link."""
    mail_server.refuse = refuse.format(secret="s3cr3t")
    ann = users.User("user_1", "default", "ann@example.com", "Ann", "invited", (Grant("Viewer"),), False, False, None)
    handed = hand_over(mailing.edge.settings, ann, "activate", "s3cr3t", now_ms=mailing.now_ms)
    assert handed.mailed is not bool(refuse)
    logged = "".join(capsys.readouterr())
    assert "user_1" in logged
    assert "s3cr3t" not in logged
