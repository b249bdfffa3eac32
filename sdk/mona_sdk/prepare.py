"""From a MonaSingleMessage to the bytes that are sent, or the reason why not.

Conversion, `before_send`, renaming of reserved names, sampling, filter, wire form. What is given is never changed.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Optional, Union

from mona_sdk import texts
from mona_sdk.convert import NotSerializable
from mona_sdk.encode import TooLarge, encode_plain, encode_wire, to_plain
from mona_sdk.log import get_logger, warn_limited
from mona_sdk.message import NAMES, MonaSingleMessage
from mona_sdk.sampling import FixedRates, NamedRates, keep
from mona_sdk.settings import ClientSettings
from mona_sdk.stats import Stats


class Refusal(NamedTuple):
    """A message that is not sent. `reason` is for the result, `exception_text` for the exception if one is wanted."""

    reason: str
    exception_text: str


class Skipped:
    """A message that is not sent on purpose: sampled out, emptied by the filter, or dropped by `before_send`."""


SKIPPED = Skipped()
# The bytes, and the message they were made of.
Ready = tuple[bytes, MonaSingleMessage]
Prepared = Union[Ready, Refusal, Skipped]


class Preparer:
    """Prepares the messages of one client."""

    def __init__(self, settings: ClientSettings, rates: Union[FixedRates, NamedRates], stats: Stats) -> None:
        self._rates = rates
        self._stats = stats
        self._filter_none = settings.filter_none_fields_on_export
        self._before_send = settings.before_send
        self._max_bytes = settings.max_message_bytes
        self._use_send_timestamp = settings.use_send_timestamp_field
        self._warn_timestamp = settings.enable_deprecation_warnings_on_export_timestamp

    def warm(self) -> None:
        """Fetch what the first message would have to wait for."""
        self._rates.rate(None)

    def prepare(self, event: Any, filter_none: Optional[bool]) -> Prepared:
        """The wire form of one message, serialised; never raises."""
        if not isinstance(event, MonaSingleMessage):
            return Refusal(texts.WRONG_ITEM, texts.WRONG_ITEM)
        try:
            if self._before_send is not None:
                changed = self._changed(event)
                if not isinstance(changed, MonaSingleMessage):
                    return changed
                event = changed
            if not self._rates.keeps_all and not keep(event.contextId, self._rates.rate(event.contextClass)):
                return self._skip("sampled out")
            message = event.message
            if (self._filter_none if filter_none is None else filter_none) and isinstance(message, dict):
                filtered = self._without_nulls(message)
                if message and not filtered:
                    return self._skip("emptied by the filter")
                message = filtered
            wire = self._wire(event, message)
            raw = encode_plain(wire, self._max_bytes)
            if raw is not None:
                return raw, event
            encoded = encode_wire(wire, self._max_bytes)
        except NotSerializable as problem:
            text = f"{texts.NOT_SERIALIZABLE} {problem}"
            return Refusal(text, text)
        except TooLarge as problem:
            return Refusal(str(problem), str(problem))
        except Exception as problem:  # noqa: BLE001 - values are the user's, their methods may raise anything
            text = f"{texts.NOT_SERIALIZABLE} {type(problem).__name__} while converting"
            return Refusal(text, text)
        if encoded.coerced or encoded.truncated:
            self._stats.add(coerced=encoded.coerced, truncated=int(encoded.truncated))
        if encoded.truncated:
            warn_limited("truncated", "a message was too large; its longest texts were cut")
        if encoded.renamed_twice:
            warn_limited("renamed", "a reserved name was renamed with a number, because MY_MONA_... was taken")
        return encoded.raw, event

    def _wire(self, event: MonaSingleMessage, message: Any) -> dict[str, Any]:
        wire: dict[str, Any] = {"arcClass": event.contextClass}
        if event.contextId is not None:
            wire["contextId"] = event.contextId
        export, send = event.exportTimestamp, event.sendTimestamp
        if export is not None and self._warn_timestamp:
            warn_limited("exportTimestamp", "exportTimestamp is deprecated here; use sendTimestamp")
        if type(export) is not int or send is not None or self._use_send_timestamp:
            export, send = self._times(export, send)
        if export is not None:
            wire["exportTimestamp"] = export
        if send is not None:
            wire["sendTimestamp"] = send
        if event.action is not None:
            wire["action"] = event.action
        if event.sampleConfigName is not None:
            wire["sampleConfigName"] = event.sampleConfigName
        wire["message"] = message
        return wire

    def _times(self, export: Any, send: Any) -> tuple[Any, Any]:
        export, send = _plain_time(export, "exportTimestamp"), _plain_time(send, "sendTimestamp")
        if export is None and send is None:
            export = int(time.time() * 1000) / 1000  # never later than the call
        if export is None or send is None:
            only = send if export is None else export
            return (None, only) if self._use_send_timestamp else (only, None)
        return export, send

    def _without_nulls(self, message: dict[str, Any]) -> dict[str, Any]:
        plain, coerced = to_plain(message, "message")
        if coerced:
            self._stats.add(coerced=coerced)
        return {name: value for name, value in plain.items() if value is not None}

    def _skip(self, why: str) -> Skipped:
        self._stats.add(skipped=1)
        get_logger().debug("a message was not sent: %s", why)
        return SKIPPED

    def _changed(self, event: MonaSingleMessage) -> Union[MonaSingleMessage, Prepared]:
        """The message after `before_send`, which gets a converted copy. Whatever goes wrong there drops the message:
        it may be the masking that failed."""
        before_send = self._before_send
        assert before_send is not None
        plain: dict[str, Any] = {}
        coerced = 0
        for name, value in event.get_dict().items():
            plain[name], count = to_plain(value, name)
            coerced += count
        if coerced:
            self._stats.add(coerced=coerced)
        try:
            result = before_send(plain)
            if result is None:
                return self._skip("dropped by before_send")
            if set(result) <= set(NAMES):
                return MonaSingleMessage(**result)
            problem = "it returned other keys than those of the message it got"
        except Exception as error:  # noqa: BLE001 - the hook is the user's
            problem = f"{type(error).__name__} was raised"
        self._stats.lose("before_send")
        warn_limited("before_send", "before_send failed and the message was dropped: %s", problem)
        text = f"before_send failed: {problem}"
        return Refusal(text, text)


def _plain_time(value: Any, name: str) -> Any:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    return to_plain(value, name)[0]
