"""Selection: which records are audited, and on which side of the attack they stand."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.statistics import units
from pipeline.statistics.units import Units


def canary_labels(
    label: NDArray[np.int32], n_classes: int, share: float, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Give a share of records another label than their own.

    A mislabelled record can only be learned by heart, so it shows leakage that a clean
    record of an easy task would not.

    Args:
        label: (n_records,) true classes.
        n_classes: number of classes.
        share: of the records to relabel, in [0, 1].
        seed: decides which records and which labels.

    Returns:
        (n_records,) labels after the change, and (n_records,) whether each was changed.

    Source: canaries as in Steinke, Nasr and Jagielski 2023, arXiv:2305.08846.
    """
    rng = draws.rng(seed, "data.canaries")
    chosen = rng.permutation(len(label))[: round(share * len(label))]
    canary = np.zeros(len(label), dtype=bool)
    canary[chosen] = True
    shift = rng.integers(1, n_classes, len(chosen))
    changed = label.copy()
    changed[chosen] = (label[chosen] + shift) % n_classes
    return changed, canary


class Distinct(NamedTuple):
    """Records taken in order, and those passed over before the last of them."""

    ids: NDArray[np.int64]  # (n_ids,) no two of one content
    duplicates: NDArray[np.int64]  # (n_duplicates,) whose content was taken before
    copies: NDArray[np.int64]  # (n_copies,) whose content an earlier candidate has


def distinct(
    candidates: NDArray[np.int64],
    content: NDArray[np.bytes_],
    taken: NDArray[np.bytes_],
    count: int | None,
) -> Distinct:
    """Take candidates in order, each content once and none that is taken already.

    Args:
        candidates: (n_candidates,) record ids, in order of preference.
        content: (n_candidates,) content hash of each; empty if it is unknown, which
            equals no other.
        taken: (n_taken,) content hashes not to be taken again.
        count: how many to take at most; None takes all.
    """
    known = content != b""
    duplicate = known & np.isin(content, taken)
    earliest = np.zeros(len(content), dtype=bool)
    earliest[np.unique(content, return_index=True)[1]] = True
    copy = known & ~duplicate & ~earliest
    fresh = np.flatnonzero(~duplicate & ~copy)
    end = len(candidates)
    if count is not None and len(fresh) >= count:
        end = fresh[count - 1] + 1 if count else 0
    return Distinct(
        candidates[fresh[fresh < end]],
        candidates[:end][duplicate[:end]],
        candidates[:end][copy[:end]],
    )


def count_distinct(content: NDArray[np.bytes_]) -> int:
    """Return how many contents there are; each unknown one counts for itself.

    Args:
        content: (n_records,) content hash of each; empty if it is unknown.
    """
    known = content[content != b""]
    return len(np.unique(known)) + len(content) - len(known)


def copies(content: NDArray[np.bytes_], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the records of a source that equal a chosen record and are not chosen.

    Args:
        content: (n_source,) content hash of each record; empty if it is unknown.
        chosen: (n_chosen,) ids, no two of one content.

    Returns:
        (n_copies, 2) id of each copy, ascending, and of the chosen record that it
        equals.
    """
    left = np.setdiff1d(np.flatnonzero(content != b""), chosen)
    copy = left[np.isin(content[left], content[chosen])]
    by_content = chosen[np.argsort(content[chosen])]
    original = by_content[np.searchsorted(content[by_content], content[copy])]
    return np.stack((copy, original), axis=1)


def ordered(
    ids: NDArray[np.int64],
    choose: Literal["first", "sample"],
    seed: int,
    purpose: str,
    unit: Units = None,
) -> NDArray[np.int64]:
    """Return the ids in the order in which they are to be chosen.

    Units come whole, one after the other.

    Args:
        ids: (n_ids,) of records.
        choose: "first" leaves them as they are, "sample" shuffles them.
        seed: of the order.
        purpose: of the draw, as `draws.PURPOSES` lists it.
        unit: (n_ids,) of each id, or None.
    """
    groups = units.grouped(unit, len(ids))
    order = np.arange(len(groups.first))
    if choose == "sample":
        order = draws.rng(seed, purpose).permutation(order)
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))
    return ids[np.argsort(turn[groups.place], kind="stable")]


def eval_side(
    member: NDArray[np.bool_],
    label: NDArray[np.integer[Any]],
    fraction: float,
    seed: int,
    draw: int = 0,
    unit: Units = None,
) -> NDArray[np.bool_]:
    """Divide members and non-members each into attack-train and attack-eval.

    Of each side exactly ``round(fraction * n)`` records go to attack-eval, and of each
    label within a side as near to that fraction as whole records allow.

    Units are divided as records are without them: so many units of a side, or of both,
    and of each label, which is that of a unit's first record, as near to the fraction
    as whole units allow. All are as likely to be held out. Among those of a label, they
    are taken evenly from the small and the large.

    Args:
        member: (n_records,) which side of the audit a record stands on.
        label: (n_records,) class of each record.
        fraction: of each side to hold out, in (0, 1).
        seed: decides which records.
        draw: which of several divisions.
        unit: (n_records,) or None.

    Returns:
        (n_records,) whether a record is held out for attack-eval.
    """
    rng = draws.rng(seed, "split.evaluation", draw)
    groups = units.grouped(unit, len(member))
    inside, outside = (units.totals(groups, side) > 0 for side in (member, ~member))
    held_out = np.zeros(len(groups.first), dtype=bool)
    for side in (inside & ~outside, outside & ~inside, inside & outside):
        rows = np.flatnonzero(side)
        shuffled = rng.permutation(rows)
        of_unit = label[groups.first[shuffled]]
        by_label = shuffled[np.lexsort((groups.size[shuffled], of_unit))]
        # Evenly spaced picks from rows sorted by label share out the remainders of
        # small classes, so that the total is exact; the random start is fair to all.
        n_eval = round(fraction * len(rows))
        picks = (np.arange(n_eval) + rng.random()) * len(rows) / max(n_eval, 1)
        held_out[by_label[picks.astype(np.int64)]] = True
    return np.asarray(held_out[groups.place])


def halves(
    n_records: int, count: int, seed: int, unit: Units = None
) -> NDArray[np.bool_]:
    """Draw the halves of the records that references are trained on.

    References come in pairs: one is trained on a random half, its complementary twin on
    the rest, so every record is IN for exactly half of them. A pair's draw does not
    depend on how many there are. Units are drawn whole: a model that was trained on
    some record of a person knows the person.

    Args:
        n_records: in all.
        count: of the references; even.
        seed: decides the halves.
        unit: (n_records,) or None.

    Returns:
        (count, n_records) whether a reference is trained on a record.

    Source: Carlini et al. 2022, arXiv:2112.03570, section IV-C: each record in half.
    """
    member = np.zeros((count, n_records), dtype=bool)
    n_units = len(units.grouped(unit, n_records).first)
    for pair in range(count // 2):
        order = draws.rng(seed, "references.halves", pair).permutation(n_units)
        member[2 * pair] = units.whole(unit, order, n_records // 2)
        member[2 * pair + 1] = ~member[2 * pair]
    return member
