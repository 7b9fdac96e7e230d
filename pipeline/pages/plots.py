"""Plots: pictures of an audit as SVG, in the colours of the page that they stand in."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from pipeline.findings.curves import Band, Curve, Histogram, rule, thinned

# Inches: at 72 points each the width of a telephone, so that text keeps its size there.
WIDTH, HEIGHT = 5.2, 3.4
# Matplotlib knows no variables of CSS. These colours, which nothing else has, are put
# into its pictures and then replaced by those of the page's theme.
COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--soft)",
    "#030303": "var(--line)",
    "#040404": "var(--series-1)",
    "#050505": "var(--series-2)",
    "#060606": "var(--series-3)",
    "#070707": "var(--series-4)",
    "#080808": "var(--paper)",
}
INK, SOFT, LINE, *SERIES, PAPER = COLOURS
DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, which can be searched and read aloud
    "svg.hashsalt": "membership-audit",  # equal pictures have equal bytes
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}
STEP = 0.002  # of an axis: what is closer together looks like one point
DECADES_BELOW = 0.5  # of an axis, shown below the smallest rate


class Caption(NamedTuple):
    """What is said of a picture to those who do not see it."""

    name: str  # of the picture within the page
    title: str  # in a few words
    description: str  # what it shows


class Rule(NamedTuple):
    """From where on the tutorial's rule calls a leak one."""

    threshold: float  # of accuracy, precision and recall, in [0, 1)
    share: float  # of members among the records judged


def roc(
    curves: Mapping[str, Curve],
    bands: Sequence[Band],
    *,
    leak: Rule | None,
    smallest: float,
    caption: Caption,
) -> Markup:
    """Return ROC curves on logarithmic axes.

    Args:
        curves: by name, that of the chosen attack first; at most four.
        bands: intervals around the first of them, in their order.
        leak: from where on a leak is called one; None: not shown.
        smallest: false-positive rate that can be measured.
        caption: of the picture.
    """
    low = smallest / 10**DECADES_BELOW

    def draw(axes: Axes) -> None:
        axes.set(xscale="log", yscale="log", xlim=(low, 1), ylim=(low, 1.15))
        for band, colour in zip(bands, SERIES, strict=False):
            axes.fill_between(
                band.x,
                np.maximum(band.low, low),
                band.high,
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
        styles = zip(curves.items(), SERIES, DASHES, strict=False)
        for (label, curve), colour, dashes in styles:
            seen = thinned(
                Curve(_logarithm(curve.x, low), _logarithm(curve.y, low)),
                STEP * -np.log10(low),
            )
            axes.plot(
                10**seen.x, 10**seen.y, color=colour, linestyle=dashes, label=label
            )
        axes.plot(
            [low, 1], [low, 1], color=SOFT, linewidth=1, linestyle=":", label="chance"
        )
        if leak is not None:
            grid = np.geomspace(low, 1, 200)
            needed = rule(leak.threshold, leak.share, grid)
            reached = needed <= 1
            axes.fill_between(
                grid[reached],
                needed[reached],
                1,
                color=SERIES[2],
                alpha=0.16,
                linewidth=0,
                label=f"leak by the {leak.threshold:.0%} rule",
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(_percent))
            axis.set_minor_formatter(NullFormatter())
        axes.set(
            xlabel="non-members taken for members (log scale)",
            ylabel="members found (log scale)",
        )
        axes.grid(visible=True)
        axes.legend(loc="lower right")

    return _picture(draw, caption)


def histograms(
    values: Histogram,
    *,
    label: str,
    caption: Caption,
    threshold: float | None = None,
) -> Markup:
    """Return how members and non-members spread over a score.

    Args:
        values: both sides in the same bins.
        label: of the axis of the score.
        caption: of the picture.
        threshold: above which a record is taken for a member; None: not shown.
    """

    def draw(axes: Axes) -> None:
        sides = (
            ("members", values.members, SERIES[0], "-"),
            ("non-members", values.nonmembers, SERIES[1], DASHES[1]),
        )
        for side, share, colour, dashes in sides:
            axes.stairs(
                share, values.edge, fill=True, color=colour, alpha=0.22, linewidth=0
            )
            axes.stairs(
                share,
                values.edge,
                color=colour,
                linewidth=1.6,
                linestyle=dashes,
                label=side,
            )
        if threshold is not None and values.edge[0] < threshold < values.edge[-1]:
            axes.axvline(
                threshold, color=INK, linewidth=1, linestyle=":", label="threshold"
            )
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.set(xlabel=label, ylabel="share of the side", ylim=(0, None))
        axes.grid(visible=True, axis="y")
        axes.legend(loc="best")

    return _picture(draw, caption)


def growth(points: Mapping[str, tuple[Curve, Band]], caption: Caption) -> Markup:
    """Return how the AUC of attacks grows with the number of references.

    Args:
        points: of each attack by its name: the AUC by numbers of references, and its
            interval.
        caption: of the picture.
    """

    def draw(axes: Axes) -> None:
        axes.set_xscale("log", base=2)
        for (_, band), colour in zip(points.values(), SERIES, strict=False):
            axes.fill_between(
                band.x,
                band.low,
                band.high,
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
        _dotted(axes, {label: curve for label, (curve, _) in points.items()})
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axes.set(xlabel="references", ylabel="AUC")
        axes.grid(visible=True)
        axes.legend(loc="lower right")

    return _picture(draw, caption)


def reliability(sides: Mapping[str, Curve], caption: Caption) -> Markup:
    """Return how often the target is right against how sure it is.

    Args:
        sides: of each side by its name: mean confidence and accuracy of each bin.
        caption: of the picture.
    """

    def draw(axes: Axes) -> None:
        axes.plot(
            [0, 1],
            [0, 1],
            color=SOFT,
            linewidth=1,
            linestyle=":",
            label="as sure as right",
        )
        _dotted(axes, sides)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(_percent))
        axes.set(
            xlabel="confidence of the target",
            ylabel="how often it is right",
            ylim=(-0.02, 1.02),
        )
        axes.grid(visible=True)
        axes.legend(loc="upper left")

    return _picture(draw, caption)


def _dotted(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Draw curves through few points, which are marked."""
    styles = zip(curves.items(), SERIES, DASHES, strict=False)
    for (label, curve), colour, dashes in styles:
        axes.plot(
            curve.x,
            curve.y,
            color=colour,
            linestyle=dashes,
            marker="o",
            markersize=4,
            label=label,
        )


def _picture(draw: Callable[[Axes], None], caption: Caption) -> Markup:
    """Return what a function draws, as a part of a page."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    return inlined(text.getvalue(), caption)


def inlined(svg: str, caption: Caption) -> Markup:
    """Return a picture of Matplotlib as a part of a page.

    Its colours become those of the page's theme, its names become the picture's own, so
    that two pictures do not share one, and it says what it shows.

    Args:
        svg: a whole file.
        caption: of the picture.
    """
    name = caption.name
    start, end = svg.index("<svg"), svg.rindex("</svg>")
    head, _, body = svg[start:end].partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Its style would hold for the whole page; style.css has it for pictures.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{name}-", body)
    body = body.replace("xlink:href", "href")
    for colour, variable in COLOURS.items():
        body = body.replace(colour, variable)
    body = re.sub(r"\n\s*", "\n", body)
    return Markup(
        f'<svg class="plot" {box[0] if box else ""} role="img" '
        f'aria-labelledby="{name}-title {name}-about">\n'
        f'<title id="{name}-title">{escape(caption.title)}</title>\n'
        f'<desc id="{name}-about">{escape(caption.description)}</desc>{body}</svg>'
    )


def _logarithm(rate: NDArray[np.float64], low: float) -> NDArray[np.float64]:
    """Return log10 of rates, those of 0 at the edge of the picture."""
    return np.asarray(np.log10(np.maximum(rate, low)))


def _percent(value: float, _: int | None = None) -> str:
    return f"{100 * value:.3g}%"
