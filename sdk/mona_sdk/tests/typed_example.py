"""How a program with types uses the SDK; checked by `mypy --strict` (and pyright), and run by a test."""

from __future__ import annotations

from typing import Any, Optional

from mona_sdk import AsyncClient, Client, MonaSingleMessage
from mona_sdk.results import BatchResult, ClientStats, ServiceResult, UploadResult
from mona_sdk.testing import FakeServer


def mask(message: dict[str, Any]) -> Optional[dict[str, Any]]:
    """A masking hook."""
    message["message"].pop("name", None)
    return message


def report(reason: str, messages: list[Any]) -> None:
    """An error hook."""
    print(reason, len(messages))  # noqa: T201 - an example


def synchronous(client: Client) -> int:
    """Results are typed dicts."""
    message = MonaSingleMessage(message={"amount": 12}, contextClass="LOAN", contextId="id-1")
    accepted: bool = client.export(message)
    result: BatchResult = client.export_batch([message], default_action="ADD")
    reasons: dict[str, str] = result["failure_reasons"]
    uploaded: UploadResult = client.upload_config({"LOAN": {}}, "why")
    insights: ServiceResult = client.get_insights("LOAN", min_segment_size=10, min_insight_score=2)
    text: Optional[str] = insights["error_message"]
    stats: ClientStats = client.stats()
    return (
        int(accepted) + result["sent"] + len(reasons) + len(uploaded["new_config_id"]) + len(text or "") + stats["sent"]
    )


async def asynchronous(client: AsyncClient) -> int:
    """The twins have the types of their methods."""
    async with client:
        accepted: bool = await client.export_async(MonaSingleMessage(message={}, contextClass="LOAN"))
        insights: ServiceResult = await client.get_insights_async("LOAN", 10, min_insight_score=2)
        uploaded: UploadResult = await client.upload_config_async({"LOAN": {}}, "why", author="me")
        stats: ClientStats = await client.stats_async()
    return int(accepted) + len(insights["error_message"] or "") + len(uploaded["new_config_id"]) + stats["sent"]


def tested() -> list[dict[str, Any]]:
    """A program's own test."""
    with FakeServer() as mona, mona.client(background=True, before_send=mask, on_error=report) as client:
        synchronous(client)
        client.flush(5)
        return mona.messages_of("LOAN")
