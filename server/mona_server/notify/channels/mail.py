"""Mail: plain text beside HTML, one picture of the time chart per insight inline, a way to unsubscribe."""

from __future__ import annotations

from email.message import EmailMessage
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from mona_server.notify import picture, texts
from mona_server.notify.channels.channel import Channel, read_address
from mona_server.notify.notice import Destination, Mail, Notice


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files(__package__).joinpath("mail.html").read_text(encoding="utf-8"))


def pack(notice: Notice, destination: Destination) -> Mail:
    message = EmailMessage()
    message["To"] = destination.target
    message["Subject"] = texts.subject(notice)
    message["Message-ID"] = f"<{notice.delivery_id}@mona>"
    message["X-Mona-Delivery"] = notice.delivery_id
    if notice.urgent:
        message["Importance"] = "high"
    if notice.base_url:
        message["List-Unsubscribe"] = f"<{notice.base_url}/notifications?class={notice.context_class}>"
    message.set_content(texts.plain(notice))
    shown = notice.insights[: texts.MOST_INSIGHTS]
    pictures = {
        insight["insight_id"]: picture.draw(notice.series[insight["insight_id"]])
        for insight in shown
        if insight["insight_id"] in notice.series
    }
    message.add_alternative(
        _template().render(notice=notice, shown=shown, pictures=pictures, texts=texts), subtype="html"
    )
    html = list(message.iter_parts())[-1]
    for insight_id, png in pictures.items():
        html.add_related(png, "image", "png", cid=f"<{insight_id}@mona>", filename=f"{insight_id}.png")
    return Mail(message)


CHANNEL = Channel("mail", ("emails",), pack, read_address)
