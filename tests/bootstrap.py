"""Bootstrap: every metric of every attack on records drawn anew, many times.

Members and non-members are each drawn with replacement, in their own numbers, and the
same draws serve all attacks. What was chosen before, the thresholds, stays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.statistics import metrics
from pipeline.statistics.intervals import Interval

BLOCK_CELLS = 1 << 20  # resamples × records at once


def resampled(
    score: NDArray[np.floating[Any]],
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    rates: Sequence[float],
    n_resamples: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of each attack on each resample.

    Args:
        score: (n_attacks, n_records) higher for a likelier member.
        decision: (n_attacks, n_records) whether a record was taken for a member.
        member: (n_records,) whether a record is one; some are and some are not.
        rates: false-positive rates at which to count members.
        n_resamples: how many.
        seed: of the draws.

    Returns:
        (n_attacks, n_resamples) each of "auc", "accuracy", "balanced_accuracy",
        "advantage", "precision", "recall" and of each rate, under ``str(rate)``. What
        is undefined is NaN.

    Source: Efron 1979; stratified as the sides' numbers are fixed.
    """
    n_attacks, n_records = score.shape
    names = ("auc", "accuracy", "balanced_accuracy", "advantage", "precision", "recall")
    shape = n_attacks, n_resamples
    found = {name: np.full(shape, np.nan) for name in (*names, *map(str, rates))}
    orders = [_order(one) for one in score]
    sides = [(decision & side).astype(np.float32) for side in (member, ~member)]
    rng = np.random.default_rng(seed)
    step = max(BLOCK_CELLS // n_records, 1)
    for first in range(0, n_resamples, step):
        some = slice(first, min(first + step, n_resamples))
        drawn = _drawn(member, some.stop - some.start, rng)
        for name, values in _decided(drawn, sides, member).items():
            found[name][:, some] = values
        inside, outside = np.where(member, drawn, 0), np.where(member, 0, drawn)
        for row, (order, ends) in enumerate(orders):
            above_in = np.cumsum(inside[:, order], axis=1)[:, ends]
            above_out = np.cumsum(outside[:, order], axis=1)[:, ends]
            for name, values in _ranked(above_in, above_out, rates).items():
                found[name][row, some] = values
    return found


def interval(values: NDArray[np.float64], confidence: float) -> Interval | None:
    """Return the percentile interval of one metric's resamples.

    Args:
        values: (n_resamples,).
        confidence: in (0, 1).

    Returns:
        None where the metric is undefined in some resample.
    """
    if np.isnan(values).any():
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _order(
    score: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the records from the highest score down, and the last of each tie."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    return order, np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))


def _drawn(
    member: NDArray[np.bool_], n_resamples: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return (n_resamples, n_records) how often each record is drawn."""
    drawn = np.empty((n_resamples, len(member)), dtype=np.int32)
    for side in (member, ~member):
        n = int(side.sum())
        picks = rng.integers(n, size=(n_resamples, n))
        picks += np.arange(n_resamples)[:, None] * n
        counts = np.bincount(picks.ravel(), minlength=n_resamples * n)
        drawn[:, side] = counts.reshape(n_resamples, n)
    return drawn


def _decided(
    drawn: NDArray[np.int32],
    sides: Sequence[NDArray[np.float32]],
    member: NDArray[np.bool_],
) -> dict[str, NDArray[np.float64]]:
    """Return the (n_attacks, n_resamples) metrics of the decisions.

    Args:
        drawn: (n_resamples, n_records) how often each record is drawn.
        sides: (n_attacks, n_records) members and non-members taken for members.
        member: (n_records,) whether a record is one.
    """
    # Sums of small whole numbers: exact in single precision up to sixteen million.
    weights = drawn.astype(np.float32)
    hits, alarms = ((side @ weights.T).astype(np.float64) for side in sides)
    n, n_others = int(member.sum()), int((~member).sum())
    claims = hits + alarms
    advantage = hits / n - alarms / n_others
    return {
        "accuracy": (hits + n_others - alarms) / (n + n_others),
        "balanced_accuracy": (1 + advantage) / 2,
        "advantage": advantage,
        "precision": np.divide(
            hits, claims, out=np.full(claims.shape, np.nan), where=claims > 0
        ),
        "recall": hits / n,
    }


def _ranked(
    above_in: NDArray[np.int64], above_out: NDArray[np.int64], rates: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    """Return the (n_resamples,) metrics of one attack's order.

    Args:
        above_in: (n_resamples, n_scores) members at or above each different score.
        above_out: (n_resamples, n_scores) the same of non-members.
        rates: false-positive rates.
    """
    n, n_others = above_in[0, -1], above_out[0, -1]
    # The trapezoids under the ROC curve, doubled, in counts of pairs.
    twice = (above_in[:, 0] * above_out[:, 0]).astype(np.float64)
    steps = np.diff(above_out, axis=1)
    twice += (steps * (above_in[:, 1:] + above_in[:, :-1])).sum(axis=1)
    found = {"auc": twice / (2.0 * n * n_others)}
    for rate in rates:
        allowed = metrics.false_positives_allowed(int(n_others), rate)
        if allowed:
            # The scores with few enough non-members at or above come first.
            last = (above_out <= allowed).sum(axis=1) - 1
            hits = above_in[np.arange(len(above_in)), last]
            found[str(rate)] = np.where(last >= 0, hits, 0) / n
    return found
