"""The registry of channels: each turns a notice into a parcel, in the exact form that its service expects.

To add a channel, write a module with a :class:`Channel` and name it in :data:`CHANNELS`.
"""

from __future__ import annotations

from mona_server.notify.channels import apprised, google_chat, mail, pagerduty, slack, teams, webhook
from mona_server.notify.channels.channel import Channel

CHANNELS: dict[str, Channel] = {
    channel.name: channel
    for channel in (
        mail.CHANNEL,
        slack.CHANNEL,
        teams.CHANNEL,
        google_chat.CHANNEL,
        pagerduty.CHANNEL,
        webhook.CHANNEL,
        *apprised.CHANNELS,
    )
}

DESTINATION_KEYS: dict[str, Channel] = {key: channel for channel in CHANNELS.values() for key in channel.keys}
"""Key of an entry → the channel that reads its value."""
