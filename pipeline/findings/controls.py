"""Controls: what an audit must pass before its figures mean anything."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, norm

from pipeline import draws
from pipeline.cache.summaries import Accuracies, Contradicted
from pipeline.findings.schema import (
    Agreement,
    Comparison,
    Independence,
    Labels,
    Null,
    NullAttack,
    Range,
    Resemblance,
    Resolution,
    Sides,
    Target,
)
from pipeline.statistics import metrics, power, units
from pipeline.statistics.units import Units

# At most this share of sound audits fails the null control, whatever the attacks.
NULL_LEVEL = 0.01
# At most this share of sound audits fails the control of independence: practically
# none, since a failure stops the training of references.
INDEPENDENCE_LEVEL = 1e-6
# At about this share of audits with shuffled labels the control of labels passes; at up
# to ten times it where classes have few members, whose recalls are not normal.
LABELS_LEVEL = 0.001
# At most this share of sound audits without any leak fails the control of sides.
SIDES_LEVEL = 0.001
# A difference of accuracies this small is never held against references.
SLACK = 0.05
LIMIT = 2.58  # standard errors, 99 % of a normal law
# Of a difference of accuracies. With a larger one references neither pass nor fail.
LARGEST_ERROR = 0.1
POWER = 0.8  # with which the smallest leak is noticed, as is usual


def shuffled(
    member: NDArray[np.bool_],
    sides: Sequence[NDArray[np.bool_]],
    seed: int,
    unit: Units = None,
) -> NDArray[np.bool_]:
    """Return memberships that say nothing: those of each side in a random order.

    Of units, so many are drawn at random as have about as many records as there are
    members; each of them is then a member with all its records.

    Args:
        member: (n_records,).
        sides: (n_records,) each, without overlap; other records keep theirs.
        seed: of the orders.
        unit: (n_records,) or None.
    """
    out = member.copy()
    for index, side in enumerate(sides):
        rng = draws.rng(seed, "attack.null", index)
        own = units.shared(units.of(unit, side))
        if own is None:
            out[side] = rng.permutation(member[side])
        else:
            order = rng.permutation(len(np.unique(own)))
            out[side] = units.whole(own, order, int(member[side].sum()))
    return out


def null(
    scores: Mapping[str, NDArray[np.floating[Any]]],
    member: NDArray[np.bool_],
    refitted: Sequence[str],
    unit: Units = None,
) -> Null:
    """Judge attacks on memberships that say nothing.

    Each AUC is compared with one half. The smallest p-value is corrected for the number
    of attacks (Bonferroni), which holds however much the attacks are alike.

    Args:
        scores: (n_records,) of each attack, on attack-eval.
        member: (n_records,) shuffled memberships.
        refitted: names of the attacks that saw the shuffled memberships of
            attack-train.
        unit: (n_records,) or None.
    """
    attacks = {
        name: NullAttack(
            auc=metrics.auc(score, member),
            p_value=metrics.compatibility(score, member, unit),
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


def unknown_labels(reason: str, contradicted: Contradicted) -> Labels:
    """Return that nothing could be compared.

    Args:
        reason: why, as a sentence without an end.
        contradicted: labels that no model gives, to be reported beside.
    """
    return Labels(
        passed=None,
        accuracy=None,
        recalls=None,
        within_classes=None,
        classes=0,
        p_value=None,
        level=LABELS_LEVEL,
        reason=reason,
        contradicted=contradicted,
    )


def labels(
    correct: NDArray[np.bool_],
    label: NDArray[np.integer[Any]],
    within_classes: float | None,
    contradicted: Contradicted,
    unit: Units = None,
) -> Labels:
    """Test whether the target's outputs have to do with its members' labels.

    If labels stand in another order than the outputs, or belong to other classes, the
    target is right on a class only as often as it names that class. Over the members'
    classes these rates sum to the share of the members that it puts into one of them,
    which is 1 if they have all classes, however unequal the classes are, and whichever
    the target prefers. A target that learned its members is right far more often. So
    the sum is compared with that share, by its normal law under shuffled labels.

    Args:
        correct: (n_members,) whether the target puts a member into its class; members
            that were given a wrong label are left out.
        label: (n_members,) their classes.
        within_classes: share of these members that the target puts into one of their
            classes; None without any member.
        contradicted: labels that no model gives, to be reported beside.
        unit: (n_members,) or None. With units, one record of each is tested.

    Source: Youden 1950, Cancer 3(1), and Powers 2011, "Evaluation: from precision,
    recall and F-measure to ROC, informedness, markedness and correlation", on sums of
    recalls; the p-value is that of a score test, with the rates scaled to sum to the
    share.
    """
    accuracy = float(correct.mean()) if len(correct) else None
    own = units.one_of_each(unit, len(label))
    correct, label = correct[own], label[own]
    classes, place, size = np.unique(label, return_inverse=True, return_counts=True)
    n_classes = len(classes)
    recall = np.bincount(place, weights=correct, minlength=n_classes) / size
    reason, p_value = None, None
    if n_classes < 2:
        reason = f"the members that are no canaries have {n_classes} classes"
    elif within_classes is None or (
        _by_shuffling(np.ones(n_classes), size, within_classes) > LABELS_LEVEL
    ):
        reason = f"{len(correct)} members are too few"
    else:
        p_value = _by_shuffling(recall, size, within_classes)
    return Labels(
        passed=None if p_value is None else p_value <= LABELS_LEVEL,
        accuracy=accuracy,
        recalls=float(recall.sum()) if len(correct) else None,
        within_classes=within_classes,
        classes=n_classes,
        p_value=p_value,
        level=LABELS_LEVEL,
        reason=reason,
        contradicted=contradicted,
    )


def _by_shuffling(
    recall: NDArray[np.float64], size: NDArray[np.int64], expected: float
) -> float:
    """Return how likely shuffled labels are to have a sum of recalls as large."""
    total = float(recall.sum())
    if total <= expected:
        return 1.0
    rate = recall * expected / total
    deviation = math.sqrt(float((rate * (1 - rate) / size).sum()))
    return float(norm.sf((total - expected) / deviation)) if deviation else 0.0


def sides(
    correct: NDArray[np.bool_],
    member: NDArray[np.bool_],
    loss_score: NDArray[np.floating[Any]] | None,
    unit: Units = None,
) -> Sides:
    """Test whether the target does worse on members than on non-members.

    No training does that. So the sides are exchanged, or members are harder than
    non-members. The accuracies are compared by the exact test of Fisher, the losses by
    that of Mann and Whitney; the smaller p-value is doubled (Bonferroni).

    Args:
        correct: (n_records,) whether the target puts a record into its class; canaries
            are left out.
        member: (n_records,) whether a record is a member.
        loss_score: (n_records,) higher for a smaller loss; None: not known.
        unit: (n_records,) or None. With units, one record of each is tested.
    """
    accuracies = [
        float(correct[side].mean()) if side.any() else None
        for side in (member, ~member)
    ]
    own = units.one_of_each(unit, len(member))
    correct, member = correct[own], member[own]
    n, n_members = len(member), int(member.sum())
    if not 0 < n_members < n:
        return Sides(
            passed=None,
            members_accuracy=None,
            nonmembers_accuracy=None,
            loss_auc=None,
            p_value=None,
            level=SIDES_LEVEL,
            reason="without canaries there are records of one side only",
        )
    right, right_members = int(correct.sum()), int(correct[member].sum())
    p = [float(hypergeom.cdf(right_members, n, right, n_members))]
    auc = None
    if loss_score is not None:
        auc = metrics.auc(loss_score[own], member)
        both = metrics.compatibility(loss_score[own], member)
        p.append(both / 2 if auc < 0.5 else 1.0)
    corrected = min(1.0, len(p) * min(p))
    return Sides(
        passed=corrected > SIDES_LEVEL,
        members_accuracy=accuracies[0],
        nonmembers_accuracy=accuracies[1],
        loss_auc=auc,
        p_value=corrected,
        level=SIDES_LEVEL,
        reason=None,
    )


def resemblance(
    target: Target,
    references: Sequence[Accuracies],
    n_of_target: tuple[float, float],
    n_of_references: tuple[float, float],
) -> Resemblance | None:
    """Compare the target's accuracies with those of the references.

    References that fit better or worse than the target, or generalise better or worse,
    do not show what the target would say of a record it was not trained on. More
    records and more references make the comparison sharper, and fewer make it say that
    they are too few: never that references pass.

    Args:
        target: with its accuracies on members and on non-members.
        references: the same of each; None where it has no such records.
        n_of_target: records behind the target's train and test accuracy.
        n_of_references: the same of a reference, in the mean.

    Returns:
        None without references.
    """
    if not references:
        return None
    train = _comparison(
        target.train_accuracy,
        [model.train_accuracy for model in references],
        (n_of_target[0], n_of_references[0]),
    )
    test = _comparison(
        target.test_accuracy,
        [model.test_accuracy for model in references],
        (n_of_target[1], n_of_references[1]),
    )
    results = [compared.passed for compared in (train, test) if compared is not None]
    passed = None if not results or None in results else all(results)
    if False in results:
        passed = False
    return Resemblance(passed=passed, train_accuracy=train, test_accuracy=test)


def _comparison(
    accuracy: float,
    of_references: Sequence[float | None],
    n_records: tuple[float, float],
) -> Comparison | None:
    """Compare an accuracy with the mean of the references'; None without any.

    The difference errs by the chance of the records (binomial), of the target's and of
    the references', and by that of the references themselves.
    """
    rates = np.array([rate for rate in of_references if rate is not None])
    if not len(rates):
        return None
    usual, n = float(rates.mean()), len(rates)
    spread = float(rates.std(ddof=1)) if n > 1 else None
    binomial = sum(
        rate * (1 - rate) / max(count, 1)
        for rate, count in zip((accuracy, usual), n_records, strict=True)
    )
    error = LIMIT * math.sqrt(binomial + (spread or 0.0) ** 2 / n)
    between = LIMIT * (spread or 0.0) * math.sqrt(1 + 1 / n)
    away = abs(accuracy - usual)
    reason = None
    if away > SLACK + error:
        # A model drawn as the references were may lie so far away.
        if away <= between:
            reason = "the references differ too much from one another to tell"
    elif error > LARGEST_ERROR:
        reason = (
            "too few references to tell"
            if (spread or 0.0) ** 2 / n > binomial
            else "too few records to tell"
        )
    return Comparison(
        target=accuracy,
        references=usual,
        spread=spread,
        allowed=SLACK + error,
        passed=None if reason else away <= SLACK + error,
        reason=reason,
    )


def independence(
    reference_member: NDArray[np.bool_],
    member: NDArray[np.bool_],
    names: Sequence[str],
    unit: Units = None,
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
        unit: (n_records,) or None. With units, one record of each is tested.

    Returns:
        None without references.

    Source: Fisher 1935, The Design of Experiments, on the exact test of a 2 × 2 table;
    two-sided as twice the smaller tail.
    """
    if not len(reference_member):
        return None
    if unit is not None:
        own = units.one_of_each(unit, len(member))
        reference_member, member = reference_member[:, own], member[own]
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


def resolution(
    member: NDArray[np.bool_], rates: Sequence[float], level: float, unit: Units = None
) -> Resolution:
    """Return what the judged records can measure, and the smallest leak they can show.

    With units, the leak in the order is that of as many records as theirs are worth if
    those of a unit are all alike, so a smaller one may show too. The leak at the top is
    that of one record of each unit, as its test is.

    Args:
        member: (n_records,) on attack-eval, whether a record is a member.
        rates: false-positive rates that are asked for.
        level: that the chosen attack is tested at.
        unit: (n_records,) or None.
    """
    n_nonmembers = int((~member).sum())
    unmeasured = tuple(
        rate
        for rate in rates
        if not metrics.false_positives_allowed(n_nonmembers, rate)
    )
    # The test makes two looks, each at half of the level.
    tail = level / 2
    inside, outside = (
        units.effective(units.of(unit, side), int(side.sum()))
        for side in (member, ~member)
    )
    alone = member[units.one_of_each(unit, len(member))]
    at_top = int(alone.sum()), int((~alone).sum())
    smallest_tpr = power.smallest_tpr(*at_top, tail, POWER)
    return Resolution(
        nonmembers=n_nonmembers,
        smallest_fpr=1 / n_nonmembers,
        unmeasured=unmeasured,
        smallest_auc=power.smallest_auc(inside, outside, tail, POWER),
        smallest_tpr_at_fpr={str(metrics.TOP): smallest_tpr},
        level=level,
        power=POWER,
    )
