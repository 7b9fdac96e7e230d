"""Controls: what an audit must pass before its figures mean anything."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from pipeline import draws
from pipeline.cache.summaries import Accuracies
from pipeline.findings.schema import (
    Agreement,
    Comparison,
    Independence,
    Null,
    NullAttack,
    Range,
    Resemblance,
    Resolution,
    Target,
)
from pipeline.statistics import metrics

# At most this share of sound audits fails the null control, whatever the attacks.
NULL_LEVEL = 0.01
# At most this share of sound audits fails the control of independence: practically
# none, since a failure stops the training of references.
INDEPENDENCE_LEVEL = 1e-6
# A difference of accuracies this small is never held against references.
SLACK = 0.05
# Deviations of the references' own accuracies beyond which the target is not like them.
FAR = 3.0


def shuffled(
    member: NDArray[np.bool_], sides: Sequence[NDArray[np.bool_]], seed: int
) -> NDArray[np.bool_]:
    """Return memberships that say nothing: those of each side in a random order.

    Args:
        member: (n_records,).
        sides: (n_records,) each, without overlap; other records keep theirs.
        seed: of the orders.
    """
    out = member.copy()
    for index, side in enumerate(sides):
        rng = draws.rng(seed, "attack.null", index)
        out[side] = rng.permutation(member[side])
    return out


def null(
    scores: Mapping[str, NDArray[np.floating[Any]]],
    member: NDArray[np.bool_],
    refitted: Sequence[str],
) -> Null:
    """Judge attacks on memberships that say nothing.

    Each AUC is compared with one half. The smallest p-value is corrected for the number
    of attacks (Bonferroni), which holds however much the attacks are alike.

    Args:
        scores: (n_records,) of each attack, on attack-eval.
        member: (n_records,) shuffled memberships.
        refitted: names of the attacks that saw the shuffled memberships of
            attack-train.
    """
    attacks = {
        name: NullAttack(
            auc=metrics.auc(score, member),
            p_value=metrics.compatibility(score, member),
        )
        for name, score in scores.items()
    }
    smallest = min(attack.p_value for attack in attacks.values())
    corrected = min(1.0, smallest * len(attacks))
    return Null(
        passed=corrected > NULL_LEVEL,
        p_value=corrected,
        level=NULL_LEVEL,
        refitted=tuple(refitted),
        attacks=attacks,
    )


def resemblance(
    target: Target,
    references: Sequence[Accuracies],
    n_members: int,
    n_nonmembers: int,
) -> Resemblance | None:
    """Compare the target's accuracies with those of the references.

    References that fit better or worse than the target, or generalise better or worse,
    do not show what the target would say of a record it was not trained on.

    Args:
        target: with its accuracies on members and on non-members.
        references: the same of each; None where it has no such records.
        n_members: records behind the target's train accuracy.
        n_nonmembers: records behind its test accuracy.

    Returns:
        None without references.
    """
    if not references:
        return None
    train = _comparison(
        target.train_accuracy, [model.train_accuracy for model in references], n_members
    )
    test = _comparison(
        target.test_accuracy,
        [model.test_accuracy for model in references],
        n_nonmembers,
    )
    comparisons = [compared for compared in (train, test) if compared is not None]
    passed = all(compared.passed for compared in comparisons) if comparisons else None
    return Resemblance(passed=passed, train_accuracy=train, test_accuracy=test)


def _comparison(
    accuracy: float, of_references: Sequence[float | None], n_records: int
) -> Comparison | None:
    """Compare an accuracy with the median of the references'; None without any."""
    rates = np.array([rate for rate in of_references if rate is not None])
    if not len(rates):
        return None
    usual = float(np.median(rates))
    spread = float(rates.std(ddof=1)) if len(rates) > 1 else 0.0
    by_chance = math.sqrt(usual * (1 - usual) / n_records)
    allowed = SLACK + FAR * math.hypot(spread, by_chance)
    return Comparison(
        target=accuracy,
        references=usual,
        allowed=allowed,
        passed=abs(accuracy - usual) <= allowed,
    )


def independence(
    reference_member: NDArray[np.bool_],
    member: NDArray[np.bool_],
    names: Sequence[str],
) -> Independence | None:
    """Test whether any reference's memberships depend on the target's.

    If a reference's records were drawn without regard to the target's, the number of
    records that both were trained on is hypergeometric, given how many each of them was
    trained on. Two draws from one random stream agree far more often, or far less
    often where a reference is trained on the complement. The p-values are two-sided and
    corrected for the number of references (Bonferroni), which holds for complementary
    pairs too. The level is so low that at most one of a million sound audits fails.
    Fewer than 24 records cannot fail: there, even full agreement may be chance.

    Args:
        reference_member: (n_references, n_records) whether a reference was trained on a
            record.
        member: (n_records,) whether the target was.
        names: (n_references,) of the references.

    Returns:
        None without references.

    Source: Fisher 1935, The Design of Experiments, on the exact test of a 2 × 2 table;
    two-sided as twice the smaller tail.
    """
    if not len(reference_member):
        return None
    n_records, n_members = len(member), int(member.sum())
    n_trained = reference_member.sum(axis=1)
    # Row by row: all together need as much room again as the memberships.
    n_both = np.array([np.count_nonzero(row & member) for row in reference_member])
    law = hypergeom(n_records, n_members, n_trained)
    tails = np.minimum(law.cdf(n_both), law.sf(n_both - 1))
    corrected = np.minimum(2 * tails * len(names), 1.0)
    # The records of neither are all but those of one or of both.
    n_agreeing = n_records - n_members - n_trained + 2 * n_both
    agreement = n_agreeing / n_records
    return Independence(
        passed=bool((corrected > INDEPENDENCE_LEVEL).all()),
        agreement=Range(lowest=float(agreement.min()), highest=float(agreement.max())),
        p_value=float(corrected.min()),
        level=INDEPENDENCE_LEVEL,
        agreeing=tuple(
            Agreement(reference=name, agreement=float(share))
            for name, share, p in zip(names, agreement, corrected, strict=True)
            if p <= INDEPENDENCE_LEVEL
        ),
    )


def resolution(n_nonmembers: int, rates: Sequence[float]) -> Resolution:
    """Return which false-positive rates so many non-members can measure.

    Args:
        n_nonmembers: on attack-eval.
        rates: that are asked for.
    """
    unmeasured = tuple(
        rate
        for rate in rates
        if not metrics.false_positives_allowed(n_nonmembers, rate)
    )
    return Resolution(
        nonmembers=n_nonmembers, smallest_fpr=1 / n_nonmembers, unmeasured=unmeasured
    )
