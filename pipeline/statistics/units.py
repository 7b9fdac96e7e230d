"""Units: records that belong together, as those of one person do.

A unit is told by a whole number for each record, the same for records of one unit;
None stands for records that each stand for themselves. Records of one unit resemble one
another, so that ten of them say less than ten of ten units: what is counted on them as
if they were independent looks surer than it is.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Units = NDArray[np.integer[Any]] | None


class Grouped(NamedTuple):
    """Records by their units, in order of the units' first records."""

    first: NDArray[np.int64]  # (n_units,) position of each unit's first record
    place: NDArray[np.int64]  # (n_records,) which unit a record belongs to
    size: NDArray[np.int64]  # (n_units,) records


def grouped(unit: Units, n_records: int) -> Grouped:
    """Return the records by their units.

    Args:
        unit: (n_records,) or None.
        n_records: in all.
    """
    if unit is None:
        alone = np.arange(n_records)
        return Grouped(alone, alone, np.ones(n_records, dtype=np.int64))
    _, first, place, size = np.unique(
        unit, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    return Grouped(first[order], position[place.ravel()], size[order])


def of(unit: Units, rows: NDArray[Any]) -> Units:
    """Return the units of chosen records.

    Args:
        unit: (n_records,) or None.
        rows: a mask or positions.
    """
    return None if unit is None else unit[rows]


def shared(unit: Units) -> Units:
    """Return the units; None where no two records are of one.

    With it, records that are each of another unit give the very figures that they give
    without units.
    """
    if unit is None or len(np.unique(unit)) == len(unit):
        return None
    return unit


def fewest(unit: Units, member: NDArray[np.bool_]) -> int:
    """Return how many units have records on a side, of the side with fewer of them.

    Args:
        unit: (n_records,) or None.
        member: (n_records,) whether a record is a member.
    """
    sides = member, ~member
    return min(len(grouped(of(unit, side), int(side.sum())).first) for side in sides)


def totals(grouped: Grouped, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return (n_units,) the sum of (n_records,) values over each unit."""
    sums = np.bincount(grouped.place, values, minlength=len(grouped.first))
    return np.asarray(sums, dtype=np.float64)


def one_of_each(unit: Units, n_records: int) -> NDArray[np.int64]:
    """Return the positions of one record of each unit, ascending.

    These are independent of one another, whatever a unit's other records are. The first
    unit gives its first record, the next its second, and so on, beginning anew where it
    has no more: if all units have members first, their non-members count too.

    Args:
        unit: (n_records,) or None.
        n_records: in all.
    """
    groups = grouped(unit, n_records)
    by_unit = np.argsort(groups.place, kind="stable")
    start = np.cumsum(groups.size) - groups.size
    turn = np.arange(len(start)) % groups.size
    return np.sort(by_unit[start + turn])


def whole(unit: Units, order: NDArray[np.int64], n_records: int) -> NDArray[np.bool_]:
    """Choose whole units in order, until so many records are chosen.

    Where the next unit is too large, the first later one that makes up the number takes
    its place; without such a one, fewer are chosen, but at least one unit.

    Args:
        unit: (n_all,) or None.
        order: (n_units,) a permutation of the units, as `grouped` numbers them.
        n_records: to choose.

    Returns:
        (n_all,) whether a record is chosen.
    """
    groups = grouped(unit, len(order) if unit is None else len(unit))
    size = groups.size[order]
    end = int(np.searchsorted(np.cumsum(size), n_records, side="right"))
    left = n_records - int(size[:end].sum())
    fitting = np.flatnonzero(size[end:] == left)[:1] + end
    taken = np.concatenate((order[:end], order[fitting]))
    chosen = np.zeros(len(order), dtype=bool)
    chosen[taken if len(taken) or not n_records else order[:1]] = True
    return np.asarray(chosen[groups.place])


def effective(unit: Units, n_records: int) -> float:
    """Return how many independent records the records are worth, at the least.

    So many they are worth if records of one unit are all alike, and their number if
    each is of another unit.

    Args:
        unit: (n_records,) or None.
        n_records: in all.

    Source: Kish 1965, Survey Sampling, section 5.4: (Σn)² / Σn² of unit sizes n.
    """
    size = grouped(unit, n_records).size
    return float(n_records**2 / (size.astype(np.float64) ** 2).sum())
