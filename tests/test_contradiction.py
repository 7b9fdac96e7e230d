"""Contradicted labels are counted by a loop, and told from those learned by heart."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cache.summaries import Contradicted
from pipeline.findings import contradiction

N, N_MODELS, N_CLASSES = 800, 9, 10


def models(
    rng: np.random.Generator, inside: float, outside: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return on which records models are right, and which they were trained on."""
    member = rng.random((N_MODELS, N)) < 0.5
    return rng.random((N_MODELS, N)) < np.where(member, inside, outside), member


def test_the_counts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    correct, member = models(rng, 0.4, 0.2)
    judged = rng.random(N) < 0.7
    records = of = right = trained = 0
    for k in np.flatnonzero(judged):
        own = correct[member[:, k], k]
        if len(own) < 3:
            continue
        of += 1
        if not own.any():
            records += 1
            continue
        right, trained = right + own.sum(), trained + len(own)
    assert 0 < records < of < judged.sum()
    counts = contradiction.contradicted(correct, member, judged)
    assert (counts.records, counts.of) == (records, of)
    assert counts.accuracy_on_others == pytest.approx(right / trained)


def test_without_records_or_references_nothing_is_contradicted() -> None:
    correct, member = models(np.random.default_rng(2), 0.9, 0.5)
    for few, judged in ((2, np.ones(N, dtype=bool)), (9, np.zeros(N, dtype=bool))):
        counts = contradiction.contradicted(correct[:few], member[:few], judged)
        assert counts == Contradicted(records=0, of=0, accuracy_on_others=None)
        assert not contradiction.is_notable(counts)


@pytest.mark.parametrize(("inside", "outside"), [(1.0, 0.6), (0.95, 0.9), (0.68, 0.35)])
def test_sound_models_contradict_hardly_any_label(
    inside: float, outside: float
) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        counts = contradiction.contradicted(
            *models(rng, inside, outside), np.ones(N, dtype=bool)
        )
        assert not contradiction.is_notable(counts)


def test_a_part_of_the_labels_out_of_order_is_notable() -> None:
    rng = np.random.default_rng(4)
    correct, member = models(rng, 0.97, 0.6)
    for share in (0.2, 0.5, 0.9):
        moved = rng.random(N) < share
        # Other labels are right for no model.
        counts = contradiction.contradicted(
            correct & ~moved, member, np.ones(N, dtype=bool)
        )
        assert contradiction.is_notable(counts)
