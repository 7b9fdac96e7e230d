"""Simulations of records with units: persons of one to ten records that are alike.

As `tests/simulations.py`: each function draws audits whose truth is known and counts.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.findings import persons
from pipeline.statistics import intervals, metrics
from tests.simulations import Counted

MOST = 10  # records of a unit
THRESHOLD = 0.7  # of decisions


class Draw(NamedTuple):
    """An audit."""

    score: NDArray[np.float64]  # (n_records,)
    member: NDArray[np.bool_]  # (n_records,)
    unit: NDArray[np.int64]  # (n_records,)


class Crowd(NamedTuple):
    """Units of one to ten records; members lie `shift` deviations above the others."""

    n_members: int  # units with members
    n_nonmembers: int  # units with non-members
    shift: float
    alike: float  # correlation of the records of a unit
    both: int = 0  # of these units, on both sides
    more: int = 0  # records that each unit with members has more

    @property
    def auc(self) -> float:
        return float(norm.cdf(self.shift / math.sqrt(2)))

    def draws(self, n: int, seed: int) -> Iterator[Draw]:
        rng = np.random.default_rng(seed)
        n_units = self.n_members + self.n_nonmembers
        for _ in range(n):
            size = rng.integers(1, MOST + 1, n_units)
            size[: self.n_members] += self.more
            unit = np.repeat(np.arange(n_units), size)
            member = unit < self.n_members
            unit = np.where(unit < n_units - self.both, unit, n_units - 1 - unit)
            common = rng.normal(size=n_units)[unit]
            own = rng.normal(size=len(unit))
            noise = math.sqrt(self.alike) * common + math.sqrt(1 - self.alike) * own
            yield Draw(noise + self.shift * member, member, unit)


def covered(
    crowd: Crowd, n_draws: int, seed: int, *, known: bool = True
) -> dict[str, Counted]:
    """Count the draws whose intervals cover, of every figure.

    Args:
        crowd: that is drawn from.
        n_draws: how many.
        seed: of the draws.
        known: whether the intervals are given the units.
    """
    tpr = float(norm.sf(THRESHOLD - crowd.shift))
    fpr = float(norm.sf(THRESHOLD))
    hits: dict[str, int] = {}
    for score, member, unit in crowd.draws(n_draws, seed):
        of, share = (unit if known else None), member.mean()
        decision = score > THRESHOLD
        claimed = share * tpr + (1 - share) * fpr
        truth = {
            "AUC": crowd.auc,
            "accuracy": share * tpr + (1 - share) * (1 - fpr),
            "precision": share * tpr / claimed,
            "recall": tpr,
            "advantage": tpr - fpr,
            "TPR at 0.1": float(norm.sf(norm.isf(0.1) - crowd.shift)),
            "TPR at 0.01": float(norm.sf(norm.isf(0.01) - crowd.shift)),
        }

        def rate(hit: NDArray[np.bool_], rows: object, of: object = of) -> object:
            own = None if of is None else of[rows]  # type: ignore[index]
            return intervals.rate(hit, 0.95, own)

        found = {
            "AUC": intervals.auc(score, member, 0.95, of),
            "accuracy": rate(decision == member, slice(None)),
            "precision": rate(member[decision], decision),
            "recall": rate(decision[member], member),
            "advantage": intervals.advantage(decision, member, 0.95, of),
            "TPR at 0.1": intervals.tpr_at_fpr(score, member, 0.1, 0.95, of),
            "TPR at 0.01": intervals.tpr_at_fpr(score, member, 0.01, 0.95, of),
        }
        for name, ends in found.items():
            low, high = ends or (0.0, 1.0)  # type: ignore[misc]
            hits[name] = hits.get(name, 0) + (low <= truth[name] <= high)
    return {name: Counted(count, n_draws) for name, count in hits.items()}


def false_p_values(
    crowd: Crowd, level: float, n_draws: int, seed: int, *, known: bool = True
) -> Counted:
    """Count the draws of nothing whose p-value is at most the level."""
    hits = 0
    for score, member, unit in crowd.draws(n_draws, seed):
        hits += metrics.p_value(score, member, unit if known else None) <= level
    return Counted(hits, n_draws)


def false_units(crowd: Crowd, level: float, n_draws: int, seed: int) -> Counted:
    """Count the units that the target does not know, with a p-value at most the level.

    The records' own p-values are uniform.
    """
    hits = n_units = 0
    for score, _, unit in crowd.draws(n_draws, seed):
        p = persons.together(norm.sf(score), unit)
        hits += int((p <= level).sum())
        n_units += len(p)
    return Counted(hits, n_units)


def false_flags(
    crowd: Crowd, rate: float, n_draws: int, seed: int
) -> NDArray[np.float64]:
    """Return (n_draws,) the share of the flagged units that the target does not know.

    It is 0 where none is flagged.
    """
    rng = np.random.default_rng(seed)
    shares = []
    for score, member, unit in crowd.draws(n_draws, seed):
        evaluation = (rng.random(unit.max() + 1) < 0.5)[unit]
        flagged = persons.flags(score, unit, ~member, evaluation, rate)
        is_known = np.bincount(unit, member) > 0
        shares.append(float((flagged & ~is_known).sum() / max(flagged.sum(), 1)))
    return np.array(shares)
