"""Coverage: which records the references were trained on, and what is odd about it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.attacks.division import Division
from pipeline.attacks.evidence import blocks
from pipeline.statistics import metrics, units
from pipeline.statistics.units import Units

# Shares of the audited records that references are trained on, about a half, between
# which nothing is said.
USUAL = (0.25, 0.75)
# Standard deviations from one half at which the AUC of the counts is no accident.
FAR = 5.0
NAMES_SHOWN = 3  # of the models that a remark is about


def remarks(
    names: Sequence[str], in_models: NDArray[np.bool_], label: NDArray[np.int32]
) -> list[str]:
    """Say how references differ from those that attacks do best with.

    Args:
        names: of the models.
        in_models: (n_models, n_records) whether a model was trained on a record.
        label: (n_records,) classes.

    Returns:
        A sentence for each difference that some model shows.
    """
    classes = np.unique(label)
    models_by_fact: dict[str, list[str]] = {
        "trained on no audited record, so of use to offline attacks only": [],
        "trained on every audited record, so of no use to offline attacks": [],
        "trained on less than a quarter of the audited records": [],
        "trained on more than three quarters of the audited records": [],
        "trained on no audited record of some class": [],
    }
    nothing, everything, few, many, lacking = models_by_fact.values()
    for name, half in zip(names, in_models, strict=True):
        share = half.mean()
        missing = np.setdiff1d(classes, label[half])
        if not half.any():
            nothing.append(name)
        elif half.all():
            everything.append(name)
        elif share < USUAL[0]:
            few.append(f"{name} ({share:.2f})")
        elif share > USUAL[1]:
            many.append(f"{name} ({share:.2f})")
        if half.any() and len(missing):
            lacking.append(f"{name} (class {missing[0]})")
    return [
        f"{fact}: {_listed(models)}"
        for fact, models in models_by_fact.items()
        if models
    ]


def gaps(in_models: NDArray[np.bool_]) -> list[str]:
    """Say how many records lack references on a side.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
    """
    substitutes = {
        "OUT": "attacks go by the other side, or by what is usual",
        "IN": "online attacks go by the other side, or by what is usual",
    }
    counts = {"OUT": (~in_models).sum(axis=0), "IN": in_models.sum(axis=0)}
    return [
        f"{lacking} of {in_models.shape[1]} records have no reference that they are "
        f"{side} of: {substitutes[side]}"
        for side, count in counts.items()
        if (lacking := int((count == 0).sum()))
    ]


def reveals(
    in_models: NDArray[np.bool_], member: NDArray[np.bool_], unit: Units = None
) -> bool:
    """Return whether the number of IN references of a record predicts its membership.

    It does where every record was given to a fixed number of models, the target among
    them (as in Carlini et al. 2022, arXiv:2112.03570, with one of the models as the
    target), or where the target's complementary twin is a reference. An attack could
    then read memberships off the counts, without looking at any model.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
        member: (n_records,) whether the target was.
        unit: (n_records,) or None. With units, one record of each is looked at; if
            all of these are on one side, nothing is revealed.
    """
    own = units.one_of_each(unit, len(member))
    in_models, member = in_models[:, own], member[own]
    count = in_models.sum(axis=0).astype(np.float64)
    n_members, n_others = int(member.sum()), int((~member).sum())
    if not n_members or not n_others:
        return False
    # Of the AUC under independence, without ties: Mann and Whitney 1947.
    deviation = np.sqrt((n_members + n_others + 1) / (12 * n_members * n_others))
    return bool(abs(metrics.auc(count, member) - 0.5) > FAR * deviation)


def balanced(in_models: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Return which references to keep so that a record has as many IN as OUT.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
        seed: decides which references of a record's larger side are dropped.

    Returns:
        (n_models, n_records).
    """
    n_models, n_records = in_models.shape
    kept = np.zeros_like(in_models)
    for rows in blocks(n_records, n_models):
        own = in_models[:, rows]
        draw = np.empty(own.shape)
        for model in range(n_models):
            # The numbers that one draw for all models and records has here.
            rng = draws.rng(seed, "attack.kept")
            rng.bit_generator.advance(model * n_records + rows.start)  # type: ignore[attr-defined]
            rng.random(out=draw[model])
        fewest = np.minimum(own.sum(axis=0), (~own).sum(axis=0))
        for side in (own, ~own):
            # Those of the other side come last, and so rank above all of this side.
            rank = np.where(side, draw, 2.0).argsort(axis=0).argsort(axis=0)
            kept[:, rows] |= side & (rank < fewest)
    return kept


def counting(
    in_models: NDArray[np.bool_], division: Division, seed: int, unit: Units = None
) -> NDArray[np.bool_]:
    """Return which references count on a record, so that their number reveals nothing.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
        division: of the records.
        seed: of the config, for the references that are left out.
        unit: (n_records,) or None.

    Returns:
        (n_models, n_records).
    """
    train = division.attack_train
    of_train = units.of(unit, train)
    if reveals(in_models[:, train], division.member[train], of_train):
        return balanced(in_models, seed) | ~division.audited
    # All of them, without the room that a million records would take.
    return np.broadcast_to(np.True_, in_models.shape)


def _listed(models: Sequence[str]) -> str:
    more = len(models) - NAMES_SHOWN
    return ", ".join(models[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
