"""Targets: what the ratios are meant to be, and whether they are."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.bench.pairs import at

GIB = 1 << 30
POINTS = 0.005  # of accuracy that the attack chosen here may lack


class Target(NamedTuple):
    """A demand on what was found."""

    words: str
    value: Callable[[Mapping[str, Any]], float | None]  # None: not measured
    holds: Callable[[float], bool]


def judged(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each target, its figure, and whether it is met; null if not measured."""
    rows = []
    for target in TARGETS:
        value = target.value(found)
        met = None if value is None else target.holds(value)
        rows.append({"target": target.words, "value": value, "met": met})
    return rows


def _least(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Return a function that finds a ratio, or the least of several."""

    def value(found: Mapping[str, Any]) -> float | None:
        one = at(found, name)
        return min(one.values()) if isinstance(one, Mapping) else one

    return value


def _lacking(found: Mapping[str, Any]) -> float | None:
    """Return by how much the accuracy of a chosen attack falls short, at most."""
    of = at(found, "search.accuracy") or {}
    if not {"ours", "mindarmour"} <= {*of}:
        return None
    return max(of["mindarmour"][name] - of["ours"][name] for name in of["ours"])


def _large(
    stage_value: str, combine: Callable[[float, float], float], classes: int
) -> Callable[[Mapping[str, Any]], float | None]:
    """Return a function that finds what attack and report of a large audit took."""

    def value(found: Mapping[str, Any]) -> float | None:
        for point in at(found, "large") or []:
            if point["records"] == 1_000_000 and point["classes"] == classes:
                took = [point[stage][stage_value] for stage in ("attack", "report")]
                return float(combine(*took))
        return None

    return value


def _from(least: float) -> Callable[[float], bool]:
    return lambda value: value >= least


def _below(limit: float) -> Callable[[float], bool]:
    return lambda value: value < limit


TARGETS = (
    Target(
        "extraction.of_bare, every network: 0.95 or more",
        _least("extraction.of_bare"),
        _from(0.95),
    ),
    Target(
        "extraction.over_mindarmour, every network: 1.1 or more",
        _least("extraction.over_mindarmour"),
        _from(1.1),
    ),
    Target(
        "search.over_mindarmour.all: 10 or more",
        _least("search.over_mindarmour.all"),
        _from(10.0),
    ),
    Target(
        "search.accuracy, each method's chosen: at most 0.005 below MindArmour's",
        _lacking,
        lambda lacking: lacking <= POINTS,
    ),
    Target(
        "end_to_end.over_mindarmour: 2 or more",
        _least("end_to_end.over_mindarmour"),
        _from(2.0),
    ),
    Target(
        "rerun.over_mindarmour: 50 or more",
        _least("rerun.over_mindarmour"),
        _from(50.0),
    ),
    Target("noop_s: below 1", _least("noop_s"), _below(1.0)),
    Target(
        "references.over_serial: 1.8 or more",
        _least("references.over_serial"),
        _from(1.8),
    ),
    Target(
        "attack and report of 1,000,000 records, 100 classes, 64 references: "
        "peak below 2 GiB",
        _large("bytes", max, 100),
        _below(2 * GIB),
    ),
    Target(
        "attack and report of 1,000,000 records, 10 classes, 8 references: below 300 s",
        _large("seconds", lambda one, other: one + other, 10),
        _below(300.0),
    ),
)
