"""The page Getting started: from nothing to the first insight, each step done or open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStep:
    """One step: what to do, and a text to copy or a place to go."""

    title: str
    text: str
    done: bool
    snippet: str = ""
    href: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GettingStartedPage:
    """Everything that ``getting_started.html`` shows."""

    steps: tuple[StartStep, ...]
    messages: int
    """Contexts received, all classes together."""


def getting_started_page(
    *, address: str, data_dir: str, context_class: str | None, contexts: int, configured: bool, insights: int
) -> GettingStartedPage:
    """The page for what the server has so far. ``context_class`` is the one that is looked at, if any."""
    name = context_class or "MY_CLASS"
    where = f"?class={context_class}" if context_class else ""
    steps = (
        StartStep(
            title="Make a key",
            text="On the server. The secret is shown once.",
            done=contexts > 0,
            snippet=f"mona token create --data {data_dir} --role Admin",
        ),
        StartStep(
            title="Send messages",
            text="One per prediction, and later its label under the same context id.",
            done=contexts > 0,
            snippet=_SEND.format(address=address, name=name),
        ),
        StartStep(
            title="Configure fields and verses",
            text="Mona suggests fields from what has arrived; verses say what to look for.",
            done=configured,
            snippet=_CONFIGURE,
        ),
        StartStep(
            title="Read what it found",
            text="Verses run when their window ends; a run for a past day can be asked for at any time."
            if not insights
            else "The search has found something.",
            done=insights > 0,
            snippet="" if insights else f"mona detect --data {data_dir} --class {name} --now 2026-01-31",
            href=f"/insights{where}" if contexts else "",
            action="Open the insights",
        ),
    )
    return GettingStartedPage(steps=steps, messages=contexts)


_SEND = """\
from mona_sdk import Client, MonaSingleMessage

client = Client(api_key, secret, server_url="{address}")
client.export(MonaSingleMessage(
    contextClass="{name}",
    contextId="order-1",
    message={{"amount": 120.5, "country": "NL", "predicted": 0.83}},
))"""

_CONFIGURE = """\
suggested = client.get_suggested_config()["data"]
client.upload_config(suggested, "as suggested")"""
