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
from pipeline.statistics import intervals, metrics

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


def figures(
    score: NDArray[np.floating[Any]],
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    confidence: float,
    confidence_of_decisions: float,
) -> Figures:
    """Return every figure of an attack with its interval.

    Args:
        score: (n_records,) higher for a likelier member.
        decision: (n_records,) whether a record was taken for a member, by a threshold
            that was chosen on other records.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: of the intervals of what the scores show, in (0, 1).
        confidence_of_decisions: of those of what the decisions show, in (0, 1).
    """
    n, n_others = int(member.sum()), int((~member).sum())
    hits, alarms = int(decision[member].sum()), int(decision[~member].sum())
    right, claims = hits + n_others - alarms, hits + alarms
    advantage = intervals.advantage(hits, n, alarms, n_others, confidence_of_decisions)

    def rate(hits: int, n_trials: int) -> intervals.Interval:
        return intervals.clopper_pearson(hits, n_trials, confidence_of_decisions)

    return Figures(
        auc=metrics.auc(score, member),
        auc_interval=intervals.auc(score, member, confidence),
        accuracy=metrics.accuracy(decision, member),
        accuracy_interval=rate(right, n + n_others),
        balanced_accuracy=metrics.balanced_accuracy(decision, member),
        balanced_accuracy_interval=((1 + advantage.low) / 2, (1 + advantage.high) / 2),
        advantage=metrics.advantage(decision, member),
        advantage_interval=advantage,
        precision=metrics.precision(decision, member),
        precision_interval=rate(hits, claims) if claims else None,
        precision_at_base_rate={
            str(share): metrics.precision_at_base_rate(
                hits / n, alarms / n_others, share
            )
            for share in BASE_RATES
        },
        recall=hits / n,
        recall_interval=rate(hits, n),
        tpr_at_fpr=tpr_at_fpr(score, member, confidence),
    )


def exceeds(
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    threshold: float,
    confidence: float,
) -> bool:
    """Return whether accuracy, precision and recall surely exceed a threshold.

    The accuracy must also surely exceed that of a guess, which takes all records for
    the larger side.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether a record is a member; some are and some are not.
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


def tpr_at_fpr(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_], confidence: float
) -> dict[str, Rate]:
    """Return the true-positive rate at each of `RATES`, or why there is none.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        confidence: of the intervals, in (0, 1).
    """
    return {str(rate): _rate(score, member, rate, confidence) for rate in RATES}


def _rate(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    fpr: float,
    confidence: float,
) -> Rate:
    value = metrics.tpr_at_fpr(score, member, fpr)
    if value is not None:
        interval = intervals.tpr_at_fpr(score, member, fpr, confidence)
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
