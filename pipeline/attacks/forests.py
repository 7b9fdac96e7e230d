"""Forests: grown once without limits, and cut back to those of each candidate.

What splits a node depends on the records in it and on nothing below it. So a tree cut
where `max_depth` or `min_samples_split` would have ended it is a draw of the same law
as a tree grown with that limit, though not the same tree as scikit-learn's.
`min_samples_leaf` decides which splits are allowed, and needs trees of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

# Candidates that differ in these alone have one forest.
LIMITS = ("max_depth", "min_samples_split")


class Limit(NamedTuple):
    """Where trees end."""

    max_depth: int | None
    min_samples_split: int


def suits(params: Mapping[str, Any]) -> bool:
    """Return whether forests of these parameters can be cut from a larger one."""
    settings = RandomForestClassifier(**params).get_params()
    depth, split = settings["max_depth"], settings["min_samples_split"]
    return bool(
        (depth is None or depth >= 1)
        and isinstance(split, int)
        and split >= 2
        # Such trees grow best first, or are pruned by what lies below a node.
        and settings["max_leaf_nodes"] is None
        and not settings["ccp_alpha"]
        and settings["random_state"] is not None
    )


def probabilities(
    train: NDArray[np.float64],
    member: NDArray[np.bool_],
    others: Iterable[NDArray[np.float64]],
    params: Mapping[str, Any],
    limits: Sequence[Limit],
) -> NDArray[np.float64]:
    """Grow one forest, and return what it says of others if cut at each limit.

    Args:
        train: (n_train, n_features).
        member: (n_train,) whether each is a member.
        others: (n_rows, n_features) each.
        params: of RandomForestClassifier, which `suits`; the limits in it are not read.
        limits: of the candidates. What one gives does not depend on the others.

    Returns:
        (n_limits, n_others) the trees' mean share of members, each weighing alike; of
        all rows of the others.
    """
    without = {name: value for name, value in params.items() if name not in LIMITS}
    forest = _classifier()(**without, n_jobs=1)
    # As trees compare; a value that lies on a threshold then stays on its side.
    forest.fit(train.astype(np.float32), member.astype(np.int64))
    scores = [np.empty((len(limits), 0))]
    for rows in others:
        if len(rows):
            judged = rows.astype(np.float32)
            total = np.zeros((len(rows), len(limits)))
            for tree in forest.estimators_:
                # Cut anew for each part: of all trees at once they would take room.
                total += cut(tree.tree_, limits)[tree.tree_.apply(judged)]
            scores.append(total.T / len(forest.estimators_))
    return np.concatenate(scores, axis=1)


def cut(tree: Any, limits: Sequence[Limit]) -> NDArray[np.float64]:
    """Return the share of members where each limit would have ended the path to a node.

    Args:
        tree: scikit-learn's, grown without limits.
        limits: to cut it at.

    Returns:
        (n_nodes, n_limits).
    """
    of_class = tree.value[:, 0, :]
    share = of_class[:, -1] / of_class.sum(axis=1)
    deepest = np.array([np.inf if d is None else d for d, _ in limits])
    fewest = np.array([split for _, split in limits])
    shares = np.empty((tree.node_count, len(limits)))
    # Level by level: what is said above of the paths that have ended.
    nodes = np.zeros(1, dtype=np.int64)
    above, ended = np.zeros((1, len(limits))), np.zeros((1, len(limits)), dtype=bool)
    depth = 0
    while len(nodes):
        here = np.where(ended, above, share[nodes, None])
        shares[nodes] = here
        too_few = tree.n_node_samples[nodes, None] < fewest
        ended = ended | too_few | (depth >= deepest)
        inner = tree.children_left[nodes] >= 0
        parents = nodes[inner]
        nodes = np.concatenate(
            (tree.children_left[parents], tree.children_right[parents])
        )
        above, ended = np.tile(here[inner], (2, 1)), np.tile(ended[inner], (2, 1))
        depth += 1
    return shares


def _classifier() -> Any:
    """Return the class of forests: scikit-learn-intelex's where that is installed."""
    if find_spec("sklearnex") is None:
        return RandomForestClassifier
    from sklearnex.ensemble import RandomForestClassifier as Accelerated

    return Accelerated
