"""docs/notifications.md says what there is."""

from __future__ import annotations

import re
from pathlib import Path

from mona_server.notify.channels import DESTINATION_KEYS
from mona_server.notify.entries import OPTIONS, STATES
from mona_server.notify.rules import RULES

TEXT = (Path(__file__).resolve().parents[3] / "docs/notifications.md").read_text(encoding="utf-8")


def test_everything_is_documented() -> None:
    """Each destination, rule, option and state stands in the document."""
    words = set(re.findall(r"`([\w-]+)`", TEXT))
    assert {*DESTINATION_KEYS, *RULES, *OPTIONS, *STATES} - words == set()


def test_the_check_of_a_signature_works() -> None:
    """The code that receivers copy accepts what the webhook channel signs."""
    from mona_server.notify.channels.webhook import sign

    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    genuine = namespace["is_genuine"]
    assert callable(genuine)
    assert genuine(b"{}", sign(b"{}", "key"), "key")
    assert not genuine(b"{ }", sign(b"{}", "key"), "key")
