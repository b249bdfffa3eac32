"""The pages in a real browser, over a real server that got real flights: five weeks before the fog, and the week after."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, expect, sync_playwright

from mona_sdk import Client
from mona_server import settings as settings_module
from mona_server.api.identity import tokens
from mona_server.cli import demo_data, up
from mona_server.cli.common import now_ms
from mona_server.cli.demo_run import message_of
from mona_server.config import revisions
from mona_server.insights.runs import Desk, run_at
from mona_server.store import Store
from tests.support import PATIENCE_S, eventually, free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(4 * PATIENCE_S)]

expect.set_options(timeout=PATIENCE_S * 1000)

FOG = date(2013, 12, 5)
STRICT = "default-src 'self'; img-src 'self' data: blob:"


def send_flights(address: str, store: Store, today: date) -> None:
    """Flights of two carriers around the fog, configured first, in one search of its day and one of a calm day."""
    learnt, served = demo_data.split(demo_data.read())
    moved = demo_data.weeks_moved(today)
    first, last = FOG - timedelta(days=32) + moved, FOG + timedelta(days=4) + moved
    messages = [
        event
        for event in demo_data.events(served, demo_data.Model.fit(learnt), today)
        if first <= event.at.date() <= last and re.search("-(EV|UA)", event.context_id)
    ]
    token = tokens.create_token(store.meta, ["Admin"], now_ms=now_ms())
    with Client(token.client_id, token.secret, server_url=address) as client:
        assert client.upload_config(demo_data.configuration(), "for the pages")["success"]
        for start in range(0, len(messages), 5000):
            batch = [message_of(event) for event in messages[start : start + 5000]]
            assert client.export_batch(batch)["failed"] == 0
    eventually(lambda: store.inbox.backlog().rows == 0, why="the messages were not merged")
    revision = revisions.active(store.meta, "default")
    assert revision is not None
    context_class = revision.classes[demo_data.CONTEXT_CLASS]
    desk = Desk.of(store)
    for day in (FOG - timedelta(days=1), FOG + timedelta(days=1)):
        at = datetime.combine(day + moved, datetime.min.time(), UTC)
        verse = context_class.verse("punctuality__AverageSuddenChange")
        assert verse is not None
        run_at(desk, "default", context_class, verse, at)
    desk.engine.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("pages")
    (data / "mona.toml").write_text("[auth]\nallow_no_auth = true\n", encoding="utf-8")
    settings = settings_module.load(data, server={"port": free_port()})
    # Without the scheduler, whose runs would resolve the insight while a slow machine still looks at it.
    parts = [part for part in up.PARTS if part != "detect"]
    with up.running(settings, parts=parts, timeout_s=PATIENCE_S), Store.open(data, settings) as store:
        send_flights(up.address(settings), store, datetime.now(UTC).date())
        yield up.address(settings)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("the system's Chromium is not installed: make browser")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=arguments, timeout=PATIENCE_S * 1000
        )
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Browser, **options: Any) -> Iterator[Page]:
    """A page in a context of its own that waits as long as a slow machine needs."""
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context.new_page()
    context.close()


@dataclass
class Watched:
    """A page whose complaints and requests are noted."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(request.url)

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def open_top_insight(self) -> Page:
        page = self.open("/insights?range=90d")
        page.locator(".insights .what a").first.click()
        page.wait_for_url("**/insights/ins_*")
        page.locator("[data-drawn]").wait_for()
        return page


@pytest.fixture(params=[(1280, 900, "light"), (1280, 900, "dark"), (390, 844, "light")], ids=["light", "dark", "phone"])
def watched(request: pytest.FixtureRequest, chromium: Browser, address: str) -> Iterator[Watched]:
    """Each test runs on a wide screen in both themes and on a phone, and fails for any complaint or foreign request."""
    width, height, scheme = request.param
    with opened(chromium, viewport={"width": width, "height": height}, color_scheme=scheme) as page:
        made = Watched(page, address)
        yield made
    assert made.complaints == []
    assert made.foreign == []


@pytest.fixture
def wide(chromium: Browser, address: str) -> Iterator[Watched]:
    with opened(chromium, viewport={"width": 1280, "height": 900}) as page:
        made = Watched(page, address)
        yield made
    assert made.complaints == []
    assert made.foreign == []


@pytest.mark.parametrize("path", ["/", "/insights", "/insights?range=90d&state=new", "/getting-started", "/sign-in"])
def test_pages_fit_and_do_not_complain(watched: Watched, path: str) -> None:
    """Every page loads without an error, from this server alone, and is no wider than the screen."""
    page = watched.open(path)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_top_insight_is_one_click_away_and_draws(watched: Watched) -> None:
    """From the list to the chart: lines, bars and the shaded windows are on the page, in the theme's colours."""
    page = watched.open_top_insight()
    expect(page.locator("h1")).to_contain_text("arrival_delay average suddenly rose to 119")
    assert page.locator("[data-chart] .scatterlayer .trace").count() == 2
    assert page.locator("[data-chart] .barlayer .point").count() > 30
    line = page.locator("[data-chart] .scatterlayer .trace:last-child .js-line")
    text = page.evaluate("getComputedStyle(document.body).color")
    assert line.evaluate("line => getComputedStyle(line).stroke") == text
    expect(page.locator(".gate").first).to_contain_text("passed, at least 2")
    assert page.locator(".contexts tbody tr").count() > 50
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_published_numbers_are_on_the_page(wide: Watched) -> None:
    """5 December: carrier EV, level 4.22; the exact number is in the tooltip."""
    page = wide.open_top_insight()
    expect(page.locator(".facts")).to_contain_text("4.22")
    assert page.locator('[title^="4.21617720989"]').count() >= 1


def test_filters_stand_in_the_address_and_back_works(wide: Watched) -> None:
    """Choosing a filter changes the address; the address alone shows the same; back restores what was before."""
    page = wide.open("/insights?range=90d")
    rows = page.locator(".insights tbody tr")
    before = rows.count()
    assert before >= 1
    page.get_by_title("State", exact=True).select_option("resolved")
    page.wait_for_url("**state=resolved**")
    expect(page.locator(".empty")).to_contain_text("No insight matches these filters")
    assert "text=" not in page.url
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator(".empty")).to_be_visible()
    page.go_back()
    expect(rows).to_have_count(before)


def test_an_empty_range_says_what_is_older(wide: Watched) -> None:
    """The default range may end after the flights; the page says so and leads on in one click."""
    page = wide.open("/insights?range=24h")
    expect(page.locator(".empty")).to_contain_text("older one")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator(".insights tbody tr").first).to_be_visible()


def test_the_theme_is_switched_and_kept(wide: Watched) -> None:
    """The chart follows the switch at once, and the next page is in the same theme from its first byte."""
    page = wide.open_top_insight()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_title("Light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    line = page.locator("[data-chart] .scatterlayer .trace:last-child .js-line")
    text = page.evaluate("getComputedStyle(document.body).color")
    expect(line).to_have_css("stroke", text)
    assert 'data-theme="dark"' in page.request.get(page.url).text()


def test_keys(wide: Watched) -> None:
    """j goes down the list, Enter opens, / searches, g i comes back."""
    page = wide.open("/insights?range=90d")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/insights/ins_*")
    page.keyboard.press("g")
    page.keyboard.press("i")
    page.wait_for_url("**/insights")
    page.goto(f"{wide.address}/insights?range=90d")
    page.keyboard.press("/")
    page.keyboard.type("nothing like this")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=nothing**")
    expect(page.locator(".empty")).to_be_visible()


def test_numbers_of_the_chart_can_be_taken_away(wide: Watched) -> None:
    """As a picture and as CSV with the exact values."""
    page = wide.open_top_insight()
    with page.expect_download() as picture:
        page.get_by_role("button", name="PNG").click()
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
    csv = page.request.get(page.url + "/series.csv").text()
    assert csv.startswith("from,value,contexts,baseline_value\r\n")
    assert any(line.split(",")[1].startswith("118.83") for line in csv.splitlines()[1:])


def test_the_chart_draws_under_the_strictest_policy(wide: Watched) -> None:
    """The policy of the specification, without any inline style, still draws every line."""

    def tighten(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": STRICT})

    wide.page.route("**/*", tighten)
    page = wide.open_top_insight()
    assert page.locator("[data-chart] .scatterlayer .trace").count() == 2


def test_without_scripts_everything_can_be_read(chromium: Browser, address: str) -> None:
    """The server renders the pages; scripts only add the chart and comfort."""
    with opened(chromium, java_script_enabled=False) as page:
        page.goto(f"{address}/insights?range=90d")
        page.locator(".insights .what a").first.click()
        page.wait_for_url("**/insights/ins_*")
        expect(page.locator("h1")).to_contain_text("arrival_delay")
        expect(page.locator(".tree")).to_be_visible()


def test_missing_insight_is_a_page(wide: Watched) -> None:
    """An id that does not exist says so, with the request's id, and leads back."""
    page = wide.open("/insights/ins_nothing")
    expect(page.locator("h1")).to_have_text("Not found")
    expect(page.locator("body")).to_contain_text("Request ")
    wide.complaints = [text for text in wide.complaints if "404" not in text]
