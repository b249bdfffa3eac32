"""Every page by its address. A further page is a module with a context, a template, and a route here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from mona_server.web import notice_charts, sign_in, static_files
from mona_server.web.charts import csv_text
from mona_server.web.getting_started import getting_started_page
from mona_server.web.insight_list import Ask, insights_page
from mona_server.web.insight_page import insight_page
from mona_server.web.pages import PageRoute, Visit, render, visit
from mona_server.web.reading import Reading

pages = APIRouter(route_class=PageRoute, include_in_schema=False)

Visitor = Annotated[Visit, Depends(visit)]


@pages.get("/")
def start(visitor: Visitor) -> Response:
    """The insights once there is data, else how to send some."""
    return RedirectResponse("/insights" if Reading(visitor).contexts() else "/getting-started", 303)


@pages.get("/getting-started")
def getting_started(visitor: Visitor) -> Response:
    reading = Reading(visitor)
    page = getting_started_page(
        address=visitor.edge.address,
        data_dir=visitor.edge.settings.data_dir.name,
        context_class=visitor.context_class,
        contexts=reading.contexts(),
        configured=reading.configuration() is not None,
        insights=len(reading.insights()[0]),
    )
    return render(visitor, "getting_started.html", page)


@pages.get("/insights")
def insights(visitor: Visitor) -> Response:
    reading = Reading(visitor)
    found, sparks = reading.insights()
    page = insights_page(
        found,
        Ask.of(visitor.request.query_params),
        context_class=visitor.context_class,
        sparks=sparks,
        now_s=reading.now_s,
        has_data=reading.has_data(),
        configured=reading.configuration() is not None,
        last_run=reading.last_run(),
    )
    return render(visitor, "insights.html", page)


@pages.get("/insights/{insight_id}")
def insight(visitor: Visitor, insight_id: str) -> Response:
    reading = Reading(visitor)
    found, kept = reading.insight(insight_id)
    series, problem = reading.series(found, kept)
    contexts, contexts_problem = reading.sample(found)
    page = insight_page(
        found,
        series=series,
        chart_problem=problem,
        contexts=contexts,
        contexts_problem=contexts_problem,
        markers=reading.markers(found),
    )
    return render(visitor.at(found["arc_class"]), "insight.html", page)


@pages.get("/insights/{insight_id}/series.csv")
def series_csv(visitor: Visitor, insight_id: str) -> Response:
    """The numbers of the chart."""
    reading = Reading(visitor)
    found, kept = reading.insight(insight_id)
    series, _ = reading.series(found, kept)
    headers = {"Content-Disposition": f'attachment; filename="{insight_id}.csv"'}
    return Response(csv_text(series), media_type="text/csv; charset=utf-8", headers=headers)


router = APIRouter()
for part in (static_files.router, notice_charts.router, sign_in.router, pages):
    router.include_router(part)
