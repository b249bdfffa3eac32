"""Pictures in chats: a chat fetches the chart of an insight by itself, without a session.

The address carries a signature that only this server can make and that fits one picture of one message. It shows the
lines of a chart, no names and no numbers, and is gone with the message after 90 days.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from mona_server.api.edge import edge_of
from mona_server.errors import NotFound
from mona_server.notify import chart_picture

router = APIRouter(include_in_schema=False)


@router.get("/charts/{delivery_id}/{insight_id}.png")
def notice_chart(request: Request, delivery_id: str, insight_id: str, key: str = "") -> Response:
    """The chart that a message shows. A wrong signature and a message that is gone look alike."""
    png = chart_picture(edge_of(request).store, delivery_id, insight_id, key)
    if png is None:
        raise NotFound("no such picture")
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})
