"""The style sheets: contrast of every colour on every ground, and no colour outside of the one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mona_server.web.pages import HERE, STATIC

TOKENS = (STATIC / "tokens.css").read_text(encoding="utf-8")
PUBLISHED = {
    "page": ("#fbfbfa", "#131416"),
    "panel": ("#ffffff", "#1a1c1f"),
    "line": ("#dcdcd8", "#303338"),
    "faint": ("#ecece8", "#24272b"),
    "text": ("#1c1d1f", "#ececee"),
    "second": ("#5b5e63", "#a5a9b0"),
    "third": ("#85888e", "#7b8087"),
    "accent": ("#2557d6", "#7ba2ff"),
    "anomaly": ("#c4320a", "#ff8a5c"),
    "urgent": ("#b42318", "#ff6b5e"),
    "good": ("#1a7f4b", "#5fd39a"),
    "warn": ("#9a6700", "#e3b341"),
}
"""Name → (light, dark), as the visual direction sets them."""


def block(selector: str) -> dict[str, str]:
    """The custom properties of the rule that begins with ``selector``."""
    start = TOKENS.index(selector)
    return dict(re.findall(r"--([\w-]+):\s*([^;]+);", TOKENS[start : TOKENS.index("}", start)]))


LIGHT = block(":root {")
DARK = LIGHT | block(':root[data-theme="dark"]')


def channels(colour: str) -> tuple[list[float], float]:
    if colour.startswith("#"):
        return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], 1.0
    numbers = [float(n) for n in re.findall(r"[\d.]+", colour)]
    return [n / 255 for n in numbers[:3]], numbers[3] / 100


def over(colour: str, ground: list[float]) -> list[float]:
    rgb, alpha = channels(colour)
    return [alpha * c + (1 - alpha) * g for c, g in zip(rgb, ground, strict=True)]


def luminance(rgb: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: list[float], b: list[float]) -> float:
    """WCAG 2.2 contrast ratio."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
class TestContrast:
    @pytest.mark.parametrize("ground", ["page", "panel"])
    @pytest.mark.parametrize("name", ["text", "second", "accent", "anomaly", "urgent", "good", "warn"])
    def test_text(self, theme: dict[str, str], name: str, ground: str) -> None:
        """Every colour that words are set in has 4.5:1 on both grounds (WCAG AA)."""
        assert contrast(channels(theme[name])[0], channels(theme[ground])[0]) >= 4.5

    @pytest.mark.parametrize("tint", ["hover", "selected", "judged", "compared"])
    @pytest.mark.parametrize("name", ["text", "second"])
    def test_text_on_tints(self, theme: dict[str, str], name: str, tint: str) -> None:
        """Words stay readable on hovered and selected rows and in shaded windows."""
        ground = over(theme[tint], channels(theme["panel"])[0])
        assert contrast(channels(theme[name])[0], ground) >= 4.5

    def test_selected_navigation(self, theme: dict[str, str]) -> None:
        """The chosen page in the navigation: accent on its tint."""
        ground = over(theme["selected"], channels(theme["panel"])[0])
        assert contrast(channels(theme["accent"])[0], ground) >= 4.5

    def test_main_button(self, theme: dict[str, str]) -> None:
        """Words on the accent."""
        assert contrast(channels(theme["on-accent"])[0], channels(theme["accent"])[0]) >= 4.5

    @pytest.mark.parametrize("name", ["third", "text", "anomaly"])
    def test_lines_of_charts(self, theme: dict[str, str], name: str) -> None:
        """Lines and points that carry meaning have 3:1 on the panel (WCAG AA for graphics)."""
        assert contrast(channels(theme[name])[0], channels(theme["panel"])[0]) >= 3


def test_colours_are_the_published_ones() -> None:
    """The palette is the one of the visual direction, to the digit."""
    assert {name: (LIGHT[name], DARK[name]) for name in PUBLISHED} == PUBLISHED


def test_dark_is_the_same_by_system_and_by_switch() -> None:
    """Both rules that make a page dark set the same values."""
    assert block(':root:not([data-theme="light"])') == block(':root[data-theme="dark"]')


SOURCES = [STATIC / "mona.css", STATIC / "chart.css", *STATIC.glob("*.js"), *(HERE / "templates").glob("*.html")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_colour_elsewhere(path: Path) -> None:
    """Colours have names; only tokens.css says what they are."""
    found = re.findall(r"#[0-9a-fA-F]{3,8}\b(?![-\w])|\brgba?\((?!0,0,0,0\))", path.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize("path", sorted((HERE / "templates").glob("*.html")), ids=lambda path: path.name)
def test_templates_keep_to_the_policy(path: Path) -> None:
    """No inline style, no inline script that runs, no handler attribute, no other host."""
    text = path.read_text(encoding="utf-8")
    assert " style=" not in text
    assert re.findall(r"\son\w+=", text) == []
    assert [
        tag for tag in re.findall(r"<script[^>]*>", text) if "src=" not in tag and "application/json" not in tag
    ] == []
    assert re.findall(r"(?:src|href)=\"https?:", text) == []
    assert "| safe" not in text


def test_every_custom_property_exists() -> None:
    """What the sheets and scripts use is defined."""
    used = set(re.findall(r"var\(--([\w-]+)", (STATIC / "mona.css").read_text(encoding="utf-8")))
    used |= set(re.findall(r"colour\(\"([\w-]+)\"\)", (STATIC / "chart.js").read_text(encoding="utf-8")))
    assert used - set(LIGHT) - {"depth"} == set()
