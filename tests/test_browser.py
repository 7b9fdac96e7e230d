"""The page in a real browser. Without one these tests fail, as nothing sees a page."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.pages import html
from tests.browser import Page, browser
from tests.pages import content, hostile

WIDTHS = (390, 820, 1440)
# Of WCAG 2.2, level AA: normal text, and large text and pictures.
NORMAL, LARGE = 4.5, 3.0
# Every element that has text of its own, with its colours and size, as they are seen.
CONTRASTS = """
(() => {
  const channel = value => {
    const v = value / 255;
    return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  };
  const luminance = ([r, g, b]) =>
    .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const c = parts(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const seen = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const inPicture = element.closest("svg");
    if (inPicture && element.tagName !== "text") continue;
    const style = getComputedStyle(element);
    const colour = parts(inPicture ? style.fill : style.color);
    const [high, low] = [luminance(colour), luminance(behind(element))]
      .sort((a, b) => b - a);
    seen.push([(high + .05) / (low + .05), element.textContent.slice(0, 40)]);
  }
  return seen;
})()
"""
# The lines of pictures against the page.
SERIES = """
(() => {
  const style = getComputedStyle(document.documentElement);
  return ["--paper", "--series-1", "--series-2", "--series-3", "--series-4"]
    .map(name => style.getPropertyValue(name).trim());
})()
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html.page(content()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hostile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "hostile.html"
    path.write_text(html.page(hostile()), encoding="utf-8")
    return path


def everything(tab: Page) -> None:
    """Open whatever is folded away."""
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


def overflowing(tab: Page) -> list[str]:
    """Return what reaches beyond the window, boxes that scroll left aside."""
    script = """
    [...document.body.querySelectorAll("*")]
      .filter(e => e.getClientRects().length)
      .filter(e => !e.parentElement.closest(".scroll, svg"))
      .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
      .map(e => e.tagName + " " + e.textContent.slice(0, 40))
    """
    names = tab.evaluate(script)
    assert isinstance(names, list)
    return names


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_complains_of_nothing_asks_for_nothing_and_fits(
    tab: Page, file: Path, width: int, dark: bool
) -> None:
    tab.open(file, width=width, dark=dark)
    everything(tab)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert overflowing(tab) == []
    assert tab.complaints == []
    assert tab.requests == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_of_hostile_names_fits_and_runs_none_of_them(
    tab: Page, hostile_file: Path, width: int
) -> None:
    tab.open(hostile_file, width=width)
    everything(tab)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert overflowing(tab) == []
    assert tab.complaints == []
    assert tab.evaluate("document.scripts.length") == 0


def test_the_browser_would_notice_what_these_tests_look_for(
    tab: Page, tmp_path: Path
) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<!DOCTYPE html><div style='width:3000px;color:#999;background:#fff'>wide</div>"
        "<script>console.error('no')</script><img src='http://127.0.0.1:9/x.png'>"
    )
    tab.open(path, width=390)
    assert overflowing(tab) == ["DIV wide"]
    assert any('"no"' in complaint for complaint in tab.complaints)
    assert tab.requests == ["http://127.0.0.1:9/x.png"]
    assert min(contrast for contrast, *_ in tab.evaluate(CONTRASTS)) < NORMAL


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_in_both_themes(
    tab: Page, file: Path, dark: bool
) -> None:
    tab.open(file, dark=dark)
    everything(tab)
    seen: list[Any] = tab.evaluate(CONTRASTS)
    assert len(seen) > 300
    assert [each for each in seen if each[0] < NORMAL] == []


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_lines_of_pictures_stand_out_in_both_themes(
    tab: Page, file: Path, dark: bool
) -> None:
    tab.open(file, dark=dark)
    paper, *series = tab.evaluate(SERIES)
    assert (luminance(paper) < 0.1) == dark
    for colour in series:
        low, high = sorted((luminance(paper), luminance(colour)))
        assert (high + 0.05) / (low + 0.05) >= LARGE, colour


def test_headings_tables_pictures_and_names_are_in_order(tab: Page, file: Path) -> None:
    tab.open(file)
    everything(tab)
    levels = tab.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(after - before for before, after in pairwise(levels)) == 1
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert tab.evaluate("document.title").startswith("Audit ")
    none = {
        "header cells without a scope": "th:not([scope])",
        "images without a text": "img:not([alt]), img[alt='']",
        "pictures without a title": "svg.plot:not([role='img'][aria-labelledby])",
        "boxes that no key scrolls": ".scroll:not([tabindex='0'][aria-label])",
        "tables without a caption": "table:not(:has(caption))",
    }
    for what, selector in none.items():
        count = f"document.querySelectorAll(`{selector}`).length"
        assert tab.evaluate(count) == 0, what
    repeated = tab.evaluate(
        "(ids => ids.filter((id, i) => ids.indexOf(id) < i))"
        "([...document.querySelectorAll('[id]')].map(e => e.id))"
    )
    assert repeated == []
    lost = tab.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash)"
        ".filter(hash => !document.querySelector(hash))"
    )
    assert lost == []


def test_what_has_the_focus_is_seen_to_have_it(tab: Page, file: Path) -> None:
    tab.open(file)
    for kind in ("rawKeyDown", "keyUp"):
        tab.call(
            "Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9
        )
    outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert tab.evaluate("document.activeElement.tagName") == "A"
    assert outline == "solid"


def test_the_page_prints_on_paper_with_all_that_is_folded_away(
    tab: Page, file: Path
) -> None:
    tab.open(file, dark=True)
    pdf = tab.pdf()
    assert pdf.startswith(b"%PDF")
    n_pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 4 <= n_pages <= 30
    tab.call("Emulation.setEmulatedMedia", media="print")
    shown = tab.evaluate("document.querySelector('details dl').getClientRects().length")
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.call("Emulation.setEmulatedMedia", media="")
    assert shown == 1
    assert paper == "rgb(255, 255, 255)"
