"""From the decoded answer of a service call to its data."""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

from mona_sdk import texts


class ServiceError(Exception):
    """A service did not do what was asked; the text is for people."""


def error_text(answer: dict[str, Any]) -> Optional[str]:
    """What an answer says went wrong, or None."""
    told = answer.get("error_message") or answer.get("topLevelError")
    if told:
        return str(told)
    issues = answer.get("issues")
    return issues_text(issues) if issues else None


def issues_text(issues: Any) -> str:
    """Issues of a configuration in one text."""
    return issues if isinstance(issues, str) else json.dumps(issues, ensure_ascii=False, default=str)


def response_data(answer: dict[str, Any]) -> Any:
    """The data of an ordinary answer."""
    data = answer.get("response_data")
    if data is None:
        raise ServiceError(texts.NO_SERVICE_ANSWER)
    return data


def part(name: str) -> Callable[[dict[str, Any]], Any]:
    """Reads one part of the data."""

    def read(answer: dict[str, Any]) -> Any:
        data = response_data(answer)
        if not isinstance(data, dict) or data.get(name) is None:
            raise ServiceError(texts.NO_SERVICE_ANSWER)
        return data[name]

    return read


def validated(answer: dict[str, Any]) -> Any:
    """The data of a validation, whose issues stand in the data."""
    data = response_data(answer)
    if isinstance(data, dict) and data.get("issues"):
        raise ServiceError(issues_text(data["issues"]))
    return data


def whole(answer: dict[str, Any]) -> Any:
    """The answer as it is."""
    return answer
