"""Text. Patterns are of the RE2 dialect: linear time, no look-around, no back-references."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from mona_server.config.functions import patterns
from mona_server.config.functions.declare import Arg, Group, Problem
from mona_server.config.functions.kinds import (
    BOOLEAN,
    COUNT,
    DATA_TEXTS,
    FULL_TEXT,
    INTEGER,
    PATTERN,
    TEXT,
    choice,
)

GROUP = Group("Text")
function = GROUP.function
IGNORE_CASE = Arg("ignore_case", BOOLEAN, False)


@function("S", "S", example=(("Haifa",), (), "haifa"))
def lower(text: str) -> str:
    """The text in lower case."""
    return text.lower()


@function("S", "S", example=(("Haifa",), (), "HAIFA"))
def upper(text: str) -> str:
    """The text in upper case."""
    return text.upper()


@function("S", "S", example=(("  a b ",), (), "a b"))
def strip(text: str) -> str:
    """The text without white space at its ends."""
    return text.strip()


@function("S", "S", example=((" a \n b ",), (), "a b"))
def normalize_spaces(text: str) -> str:
    """Every run of white space becomes one space; none at the ends."""
    return " ".join(text.split())


@function("S", "N", example=(("naïve",), (), 5))
def length(text: str) -> int:
    """Number of code points."""
    return len(text)


@function("S", "S", args=[Arg("start", INTEGER), Arg("end", INTEGER, None)], example=(("2021-01-29",), (0, 4), "2021"))
def substring(text: str, start: int, end: int | None) -> str:
    """The part from start up to, not including, end; negative numbers count from the end of the text."""
    return text[start:end]


@function("S", "S", args=[Arg("old", FULL_TEXT), Arg("new", TEXT)], example=(("a-b-c",), ("-", "+"), "a+b+c"))
def replace(text: str, old: str, new: str) -> str:
    """The text with every occurrence of old replaced by new."""
    if len(new) > len(old) and len(text) + text.count(old) * (len(new) - len(old)) > MOST_CHARACTERS:
        raise Problem("the result is too long")
    return text.replace(old, new)


MOST_CHARACTERS = 1_000_000
"""No function may blow a text up beyond this."""


@function("S", "B", args=[Arg("pattern", PATTERN)], cost_ns=50, example=(("order 17",), (r"\d+",), True))
def regex_match(text: str, pattern: Any) -> bool:
    """Whether the pattern occurs anywhere in the text."""
    return pattern.search(text) is not None


@function(
    "S",
    "S",
    args=[Arg("pattern", PATTERN), Arg("group", INTEGER, 0)],
    check=lambda args, _: None if 0 <= args["group"] <= args["pattern"].groups else "the pattern has no such group",
    cost_ns=50,
    example=(("order 17",), (r"order (\d+)", 1), "17"),
)
def regex_extract(text: str, pattern: Any, group: int) -> str | None:
    """The first match, or one group of it; no match is null."""
    found = pattern.search(text)
    return None if found is None else found.group(group)


@function("S", "N", args=[Arg("pattern", PATTERN)], cost_ns=290, example=(("1, 22, 333",), (r"\d+",), 3))
def regex_count(text: str, pattern: Any) -> int:
    """How often the pattern occurs, without overlaps."""
    return sum(1 for _ in pattern.finditer(text))


@function(
    "S",
    "S",
    args=[Arg("pattern", PATTERN), Arg("new", TEXT)],
    cost_ns=460,
    example=(("order 17",), (r"\d+", "<n>"), "order <n>"),
)
def regex_replace(text: str, pattern: Any, new: str) -> str:
    r"""Every match replaced by the new text, in which \1 stands for the first group."""
    result = pattern.sub(new, text)
    if len(result) > MOST_CHARACTERS:
        raise Problem("the result is too long")
    return result  # type: ignore[no-any-return]


@function(
    "S",
    "A",
    args=[Arg("separator", FULL_TEXT), Arg("limit", COUNT, None)],
    example=(("a,b,c",), (",", 2), ["a", "b,c"]),
)
def split(text: str, separator: str, limit: int | None) -> list[str]:
    """The parts between the separators; with a limit, so many parts at most, the last one with the rest."""
    return text.split(separator, -1 if limit is None else limit - 1)


def _cased(text: str, ignore_case: bool) -> str:
    return text.casefold() if ignore_case else text


@function("S", "B", args=[Arg("text", TEXT), IGNORE_CASE], example=(("Fort Smith",), ("smith", True), True))
def contains(given: str, text: str, ignore_case: bool) -> bool:
    """Whether the text holds another one."""
    return _cased(text, ignore_case) in _cased(given, ignore_case)


@function("S", "B", args=[Arg("text", TEXT), IGNORE_CASE], example=(("Fort Smith",), ("Fort",), True))
def starts_with(given: str, text: str, ignore_case: bool) -> bool:
    """Whether the text begins with another one."""
    return _cased(given, ignore_case).startswith(_cased(text, ignore_case))


@function("S", "B", args=[Arg("text", TEXT), IGNORE_CASE], example=(("Fort Smith",), ("Smith",), True))
def ends_with(given: str, text: str, ignore_case: bool) -> bool:
    """Whether the text ends with another one."""
    return _cased(given, ignore_case).endswith(_cased(text, ignore_case))


@function(
    "S",
    "B",
    args=[Arg("texts", DATA_TEXTS), Arg("ignore_case", BOOLEAN, True)],
    cost_ns=20,
    example=(("Fort Smith",), (["york", "fort"],), True),
)
def contains_any(given: str, texts: Sequence[str], ignore_case: bool) -> bool:
    """Whether the text holds any of a list: a literal, or an entry of the class's data."""
    cased = _cased(given, ignore_case)
    return any(_cased(text, ignore_case) in cased for text in texts)


@function("S", "N", args=[Arg("n", COUNT)], example=(("a-1",), (10,), 2))
def hash_bucket(text: str, n: int) -> int:
    """A stable number from 0 to n-1: SHA-224 of the UTF-8 bytes as an integer, modulo n."""
    return int.from_bytes(hashlib.sha224(text.encode("utf-8", "surrogatepass")).digest()) % n


@function(
    "S",
    "S",
    args=[Arg("what", choice("email", "phone", "card", "all"))],
    cost_ns=240,
    example=(("write to a.b@example.com",), ("email",), "write to <email>"),
)
def mask(text: str, what: str) -> str:
    """The text with addresses of mail, phone numbers or card numbers replaced by <email>, <phone>, <card>."""
    kinds = ("email", "card", "phone") if what == "all" else (what,)
    for kind in kinds:
        text = patterns.replace(kind, text, f"<{kind}>")
    return text


@function("S", "S", example=(("https://User@www.Example.com:8080/a?b",), (), "www.example.com"))
def url_host(text: str) -> str | None:
    """The host of a URL, in lower case; null where it is none."""
    parts = _url(text)
    return parts.hostname if parts else None


@function("S", "S", example=(("https://example.com/a/b?c=1",), (), "/a/b"))
def url_path(text: str) -> str | None:
    """The path of a URL, without query and fragment; null where it is none."""
    parts = _url(text)
    return (parts.path or "/") if parts else None


def _url(text: str) -> Any:
    try:
        parts = urlsplit(text.strip())
        return parts if parts.scheme and parts.hostname else None
    except ValueError:
        return None


_EMAIL = re.compile(r"[^\s@]+@([^\s@]+\.[^\s@.]+)")


@function("S", "S", example=(("A.B@Example.com",), (), "example.com"))
def email_domain(text: str) -> str | None:
    """The domain of a mail address, in lower case; null where it is none."""
    found = _EMAIL.fullmatch(text.strip())
    return found[1].lower() if found else None


@function("S", "N", example=((" 1e3 ",), (), 1000.0))
def parse_number(text: str) -> float | None:
    """The number that the text writes out; null where it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


_WORDS = {
    **dict.fromkeys(("true", "yes", "1", "t", "on"), True),
    **dict.fromkeys(("false", "no", "0", "f", "off"), False),
}


@function("S", "B", example=(("Yes",), (), True))
def parse_boolean(text: str) -> bool | None:
    """true/false, yes/no, 1/0, t/f, on/off in any case; anything else is null."""
    return _WORDS.get(text.strip().lower())


@function("S", "X", cost_ns=20, example=(('{"a": [1]}',), (), {"a": [1]}))
def json_parse(text: str) -> Any:
    """The JSON value that the text writes out; null where it is none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(_: str) -> Any:
    raise ValueError
