"""One-time links to people: mailed when a mail server is set, shown to whoever asked for them only when not.

A link is a password for a while: it stands in no log, and with a mail server not even the administrator sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage

import structlog

from mona_server.api.identity.users import LINK_MS, User
from mona_server.notify.delivery import DeliveryFailed, Sender
from mona_server.notify.notice import Mail
from mona_server.settings import Settings

log = structlog.get_logger("mona.http")

_WORDS = {
    "activate": ("Your invitation to Mona", "You were invited to Mona. Choose a password here:"),
    "reset": ("A new password for Mona", "Choose a new password for Mona here:"),
}
"""Purpose → subject and first line."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of a link."""

    link: str | None
    """To be shown; None when it is in the mail."""
    mail_error: str | None = None
    """Why the mail server did not take it, where one is set."""

    @property
    def mailed(self) -> bool:
        return self.link is None


def hand_over(
    settings: Settings, user: User, purpose: str, secret: str, *, now_ms: int, address: str | None = None
) -> Handed:
    """Mail the link of ``purpose`` (``activate`` or ``reset``) to the user; ``address`` of the server, if not the usual one.

    Without a mail server, or when it fails, the link is given back to be shown: a broken mail server locks nobody out.
    """
    link = address_of(settings, secret, address)
    if not settings.notifications.smtp_url:
        return Handed(link)
    try:
        message = _message(user, purpose, link, expires_ms=now_ms + LINK_MS[purpose])
        Sender(settings).send(Mail(message))
    except (DeliveryFailed, ValueError) as error:  # ValueError: an address or a smtp_url that cannot be read
        # Without the reason: a mail server may repeat what it refused, and that holds the link.
        log.warning("link_mail_failed", user=user.id, purpose=purpose, error=type(error).__name__)
        reason = str(error) if isinstance(error, DeliveryFailed) else "the address or notifications.smtp_url is wrong"
        return Handed(link, mail_error=reason)
    log.info("link_mailed", user=user.id, purpose=purpose)
    return Handed(None)


def address_of(settings: Settings, secret: str, address: str | None = None) -> str:
    """The page on which the holder of a link chooses a password."""
    return f"{(address or settings.server.address).rstrip('/')}/activate?link={secret}"


def _message(user: User, purpose: str, link: str, *, expires_ms: int) -> EmailMessage:
    subject, first = _WORDS[purpose]
    until = datetime.fromtimestamp(expires_ms / 1000, UTC)
    message = EmailMessage()
    message["To"] = user.email
    message["Subject"] = subject
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"{f'Hello {user.name},' if user.name else 'Hello,'}\n\n{first}\n\n{link}\n\n"
        f"The link works once, until {until:%d %B %Y, %H:%M} UTC. If you did not expect this mail, ignore it.\n"
    )
    return message
