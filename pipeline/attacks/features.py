"""Features: what the learned attacks learn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipeline.attacks import lira
from pipeline.attacks.view import Scored, View
from pipeline.errors import LacksError
from pipeline.signals import margins


def columns(
    names: Sequence[str], view: View, scored: Mapping[str, Scored]
) -> NDArray[np.float64]:
    """Return the features of a learned attack.

    Args:
        names: from `catalogue.features`, in order.
        view: what there is to look at.
        scored: by the attacks that have run.

    Returns:
        (n_records, n_features).

    Raises:
        LacksError: if an attack that is named lacked references.
    """
    blocks: list[NDArray[np.floating[Any]]] = [np.empty((len(view.label), 0))]
    for name in names:
        if name == "loss":
            blocks.append(margins.loss(view.margin[:, :1]))
        elif name == "logits":
            blocks.append(view.logits[:, 0])
        elif name == "sorted":
            p = special.softmax(view.logits[:, 0].astype(np.float64), axis=1)
            blocks.append(-np.sort(-p, axis=1))
        elif name == "margin":
            blocks.append(view.phi)
        elif name == "views":
            blocks.append(view.margin)
        elif name == "references":
            for side in view.sides:
                blocks += [side.mean, np.sqrt(lira.variances(side, "record"))]
        elif name in scored:
            blocks.append(scored[name].score[:, None])
        else:
            msg = f"names {name!r}, which lacked what it needs"
            raise LacksError(msg)
    return np.hstack(blocks).astype(np.float64)
