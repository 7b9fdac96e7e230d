"""Growth: what attacks say by fewer references, to see what more would change.

The parts are nested: 2, 4, 8 and so on of the references there are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.attacks import catalogue, coverage, roster
from pipeline.attacks.evidence import in_blocks
from pipeline.attacks.view import Scored, View
from pipeline.errors import LacksError
from pipeline.signals.stored import OfModels

# The usual attack of each kind, besides the one that is chosen.
ATTACKS = ("lira_online_fixed", "rmia_online", catalogue.FAVOURITE)


class Point(NamedTuple):
    """What an attack says by a number of references."""

    attack: str
    references: int
    score: NDArray[np.float64]  # (n_records,) higher for a likelier member


def attacks(ran: Sequence[str], chosen: str) -> tuple[str, ...]:
    """Return the attacks whose growth is measured: a few that use references.

    Learned attacks are not among them, as each point would take a search.

    Args:
        ran: names of the attacks that ran.
        chosen: the one that was chosen on attack-train.
    """
    return tuple(
        name
        for name in catalogue.names()
        if name in ran
        and (name in ATTACKS or (name == chosen and catalogue.needs(name)))
    )


def sizes(n_models: int) -> tuple[int, ...]:
    """Return the numbers of references in the parts, all of them left out."""
    doublings = (2**power for power in range(1, n_models.bit_length()))
    return tuple(size for size in doublings if size < n_models)


def order(in_models: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Return the order in which references join, two by two.

    The first of each two is drawn. The second is the one, among the rest, whose records
    are most nearly those that the first was not trained on: its complementary twin if
    there is one. So a record has about as many IN as OUT in each part.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
        seed: of the config.

    Returns:
        (n_models,) positions.
    """
    left = draws.rng(seed, "attack.growth").permutation(len(in_models)).tolist()
    joined: list[int] = []
    while left:
        first = left.pop(0)
        joined.append(first)
        if left:
            # Model by model: all together need as much room as the memberships.
            agreement = [
                np.count_nonzero(in_models[first] == in_models[other]) for other in left
            ]
            joined.append(left.pop(int(np.argmin(agreement))))
    return np.array(joined, dtype=np.int64)


def narrowed(view: View, models: NDArray[np.int64], kept: NDArray[np.bool_]) -> View:
    """Return a view with some of the references.

    Args:
        view: with all of them.
        models: (n_kept_models,) positions of those that stay.
        kept: (n_kept_models, n_records) whether one counts on a record.
    """
    references, in_models = OfModels(view.references, models), view.in_models[models]
    recalibrated = view.references_recalibrated
    return replace(
        view,
        references=references,
        references_recalibrated=OfModels(recalibrated, models)
        if len(recalibrated)
        else recalibrated,
        in_models=in_models,
        kept=kept,
        evidence=in_blocks(references, in_models & kept, ~in_models & kept),
    )


def points(
    view: View,
    names: Sequence[str],
    runner: Callable[[str, View], Scored] = roster.score,
) -> Iterator[Point]:
    """Run attacks by ever more of the references, but not by all of them.

    A point is left out where the attack lacks references or gives scores that are not
    finite, and all those where no reference would count on some record.

    Args:
        view: with all references, and with a division.
        names: of the attacks.
        runner: of one of them.

    Yields:
        The points of the smallest part first.

    Raises:
        RuntimeError: if memberships are withheld.
    """
    if not names:
        return
    joined = order(view.in_models, view.seed)
    for size in sizes(len(joined)):
        models = np.sort(joined[:size])
        in_models = view.in_models[models]
        kept = coverage.counting(in_models, view.disclosed, view.seed, view.unit)
        if not kept.any(axis=0).all():
            continue
        part = narrowed(view, models, kept)
        for name in names:
            try:
                score = runner(name, part).score
            except LacksError:
                continue
            if np.isfinite(score).all():
                yield Point(name, size, score)
