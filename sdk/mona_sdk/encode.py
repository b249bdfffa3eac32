"""A message to the bytes of its wire form, serialised once.

The fast way hands the dict to the encoder as it is and looks at the bytes for what needs more: `null` may be a NaN
(orjson writes it so), `"MONA_` may be a reserved name, many brackets may be too deep. Only then values are walked.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

from mona_sdk.convert import MAX_DEPTH, Converter, NotSerializable
from mona_sdk.pace import step

RESERVED = "MONA_"
CUT_MARK = "…[cut]"

orjson: Any
try:
    import orjson
except ImportError:
    orjson = None

Encode = Callable[[Any], bytes]


def _tolerant(value: Any) -> bytes:
    """Plain values that the strict encoders refuse: integers beyond 64 bits, lone surrogates."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def _choose() -> Encode:
    if orjson is not None:
        to_bytes = orjson.dumps
        option = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS

        def fast(value: Any) -> bytes:
            raw: bytes = to_bytes(value, None, option)
            # orjson leaves a small result in a buffer of 4 KiB; a queue of them takes ten times the memory of copies.
            return raw if len(raw) > 2048 else bytes(memoryview(raw))

        return fast
    to_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
    return lambda value: to_text(value).encode("utf-8")


dumps: Encode = _choose()


class TooLarge(ValueError):
    """A message that stays above the limit even with its texts cut."""


class Encoded:
    """One message as bytes. `coerced` values became null, `truncated` tells whether texts were cut."""

    __slots__ = ("coerced", "raw", "renamed_twice", "truncated")

    def __init__(self, raw: bytes, coerced: int = 0) -> None:
        self.raw = raw
        self.coerced = coerced
        self.truncated = False
        self.renamed_twice = False


def encode_plain(wire: dict[str, Any], max_bytes: int) -> Optional[bytes]:
    """The wire form of one message where nothing has to be converted, renamed or cut; else None."""
    try:
        raw = dumps(wire)
    except (TypeError, ValueError, RecursionError):
        return None
    if b'"MONA_' in raw or len(raw) > max_bytes:
        return None
    if b"null" in raw and _has_nonfinite(wire["message"]):
        return None
    # Wire form and message are one level each.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH + 1 and _depth(wire["message"]) > MAX_DEPTH:
        return None
    return raw


def encode_wire(wire: dict[str, Any], max_bytes: int) -> Encoded:
    """The wire form of one message, `wire["message"]` being the user's dict, which is not changed.

    Raises NotSerializable or TooLarge.
    """
    encoded = _walked(wire)
    if len(encoded.raw) > max_bytes:
        _cut(encoded, max_bytes)
    return encoded


def to_plain(value: Any, path: str) -> tuple[Any, int]:
    """A converted copy of `value` and how many values became null. Raises NotSerializable."""
    converter = Converter()
    try:
        return converter.convert(value, path), converter.coerced
    except RecursionError:
        raise NotSerializable(f"{path}: nested too deep") from None


def _has_nonfinite(value: Any) -> bool:
    step()
    if isinstance(value, dict):
        return any(_has_nonfinite(item) for item in value.values() if item is not None and type(item) is not str)
    if isinstance(value, (list, tuple)):
        return any(_has_nonfinite(item) for item in value if item is not None and type(item) is not str)
    # An Enum may hold anything.
    return value - value != 0 if isinstance(value, float) else type(value).__module__ != "builtins"


def _depth(value: Any) -> int:
    step()
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, (list, tuple)):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _walked(wire: dict[str, Any]) -> Encoded:
    plain = {}
    coerced = 0
    for name, value in wire.items():
        plain[name], count = to_plain(value, name)
        coerced += count
    renamed_twice = False
    if isinstance(plain["message"], dict):
        plain["message"], renamed_twice = rename_reserved(plain["message"])
    try:
        raw = dumps(plain)
    except (TypeError, ValueError):
        raw = _tolerant(plain)
    encoded = Encoded(raw, coerced)
    encoded.renamed_twice = renamed_twice
    return encoded


def rename_reserved(message: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Top-level names that start with `MONA_` get the prefix `MY_`; True when such a name was taken already.

    >>> rename_reserved({"MONA_x": 1, "MONAx": 2, "n": {"MONA_y": 3}})
    ({'MY_MONA_x': 1, 'MONAx': 2, 'n': {'MONA_y': 3}}, False)
    """
    if not any(name.startswith(RESERVED) for name in message):
        return message, False
    result: dict[str, Any] = {}
    clash = False
    for name, value in message.items():
        new = name
        if name.startswith(RESERVED):
            new, number = f"MY_{name}", 2
            while new in message or new in result:
                new, clash = f"MY_{name}_{number}", True
                number += 1
        result[new] = value
    return result, clash


def _cut(encoded: Encoded, max_bytes: int) -> None:
    """Cut the longest texts of the message until it fits, or raise TooLarge."""
    wire: dict[str, Any] = json.loads(encoded.raw.decode("utf-8"))
    texts = sorted(_long_texts(wire["message"]), key=lambda found: -found[2])
    excess = len(encoded.raw) - max_bytes
    for container, key, size in texts:
        text: str = container[key]
        keep = max(0, size - excess - len(CUT_MARK.encode()) - 8)
        # Bytes of the escaped form are counted, the text is cut by its share; a little too much is cut rather than too little.
        kept = text[: int(len(text) * keep / size)]
        container[key] = kept + CUT_MARK
        raw = dumps(wire)
        if len(raw) <= max_bytes:
            encoded.raw, encoded.truncated = raw, True
            return
        excess = len(raw) - max_bytes
    raise TooLarge(f"message is too large: {len(encoded.raw)} bytes, at most {max_bytes} are sent")


def _long_texts(value: Any) -> list[tuple[Any, Any, int]]:
    """(container, key, bytes) of the texts worth cutting."""
    found: list[tuple[Any, Any, int]] = []
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, str):
            if len(item) > 1024:
                found.append((value, key, len(json.dumps(item, ensure_ascii=False).encode("utf-8", "replace"))))
        else:
            found.extend(_long_texts(item))
    return found


def byte_count(raws: list[bytes]) -> int:
    """Bytes of the messages with the commas between them."""
    return sum(map(len, raws)) + max(0, len(raws) - 1)


def body(raws: list[bytes], tail: bytes) -> bytes:
    """The body of one request; `tail` closes the list and holds what belongs to the whole batch.

    There is at least one message. Put together by one copy: the bodies of large batches are megabytes.
    """
    parts = raws.copy()
    parts[0] = b'{"messages":[' + parts[0]
    parts[-1] += tail
    return b",".join(parts)


def tail(user_id: Optional[str], default_action: Optional[str], sample_config_name: Optional[str]) -> bytes:
    """The end of a body. The user id comes here too, so that all of it can be made before the messages."""
    rest: dict[str, Any] = {}
    if user_id is not None:
        rest["userId"] = user_id
    if default_action is not None:
        rest["defaultAction"] = default_action
    if sample_config_name is not None:
        rest["sampleConfigName"] = sample_config_name
    return b"]" + (b"," + dumps(rest)[1:] if rest else b"}")
