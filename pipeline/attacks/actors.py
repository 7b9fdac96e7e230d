"""Actors: references that play the target, and the references that attack them.

The members of a reference are all known, so an attack can be learned or tuned on
references, without any membership of the target.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline import draws

# Looked at to see whether references can attack one another.
MOST_RECORDS = 20_000
LEAST_RECORDS = (
    20  # IN of some references and OUT of others: from fewer nothing is learned
)


def divided(in_models: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the (n_records,) records that are IN of some references and OUT of others.

    From other records, such as those of a population, no membership can be learned.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
    """
    return np.asarray(in_models.any(axis=0) & ~in_models.all(axis=0))


def helpers(
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    actor: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which references are IN and OUT of a record while one plays the target.

    The actor is left out, and as many models of the other side, so that the remaining
    counts do not show which side the actor was on. That other model is the actor's
    complementary twin. Without a twin, but with balanced sides, it is drawn at random
    for each record.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there at all.
        actor: the reference that plays the target.
        rng: draws the models that are left out.

    Returns:
        (n_models, n_records) IN and (n_models, n_records) OUT.
    """
    present = kept.copy()
    present[actor] = False
    opposite = in_models != in_models[actor]
    records = divided(in_models)
    twins = np.flatnonzero(opposite[:, records].all(axis=1))
    if len(twins) and kept.all():
        present[twins[0]] = False
    elif _is_balanced(in_models[:, records], kept[:, records]):
        draw = np.where(opposite & kept, rng.random(in_models.shape), -1.0)
        alone = kept[actor] & (draw.max(axis=0) >= 0)
        present[draw.argmax(axis=0)[alone], np.flatnonzero(alone)] = False
    return in_models & present, ~in_models & present


def _is_balanced(in_models: NDArray[np.bool_], kept: NDArray[np.bool_]) -> bool:
    """Return whether both counts are equal on every record, or the same on all."""
    n_in, n_out = (in_models & kept).sum(axis=0), (~in_models & kept).sum(axis=0)
    fixed = (n_in == n_in[:1]).all() and (n_out == n_out[:1]).all()
    return bool(fixed or (n_in == n_out).all())


def can_play(in_models: NDArray[np.bool_], kept: NDArray[np.bool_]) -> bool:
    """Return whether references can attack one another.

    Enough records must be IN of some references and OUT of others. Whichever reference
    plays the target, each of these records needs a reference, and some need both sides.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there.
    """
    records = np.flatnonzero(divided(in_models))[:MOST_RECORDS]
    if len(records) < LEAST_RECORDS:
        return False
    in_models, kept = in_models[:, records], kept[:, records]
    for actor in range(len(in_models)):
        # A constant seed: whether they can play depends on no seed of the config.
        rng = draws.rng(0, "actors.playable", actor)
        actor_in, actor_out = helpers(in_models, kept, actor, rng)
        has_in, has_out = actor_in.any(axis=0), actor_out.any(axis=0)
        if not ((has_in & has_out).any() and (has_in | has_out).all()):
            return False
    return True
