"""Every route has a decision: a permission, or a place in the list of what is open to everybody."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import RouteContext, iter_route_contexts

from mona_server.api.cookies import current_user, signed_in_user
from mona_server.api.guard import Guard
from mona_server.api.identity.roles import ROLES, Permission
from mona_server.api.sending import Sending
from tests.api.conftest import Api

OPEN = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v1/health"),
    ("GET", "/api/v1/ready"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/api/v1/version"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/docs"),
    ("GET", "/api/v1/docs.css"),
    # These give tokens and sessions, so they cannot ask for one; what they ask for is tested beside them.
    ("POST", "/identity/resources/auth/v1/api-token"),
    ("POST", "/identity/resources/auth/v1/api-token/token/refresh"),
    ("POST", "/oauth/token"),
    ("POST", "/api/v1/session"),
    ("POST", "/api/v1/session/password"),
    ("GET", "/sso/login"),
    ("GET", "/sso/callback"),
}
ANY_CALLER = {
    "/api/v1/limits",
    "/api/v1/build_functions",
    "/api/v1/verse_types",
    "/api/v1/roles",
    "/api/v1/me",
    "/api/v1/session",
}
"""About the server or oneself: any token or session will do."""
PERSON = {"/api/v1/session/second_factor"}


def routes(app: Any) -> list[tuple[str, str, RouteContext]]:
    found = [
        (method, str(route.path), route)
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]
    assert len(found) > 60
    return found


def guards(route: RouteContext) -> list[Any]:
    found, waiting = [], list(route.dependant.dependencies)
    while waiting:
        dependant = waiting.pop()
        found.append(dependant.call)
        waiting += dependant.dependencies
    return found


def test_every_route_has_a_decision(api: Api) -> None:
    """A route without a guard, which is not in the list of open ones, fails here; so does a stale entry of the list."""
    open_found, any_found, person_found = set(), set(), set()
    for method, path, route in routes(api.app):
        if isinstance(route.endpoint, Sending):
            continue  # judged by hand, tested in test_sending.py
        calls = guards(route)
        guard = next((call for call in calls if isinstance(call, Guard)), None)
        if guard is not None and guard.permission is not None:
            assert isinstance(guard.permission, Permission)
        elif guard is not None:
            any_found.add(path)
        elif signed_in_user in calls or current_user in calls:
            person_found.add(path)
        else:
            open_found.add((method, path))
    assert open_found == OPEN
    assert any_found == ANY_CALLER
    assert person_found == PERSON


GUARDED = [
    ("POST", "/upload_config", Permission.CONFIG_WRITE),
    ("POST", "/configs", Permission.CONFIG_READ),
    ("POST", "/get_sampling_factors", Permission.SEND),
    ("GET", "/api/v1/config", Permission.CONFIG_READ),
    ("POST", "/api/v1/backfill", Permission.DATA_MANAGE),
    ("GET", "/api/v1/classes", Permission.INVESTIGATE),
    ("GET", "/api/v1/users", Permission.USERS_MANAGE),
    ("GET", "/api/v1/audit", Permission.USERS_MANAGE),
    ("GET", "/api/v1/events", Permission.INSIGHTS_READ),
]


@pytest.mark.parametrize(("method", "path", "permission"), GUARDED)
def test_roles_over_http(api: Api, method: str, path: str, permission: Permission) -> None:
    """Each role gets through the route's guard exactly when its cell says so."""
    for role in ROLES.values():
        if not role.assignable:
            continue
        grant = {"role": role.name, "arc_class": "LOAN"} if role.per_class else role.name
        body = {"json": {"context_class": "LOAN"}} if method == "POST" else {}
        headers = api.token(grant) | {"X-Mona-Protocol": "2"}
        answer = api.client.request(method, path, headers=headers, **body)
        refused = answer.status_code == 403 and "missing permission" in answer.text
        whole_file = path == "/upload_config" and role.per_class
        assert refused is (permission not in role.permissions or whole_file), (role.name, answer.text)
