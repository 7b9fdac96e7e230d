"""Numbering is tested on permuted classes, and on models that are merely weak."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.findings import numbering


def outputs(
    rng: np.random.Generator, n: int, n_classes: int, strength: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return classes of the largest logits, and labels of unequal frequency.

    Classes come in groups that look alike, and the model prefers some classes.
    """
    label = rng.choice(n_classes, n, p=rng.dirichlet(np.full(n_classes, 4.0)))
    alike = np.arange(n_classes) // 5
    logits = rng.normal(size=(n, n_classes)) + rng.normal(scale=0.7, size=n_classes)
    logits += alike[label][:, None] == alike
    logits[np.arange(n), label] += strength
    return logits.argmax(axis=1), label


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize(("n", "n_classes"), [(60, 2), (400, 10), (600, 100)])
def test_a_sound_model_keeps_its_numbers_however_weak(
    n: int, n_classes: int, strength: float
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        assert numbering.renumbering(*outputs(rng, n, n_classes, strength)) is None


@pytest.mark.parametrize(("n", "n_classes"), [(200, 2), (400, 10), (600, 100)])
def test_permuted_classes_are_noticed(n: int, n_classes: int) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        predicted, label = outputs(rng, n, n_classes, 4.0)
        shift = np.roll(np.arange(n_classes), 1)
        renumbering = numbering.renumbering(shift[predicted], label)
        assert renumbering is not None
        assert renumbering.renumbered > renumbering.recall + 0.2
        # The clearest class: those of few records may be out.
        own, output = renumbering.classes[0]
        assert n_classes > 10 or output == shift[own]


def test_two_exchanged_classes_are_named_with_what_they_cost() -> None:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 10, 1000) + 20
    predicted = np.where(rng.random(1000) < 0.95, label, 31)
    predicted[label == 23], predicted[label == 27] = 27, 23
    renumbering = numbering.renumbering(predicted, label)
    assert renumbering is not None
    assert set(renumbering.classes) == {(23, 27), (27, 23)}
    assert renumbering.recall == pytest.approx(0.76, abs=0.03)
    assert renumbering.renumbered == pytest.approx(0.96, abs=0.03)


def test_records_out_of_order_and_constant_outputs_are_no_renumbering() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        predicted, label = outputs(rng, 400, 10, 4.0)
        assert numbering.renumbering(rng.permutation(predicted), label) is None
        assert numbering.renumbering(np.full(400, 3), label) is None
        # A tenth of the labels is wrong, and most of one class.
        noisy = np.where(rng.random(400) < 0.1, rng.integers(0, 10, 400), label)
        noisy[(label == 2) & (rng.random(400) < 0.4)] = 5
        assert numbering.renumbering(predicted, noisy) is None


def test_one_class_or_too_many_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    label = np.arange(400) % 4
    assert numbering.renumbering(label * 0, label * 0) is None
    assert numbering.renumbering(3 - label, label) is not None
    monkeypatch.setattr(numbering, "MOST_CLASSES", 3)
    assert numbering.renumbering(3 - label, label) is None


def test_the_assignment_is_the_best_of_all() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        table = rng.integers(0, 20, (4, 4))
        recalls = numbering._recalls(table)
        assignment = numbering._assignment(table)
        best = max(
            sum(recalls[own, to] for own, to in enumerate(order))
            for order in itertools.permutations(range(4))
        )
        assert recalls[np.arange(4), assignment].sum() == pytest.approx(best)
    # Equally good ones are left as they are.
    assert numbering._assignment(np.ones((3, 3), int)).tolist() == [0, 1, 2]


def test_the_gain_is_that_of_a_loop() -> None:
    table = np.array([[8, 2, 0], [5, 5, 0], [0, 0, 4]])
    gain, error = numbering._gain(table, np.array([1, 0, 2]))
    assert gain == pytest.approx(0.2 - 0.8 + 0.5 - 0.5)
    assert error == pytest.approx(np.sqrt((0.2 + 0.8) / 10 + (0.5 + 0.5) / 10))
