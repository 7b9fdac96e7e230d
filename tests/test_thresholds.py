import numpy as np
import pytest

from pipeline.attacks import thresholds
from pipeline.signals import margins
from pipeline.statistics import metrics


def softmax(row: np.ndarray) -> np.ndarray:
    e = np.exp(row - row.max())
    return e / e.sum()


def drawn(scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(60, 5)) * scale
    logits.flags.writeable = False
    return logits, rng.integers(0, 5, 60)


def test_entropy_is_the_slow_definition_negated() -> None:
    logits, _ = drawn()
    score = thresholds.entropy(logits)
    for row, value in zip(logits, score, strict=True):
        assert value == pytest.approx(
            sum(p * np.log(p) for p in softmax(row)), abs=1e-12
        )


def test_modified_entropy_is_the_slow_definition_negated() -> None:
    logits, label = drawn()
    score = thresholds.modified_entropy(logits, label)
    for row, y, value in zip(logits, label, score, strict=True):
        p = softmax(row)
        slow = -(1 - p[y]) * np.log(p[y])
        slow -= sum(p[i] * np.log(1 - p[i]) for i in range(5) if i != y)
        assert -value == pytest.approx(slow, abs=1e-9)


def test_confidence_is_the_log_of_the_softmax() -> None:
    logits, label = drawn()
    p = np.array([softmax(row)[y] for row, y in zip(logits, label, strict=True)])
    log_p = margins.log_confidence(np.log(p / (1 - p)))
    np.testing.assert_allclose(log_p, np.log(p), rtol=1e-9)


@pytest.mark.parametrize("shift", [1e4, -1e4])
def test_a_constant_added_to_the_logits_changes_nothing(shift: float) -> None:
    logits, label = drawn()
    for score in (
        thresholds.entropy,
        lambda z: thresholds.modified_entropy(z, label),
        lambda z: thresholds.correctness(z, label),
    ):
        np.testing.assert_allclose(score(logits + shift), score(logits), atol=1e-9)


def test_huge_logits_give_finite_scores() -> None:
    logits, label = drawn(1e4)
    assert np.isfinite(thresholds.entropy(logits)).all()
    assert np.isfinite(thresholds.modified_entropy(logits, label)).all()


def test_a_sure_and_right_prediction_has_the_highest_modified_entropy() -> None:
    logits = np.array([[50.0, 0.0, 0.0], [0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    right, unsure, wrong = thresholds.modified_entropy(logits, np.array([0, 0, 1]))
    assert right > unsure > wrong
    assert right == pytest.approx(0.0, abs=1e-15)


def test_modified_entropy_does_not_saturate() -> None:
    logits = np.array([[1e3, 0.0, 0.0], [1e4, 0.0, 0.0]])
    score = thresholds.modified_entropy(logits, np.array([1, 1]))
    # p_0 = 1, so log p_y + log(1 - p_0), where 1 - p_0 = 2 exp(-z).
    np.testing.assert_allclose(score, np.log(2) - 2 * logits[:, 0])


def test_correctness_is_one_where_the_prediction_is_right() -> None:
    logits = np.array([[2.0, 1.0], [2.0, 1.0]])
    assert thresholds.correctness(logits, np.array([0, 1])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("seed", range(10))
def test_the_best_threshold_is_that_of_trying_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    member = rng.random(40) < 0.3
    score = np.round(rng.normal(size=40) + member, 1)

    def advantage(threshold: float) -> float:
        above = score > threshold
        return float(above[member].mean() - above[~member].mean())

    tried = [*np.unique(score), -np.inf, np.inf]
    computed = thresholds.best_threshold(score, member)
    assert advantage(computed) == pytest.approx(max(map(advantage, tried)))


def test_a_threshold_needs_both_sides() -> None:
    with pytest.raises(ValueError, match="needs both sides, got 3 of 3"):
        thresholds.best_threshold(np.zeros(3), np.ones(3, bool))


def test_the_best_threshold_of_neighbouring_floats_separates_them() -> None:
    high = 1.0
    low = np.nextafter(high, 0.0)
    threshold = thresholds.best_threshold(
        np.array([low, high]), np.array([False, True])
    )
    assert low <= threshold < high


def test_per_class_thresholds_help_where_classes_differ() -> None:
    rng = np.random.default_rng(0)
    label, member = rng.integers(0, 4, 4000), rng.random(4000) < 0.5
    score = label * 5.0 + member + rng.normal(size=4000) / 2
    known = np.arange(4000) < 2000
    adjusted = thresholds.per_class(score, label, known, member)
    # Pairs within a class, a quarter, are told apart by .92; the others by a guess.
    assert metrics.auc(score[~known], member[~known]) < 0.65
    assert metrics.auc(adjusted[~known], member[~known]) > 0.85


def test_per_class_does_not_look_at_unknown_memberships() -> None:
    rng = np.random.default_rng(0)
    label, member = rng.integers(0, 3, 300), rng.random(300) < 0.5
    score, known = rng.normal(size=300), np.arange(300) < 150
    adjusted = thresholds.per_class(score, label, known, member)
    other = thresholds.per_class(score, label, known, np.where(known, member, ~member))
    assert np.array_equal(adjusted, other)


def test_a_class_of_one_side_has_the_threshold_of_all() -> None:
    score = np.array([0.0, 1.0, 5.0, 6.0])
    member = np.array([False, True, True, True])
    label = np.array([0, 0, 1, 1])
    adjusted = thresholds.per_class(score, label, np.ones(4, bool), member)
    np.testing.assert_allclose(adjusted, score - 0.5)
