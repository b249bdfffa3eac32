"""The original services: what the public SDK calls besides sending. Each route asks one function of a room."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from mona_server.api import configs, imports, insight_asks, queries, samples
from mona_server.api.caller import Caller
from mona_server.api.edge import edge_of
from mona_server.api.identity.roles import Permission
from mona_server.api.service_answers import data, top
from mona_server.api.shapes import ConfigReader, ConfigWriter, DataManager, InsightReader, Investigator, Sender
from mona_server.api.wire_names import Ask, text, whole_number
from mona_server.config import Parsed, sampling
from mona_server.config.preview import MOST_PREVIEWED
from mona_server.errors import BadRequest
from mona_server.query import service
from mona_server.sources.files import FileMapping

router = APIRouter(tags=["services"])


@router.post("/configs")
def get_config(request: Request, caller: ConfigReader) -> Response:
    """The configuration as it was uploaded, by context class."""
    return data(request, configs.current(edge_of(request), caller))


@router.post("/upload_config")
def upload_config(request: Request, caller: ConfigWriter, ask: Ask) -> Response:
    """Replace the whole configuration. `config` may stand below the user id."""
    return data(request, configs.save(edge_of(request), caller, ask.get("config"), **_upload(caller, ask)).to_json())


@router.post("/upload_config_for_context_class")
def upload_config_for_context_class(request: Request, caller: ConfigWriter, ask: Ask) -> Response:
    """Replace the configuration of one context class."""
    context_class = text(ask, "context_class")
    saved = configs.save(
        edge_of(request), caller, ask.get("config"), context_class=context_class, **_upload(caller, ask)
    )
    return data(request, saved.to_json())


@router.post("/get_config_history")
def get_config_history(request: Request, caller: ConfigReader, ask: Ask) -> Response:
    """Revisions of the configuration, newest first."""
    found = configs.history(
        edge_of(request), caller, limit=whole_number(ask, "number_of_revisions", default=20, most=1_000)
    )
    msg = f"Found {len(found)} revisions" if found else "No revisions"
    return top(request, {"msg": msg, "configs": found})


@router.post("/get_new_config_fields")
def get_new_config_fields(request: Request, caller: ConfigReader) -> Response:
    """The configuration with a new field for each variable that nobody reads yet."""
    return data(request, samples.suggest_from_data(edge_of(request), caller))


@router.post("/suggest_new_config")
def suggest_new_config(request: Request, caller: ConfigReader, ask: Ask) -> Response:
    """The same from messages that come with the request."""
    messages = configs.unwrap_events(ask.get("events"))
    return data(request, samples.suggest_from_messages(edge_of(request), caller, messages))


@router.post("/validate_config")
def validate_config(request: Request, caller: ConfigReader, ask: Ask) -> Response:
    """Judge a configuration without storing it, and build its fields for some contexts."""
    parsed = configs.read(ask.get("config"), caller.tenant, lenient=ask.get("lenient") is True).or_raise()
    built = samples.build(edge_of(request), caller, parsed.classes, *_chosen(ask))
    return data(request, {"field_building_results": built, **_warnings(parsed)})


@router.post("/validate_config_per_context_class")
def validate_config_per_context_class(request: Request, caller: ConfigReader, ask: Ask) -> Response:
    """The same for one context class."""
    name = text(ask, "context_class")
    parsed = configs.read(ask.get("config"), caller.tenant, name, lenient=ask.get("lenient") is True).or_raise()
    built = samples.build(edge_of(request), caller, parsed.classes, *_chosen(ask))
    return top(request, {"field_building_results": built.get(name, []), **_warnings(parsed)})


@router.post("/create_openai_context_class")
def create_openai_context_class(request: Request, caller: ConfigWriter, ask: Ask) -> Response:
    """Make sure that a class for calls of a language model exists; one that exists stays as it is."""
    name = text(ask, "context_class")
    return data(request, configs.create_openai_class(edge_of(request), caller, name, ask.get("openai_api_type")))


@router.post("/get_sampling_factors")
def get_sampling_factors(request: Request, caller: Sender, ask: Ask) -> Response:
    """Which share of its contexts a client should send."""
    name = text(ask, "config_name", default="") or None
    return data(request, sampling.factors(edge_of(request).meta, caller.tenant, name))


@router.post("/create_sampling_factor")
def create_sampling_factor(request: Request, caller: ConfigWriter, ask: Ask) -> Response:
    """Set the factor of one class, or the default of a named sampling configuration."""
    if ask.get("context_class") is None:
        configs.require_everywhere(caller, Permission.CONFIG_WRITE)
    sampling.set_factor(
        edge_of(request).meta,
        caller.tenant,
        ask.get("config_name"),
        ask.get("sampling_factor"),
        ask.get("context_class"),
    )
    return data(request, True)


@router.post("/initiate_csv_upload_request")
def initiate_csv_upload_request(request: Request, caller: DataManager, ask: Ask) -> Response:
    """Import a file that lies below an import root of the server."""
    mapping = FileMapping(
        context_class=text(ask, "context_class"),
        id_column=text(ask, "context_id_field", default="") or None,
        time_column=text(ask, "export_timestamp_field", default="") or None,
    )
    job_id = imports.start(edge_of(request), caller, text(ask, "file_path"), mapping)
    return top(request, {"request_id": job_id, "status": "queued", "rows": None})


@router.post("/insights")
def get_insights(request: Request, caller: InsightReader, ask: Ask) -> Response:
    """Insights of one context class, highest score first."""
    return data(request, insight_asks.find(edge_of(request), caller, ask))


@router.post("/get_ingested_data")
def get_ingested_data(request: Request, caller: Investigator, ask: Ask) -> Response:
    """Contexts of a segment in a time range; a repeatable sample of large ones."""
    return data(request, queries.ask(edge_of(request), caller, ask, service.IngestedRequest, service.get_ingested_data))


@router.post("/get_segment")
def get_segment(request: Request, caller: Investigator, ask: Ask) -> Response:
    """Sizes, statistics, histograms and series of segments."""
    return data(request, queries.ask(edge_of(request), caller, ask, service.SegmentRequest, service.get_segment))


@router.post("/stats")
@router.post("/get_segments_for_dimensions")
def get_segments_for_dimensions(request: Request, caller: Investigator, ask: Ask) -> Response:
    """The segments of a field (or of up to three), two windows side by side."""
    answer = service.get_segments_for_dimensions
    return data(request, queries.ask(edge_of(request), caller, ask, service.DimensionsRequest, answer))


def _chosen(ask: dict[str, Any]) -> tuple[list[str] | None, int]:
    """(context ids or None, how many of the latest)."""
    ids = ask.get("list_of_context_ids")
    if ids is not None and (not isinstance(ids, list) or not all(isinstance(one, str) for one in ids)):
        raise BadRequest("list_of_context_ids must be a list of texts")
    return ids[:MOST_PREVIEWED] if ids else None, whole_number(ask, "latest_amount", default=10, most=MOST_PREVIEWED)


def _warnings(parsed: Parsed) -> dict[str, Any]:
    """Under a name of its own: the public SDK takes any ``issues`` for a failure."""
    return {"warnings": [issue.to_json() for issue in parsed.warnings]} if parsed.warnings else {}


def _upload(caller: Caller, ask: dict[str, Any]) -> dict[str, Any]:
    base = ask.get("base_config_id")
    if base is not None and not isinstance(base, str):
        raise BadRequest("base_config_id must be a text")
    return {
        "author": text(ask, "author", default=caller.author),
        "commit_message": text(ask, "commit_message", default=""),
        "base_config_id": base,
        "lenient": ask.get("lenient") is True,
    }
