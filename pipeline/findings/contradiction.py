"""Contradiction: records whose label no model gives that was trained on them."""

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.summaries import Contradicted

# Models trained on a record, of which fewer may all be wrong by chance.
MODELS = 3
# Share of the records, of which a smaller one may be hard or mislabelled in any data.
NOTABLE = 0.1
# Models that are right less often on the other records may be wrong together by chance.
RIGHT = 0.9


def contradicted(
    correct: NDArray[np.bool_], member: NDArray[np.bool_], judged: NDArray[np.bool_]
) -> Contradicted:
    """Count the records whose label all models contradict that were trained on them.

    Labels that are out of order look so where the models know what they were trained
    on; so do wrong labels that the models did not learn. What they learned by heart,
    such as canaries, is not contradicted.

    Args:
        correct: (n_models, n_records) whether a model is right on a record, the target
            among them.
        member: (n_models, n_records) whether it was trained on it.
        judged: (n_records,) records to look at.
    """
    n_trained = member.sum(axis=0)
    n_right = (member & correct).sum(axis=0)
    known = judged & (n_trained >= MODELS)
    wrong = known & (n_right == 0)
    others = known & ~wrong
    rate = n_right[others].sum() / n_trained[others].sum() if others.any() else None
    return Contradicted(
        records=int(wrong.sum()),
        of=int(known.sum()),
        accuracy_on_others=None if rate is None else float(rate),
    )


def is_notable(labels: Contradicted) -> bool:
    """Return whether so many contradicted labels are more than any data have."""
    return (
        labels.accuracy_on_others is not None
        and labels.records > NOTABLE * labels.of
        and labels.accuracy_on_others >= RIGHT
    )
