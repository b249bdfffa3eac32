"""Mail addresses, phone numbers, card numbers and the like inside of free text.

All patterns are RE2: linear in the text. What a pattern cannot say (the Luhn sum of a card, the checksum of an
account number) is checked on its matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import re2

_OPTIONS = re2.Options()
_OPTIONS.case_sensitive = False

_PATTERNS = {
    "email": r"[a-z0-9._%+\-]+@[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.[a-z]{2,}",
    # Seven to fifteen digits with the usual separators, not inside of a longer number or word.
    "phone": r"(?:\+|\b|\()\d(?:[ .\-()/]{0,2}\d){6,14}\b",
    "card": r"\b\d(?:[ \-]?\d){12,18}\b",
    "url": r"\b(?:https?://|www\.)[^\s<>\"']+",
    "ip": r"\b(?:\d{1,3}\.){3}\d{1,3}\b|(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}\b",
    "iban": r"\b[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,4})?\b",
}
_COMPILED = {name: re2.compile(pattern, _OPTIONS) for name, pattern in _PATTERNS.items()}


def find(kind: str, text: str) -> Iterator[str]:
    """The matches of one kind, in order, as they stand in the text.

    >>> list(find("email", "a@b.co, not a@b"))
    ['a@b.co']
    """
    check = _CHECKS.get(kind)
    for found in _COMPILED[kind].finditer(text):
        match = found.group()
        if check is None or check(match):
            yield match


def count(kind: str, text: str) -> int:
    """How many matches of one kind the text holds."""
    return sum(1 for _ in find(kind, text))


def replace(kind: str, text: str, new: str) -> str:
    """The text with the matches of one kind replaced."""
    check = _CHECKS.get(kind)
    return str(_COMPILED[kind].sub(lambda found: new if check is None or check(found.group()) else found.group(), text))


def key(kind: str, match: str) -> str:
    """The same for two ways to write one thing: digits of a phone number, lower case of an address."""
    if kind == "phone":
        return "".join(sign for sign in match if sign.isdigit())
    return match.lower()


def luhn(text: str) -> bool:
    """Whether the digits have the checksum of card numbers.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (True, False)
    """
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    """The checksum of ISO 13616: the rearranged number is 1 modulo 97."""
    letters = text.replace(" ", "").upper()
    if not 15 <= len(letters) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in letters[4:] + letters[:4])) % 97 == 1


def _ip(text: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _phone(text: str) -> bool:
    """Not a date such as 2021-01-29, nor an address such as 10.0.0.1, nor a card number."""
    digits = sum(sign.isdigit() for sign in text)
    if digits < 7 or _ip(text):
        return False
    if digits == 8 and text.count("-") == 2 and text[4] == "-":
        return False
    return not (digits >= 13 and luhn(text))


_CHECKS: dict[str, Callable[[str], bool]] = {"card": luhn, "iban": _iban, "ip": _ip, "phone": _phone}
