"""From the queue to the receivers: one pass over what is due.

Destinations are served side by side and each in order; after a failure a destination rests until its next turn, so that one that
hangs delays nobody else. Every request is bounded by :data:`TIMEOUT_S`.
"""

from __future__ import annotations

import email.utils
import smtplib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

import structlog
from sqlalchemy import Engine

from mona_server import outbound
from mona_server.notify import queue
from mona_server.notify.channels import CHANNELS
from mona_server.notify.notice import Apprised, Mail, Parcel, Post
from mona_server.notify.queue import Claimed
from mona_server.sealing import Sealer
from mona_server.settings import Settings

TIMEOUT_S = 10.0
_SIDE_BY_SIDE = 8
_RETRIED_4XX = (408, 425, 429)

log = structlog.get_logger()


class DeliveryFailed(Exception):
    """An attempt that did not arrive. ``final``: trying again will not help."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None, final: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.final = final


@dataclass(frozen=True, slots=True)
class Sender:
    """Puts parcels on the wire, as the settings of the server say."""

    settings: Settings

    def send(self, parcel: Parcel) -> int | None:
        """The receiver's status. Raises :class:`DeliveryFailed`."""
        if isinstance(parcel, Post):
            return self._post(parcel)
        if isinstance(parcel, Mail):
            return self._mail(parcel.message)
        self._apprise(parcel)
        return None

    def _post(self, parcel: Post) -> int:
        try:
            answer = outbound.post(
                parcel.url,
                parcel.body,
                headers={"User-Agent": "Mona", **parcel.headers},
                timeout_s=TIMEOUT_S,
                allow_private=outbound.private_allowed(self.settings),
            )
        except outbound.Refused as error:
            raise DeliveryFailed(error.message, final=True) from None
        except (OSError, outbound.Unreachable) as error:
            raise DeliveryFailed(f"no answer: {_short(error)}") from None
        if 200 <= answer.status < 300:
            return answer.status
        raise DeliveryFailed(
            f"answered {answer.status}",
            status=answer.status,
            retry_after_s=_retry_after_s(answer.headers.get("retry-after")),
            # Redirects are not followed: a POST body must not wander to an address that nobody configured.
            final=300 <= answer.status < 500 and answer.status not in _RETRIED_4XX,
        )

    def _mail(self, message: EmailMessage) -> int | None:
        url = self.settings.notifications.smtp_url
        if not url:
            raise DeliveryFailed("no mail server is set: notifications.smtp_url", final=True)
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        host = parts.hostname or "localhost"
        sender = options.get("from", [unquote(parts.username or "") if "@" in unquote(parts.username or "") else ""])[0]
        sender = sender or f"mona@{socket.gethostname()}"
        message["From"] = f"Mona <{sender}>"
        message["Date"] = email.utils.format_datetime(datetime.now(UTC))
        if "Message-ID" not in message:
            message["Message-ID"] = email.utils.make_msgid(domain="mona")
        context = ssl.create_default_context()
        connect: Callable[[], smtplib.SMTP] = (
            (lambda: smtplib.SMTP_SSL(host, parts.port or 465, timeout=TIMEOUT_S, context=context))
            if parts.scheme == "smtps"
            else (lambda: smtplib.SMTP(host, parts.port or 25, timeout=TIMEOUT_S))
        )
        try:
            with connect() as server:
                if parts.scheme == "smtp" and server.ehlo()[0] == 250 and server.has_extn("starttls"):
                    server.starttls(context=context)
                if parts.username:
                    server.login(unquote(parts.username), unquote(parts.password or ""))
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            raise DeliveryFailed(f"recipient refused: {_decode(text)}", status=code, final=code >= 500) from None
        except smtplib.SMTPResponseException as error:
            code = error.smtp_code
            final = code >= 500 and not isinstance(error, smtplib.SMTPAuthenticationError)
            raise DeliveryFailed(f"mail server: {_decode(error.smtp_error)}", status=code, final=final) from None
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryFailed(f"mail server: {_short(error)}") from None
        return 250

    def _apprise(self, parcel: Apprised) -> None:
        import apprise

        plugin = apprise.Apprise.instantiate(parcel.url)
        if plugin is None:
            raise DeliveryFailed("the address is not usable", final=True)
        kind = apprise.NotifyType.FAILURE if parcel.urgent else apprise.NotifyType.WARNING
        if not plugin.notify(title=parcel.title, body=parcel.body, notify_type=kind):
            raise DeliveryFailed("the service did not take it")


def deliver(engine: Engine, sealer: Sealer, settings: Settings, now: Callable[[], datetime]) -> int:
    """Send everything that is due; returns how many deliveries arrived. ``now`` is a clock: sending takes time."""
    if not queue.anything_due(engine, now()):
        return 0
    base_url = settings.server.public_url or ""
    claimed = queue.claim(engine, sealer, now(), base_url=base_url.rstrip("/"))
    by_destination: dict[str, list[Claimed]] = {}
    for one in claimed:
        by_destination.setdefault(one.destination.key, []).append(one)
    if not by_destination:
        return 0
    sender = Sender(settings)
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="mona-notify") as pool:
        return sum(pool.map(lambda batch: _serve(engine, sender, batch, now), by_destination.values()))


def _serve(engine: Engine, sender: Sender, batch: list[Claimed], now: Callable[[], datetime]) -> int:
    """All deliveries of one destination, in order, until one fails; returns how many arrived."""
    arrived = 0
    for done, one in enumerate(batch):
        words = {"delivery": one.id, "channel": one.destination.channel, "destination": one.destination.key}
        try:
            status = sender.send(CHANNELS[one.destination.channel].pack(one.notice, one.destination))
        except DeliveryFailed as error:
            again = queue.failed(
                engine, one, now(), str(error),
                status=error.status, retry_after_s=error.retry_after_s, final=error.final,
            )  # fmt: skip
            log.warning("delivery_failed", error=str(error), attempt=one.attempts + 1, again=again, **words)
            if not error.final:
                queue.give_back(engine, batch[done + 1 :], now())
                break
        except Exception:  # the edge of a thread: one broken notice must not hold the others
            log.exception("delivery_broke", **words)
            queue.failed(
                engine, one, now(), "internal error; see the log", status=None, retry_after_s=None, final=False
            )
        else:
            queue.sent(engine, one, now(), status)
            arrived += 1
            log.info("delivery_sent", insights=len(one.notice.insights), status=status, **words)
    return arrived


def _retry_after_s(text: str | None) -> float | None:
    """Seconds from a ``Retry-After`` header: a number or a date."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _short(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= 200 and "://" not in text else type(error).__name__


def _decode(text: bytes | str) -> str:
    return (text.decode("utf-8", "replace") if isinstance(text, bytes) else text)[:200]
