"""Reads a request body: which messages it holds, and why each of the others is refused. Pure and deterministic.

The API reads a body to answer, the fold reads the same bytes again to merge, and both must come to the same
messages: nothing here depends on anything but the body, its arrival and the limits.

A body goes through a fast parser first. One that this refuses (NaN, numbers out of range, odd escapes, nesting
bombs) goes through a tolerant, slower one, so that a bad message never takes its batch down. Old names of the
wire (``arcClass``, ``sendTimestamp``) end here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
import re2

from mona_server.config.timestamps import parse_timestamp
from mona_server.errors import BadRequest, TooLarge
from mona_server.ingest.limits import Limits
from mona_server.ingest.pruning import prune

ACTIONS = ("OVERWRITE", "ADD", "NEW", "DELETE")
CUT = "…[cut]"

NOT_AN_OBJECT = "message must be a JSON object"
NO_CLASS = "contextClass must be a non-empty string"
CLASS_CHARACTERS = "contextClass has characters that are not allowed"
CLASS_DOT = "contextClass must not end with '.'"
CLASS_TOO_LONG = "contextClass is too long"
BAD_ID = "contextId must be a string"
ID_TOO_LONG = "contextId is too long"
ID_PARTS = "contextId has more sub-context parts than contextClass"
BAD_TIMESTAMP = "exportTimestamp is not a valid timestamp"
FUTURE_TIMESTAMP = "exportTimestamp is in the future"
UNKNOWN_ACTION = "unknown action"
TOO_LARGE = "message is too large"
TOO_DEEP = "message is nested too deeply"
TOO_MANY_KEYS = "message has too many keys"
ARRAY_TOO_LONG = "message has an array that is too long"
NOT_FINITE = "message has a number that is not finite"

_PRUNE_DEPTH = 200
# Reserved keys; escapes (of lone surrogates, or of a reserved key); integers of 19 digits and exponents of three: they may
# be beyond 2^63 or not finite. A text that looks like one of these matches too, which costs time and nothing else.
_UNUSUAL = re2.compile(rb"MONA_|\\u|[:,\[\s]-?(?:[0-9]{19}|[0-9.]+[eE]\+?[0-9]{3})")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LARGEST_INTEGER = 2**63


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message as it counts: our words only."""

    index: int
    """Its place among all messages of the body."""
    context_class: str
    context_id: str | None
    """None: the server makes one, from the inbox number and the index."""
    export_ms: int | None
    """The time that the message names, Unix ms; None = its arrival."""
    action: str
    """One of :data:`ACTIONS`."""
    raw: bytes
    """The message object as sent, JSON; without what a limit cut."""
    cleaned: dict[str, Any] | None = None
    """Its values, where reading them changed something (reserved keys, cut texts, huge integers)."""
    cut: int = 0
    """How many texts were cut."""

    def values(self) -> dict[str, Any]:
        """The message object. Parsed here and not before: to answer, the API needs none of it."""
        return self.cleaned if self.cleaned is not None else _decode_value(self.raw)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a body holds."""

    total: int
    """All messages, refused ones included."""
    messages: list[Message]
    refused: dict[int, str]
    """Index → reason, for the answer."""
    refused_classes: dict[int, str]
    """Index → context class of a refused message, where it named a legal one."""
    user_ids: frozenset[str] = frozenset()
    """Tenants that the body names; to be compared with the caller's."""
    is_array: bool = False
    """The form of the agent: it must get 503 instead of 429."""


class BadEnvelope(BadRequest):
    """The body as a whole cannot be read; the text is the wire's ``topLevelError``."""


class _WireMessage(msgspec.Struct, gc=False):
    message: msgspec.Raw = msgspec.Raw(b"null")
    arcClass: Any = None  # noqa: N815 - the wire's names end in this class
    contextClass: Any = None  # noqa: N815
    contextId: Any = None  # noqa: N815
    exportTimestamp: Any = None  # noqa: N815
    sendTimestamp: Any = None  # noqa: N815
    action: Any = None


class _WireBatch(msgspec.Struct):
    messages: list[_WireMessage]
    userId: str | None = None  # noqa: N815
    defaultAction: Any = None  # noqa: N815


_decode_batch = msgspec.json.Decoder(_WireBatch).decode
_decode_batches = msgspec.json.Decoder(list[_WireBatch]).decode
_decode_value = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def read(body: bytes, arrival_ms: int, limits: Limits) -> Envelope:
    """Messages and refusals of one body (decompressed).

    Raises BadEnvelope where there is no list of messages at all, TooLarge for more messages than allowed.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    plain = body.isascii() or _is_utf8(body)
    is_array = body.lstrip(b" \t\r\n")[:1] == b"["
    try:
        batches = _decode_batches(body) if is_array else [_decode_batch(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        batches = _read_tolerantly(body)
        plain = False
    total = sum(len(batch.messages) for batch in batches)
    if total > limits.max_messages:
        raise TooLarge(f"{total} messages in one request", hint=f"at most {limits.max_messages} are taken")
    reader = _Reader(arrival_ms, limits, plain, _UNUSUAL.search(body) is not None)
    for batch in batches:
        reader.batch(batch)
    return Envelope(
        total=total,
        messages=reader.messages,
        refused=reader.refused,
        refused_classes=reader.refused_classes,
        user_ids=frozenset(batch.userId for batch in batches if batch.userId is not None),
        is_array=is_array,
    )


@dataclass(slots=True)
class _Reader:
    arrival_ms: int
    limits: Limits
    plain: bool
    """The fast parser took the body and it is UTF-8: a message without anything unusual can be parsed."""
    unusual: bool
    """Something in the body is, so each message must be looked at."""
    messages: list[Message] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    refused_classes: dict[int, str] = field(default_factory=dict)
    index: int = 0
    small: int = 0
    """Bytes of a message in which no text, array or number of keys can be too large."""
    classes: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = self.limits
        self.small = min(limits.max_text_bytes, limits.max_array_length, limits.max_keys)

    def batch(self, batch: _WireBatch) -> None:
        default = batch.defaultAction
        for wire in batch.messages:
            context_class = wire.arcClass if wire.arcClass is not None else wire.contextClass
            try:
                self.messages.append(self._message(wire, context_class, default))
            except _Refused as refused:
                self.refused[self.index] = refused.reason
                if isinstance(context_class, str) and self._class_problem(context_class) is None:
                    self.refused_classes[self.index] = context_class
            self.index += 1

    def _message(self, wire: _WireMessage, context_class: Any, default_action: Any) -> Message:
        limits = self.limits
        raw = bytes(wire.message)
        if raw[:1] != b"{":
            raise _Refused(NOT_AN_OBJECT)
        if context_class.__class__ is not str:
            raise _Refused(NO_CLASS)
        problem = self._class_problem(context_class)
        if problem is not None:
            raise _Refused(problem)
        context_id = wire.contextId
        if context_id is not None:
            if context_id.__class__ is not str or not context_id or (not self.plain and _SURROGATES.search(context_id)):
                raise _Refused(BAD_ID)
            if len(context_id) > limits.max_id_characters:
                raise _Refused(ID_TOO_LONG)
            if "." in context_id and context_id.count(".") > context_class.count("."):
                raise _Refused(ID_PARTS)
        export_ms = None
        named = wire.exportTimestamp if wire.exportTimestamp is not None else wire.sendTimestamp
        if named is not None:
            export_ms = parse_timestamp(named)
            if export_ms is None:
                raise _Refused(BAD_TIMESTAMP)
            if export_ms > self.arrival_ms + limits.max_future_ms:
                raise _Refused(FUTURE_TIMESTAMP)
        action = wire.action if wire.action is not None else default_action
        if action is None:
            action = "OVERWRITE"
        elif action not in ACTIONS:
            raise _Refused(UNKNOWN_ACTION)
        if len(raw) > limits.max_message_bytes:
            raise _Refused(TOO_LARGE)
        # Almost every message is so small and flat that no limit can be broken, and needs no look at its values.
        if (
            self.plain
            and len(raw) <= self.small
            and (_is_flat(raw) or raw.count(b"{") + raw.count(b"[") <= limits.max_depth)
            and not (self.unusual and _UNUSUAL.search(raw))
        ):
            return Message(self.index, context_class, context_id, export_ms, action, raw)
        cleaned, raw, cut = self._clean(raw)
        return Message(self.index, context_class, context_id, export_ms, action, raw, cleaned, cut)

    def _class_problem(self, name: str) -> str | None:
        if name not in self.classes:
            self.classes[name] = _class_problem(name, self.limits)
        return self.classes[name]

    def _clean(self, raw: bytes) -> tuple[dict[str, Any], bytes, int]:
        try:
            values = _decode_value(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            values = _parse_tolerantly(raw)
        walk = _Walk(self.limits)
        clean = walk.object(values, 1)
        return _rename_reserved(clean), (_encode(clean) if walk.cut or walk.mended else raw), walk.cut


class _Refused(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Walk:
    """Checks limits of depth, keys and arrays, cuts texts, mends numbers and texts that no store takes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.keys = 0
        self.cut = 0
        self.mended = False

    def object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        if depth > self.limits.max_depth:
            raise _Refused(TOO_DEEP)
        self.keys += len(value)
        if self.keys > self.limits.max_keys:
            raise _Refused(TOO_MANY_KEYS)
        return {self.key(key): self.value(item, depth + 1) for key, item in value.items()}

    def key(self, key: str) -> str:
        return self.text(key) if _SURROGATES.search(key) else key

    def value(self, value: Any, depth: int) -> Any:
        kind = value.__class__
        if kind is str:
            return self.text(value)
        if kind is dict:
            return self.object(value, depth)
        if kind is list:
            if depth > self.limits.max_depth:
                raise _Refused(TOO_DEEP)
            if len(value) > self.limits.max_array_length:
                raise _Refused(ARRAY_TOO_LONG)
            return [self.value(item, depth + 1) for item in value]
        if kind is int and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
            self.mended = True
            try:
                return float(value)
            except OverflowError:
                raise _Refused(NOT_FINITE) from None
        if kind is float and not -1.8e308 < value < 1.8e308:  # NaN and infinities compare false
            raise _Refused(NOT_FINITE)
        return value

    def text(self, value: str) -> str:
        if _SURROGATES.search(value):
            value = _SURROGATES.sub("\ufffd", value)
            self.mended = True
        # A character has at most four bytes, so most texts need no encoding to be known as short.
        if len(value) * 4 > self.limits.max_text_bytes and len(value.encode()) > self.limits.max_text_bytes:
            self.cut += 1
            return value.encode()[: self.limits.max_text_bytes].decode(errors="ignore") + CUT
        return value


def _rename_reserved(values: dict[str, Any]) -> dict[str, Any]:
    if not any(key.startswith("MONA_") for key in values):
        return values
    renamed: dict[str, Any] = {key: value for key, value in values.items() if not key.startswith("MONA_")}
    for key, value in values.items():
        if key.startswith("MONA_"):
            name, number = f"MY_{key}", 2
            while name in renamed:
                name, number = f"MY_{key}_{number}", number + 1
            renamed[name] = value
    return renamed


def _class_problem(name: str, limits: Limits) -> str | None:
    if not name:
        return NO_CLASS
    if len(name) > limits.max_class_characters:
        return CLASS_TOO_LONG
    if not all(c.isalnum() or c in "-_@." for c in name):
        return CLASS_CHARACTERS
    if name[0] == "." or name[-1] == "." or ".." in name:
        return CLASS_DOT
    return None


def _is_flat(raw: bytes) -> bool:
    """No object or array in the object: two searches for one byte, faster than counting."""
    return raw.find(b"{", 1) < 0 and b"[" not in raw


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- the tolerant way ------------------------------------------------------------------------------------


def _read_tolerantly(body: bytes) -> list[_WireBatch]:
    try:
        given = _loads(body)
    except UnicodeDecodeError:
        raise BadEnvelope("the body is not UTF-8") from None
    except ValueError as error:
        raise BadEnvelope(f"the body is not JSON: {error}") from None
    batches = given if isinstance(given, list) else [given]
    return [_batch(batch) for batch in batches]


def _batch(given: Any) -> _WireBatch:
    if not isinstance(given, dict):
        raise BadEnvelope("the body must be a JSON object with a list of messages")
    user_id = given.get("userId")
    if user_id is not None and not isinstance(user_id, str):
        raise BadEnvelope("userId must be a string")
    messages = given.get("messages")
    if not isinstance(messages, list):
        raise BadEnvelope("messages must be a list")
    return _WireBatch([_wire_message(item) for item in messages], user_id, given.get("defaultAction"))


def _wire_message(given: Any) -> _WireMessage:
    if not isinstance(given, dict):
        return _WireMessage()
    known = {name: given[name] for name in _WireMessage.__struct_fields__ if name in given}
    # Kept in Python's own JSON, where NaN, infinities and lone surrogates have a form: the reader refuses or mends.
    known["message"] = msgspec.Raw(json.dumps(known.get("message")).encode())
    return _WireMessage(**known)


def _parse_tolerantly(raw: bytes) -> Any:
    try:
        return _loads(raw)
    except ValueError:
        raise _Refused(NOT_AN_OBJECT) from None


def _loads(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_int=_integer, strict=False)
    except RecursionError:
        return json.loads(prune(text, _PRUNE_DEPTH).decode(), parse_int=_integer, strict=False)


def _integer(digits: str) -> int | float:
    # Python refuses to read integers of thousands of digits; and reading them takes quadratic time.
    return int(digits) if len(digits) < 20 else float(digits)
