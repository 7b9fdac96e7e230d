"""Pairs: two sides timed in alternation, and the ratio of their times."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Side = Callable[[], float]  # runs once, and returns its seconds
Ratios = Sequence[float]


def alternated(n_pairs: int, *sides: Side) -> list[tuple[float, ...]]:
    """Return what each side takes, each in turn, so many times.

    What else the machine does in the meantime then falls on all sides alike.
    """
    return [tuple(side() for side in sides) for _ in range(n_pairs)]


def tell(
    found: dict[str, Any], name: str, ratios: Ratios | Mapping[str, Ratios]
) -> None:
    """Write ratios of pairs under a dotted name: the median, and the spread beside it.

    Args:
        found: what has been found; written to.
        name: as "search.over_mindarmour".
        ratios: of each pair, or of each pair by names.
    """
    by_name = isinstance(ratios, Mapping)
    parts = ratios if isinstance(ratios, Mapping) else {"": ratios}
    medians = {part: statistics.median(values) for part, values in parts.items()}
    spreads = {part: [min(values), max(values)] for part, values in parts.items()}
    put(found, name, medians if by_name else medians[""])
    found.setdefault("spread", {})[name] = spreads if by_name else spreads[""]


def put(found: dict[str, Any], name: str, value: Any) -> None:
    """Write a value under a dotted name."""
    *above, last = name.split(".")
    for part in above:
        found = found.setdefault(part, {})
    found[last] = value


def at(found: Mapping[str, Any], name: str) -> Any:
    """Return what stands under a dotted name, or None."""
    value: Any = found
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return two nested tables as one; they share no value."""
    both = {**one}
    for name, value in other.items():
        inside = both.get(name)
        is_table = isinstance(inside, Mapping) and isinstance(value, Mapping)
        both[name] = merged(inside, value) if is_table else value
    return both
