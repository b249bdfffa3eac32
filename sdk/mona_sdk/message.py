"""One message, in both orders of its positional arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Optional

from mona_sdk.log import get_logger

ACTIONS = frozenset({"OVERWRITE", "ADD", "NEW", "DELETE"})
NAMES = ("message", "contextClass", "contextId", "action", "sampleConfigName", "exportTimestamp", "sendTimestamp")
_NEW_ORDER = ("action", "sampleConfigName", "exportTimestamp", "sendTimestamp")
# Up to 0.0.56; it ended with sampleConfigName.
_OLD_ORDER = ("exportTimestamp", "action", "sampleConfigName", "sendTimestamp")
_warned = False


@dataclass(init=False)
class MonaSingleMessage:
    """A message for one context.

    `message` is a dict of whatever is to be known, `contextClass` the kind of the context, `contextId` its identity
    (messages with the same one are merged; the server invents one if there is none). `action` is OVERWRITE (default),
    ADD, NEW or DELETE. `exportTimestamp` is when it happened: Unix seconds or milliseconds, ISO text, or a date or
    time object; when missing, the time of the export call.

    Name the arguments. By position, the fourth meant `exportTimestamp` up to 0.0.56 and `action` since; both orders
    are understood by their values.
    """

    message: dict[str, Any]
    contextClass: str
    contextId: Optional[str] = None
    action: Optional[str] = None
    sampleConfigName: Optional[str] = None
    exportTimestamp: Any = None
    sendTimestamp: Any = None

    def __init__(
        self,
        message: dict[str, Any],
        contextClass: str,
        contextId: Optional[str] = None,
        *positional: Any,
        action: Optional[str] = None,
        sampleConfigName: Optional[str] = None,
        exportTimestamp: Any = None,
        sendTimestamp: Any = None,
    ) -> None:
        self.message = message
        self.contextClass = contextClass
        self.contextId = contextId
        self.action = action
        self.sampleConfigName = sampleConfigName
        self.exportTimestamp = exportTimestamp
        self.sendTimestamp = sendTimestamp
        if positional:
            for name, value in _read_positions(positional).items():
                if getattr(self, name) is not None:
                    raise TypeError(f"MonaSingleMessage() got multiple values for argument {name!r}")
                setattr(self, name, value)

    def get_dict(self) -> dict[str, Any]:
        """The seven fields, without those that a subclass adds."""
        return {name: getattr(self, name) for name in NAMES}


def _read_positions(values: tuple[Any, ...]) -> dict[str, Any]:
    """Names for the positional arguments from the fourth on.

    >>> _read_positions((1700000000, "ADD"))
    {'exportTimestamp': 1700000000, 'action': 'ADD'}
    >>> _read_positions(("ADD", None, 1700000000))
    {'action': 'ADD', 'exportTimestamp': 1700000000}
    """
    global _warned
    if len(values) > len(_NEW_ORDER):
        raise TypeError(f"MonaSingleMessage() takes at most 7 positional arguments ({len(values) + 3} given)")
    if not _warned:
        _warned = True
        get_logger().warning("MonaSingleMessage: name the arguments; the meaning of the fourth by position has changed")
    fourth, fifth, sixth, seventh = (*values, None, None, None, None)[:4]
    if _is_action(fourth):
        order = _NEW_ORDER
    elif fourth is not None or _is_action(fifth):
        order = _OLD_ORDER
    elif _is_time(sixth) or seventh is not None:
        order = _NEW_ORDER
    else:
        return {"sampleConfigName": sixth if fifth is None else fifth}
    return {name: value for name, value in zip(order, values) if value is not None}


def _is_action(value: Any) -> bool:
    return isinstance(value, str) and value in ACTIONS


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdigit() or (len(value) >= 10 and value[:4].isdigit() and value[4] == "-")
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float, date)) or type(value).__name__ in ("datetime64", "Timestamp")
