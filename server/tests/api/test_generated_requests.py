"""Requests generated from the OpenAPI document: no crash, and every answer is one that the document describes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

from mona_server import settings as settings_module
from mona_server.api import process
from mona_server.api.identity import tokens
from mona_server.cli import up
from mona_server.store import Store
from tests.support import PATIENCE_S, free_port

CHECKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
FAST, SLOW = 5, 80
"""Requests per operation; there are more than 80 operations."""
SKIPPED = {"DELETE /api/v1/tokens/{token_id}", "DELETE /api/v1/session"}
"""They would end the caller itself, were it guessed."""


@dataclass
class Target:
    """A running api process and how to call it."""

    schema: Any
    headers: dict[str, str]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data = tmp_path_factory.mktemp("generated")
    given_settings = settings_module.load(data, environ={}, server={"port": free_port()})
    with Store.open(data, given_settings) as store:
        key = tokens.create_token(store.meta, now_ms=1_700_000_000_000)
    stop = threading.Event()
    thread = threading.Thread(target=process.serve, args=(given_settings, stop))
    thread.start()
    url = f"http://127.0.0.1:{given_settings.server.port}"
    up.wait_until_healthy(url, timeout_s=PATIENCE_S)
    body = {"clientId": key.client_id, "secret": key.secret}
    pair = requests.post(f"{url}/identity/resources/auth/v1/api-token", json=body, timeout=PATIENCE_S).json()
    load_all_checks()
    yield Target(
        schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json"), {"Authorization": f"Bearer {pair['accessToken']}"}
    )
    stop.set()
    thread.join(PATIENCE_S)


def call_all(target: Target, examples: int) -> int:
    """Call every operation so often with generated requests; how many calls were made."""
    checks = CHECKS.get_by_names(list(CHECKED))
    calls = 0
    for result in target.schema.get_all_operations():
        operation = result.ok()
        if operation.label in SKIPPED:
            continue

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            nonlocal calls
            calls += 1
            case.call_and_validate(headers=target.headers, checks=checks, timeout=PATIENCE_S)

        call()
    return calls


def test_generated_requests(target: Target) -> None:
    """A few requests for every operation of the document."""
    assert call_all(target, FAST) > 200


@pytest.mark.slow
def test_many_generated_requests(target: Target) -> None:
    """Thousands of requests over all operations."""
    assert call_all(target, SLOW) > 5_000


@pytest.mark.parametrize("protocol", ["", "2"])
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from(["/insights", "/get_segment", "/stats", "/upload_config", "/validate_config", "/export"]),
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    ),
)
def test_any_json_gets_a_safe_answer(target: Target, protocol: str, path: str, body: Any) -> None:
    """Whatever JSON comes: never a 5xx, and a legacy caller of a service always gets a shape that it survives."""
    url = target.schema.location.rpartition("/api/v1/")[0] + path
    headers = target.headers | ({"X-Mona-Protocol": protocol} if protocol else {})
    answer = requests.post(url, data=json.dumps(body), headers=headers, timeout=PATIENCE_S)
    assert answer.status_code < 500
    told = answer.json()
    if path == "/export":
        assert set(told) & {"topLevelError", "failed"}
    elif protocol:
        assert told["success"] is (answer.status_code == 200)
    else:
        assert answer.status_code == 200
        assert ("response_data" in told) or told["error_message"]


def test_every_example_fits_its_schema(target: Target) -> None:
    """Examples in the document are valid: of request bodies and of answers."""
    import jsonschema_rs

    document = target.schema.raw_schema
    checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for media in (media for body in bodies for media in body.get("content", {}).values()):
                if "example" in media:
                    schema = {**media["schema"], "components": document["components"]}
                    errors = [
                        error.message
                        for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(media["example"])
                    ]
                    assert not errors, (method, path, errors)
                    checked += 1
    assert checked > 40


def test_the_document_is_complete(target: Target) -> None:
    """Every operation has a summary, a described success and, where it takes JSON, a described body."""
    document = target.schema.raw_schema
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), path
            good = [status for status in operation["responses"] if status.startswith("2")]
            assert good, (method, path)
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert media["schema"], (method, path)


def test_docs_page_needs_no_network(target: Target) -> None:
    """The page names every path and loads nothing."""
    page = requests.get(target.schema.location.replace("openapi.json", "docs"), timeout=PATIENCE_S)
    assert page.status_code == 200
    for path in target.schema.raw_schema["paths"]:
        assert path in page.text
    assert set(re.findall(r'(?:href|src)="([^"]*)"', page.text)) == {"docs.css", "openapi.json"}
    assert "<script" not in page.text
