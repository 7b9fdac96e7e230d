"""Actors: references that play the target, and who is left to attack them.

Whose member a record is of a reference is known for every record, so an attack can be
learned or tuned on references, with no membership of the target.
"""

import numpy as np
from numpy.typing import NDArray

# Looked at to see whether references can attack one another.
MOST_RECORDS = 20_000
LEAST_RECORDS = 20  # that some know and some do not: fewer teach nothing


def divided(member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the (n_records,) records that some references know and some do not.

    Of the others no reference's side has to be learned; a population may be such.
    """
    return np.asarray(member.any(axis=0) & ~member.all(axis=0))


def helpers(
    member: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    actor: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which references stand IN and OUT of a record while one plays the target.

    The actor is left out, and with it as many models of the other side, so that the
    counts that are left do not tell on which side the actor was: its complementary
    twin; or, where it has none but the sides are as large for every record, for each
    record one drawn at random.

    Args:
        member: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there at all.
        actor: the reference that plays the target.
        rng: draws.

    Returns:
        (n_models, n_records) IN and (n_models, n_records) OUT.
    """
    present = kept.copy()
    present[actor] = False
    opposite = member != member[actor]
    records = divided(member)
    twins = np.flatnonzero(opposite[:, records].all(axis=1))
    if len(twins) and kept.all():
        present[twins[0]] = False
    elif _is_level(member[:, records], kept[:, records]):
        draw = np.where(opposite & kept, rng.random(member.shape), -1.0)
        alone = kept[actor] & (draw.max(axis=0) >= 0)
        present[draw.argmax(axis=0)[alone], np.flatnonzero(alone)] = False
    return member & present, ~member & present


def _is_level(member: NDArray[np.bool_], kept: NDArray[np.bool_]) -> bool:
    """Return whether the counts on either side follow from each other or are fixed."""
    n_in, n_out = (member & kept).sum(axis=0), (~member & kept).sum(axis=0)
    fixed = (n_in == n_in[:1]).all() and (n_out == n_out[:1]).all()
    return bool(fixed or (n_in == n_out).all())


def can_play(member: NDArray[np.bool_], kept: NDArray[np.bool_]) -> bool:
    """Return whether references can attack one another: two are left for each actor.

    And some records must be known to some references and not to others.

    Args:
        member: (n_models, n_records).
        kept: (n_models, n_records).
    """
    rng = np.random.default_rng(0)
    records = np.flatnonzero(divided(member))[:MOST_RECORDS]
    if len(records) < LEAST_RECORDS:
        return False
    member, kept = member[:, records], kept[:, records]
    for actor in range(len(member)):
        inside, outside = helpers(member, kept, actor, rng)
        seen_in, seen_out = inside.any(axis=0), outside.any(axis=0)
        if not ((seen_in & seen_out).any() and (seen_in | seen_out).all()):
            return False
    return True
