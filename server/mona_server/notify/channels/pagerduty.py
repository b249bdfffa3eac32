"""PagerDuty's mail integration: subject = title, body = text; nothing else, for it becomes an incident."""

from __future__ import annotations

from email.message import EmailMessage

from mona_server.notify import texts
from mona_server.notify.channels.channel import Channel, read_address
from mona_server.notify.notice import Destination, Mail, Notice


def pack(notice: Notice, destination: Destination) -> Mail:
    message = EmailMessage()
    message["To"] = destination.target
    message["Subject"] = texts.subject(notice)
    message["X-Mona-Delivery"] = notice.delivery_id
    message.set_content(texts.plain(notice))
    return Mail(message)


CHANNEL = Channel("pagerduty_mail", ("pagerduty_emails",), pack, read_address)
