"""Figures: what an attack reaches on attack-eval, each with its interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.findings.schema import (
    DivisionFigures,
    Figures,
    Rate,
    Spread,
    Spreads,
)
from pipeline.statistics import intervals, metrics, units
from pipeline.statistics.units import Units

# False-positive rates at which members are counted, if non-members are enough.
RATES = (0.1, 0.01, 0.001, 0.0001)
# The same on repeated divisions.
REPEATED_RATES = (0.1, 0.01, 0.001)
# Shares of members among the records that an attacker meets.
BASE_RATES = (0.5, 0.1, 0.01)
# How the intervals come about.
INTERVALS = {
    "auc": "DeLong, on log-odds",
    "accuracy": "Clopper-Pearson",
    "balanced_accuracy": "Newcombe, of Clopper-Pearson limits",
    "advantage": "Newcombe, of Clopper-Pearson limits",
    "precision": "Clopper-Pearson",
    "recall": "Clopper-Pearson",
    "tpr_at_fpr": "Clopper-Pearson, averaged over where the threshold may lie",
}
# The same where records have units.
INTERVALS_OF_UNITS = {
    name: how.replace("DeLong", "DeLong as by Obuchowski, over units").replace(
        "Clopper-Pearson", "Clopper-Pearson of effective numbers, over units"
    )
    for name, how in INTERVALS.items()
}


def figures(
    score: NDArray[np.floating[Any]],
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    confidence: float,
    confidence_of_decisions: float,
    unit: Units = None,
) -> Figures:
    """Return every figure of an attack with its interval.

    Args:
        score: (n_records,) higher for a likelier member.
        decision: (n_records,) whether a record was taken for a member, by a threshold
            that was chosen on other records.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: of the intervals of what the scores show, in (0, 1).
        confidence_of_decisions: of those of what the decisions show, in (0, 1).
        unit: (n_records,) or None.
    """
    n, n_others = int(member.sum()), int((~member).sum())
    hits, alarms = int(decision[member].sum()), int(decision[~member].sum())
    advantage = intervals.advantage(decision, member, confidence_of_decisions, unit)
    of_accuracy, of_precision, of_recall = _rates(
        decision, member, confidence_of_decisions, unit
    )

    return Figures(
        auc=metrics.auc(score, member),
        auc_interval=intervals.auc(score, member, confidence, unit),
        accuracy=metrics.accuracy(decision, member),
        accuracy_interval=of_accuracy,
        balanced_accuracy=metrics.balanced_accuracy(decision, member),
        balanced_accuracy_interval=((1 + advantage.low) / 2, (1 + advantage.high) / 2),
        advantage=metrics.advantage(decision, member),
        advantage_interval=advantage,
        precision=metrics.precision(decision, member),
        precision_interval=of_precision,
        precision_at_base_rate={
            str(share): metrics.precision_at_base_rate(
                hits / n, alarms / n_others, share
            )
            for share in BASE_RATES
        },
        recall=hits / n,
        recall_interval=of_recall,
        tpr_at_fpr=tpr_at_fpr(score, member, confidence, unit),
    )


def _rates(
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units,
) -> tuple[intervals.Interval, intervals.Interval | None, intervals.Interval]:
    """Return the intervals of accuracy, of precision (if any), and of recall."""
    of_claims, of_members = units.of(unit, decision), units.of(unit, member)
    return (
        intervals.rate(decision == member, confidence, unit),
        intervals.rate(member[decision], confidence, of_claims)
        if decision.any()
        else None,
        intervals.rate(decision[member], confidence, of_members),
    )


def exceeds(
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    threshold: float,
    confidence: float,
    unit: Units = None,
) -> bool:
    """Return whether accuracy, precision and recall surely exceed a threshold.

    The accuracy must also surely exceed that of a guess, which takes all records for
    the larger side.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether a record is a member; some are and some are not.
        threshold: in [0, 1].
        confidence: of the intervals whose lower ends are compared, in (0, 1).
        unit: (n_records,) or None.

    Source: MindArmour's tutorial "Using Membership Inference to Test Model Security",
    which compares the rates themselves.
    """
    of_accuracy, of_precision, of_recall = _rates(decision, member, confidence, unit)
    if of_precision is None:
        return False
    n = int(member.sum())
    guess = max(n, len(member) - n) / len(member)
    lowest = min(of_accuracy.low, of_precision.low, of_recall.low)
    return lowest > threshold and of_accuracy.low > guess


def tpr_at_fpr(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> dict[str, Rate]:
    """Return the true-positive rate at each of `RATES`, or why there is none.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        confidence: of the intervals, in (0, 1).
        unit: (n_records,) or None.
    """
    return {str(rate): _rate(score, member, rate, confidence, unit) for rate in RATES}


def _rate(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    fpr: float,
    confidence: float,
    unit: Units,
) -> Rate:
    value = metrics.tpr_at_fpr(score, member, fpr)
    if value is not None:
        interval = intervals.tpr_at_fpr(score, member, fpr, confidence, unit)
        return Rate(value=value, interval=interval, reason=None)
    reason = (
        f"needs {round(1 / fpr)} records of the other side, "
        f"and there are {int((~member).sum())}"
    )
    return Rate(value=None, interval=None, reason=reason)


def on_division(
    score: NDArray[np.floating[Any]],
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
) -> DivisionFigures:
    """Return the figures of an attack whose spread over divisions is reported.

    Args:
        score: (n_records,) higher for a likelier member, on attack-eval.
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether a record is a member.
    """
    return DivisionFigures(
        auc=metrics.auc(score, member),
        accuracy=metrics.accuracy(decision, member),
        precision=metrics.precision(decision, member),
        recall=metrics.recall(decision, member),
        tpr_at_fpr={
            str(rate): metrics.tpr_at_fpr(score, member, rate)
            for rate in REPEATED_RATES
        },
    )


def spreads(divisions: Sequence[DivisionFigures]) -> Spreads:
    """Return how much the figures of an attack vary over divisions of the records.

    Args:
        divisions: the attack's figures on each division, two or more.
    """
    return Spreads(
        auc=_spread([division.auc for division in divisions]),
        accuracy=_spread([division.accuracy for division in divisions]),
        precision=_spread([division.precision for division in divisions]),
        recall=_spread([division.recall for division in divisions]),
        tpr_at_fpr={
            rate: _spread([division.tpr_at_fpr[rate] for division in divisions])
            for rate in divisions[0].tpr_at_fpr
        },
    )


def _spread(values: Sequence[float | None]) -> Spread | None:
    """Return how values vary; None if any of them is undefined."""
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return None
    return Spread(
        lowest=min(defined),
        highest=max(defined),
        mean=float(np.mean(defined)),
        deviation=float(np.std(defined, ddof=1)),
    )
