"""Outputs: whether what a model returns can be logits.

Logits are known up to a constant of each record, so log-probabilities are logits too,
and are used as they are.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.signals.stored import Rows

Fault = Literal["constant", "decisions", "probabilities", "sigmoids", "negated"]

# What is wrong with the outputs, to be read after the name of what returns them.
WORDS: dict[Fault, str] = {
    "constant": "gives the same outputs for every record",
    "decisions": "gives decisions, a 1 for one class and 0 for all others, as logits",
    "probabilities": "gives probabilities, which lie in [0, 1] and sum to 1, as logits",
    "sigmoids": "gives a probability, which lies in [0, 1], as its single logit",
    "negated": "gives negative log-probabilities as logits",
}
# Fewer records are not judged: a few logits may look like anything, and no audit of so
# few records comes to a verdict.
FEWEST = 10
# How far from 1 the sum of a record's probabilities may lie: bfloat16 keeps 2**-8 of
# each, and some clip them.
SUM_TOLERANCE = 0.01
# The same where they are rounded to so many decimals, each by half a unit at most.
DECIMALS = (1, 2, 3, 4)
LARGEST_TOLERANCE = 0.5
# How far below 0 or above 1 rounding takes a probability.
RANGE_TOLERANCE = 1e-6
# Constant outputs differ by no more than the last bits: in units of these.
LAST_BITS = 4
ROWS = 4096  # looked at together; logits show themselves in the first of them


def fault(outputs: Rows) -> Fault | None:
    """Return why these outputs of a model cannot be logits; None if they can.

    Records with outputs that are not finite are left aside.

    Args:
        outputs: (n_records, ..., n_classes) of one model.
    """
    first = _first(outputs)
    if len(first) < FEWEST:
        return None
    if _all_rows(outputs, lambda part: _equal(part, first[:1])):
        return "constant"
    tolerance = _sum_tolerance(first)
    if _all_rows(outputs, lambda part: _are_probabilities(part, tolerance)):
        decided = _all_rows(outputs, lambda part: np.isin(part, (0, 1)))
        return "decisions" if decided else "probabilities"
    if _all_rows(outputs, _are_sigmoids):
        return "sigmoids"
    if _all_rows(
        outputs, lambda part: _are_probabilities(_exponentials(-part), SUM_TOLERANCE)
    ):
        return "negated"
    return None


def _first(outputs: Rows) -> NDArray[np.floating[Any]]:
    """Return the first rows, so many parts of them that there are enough."""
    rows = outputs[:0]
    for part in _parts(outputs):
        rows = np.concatenate((rows, part))
        if len(rows) >= FEWEST:
            break
    return rows


def _all_rows(
    outputs: Rows, test: Callable[[NDArray[np.floating[Any]]], NDArray[np.bool_]]
) -> bool:
    """Return whether a test holds for all rows, tried until it fails."""
    return all(test(part).all() for part in _parts(outputs))


def _parts(outputs: Rows) -> Iterator[NDArray[np.floating[Any]]]:
    """Yield the rows that are finite, few at a time."""
    for start in range(0, len(outputs), ROWS):
        part = outputs[start : start + ROWS]
        yield part[np.isfinite(part).all(axis=tuple(range(1, part.ndim)))]


def _equal(
    part: NDArray[np.floating[Any]], first: NDArray[np.floating[Any]]
) -> NDArray[np.bool_]:
    allowed = LAST_BITS * float(np.finfo(first.dtype).eps)
    wide, base = part.astype(np.float64), first.astype(np.float64)
    return np.asarray(np.abs(wide - base) <= allowed * np.abs(base).max())


def _sum_tolerance(part: NDArray[np.floating[Any]]) -> float:
    """Return how far from 1 sums of probabilities may lie by how they are rounded."""
    wide = part.astype(np.float64)
    for decimals in DECIMALS:
        if np.allclose(wide, wide.round(decimals), rtol=0, atol=RANGE_TOLERANCE):
            largest = part.shape[-1] * 0.5 * 10.0**-decimals
            return min(max(largest, SUM_TOLERANCE), LARGEST_TOLERANCE)
    return SUM_TOLERANCE


def _are_probabilities(
    part: NDArray[np.floating[Any]], tolerance: float
) -> NDArray[np.bool_]:
    wide = part.astype(np.float64)
    inside = (wide >= -RANGE_TOLERANCE) & (wide <= 1 + RANGE_TOLERANCE)
    sums = np.abs(wide.sum(axis=-1) - 1) <= tolerance
    return np.asarray(inside.all(axis=-1) & sums)


def _are_sigmoids(part: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return of which rows a single output, read as (0, z), lies in [0, 1]."""
    if part.shape[-1] != 2:
        return np.zeros(part.shape[:-1], dtype=bool)
    single = part[..., 1].astype(np.float64)
    inside = (single >= -RANGE_TOLERANCE) & (single <= 1 + RANGE_TOLERANCE)
    return np.asarray((part[..., 0] == 0) & inside)


def _exponentials(part: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    # What is above 0 is no logarithm of a probability, however far above.
    return np.asarray(np.exp(np.minimum(part.astype(np.float64), 1.0)))
