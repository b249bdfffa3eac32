"""Runs inside the environment of a public client: does the calls that standard input asks for, prints what came back.

It knows the clients by their documented names only. Standard input is one JSON object::

    {"server": "http://127.0.0.1:8420", "client": {constructor arguments}, "async": false,
     "threads": 1, "calls": [["export", [{"$message": {...}}], {}], ...]}

Standard output is one JSON list: ``{"result": ...}`` or ``{"error": "Type: text"}`` per call. Some clients have host
names fixed in their code; every request that they make is led to the server by an adapter.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

Asked = dict[str, Any]


def lead_to(server: str) -> None:
    """Every request of the library ``requests`` goes to ``server``, whatever host it names."""
    adapter: Any = import_module("requests.adapters").HTTPAdapter
    send = adapter.send

    def send_to_server(self: Any, request: Any, **options: Any) -> Any:
        parts = urlsplit(request.url)
        request.url = server + parts.path + ("?" + parts.query if parts.query else "")
        return send(self, request, **options)

    adapter.send = send_to_server


def build(value: Any) -> Any:
    """Messages stand in the request as ``{"$message": arguments}``."""
    if isinstance(value, dict) and list(value) == ["$message"]:
        return import_module("mona_sdk").MonaSingleMessage(**value["$message"])
    if isinstance(value, list):
        return [build(item) for item in value]
    return value


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": json.loads(json.dumps(call(), default=str))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def do(client: Any, call: list[Any]) -> dict[str, Any]:
    name, args, kwargs = call
    if name == "$expire":
        return outcome(expire)
    if name == "$methods":
        return {"result": methods(type(client))}
    if name == "$active" and hasattr(client, "is_active"):
        return outcome(client.is_active)
    if name == "$active":
        return outcome(client.authenticator.is_authenticated)
    return outcome(lambda: getattr(client, name)(*build(args), **{key: build(value) for key, value in kwargs.items()}))


def methods(kind: type) -> list[str]:
    return sorted(name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name)))


def expire() -> int:
    """Make the client believe that its token must be refreshed now; how many tokens there were."""
    try:
        records = import_module("mona_sdk.auth.utils").API_KEYS_TO_TOKEN_DATA
    except ImportError:
        records = import_module("mona_sdk.authentication").API_KEYS_TO_TOKEN_DATA
    for record in records.values():
        record["timeToRefresh"] = datetime(2000, 1, 1)
    return len(records)


def synchronous(asked: Asked) -> list[dict[str, Any]]:
    client = import_module("mona_sdk.client").Client(**asked["client"])
    if asked.get("threads", 1) == 1:
        return [do(client, call) for call in asked["calls"]]
    with ThreadPoolExecutor(asked["threads"]) as pool:
        return list(pool.map(lambda call: do(client, call), asked["calls"]))


async def asynchronous(asked: Asked) -> list[dict[str, Any]]:
    client = import_module("mona_sdk.async_client").AsyncClient(**asked["client"])

    async def one(call: list[Any]) -> dict[str, Any]:
        name, args, kwargs = call
        if name == "$methods":
            return {"result": methods(type(client))}
        try:
            answer = await getattr(client, name)(*build(args), **{key: build(value) for key, value in kwargs.items()})
            return {"result": json.loads(json.dumps(answer, default=str))}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    return list(await asyncio.gather(*(one(call) for call in asked["calls"])))


def main() -> None:
    asked: Asked = json.load(sys.stdin)
    lead_to(asked["server"])
    json.dump(asyncio.run(asynchronous(asked)) if asked.get("async") else synchronous(asked), sys.stdout)


if __name__ == "__main__":
    main()
