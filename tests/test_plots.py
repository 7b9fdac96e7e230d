import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from pipeline.findings.curves import Band, Curve, Histogram
from pipeline.pages import plots
from pipeline.pages.plots import COLOURS, Caption

CAPTION = Caption("one", 'Of <members> & "others"', "It rises.")
CURVE = Curve(np.array([0, 0.1, 1]), np.array([0, 0.6, 1]))
BAND = Band(np.array([0.1, 0.5]), np.array([0.4, 0.8]), np.array([0.7, 0.9]))
BINS = Histogram(np.arange(4.0), np.array([0, 0.5, 0.5]), np.array([0.7, 0.2, 0.1]))


def roc(caption: Caption = CAPTION, **curves: Curve) -> Markup:
    return plots.roc(
        curves or {"lr": CURVE},
        [BAND],
        leak=plots.Rule(0.6, 0.5),
        smallest=0.01,
        caption=caption,
    )


PICTURES = {
    "roc": roc,
    "histograms": lambda: plots.histograms(
        BINS, label="score", caption=CAPTION, threshold=1.5
    ),
    "growth": lambda: plots.growth({"lr": (CURVE, BAND)}, CAPTION),
    "reliability": lambda: plots.reliability({"members": CURVE}, CAPTION),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_says_what_it_shows_and_takes_the_colours_of_the_page(
    name: str,
) -> None:
    svg = PICTURES[name]()
    root = ElementTree.fromstring(f'<div xmlns:xlink="l">{svg}</div>')
    (picture,) = root
    assert picture.get("role") == "img"
    assert picture.get("aria-labelledby") == "one-title one-about"
    assert picture[0].text == CAPTION.title
    assert picture[1].text == CAPTION.description
    colours = {*re.findall(r"#[0-9a-f]{6}\b", svg)}
    assert not colours & {*COLOURS}
    assert "var(--series-1)" in svg
    assert not colours, "a colour that does not follow the theme"


@pytest.mark.parametrize("name", PICTURES)
def test_equal_pictures_have_equal_bytes_and_bring_nothing_in(name: str) -> None:
    svg = PICTURES[name]()
    assert svg == PICTURES[name]()
    assert "http" not in re.sub(r'xmlns[:\w]*="[^"]*"', "", svg)
    assert "<metadata" not in svg
    assert "<style" not in svg


def test_two_pictures_share_no_name() -> None:
    first = {*re.findall(r'\bid="([^"]+)"', roc())}
    other = {*re.findall(r'\bid="([^"]+)"', roc(CAPTION._replace(name="two")))}
    assert len(first) > 10
    assert not first & other
    for name in re.findall(r'(?:url\(#|href="#)([^")]+)', roc()):
        assert name in first


def test_the_text_of_a_picture_is_text() -> None:
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", roc(lr=CURVE, loss=CURVE))
    assert {"lr", "loss", "chance", "leak by the 60% rule", "1%", "100%"} <= {*texts}


def test_a_dollar_sign_is_no_formula() -> None:
    assert "$x_1$" in roc(**{"$x_1$": CURVE})
