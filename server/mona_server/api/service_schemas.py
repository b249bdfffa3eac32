"""What the original services, the sending paths and the token endpoints take and give, as JSON schema.

Longer than a file should be: it is one table. Keys in snake_case; camelCase and the oldest names are accepted too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "number"}
TIME: Schema = {"type": ["number", "string"], "description": "Unix seconds, or ISO 8601."}
OBJECT: Schema = {"type": "object"}
ANY: Schema = {}
SEGMENT: Schema = {
    "type": "object",
    "description": "Field → list of conditions; {} = all data.",
    "additionalProperties": {"type": "array", "items": {"type": "object"}, "minItems": 1},
}
SEGMENTS: Schema = {"type": "array", "items": SEGMENT}
WINDOW: Schema = {"type": "array", "items": TIME, "minItems": 2, "maxItems": 2}
CONFIG: Schema = {"type": "object", "description": "Context class → object."}
ISSUES: Schema = {"type": "array", "items": {"type": "object", "required": ["path", "message", "severity", "code"]}}

LEGACY_FAILURE: Schema = {
    "type": "object",
    "required": ["success", "data", "error_message"],
    "properties": {"success": {"const": False}, "data": {"type": "null"}, "error_message": TEXT, "issues": ISSUES},
}
PROTOCOL_2_FAILURE: Schema = {"$ref": "#/components/schemas/Failure"}
_PLAIN: Schema = {"type": "string"}
_MAYBE_PLAIN = {str(status): _PLAIN for status in (401, 429, 503, 504)}
_HONEST = {str(status): PROTOCOL_2_FAILURE for status in (400, 403, 404, 409, 413, 415)}


def obj(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these keys."""
    properties = {**required, **{key: _or_null(schema) for key, schema in (optional or {}).items()}}
    return {"type": "object", "required": list(required), "properties": properties}


def data(schema: Schema) -> Schema:
    """A success with ``response_data``, or the failure of a legacy client."""
    good = {"type": "object", "required": ["response_data"], "properties": {"response_data": schema}}
    return {"anyOf": [good, LEGACY_FAILURE]}


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type")
    if kind is None:
        return schema
    return {**schema, "type": [*([kind] if isinstance(kind, str) else kind), "null"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One POST path."""

    summary: str
    request: Schema
    example: Any
    answer: Schema
    answer_example: Any
    tag: str = "services"
    failures: Mapping[str, Schema] = field(default_factory=lambda: {**_HONEST, **_MAYBE_PLAIN})
    media_type: str = "application/json"
    open: bool = False


_CLASS: dict[str, Schema] = {"context_class": NAME}
_UPLOADED = obj({"new_config_id": TEXT, "new_config": OBJECT, "diffs": {"type": "array"}, "warnings": ISSUES})
_UPLOADED_EXAMPLE = {
    "response_data": {
        "new_config_id": "0e9c",
        "new_config": {"LOAN": {"fields": {"amount": {"type": "numeric"}}}},
        "diffs": [],
        "warnings": [],
    }
}
_UPLOAD: dict[str, Schema] = {
    "author": TEXT,
    "commit_message": TEXT,
    "base_config_id": TEXT,
    "lenient": {"type": "boolean"},
    "user_id": TEXT,
}
_SUGGESTED = obj({"suggested_config": OBJECT, "new_fields": OBJECT, "confidence": OBJECT})
_SUGGESTED_EXAMPLE = {
    "response_data": {
        "suggested_config": {"LOAN": {"fields": {"city": {"type": "string"}}}},
        "new_fields": {"LOAN": ["city"]},
        "confidence": {"LOAN": "normal"},
    }
}
_VALIDATE: dict[str, Schema] = {
    "list_of_context_ids": {"type": "array", "items": TEXT},
    "latest_amount": {"type": "integer"},
}
_CONFIG_EXAMPLE = {"LOAN": {"fields": {"amount": {"type": "numeric"}}, "stanzas": {}}}

SERVICES: dict[str, Operation] = {
    "/configs": Operation(
        summary="The configuration as it was uploaded, by context class.",
        request=OBJECT,
        example={},
        answer=data(obj({"raw_configuration_data": OBJECT})),
        answer_example={"response_data": {"raw_configuration_data": _CONFIG_EXAMPLE}},
    ),
    "/upload_config": Operation(
        summary="Replace the whole configuration.",
        request=obj({"config": ANY}, _UPLOAD),
        example={"config": _CONFIG_EXAMPLE, "author": "ann", "commit_message": "first"},
        answer=data(_UPLOADED),
        answer_example=_UPLOADED_EXAMPLE,
    ),
    "/upload_config_for_context_class": Operation(
        summary="Replace the configuration of one context class.",
        request=obj({"config": ANY, **_CLASS}, _UPLOAD),
        example={"config": _CONFIG_EXAMPLE["LOAN"], "context_class": "LOAN", "author": "ann", "commit_message": "m"},
        answer=data(_UPLOADED),
        answer_example=_UPLOADED_EXAMPLE,
    ),
    "/get_new_config_fields": Operation(
        summary="The configuration with a new field for each variable that nobody reads yet.",
        request=OBJECT,
        example={},
        answer=data(_SUGGESTED),
        answer_example=_SUGGESTED_EXAMPLE,
    ),
    "/suggest_new_config": Operation(
        summary="The same, from messages that come with the request.",
        request=obj({"events": {"type": ["array", "object"]}}),
        example={"events": [{"arcClass": "LOAN", "contextId": "a", "message": {"city": "Haifa"}}]},
        answer=data(_SUGGESTED),
        answer_example=_SUGGESTED_EXAMPLE,
    ),
    "/validate_config": Operation(
        summary="Judge a configuration without storing it, and build its fields for some contexts.",
        request=obj({"config": ANY}, _VALIDATE),
        example={"config": _CONFIG_EXAMPLE, "latest_amount": 10},
        answer=data(OBJECT),
        answer_example={"response_data": {"field_building_results": {"LOAN": []}}},
    ),
    "/validate_config_per_context_class": Operation(
        summary="The same for one context class.",
        request=obj({"config": ANY, **_CLASS}, {**_VALIDATE, "user_id": TEXT}),
        example={"config": _CONFIG_EXAMPLE["LOAN"], "context_class": "LOAN"},
        answer={"anyOf": [obj({"field_building_results": {"type": "array"}}), LEGACY_FAILURE]},
        answer_example={"field_building_results": []},
    ),
    "/get_config_history": Operation(
        summary="Revisions of the configuration, newest first.",
        request=obj({}, {"number_of_revisions": {"type": "integer"}}),
        example={"number_of_revisions": 20},
        answer={"anyOf": [obj({"msg": TEXT, "configs": {"type": "array"}}), LEGACY_FAILURE]},
        answer_example={"msg": "No revisions", "configs": []},
    ),
    "/get_sampling_factors": Operation(
        summary="Which share of its contexts a client should send.",
        request=obj({}, {"config_name": TEXT}),
        example={"config_name": None},
        answer=data({"type": "array"}),
        answer_example={"response_data": [{"config_name": "s", "factors_map": {"LOAN": 0.5}, "default_factor": 0.1}]},
    ),
    "/create_sampling_factor": Operation(
        summary="Set the factor of one class, or the default of a named sampling configuration.",
        request=obj(
            {"config_name": NAME, "sampling_factor": {"type": "number", "minimum": 0, "maximum": 1}},
            {"context_class": TEXT},
        ),
        example={"config_name": "s", "sampling_factor": 0.5, "context_class": "LOAN"},
        answer=data({"const": True}),
        answer_example={"response_data": True},
    ),
    "/create_openai_context_class": Operation(
        summary="Make sure that a class for calls of a language model exists.",
        request=obj(
            {**_CLASS, "openai_api_type": {"enum": ["Completion", "ChatCompletion", "Responses", "Embedding"]}}
        ),
        example={"context_class": "CHAT", "openai_api_type": "ChatCompletion"},
        answer=data(obj({"context_class": TEXT, "created": {"type": "boolean"}, "config_id": TEXT})),
        answer_example={"response_data": {"context_class": "CHAT", "created": True, "config_id": "0e9c"}},
    ),
    "/initiate_csv_upload_request": Operation(
        summary="Import a file that the server can read.",
        request=obj({"file_path": NAME, **_CLASS}, {"context_id_field": TEXT, "export_timestamp_field": TEXT}),
        example={"file_path": "loans.csv", "context_class": "LOAN", "context_id_field": "id"},
        answer={"anyOf": [obj({"request_id": TEXT, "status": TEXT}), LEGACY_FAILURE]},
        answer_example={"request_id": "imp_5f0c", "status": "queued", "rows": None},
    ),
    "/insights": Operation(
        summary="Insights of one context class, highest score first.",
        request=obj(
            {**_CLASS, "min_segment_size": NUMBER},
            {
                "insight_types": {"type": "array", "items": TEXT},
                "metric_name": TEXT,
                "min_insight_score": NUMBER,
                "time_range_seconds": WINDOW,
                "first_discovered_on_range_seconds": WINDOW,
                "archived": {"type": "boolean"},
                "limit": {"type": "integer"},
            },
        ),
        example={"context_class": "LOAN", "min_segment_size": 100},
        answer=data({"type": "array", "items": OBJECT}),
        answer_example={"response_data": []},
    ),
    "/get_ingested_data": Operation(
        summary="Contexts of a segment in a time range; a repeatable sample of large ones.",
        request=obj(
            {**_CLASS, "start_time": TIME, "end_time": TIME, "segment": SEGMENT},
            {"excluded_segments": SEGMENTS, "sampling_threshold": {"type": "integer"}, "timestamp_field_name": TEXT},
        ),
        example={"context_class": "LOAN", "start_time": 1700000000, "end_time": 1700086400, "segment": {}},
        answer=data(obj({"crcs": {"type": "array", "items": OBJECT}, "total": NUMBER, "sampled": NUMBER})),
        answer_example={"response_data": {"crcs": [], "total": 0, "sampled": 0}},
    ),
    "/get_segment": Operation(
        summary="Sizes, statistics, histograms and series of segments.",
        request=obj(
            {**_CLASS, "timestamp_from": TIME, "timestamp_to": TIME},
            {
                "time_series_resolutions": {"type": "array", "items": TEXT},
                "with_histogram": {"type": "boolean"},
                "time_zone": TEXT,
                "metrics": {"type": "array", "items": OBJECT},
                "requested_segments": SEGMENTS,
                "excluded_segments": SEGMENTS,
                "baseline_segment": SEGMENT,
                "timestamp_field_name": TEXT,
                "right_inclusive": {"type": "boolean"},
                "include_super_segments": {"type": "boolean"},
                "time_series_offset_seconds": NUMBER,
            },
        ),
        example={
            "context_class": "LOAN",
            "timestamp_from": 1700000000,
            "timestamp_to": 1700086400,
            "requested_segments": [{"city": [{"value": "Haifa"}]}],
            "metrics": [{"field": "amount", "types": ["average"]}],
        },
        answer=data(obj({"segments": {"type": "array"}, "baseline": OBJECT, "meta": OBJECT})),
        answer_example={
            "response_data": {"segments": [], "super_segments": [], "baseline": {"segment": {}, "size": 0}, "meta": {}}
        },
    ),
    "/get_segments_for_dimensions": Operation(
        summary="The segments of a field (or of up to three), two windows side by side.",
        request=obj(
            {
                **_CLASS,
                "dimension": {"type": ["string", "array"]},
                "target_time_range": WINDOW,
                "compared_time_range": WINDOW,
                "metric_1_field": NAME,
                "metric_2_field": NAME,
                "metric_1_type": NAME,
                "metric_2_type": NAME,
                "min_segment_size": NUMBER,
                "sort_function": NAME,
            },
            {
                "baseline_segment": SEGMENT,
                "excluded_segments": SEGMENTS,
                "target_segments_filter": SEGMENTS,
                "compared_segments_filter": SEGMENTS,
                "timestamp_field_name": TEXT,
                "metric_1_secondary_field": TEXT,
                "metric_2_secondary_field": TEXT,
            },
        ),
        example={
            "context_class": "LOAN",
            "dimension": "city",
            "target_time_range": [1700000000, 1700086400],
            "compared_time_range": [1699913600, 1700000000],
            "metric_1_field": "amount",
            "metric_1_type": "average",
            "metric_2_field": "amount",
            "metric_2_type": "sum",
            "min_segment_size": 1,
            "sort_function": "SIZE_TOP",
        },
        answer=data(obj({"segments": {"type": "array"}, "total_segments": NUMBER, "truncated": {"type": "boolean"}})),
        answer_example={"response_data": {"segments": [], "baseline": {}, "total_segments": 0, "truncated": False}},
    ),
}
_SIDE = obj({"from": TIME, "to": TIME}, {"segment": SEGMENT})
_WINDOW_EXAMPLE = {"context_class": "LOAN", "timestamp_from": 1700000000, "timestamp_to": 1700086400}
HISTOGRAM: tuple[Schema, Any] = (
    obj(
        {**_CLASS, "timestamp_from": TIME, "timestamp_to": TIME, "field": NAME},
        {"segment": SEGMENT, "segmentation": TEXT},
    ),
    {**_WINDOW_EXAMPLE, "field": "amount"},
)
COMPARE: tuple[Schema, Any] = (
    obj(
        {**_CLASS, "a": _SIDE, "b": _SIDE}, {"fields": {"type": "array", "items": TEXT}, "excluded_segments": SEGMENTS}
    ),
    {
        "context_class": "LOAN",
        "a": {"from": 1700000000, "to": 1700086400, "segment": {}},
        "b": {"from": 1699913600, "to": 1700000000, "segment": {}},
        "fields": ["amount"],
    },
)
CORRELATIONS: tuple[Schema, Any] = (
    obj(
        {**_CLASS, "timestamp_from": TIME, "timestamp_to": TIME},
        {"segment": SEGMENT, "fields": {"type": "array", "items": TEXT}},
    ),
    _WINDOW_EXAMPLE,
)
SERVICES["/stats"] = SERVICES["/get_segments_for_dimensions"]

_MESSAGE = obj(
    {"arcClass": NAME, "message": OBJECT},
    {
        "contextId": TEXT,
        "exportTimestamp": TIME,
        "sendTimestamp": TIME,
        "action": {"type": "string", "enum": ["OVERWRITE", "ADD", "NEW", "DELETE", None]},
        "sampleConfigName": TEXT,
    },
)
_BATCH = obj(
    {"messages": {"type": "array", "items": _MESSAGE}},
    {"userId": TEXT, "defaultAction": TEXT, "sampleConfigName": TEXT},
)
_COUNTS = obj({"total": NUMBER, "failed": NUMBER, "sent": NUMBER, "failure_reasons": OBJECT})
_TOP_LEVEL = obj({"topLevelError": TEXT})
_BATCH_EXAMPLE = {
    "userId": "default",
    "messages": [
        {
            "arcClass": "LOAN",
            "contextId": "id-1",
            "exportTimestamp": 1700000000,
            "message": {"amount": 12, "city": "Haifa"},
        }
    ],
}

SENDING: dict[str, Operation] = {
    path: Operation(
        summary=summary,
        request={"anyOf": [_BATCH, {"type": "array", "items": _BATCH}]},
        example=_BATCH_EXAMPLE,
        answer=_COUNTS,
        answer_example={"total": 1, "failed": 0, "sent": 1, "failure_reasons": {}},
        tag="sending",
        failures={
            "400": {"anyOf": [_COUNTS, _TOP_LEVEL]},
            **{str(status): _TOP_LEVEL for status in (401, 403, 408, 413, 415, 422, 429, 500, 503)},
        },
    )
    for path, summary in (
        ("/export", "Send messages. 200 means that they are on disk; refused ones are told by index with 400."),
        ("/sendEvent", "The older name of /export."),
        ("/monaExport", "The same without a token, where auth.allow_no_auth is on; the userId names the tenant."),
        ("/monaSendEvent", "The older name of /monaExport."),
    )
}

_PAIR = obj({"expires": TEXT, "expiresIn": NUMBER, "accessToken": TEXT, "refreshToken": TEXT})
_PAIR_EXAMPLE = {
    "expires": "Wed, 25 Nov 2026 10:19:11 GMT",
    "expiresIn": 86400,
    "accessToken": "ey…",
    "refreshToken": "…",
}
_ERRORS = obj({"errors": {"type": "array", "items": TEXT, "minItems": 1}})
_REFUSED = {str(status): _ERRORS for status in (400, 401, 413, 415, 429)}

TOKENS: dict[str, Operation] = {
    "/identity/resources/auth/v1/api-token": Operation(
        summary="An access and a refresh token for a client id and its secret.",
        request=obj({"clientId": TEXT, "secret": TEXT}),
        example={"clientId": "mona_x", "secret": "…"},
        answer=_PAIR,
        answer_example=_PAIR_EXAMPLE,
        tag="tokens",
        failures=_REFUSED,
        open=True,
    ),
    "/identity/resources/auth/v1/api-token/token/refresh": Operation(
        summary="A new pair for a refresh token, which ends 60 s later.",
        request=obj({"refreshToken": TEXT}),
        example={"refreshToken": "…"},
        answer=_PAIR,
        answer_example=_PAIR_EXAMPLE,
        tag="tokens",
        failures=_REFUSED,
        open=True,
    ),
    "/oauth/token": Operation(
        summary="OAuth 2 client credentials.",
        request=obj(
            {"grant_type": {"const": "client_credentials"}, "client_id": TEXT, "client_secret": TEXT}, {"scope": TEXT}
        ),
        example={"grant_type": "client_credentials", "client_id": "mona_x", "client_secret": "…"},
        answer=obj({"access_token": TEXT, "expires_in": NUMBER, "token_type": {"const": "Bearer"}}),
        answer_example={"access_token": "ey…", "expires_in": 86400, "token_type": "Bearer"},
        tag="tokens",
        failures={"400": OBJECT, "401": obj({"error": TEXT}), "413": _ERRORS, "415": _ERRORS, "429": _ERRORS},
        media_type="application/x-www-form-urlencoded",
        open=True,
    ),
}
