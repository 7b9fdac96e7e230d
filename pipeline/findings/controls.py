"""Controls: what an audit must pass before its figures mean anything."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.statistics import metrics

# At most this share of sound audits fails the null control, whatever the attacks.
NULL_LEVEL = 0.01
# Difference of accuracies that is never held against references.
SLACK = 0.05
# Deviations of the references' own accuracies beyond which the target is not like them.
FAR = 3.0


def shuffled(
    member: NDArray[np.bool_], sides: Sequence[NDArray[np.bool_]], seed: int
) -> NDArray[np.bool_]:
    """Return memberships that say nothing: each side's, in another order.

    Args:
        member: (n_records,).
        sides: (n_records,) each, without overlap; other records keep theirs.
        seed: of the orders.
    """
    rng = np.random.default_rng(seed)
    out = member.copy()
    for side in sides:
        out[side] = rng.permutation(member[side])
    return out


def null(
    scores: Mapping[str, NDArray[np.floating[Any]]],
    member: NDArray[np.bool_],
    refitted: Sequence[str],
) -> dict[str, Any]:
    """Judge attacks on memberships that say nothing.

    Each AUC is compared with one half, and the smallest p-value corrected for the
    number of attacks (Bonferroni), which holds however much they are alike.

    Args:
        scores: (n_records,) of each attack, on attack-eval.
        member: (n_records,) shuffled memberships.
        refitted: names of the attacks that were given the shuffled memberships of
            attack-train.

    Returns:
        The control, as the report has it.
    """
    attacks = {
        name: {
            "auc": metrics.auc(score, member),
            "p_value": metrics.compatibility(score, member),
        }
        for name, score in scores.items()
    }
    smallest = min(one["p_value"] for one in attacks.values())
    corrected = min(1.0, smallest * len(attacks))
    return {
        "passed": corrected > NULL_LEVEL,
        "p_value": corrected,
        "level": NULL_LEVEL,
        "refitted": list(refitted),
        "attacks": attacks,
    }


def resemblance(
    target: Mapping[str, float],
    references: Sequence[Mapping[str, float | None]],
    counts: Mapping[str, int],
) -> dict[str, Any] | None:
    """Compare the target's accuracies with those of the references.

    References that fit better or worse than the target, or generalise otherwise, are
    no measure of what it would say of a record it was not trained on.

    Args:
        target: "train_accuracy" and "test_accuracy".
        references: the same of each; None where it has no such records.
        counts: records on which the target's accuracies were found.

    Returns:
        The control, as the report has it; None without references.
    """
    if not references:
        return None
    compared = {}
    for name in ("train_accuracy", "test_accuracy"):
        given = [one[name] for one in references if one[name] is not None]
        rates = np.array(given, dtype=np.float64)
        if not len(rates):
            continue
        usual, own = float(np.median(rates)), target[name]
        spread = float(rates.std(ddof=1)) if len(rates) > 1 else 0.0
        by_chance = math.sqrt(usual * (1 - usual) / counts[name])
        allowed = SLACK + FAR * math.hypot(spread, by_chance)
        compared[name] = {
            "target": own,
            "references": usual,
            "allowed": allowed,
            "passed": abs(own - usual) <= allowed,
        }
    passed = all(one["passed"] for one in compared.values()) if compared else None
    return {"passed": passed, **compared}


def resolution(n_nonmembers: int, rates: Sequence[float]) -> dict[str, Any]:
    """Return the smallest false-positive rate that so many non-members can measure.

    Args:
        n_nonmembers: on attack-eval.
        rates: that are asked for.
    """
    unmeasured = [
        rate
        for rate in rates
        if not metrics.false_positives_allowed(n_nonmembers, rate)
    ]
    return {
        "nonmembers": n_nonmembers,
        "smallest_fpr": 1 / n_nonmembers,
        "unmeasured": unmeasured,
    }
