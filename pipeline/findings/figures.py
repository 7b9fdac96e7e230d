"""Estimates: what an attack reaches on attack-eval, each figure with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.statistics import bootstrap, intervals, metrics
from pipeline.statistics.intervals import Interval

# False-positive rates at which members are counted, if non-members are enough.
RATES = (0.1, 0.01, 0.001, 0.0001)
# How the intervals come about.
EXACT = {
    "auc": "DeLong, on log-odds",
    "accuracy": "Clopper-Pearson",
    "balanced_accuracy": "Newcombe, of Clopper-Pearson limits",
    "advantage": "Newcombe, of Clopper-Pearson limits",
    "precision": "Clopper-Pearson",
    "recall": "Clopper-Pearson",
    "tpr_at_fpr": "Clopper-Pearson, averaged over where the threshold may lie",
}
BOOTSTRAP = dict.fromkeys(EXACT, "bootstrap, percentiles")

Figures = dict[str, Any]  # of one attack, as the report has them


def exact(
    score: NDArray[np.floating[Any]],
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    confidence: float,
) -> Figures:
    """Return every figure of an attack and the intervals that `intervals` gives.

    Args:
        score: (n_records,) higher for a likelier member.
        decision: (n_records,) whether a record was taken for a member, by a threshold
            that was chosen on other records.
        member: (n_records,) whether a record is one; some are and some are not.
        confidence: of the intervals, in (0, 1).
    """
    n, n_others = int(member.sum()), int((~member).sum())
    hits, alarms = int(decision[member].sum()), int(decision[~member].sum())
    right, claims = hits + n_others - alarms, hits + alarms
    advantage = intervals.advantage(hits, n, alarms, n_others, confidence)
    half = Interval((1 + advantage.low) / 2, (1 + advantage.high) / 2)
    limits: dict[str, Interval | None] = {
        "auc": intervals.auc(score, member, confidence),
        "accuracy": intervals.clopper_pearson(right, n + n_others, confidence),
        "balanced_accuracy": half,
        "advantage": advantage,
        "precision": (
            intervals.clopper_pearson(hits, claims, confidence) if claims else None
        ),
        "recall": intervals.clopper_pearson(hits, n, confidence),
    }
    found = _plain(score, decision, member)
    for name, limit in limits.items():
        found[f"{name}_interval"] = _listed(limit)
    found["tpr_at_fpr"] = tpr_at_fpr(score, member, confidence)
    return found


def exceeds(
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    threshold: float,
    confidence: float,
) -> bool:
    """Return whether accuracy, precision and recall are above a threshold for certain.

    And the accuracy above that of a guess, which takes all records for the larger side.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether a record is one; some are and some are not.
        threshold: in [0, 1].
        confidence: of the intervals whose lower ends are compared, in (0, 1).

    Source: MindArmour's tutorial "Using Membership Inference to Test Model Security",
    which compares the rates themselves.
    """
    claims, n = int(decision.sum()), int(member.sum())
    if not claims:
        return False
    right, hits = int((decision == member).sum()), int(decision[member].sum())
    guess = max(n, len(member) - n) / len(member)
    pairs = ((right, len(member)), (hits, claims), (hits, n))
    lows = [intervals.clopper_pearson(*pair, confidence).low for pair in pairs]
    return min(lows) > threshold and lows[0] > guess


def resampled(
    score: NDArray[np.floating[Any]],
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    confidence: float,
    n_resamples: int,
    seed: int,
) -> list[Figures]:
    """Return every figure of each attack, with intervals of the bootstrap.

    Args:
        score: (n_attacks, n_records) higher for a likelier member.
        decision: (n_attacks, n_records) whether a record was taken for a member.
        member: (n_records,) whether a record is one; some are and some are not.
        confidence: of the intervals, in (0, 1).
        n_resamples: how many.
        seed: of the draws.
    """
    drawn = bootstrap.resampled(score, decision, member, RATES, n_resamples, seed)
    found = []
    for row in range(len(score)):
        limits = {
            name: _listed(bootstrap.interval(values[row], confidence))
            for name, values in drawn.items()
        }
        figures = _plain(score[row], decision[row], member)
        for name in tuple(figures):
            figures[f"{name}_interval"] = limits[name]
        figures["tpr_at_fpr"] = tpr_at_fpr(score[row], member, confidence)
        for rate, told in figures["tpr_at_fpr"].items():
            if told["value"] is not None:
                told["interval"] = limits[rate]
        found.append(figures)
    return found


def tpr_at_fpr(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_], confidence: float
) -> dict[str, dict[str, Any]]:
    """Return the true-positive rate at each of `RATES`, or why there is none.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is one.
        confidence: of the intervals, in (0, 1).
    """
    found = {}
    n_others = int((~member).sum())
    for rate in RATES:
        value = metrics.tpr_at_fpr(score, member, rate)
        found[str(rate)] = (
            {
                "value": None,
                "reason": f"needs {round(1 / rate)} records of the other side, "
                f"and there are {n_others}",
            }
            if value is None
            else {
                "value": value,
                "interval": _listed(
                    intervals.tpr_at_fpr(score, member, rate, confidence)
                ),
            }
        )
    return found


def spread(draws: Sequence[Mapping[str, Any]], name: str) -> Figures:
    """Return how much each figure of an attack varies over divisions of the records.

    Args:
        draws: the attacks' figures of each division, by name.
        name: of the attack.
    """
    own = [draw[name] for draw in draws]
    rates = own[0]["tpr_at_fpr"]
    return {
        **{
            figure: _summed_up([one[figure] for one in own])
            for figure in own[0]
            if figure != "tpr_at_fpr"
        },
        "tpr_at_fpr": {
            rate: _summed_up([one["tpr_at_fpr"][rate] for one in own]) for rate in rates
        },
    }


def _summed_up(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return where values lie; None if one of them is undefined."""
    given = [value for value in values if value is not None]
    if len(given) < len(values):
        return None
    return {
        "mean": float(np.mean(given)),
        "deviation": float(np.std(given, ddof=1)),
        "lowest": min(given),
        "highest": max(given),
    }


def _plain(
    score: NDArray[np.floating[Any]],
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
) -> Figures:
    return {
        "auc": metrics.auc(score, member),
        "accuracy": metrics.accuracy(decision, member),
        "balanced_accuracy": metrics.balanced_accuracy(decision, member),
        "advantage": metrics.advantage(decision, member),
        "precision": metrics.precision(decision, member),
        "recall": metrics.recall(decision, member),
    }


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
