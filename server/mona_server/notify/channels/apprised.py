"""Services whose protocol the library ``apprise`` knows: one apprise URL per destination.

Only the plugin that belongs to the key is taken, so that an entry cannot reach anything else through it.
"""

from __future__ import annotations

from typing import Any

from mona_server.notify import texts
from mona_server.notify.channels.channel import Channel, Pack
from mona_server.notify.notice import Apprised, Destination, Notice

PLUGINS = {
    "pagerduty_keys": ("NotifyPagerDuty", "pagerduty://"),
    "discord_webhooks": ("NotifyDiscord", "discord://"),
    "telegram": ("NotifyTelegram", "tgram://"),
    "opsgenie": ("NotifyOpsgenie", "opsgenie://"),
    "jira": ("NotifyJira", "jira://"),
}


def _read(channel: str, value: Any) -> Destination:
    plugin, scheme = PLUGINS[channel]
    text = value.strip() if isinstance(value, str) else ""
    if "://" not in text:
        # PagerDuty wants a source and a component beside the key.
        text = f"{scheme}{text}@mona/search" if channel == "pagerduty_keys" else f"{scheme}{text}"
    import apprise

    found = apprise.Apprise.instantiate(text)
    if type(found).__name__ != plugin:
        raise ValueError(f"is not an address of the form {scheme}…")
    return Destination(channel, text)


def pack(notice: Notice, destination: Destination) -> Apprised:
    return Apprised(destination.target, texts.subject(notice), texts.plain(notice), notice.urgent)


_PACK: Pack = pack
CHANNELS = tuple(Channel(name, (name,), _PACK, _read) for name in PLUGINS)
