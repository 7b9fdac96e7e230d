"""Plot: the ratios of the bench, and the curves of growth."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.pairs import at

RATIOS = (
    "extraction.of_bare",
    "extraction.over_mindarmour",
    "search.over_mindarmour",
    "end_to_end.over_mindarmour",
    "rerun.over_mindarmour",
    "references.over_serial",
    "kernels",
)
WIDTH, ROW = 8.0, 0.28  # inches
PANEL = 2.6  # inches, of the curves
MIB = 1 << 20


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Write the picture as SVG, of what has been found so far."""
    bars = [*ratios(found)]
    curves: Mapping[str, Any] = found.get("growth", {})
    above, below = ROW * (len(bars) + 3), PANEL if curves else 0.0
    # Text stays text, and nothing in the file changes from run to run.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench"}):
        figure = Figure((WIDTH, above + below), layout="constrained")
        parts = figure.subfigures(2 if curves else 1, 1, squeeze=False)[:, 0]
        _bars(parts[0].subplots(), bars)
        if curves:
            panels = parts[1].subplots(1, len(curves), squeeze=False)[0]
            for axes, (name, points) in zip(panels, curves.items(), strict=True):
                _curve(axes, name, points)
        figure.savefig(path, format="svg", metadata={"Date": None})


def ratios(found: Mapping[str, Any]) -> Iterator[tuple[str, float, list[float]]]:
    """Yield the name of each ratio, its median, and its least and greatest."""
    for name in RATIOS:
        value, spread = at(found, name), found.get("spread", {}).get(name)
        if isinstance(value, Mapping):
            for part in value:
                yield f"{name}.{part}", value[part], spread[part]
        elif value is not None:
            yield name, value, spread


def _bars(axes: Any, bars: list[tuple[str, float, list[float]]]) -> None:
    for place, (_, value, (low, high)) in enumerate(bars):
        axes.plot([low, high], [place, place], color="tab:blue")
        axes.plot(value, place, "o", color="tab:blue")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times as fast: median of the pairs, least and greatest")


def _curve(axes: Any, name: str, points: list[dict[str, Any]]) -> None:
    x = [point[name] for point in points]
    for stage, colour in (("attack", "tab:blue"), ("report", "tab:orange")):
        seconds = [point[stage]["seconds"] for point in points]
        axes.plot(x, seconds, "o-", color=colour, label=f"{stage}, s")
        held = [point[stage]["bytes"] / MIB for point in points]
        axes.plot(x, held, "o:", color=colour, label=f"{stage}, MiB")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(name)
    axes.legend(fontsize="x-small")
