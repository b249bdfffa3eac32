"""The context classes that ``create_openai_context_class`` installs: one per kind of API, for messages of ``mona_openai``.

A field for each key of such a message under its flat name, and a stanza to begin with.

>>> sorted(TEMPLATES)
['ChatCompletion', 'Completion', 'Embedding', 'Responses']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mona_server.config.issues import did_you_mean
from mona_server.errors import BadRequest

Fields = dict[str, dict[str, Any]]

PRICES: Mapping[str, tuple[float, float]] = {
    # US dollars for a million tokens, input and output, as published early in 2025. Prices change and contracts
    # differ: the class's own copy in `data` is what counts, and is meant to be edited.
    "gpt-3.5-turbo": (0.5, 1.5),
    "gpt-4": (30, 60),
    "gpt-4-turbo": (10, 30),
    "gpt-4o": (2.5, 10),
    "gpt-4o-mini": (0.15, 0.6),
    "o1": (15, 60),
    "o1-mini": (1.1, 4.4),
    "o3-mini": (1.1, 4.4),
    "davinci-002": (2, 2),
    "babbage-002": (0.4, 0.4),
    "text-embedding-3-small": (0.02, 0),
    "text-embedding-3-large": (0.13, 0),
    "text-embedding-ada-002": (0.1, 0),
}
MILLION = 1_000_000


def template(api_type: Any) -> dict[str, Any]:
    """The class object for ``Completion``, ``ChatCompletion``, ``Responses`` or ``Embedding``. Raises BadRequest."""
    if not isinstance(api_type, str) or api_type not in TEMPLATES:
        hint = did_you_mean(str(api_type), TEMPLATES).lstrip("; ")
        raise BadRequest(
            f"openai_api_type {api_type!r} is not known{'; ' + hint if hint else ''}",
            hint=f"it is one of {', '.join(TEMPLATES)}",
        )
    return TEMPLATES[api_type]()


def _number(source: str, size: float | None = None, **more: Any) -> dict[str, Any]:
    field: dict[str, Any] = {"type": "numeric", "source": source, **more}
    if size is not None:
        field["segmentations"] = {"original": {"default": True, "bucket_size": size}}
    return field


def _call() -> Fields:
    """What every kind of call has."""
    return {
        "model": {"type": "string", "source": ["response.model", "input.model"]},
        "api_name": {"type": "string"},
        "is_exception": {"type": "boolean"},
        "is_async": {"type": "boolean"},
        "latency": _number("latency", 1, description="Seconds from the request to the last part of the answer"),
        "user": {"type": "string", "source": "input.user", "tags": ["metadata", "id"], "segmentations": {}},
    }


def _answers(reason: str) -> Fields:
    """What calls that answer with text have."""
    return {
        "stream_start_latency": _number("stream_start_latency", 0.5, description="Seconds to the first part"),
        "finish_reason": {"type": "string", "source": reason},
        "temperature": _number("input.temperature", 0.2),
        "top_p": _number("input.top_p", 0.2),
        "max_tokens": _number("input.max_tokens", 256),
        "stream": {"type": "boolean", "source": "input.stream"},
    }


def _usage(prompt: str, completion: str | None) -> Fields:
    """Token counts and what they cost by the price table in the class's data."""
    fields: Fields = {
        "prompt_tokens": _number(f"response.usage.{prompt}", 100),
        "total_tokens": _number("response.usage.total_tokens", 100),
        "model_family": {
            "type": "string",
            "function": "regex_replace",
            "source": "model",
            "args": [r"-\d{4}(-?\d{2}-?\d{2})?$", ""],
            "description": "The model without its date",
        },
        "prompt_price": {
            "function": "map_values",
            "source": "model_family",
            "args": ["prompt_price", None],
            "do_not_save": True,
        },
        "prompt_cost": {"function": "multiply", "sources": ["prompt_tokens", "prompt_price"], "do_not_save": True},
    }
    costs = ["prompt_cost"]
    if completion:
        fields["completion_tokens"] = _number(f"response.usage.{completion}", 100)
        fields["completion_price"] = {
            "function": "map_values",
            "source": "model_family",
            "args": ["completion_price", None],
            "do_not_save": True,
        }
        fields["completion_cost"] = {
            "function": "multiply",
            "sources": ["completion_tokens", "completion_price"],
            "do_not_save": True,
        }
        costs.append("completion_cost")
    fields["total_cost"] = {
        "type": "numeric",
        "function": "sum",
        "sources": costs,
        "description": "US dollars, by the prices in the data of this class",
        "segmentations": {"original": {"default": True, "bucket_size": 0.01}},
    }
    return fields


_TEXT_MEASURES = {"length": 100, "word_count": 20, "preposition_count": 5, "preposition_ratio": 0.05}
_UNKNOWN = ("phone_number_count", "email_count")


def _analysis(prompts: tuple[str, ...], prompt_emails: Mapping[str, str]) -> Fields:
    """Measures of texts: of each prompt named, and of the first answer."""
    fields: Fields = {}
    for subject in (*prompts, "answer"):
        first = "[0]" if subject == "answer" else ""
        for measure, size in _TEXT_MEASURES.items():
            fields[f"{subject}_{measure}"] = _number(f"analysis.textual.{subject}_{measure}{first}", size)
        fields[f"{subject}_profanity_prob"] = _number(f"analysis.profanity.{subject}_profanity_prob{first}", 0.1)
        fields[f"{subject}_has_profanity"] = {
            "type": "boolean",
            "source": f"analysis.profanity.{subject}_has_profanity{first}",
        }
    for subject in prompts:
        fields[f"{subject}_phone_number_count"] = _count(f"analysis.privacy.{subject}_phone_number_count")
        emails = prompt_emails.get(subject, f"{subject}_email_count")
        fields[f"{subject}_email_count"] = _count(f"analysis.privacy.{emails}")
    for measure in _UNKNOWN:
        fields[f"answer_unknown_{measure}"] = _count(f"analysis.privacy.answer_unknown_{measure}[0]")
    fields["answer_words_not_in_prompt_count"] = _number("analysis.textual.answer_words_not_in_prompt_count[0]", 20)
    fields["answer_words_not_in_prompt_ratio"] = _number("analysis.textual.answer_words_not_in_prompt_ratio[0]", 0.1)
    return fields


def _count(source: str) -> dict[str, Any]:
    return {
        "type": "numeric",
        "source": source,
        "segmentations": {"original": {"default": True, "bucket_boundaries": [1, 2, 5], "min_value": 0}},
    }


def _class(fields: Fields, segment_by: list[str], *, verses: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "description": "Calls of a language model, as mona_openai reports them",
        "data": {
            "prompt_price": {model: price / MILLION for model, (price, _) in PRICES.items()},
            "completion_price": {model: price / MILLION for model, (_, price) in PRICES.items()},
        },
        "fields": fields,
        "stanzas": {
            "openai_default": {
                "description": "What usually matters in the use of a language model",
                "segment_by": segment_by,
                "min_segment_size_fraction": 0.01,
                "verses": verses,
            }
        },
    }


def _verses(drift: list[str], outlier: list[str], existence: list[str]) -> list[dict[str, Any]]:
    verses: list[dict[str, Any]] = [
        {"type": "AverageDrift", "metrics": drift},
        {"type": "ExistenceRatioDrift", "metrics": existence},
        {"type": "AverageSuddenChange", "metrics": ["is_exception", "latency"]},
        {"type": "SegmentSizeSuddenChange"},
        {"type": "NewSegments", "segment_by": ["model"]},
    ]
    if outlier:
        verses.insert(2, {"type": "AverageOutlier", "metrics": outlier})
    return verses


_SEGMENTS = ["model", "api_name", "is_async", "temperature"]
_UNWANTED = ["answer_profanity_prob", "answer_unknown_phone_number_count", "answer_unknown_email_count"]
_FOLLOWED = ["latency", "total_tokens", "answer_length", "answer_words_not_in_prompt_ratio"]


def _completion() -> dict[str, Any]:
    fields = (
        _call()
        | _answers("response.choices[0].finish_reason")
        | _usage("prompt_tokens", "completion_tokens")
        | _analysis(("prompt",), {})
    )
    verses = _verses(_FOLLOWED, ["prompt_profanity_prob", *_UNWANTED], ["answer_length", "total_tokens"])
    return _class(fields, _SEGMENTS, verses=verses)


def _chat_like(reason: str, prompt: str, completion: str) -> dict[str, Any]:
    fields = (
        _call()
        | _answers(reason)
        | _usage(prompt, completion)
        # The message key of the last user message is spelled this way.
        | _analysis(("total_prompt", "last_user_message"), {"last_user_message": "last_user_message_emails_count"})
        | {"message_count": {"type": "numeric", "function": "array_length", "source": "input.messages"}}
    )
    verses = _verses(_FOLLOWED, ["last_user_message_profanity_prob", *_UNWANTED], ["answer_length", "total_tokens"])
    return _class(fields, _SEGMENTS, verses=verses)


def _chat() -> dict[str, Any]:
    return _chat_like("response.choices[0].finish_reason", "prompt_tokens", "completion_tokens")


def _responses() -> dict[str, Any]:
    made = _chat_like("response.status", "input_tokens", "output_tokens")
    made["fields"]["max_tokens"]["source"] = "input.max_output_tokens"
    return made


def _embedding() -> dict[str, Any]:
    fields = _call() | _usage("prompt_tokens", None)
    fields["dimensions"] = {
        "type": "numeric",
        "source": "input.dimensions",
        "segmentations": {"original": {"default": True, "discrete": True}},
    }
    return _class(fields, ["model", "is_async"], verses=_verses(["latency", "total_tokens"], [], ["total_tokens"]))


TEMPLATES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "Completion": _completion,
    "ChatCompletion": _chat,
    "Responses": _responses,
    "Embedding": _embedding,
}
