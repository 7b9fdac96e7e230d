import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from pipeline.signals import margins, recalibration
from pipeline.statistics import metrics


def drawn(
    n_records: int = 300, n_views: int = 2, n_classes: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that leans towards some classes and confuses two of them."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_classes, n_records)
    own = np.arange(n_classes) == label[:, None, None]
    logits = rng.normal(size=(n_records, n_views, n_classes)) + 2 * own
    logits = logits + rng.normal(size=n_classes)
    logits[..., 1] += 0.7 * logits[..., 0]
    for array in (logits, label):
        array.flags.writeable = False
    return logits, label


def objective(
    flat: np.ndarray, logits: np.ndarray, label: np.ndarray, precision: float
) -> float:
    """The definition, record by record."""
    n_classes = logits.shape[2]
    weights = flat[:-n_classes].reshape(n_classes, n_classes)
    bias = flat[-n_classes:]
    z = logits - logits.mean(axis=2, keepdims=True)
    size = np.mean((z - z.mean(axis=(0, 1))) ** 2)
    total = precision / 2 * size * np.sum(weights**2)
    for record, views in enumerate(z):
        for view in views:
            corrected = view + view @ weights + bias
            total += np.log(np.exp(corrected).sum()) - corrected[label[record]]
    return float(total)


def test_the_correction_is_the_minimum_of_its_definition() -> None:
    logits, label = drawn(40, n_classes=3)
    correction = recalibration.fitted(logits, label)
    args = (logits, label, recalibration.PRECISION)
    flat = np.concatenate((correction.weights.ravel(), correction.bias))
    start = np.zeros(12)
    slow = optimize.minimize(objective, start, args=args, method="BFGS").fun
    assert objective(flat, *args) == pytest.approx(slow, rel=1e-7)


def test_with_no_precision_to_speak_of_it_is_logistic_regression(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recalibration, "PRECISION", 1e-6)
    logits, label = drawn(n_views=1)
    correction = recalibration.fitted(logits, label)
    margin = recalibration.margin(logits, label, correction)[:, 0]
    judge = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    inputs = recalibration.centred(logits[:, 0])
    judge.fit(inputs, label)
    wanted = margins.margin(judge.decision_function(inputs), label)
    np.testing.assert_allclose(margin, wanted, atol=2e-3)


def test_the_mean_probability_of_each_class_becomes_its_frequency() -> None:
    # The bias bears no penalty, so its slope vanishes at the minimum.
    logits, label = drawn()
    correction = recalibration.fitted(logits, label)
    z = recalibration.centred(logits)
    odds = np.exp(z + z @ correction.weights + correction.bias)
    p = (odds / odds.sum(axis=2, keepdims=True)).mean(axis=(0, 1))
    np.testing.assert_allclose(p, np.bincount(label) / len(label), atol=1e-4)


def test_margins_of_no_correction_are_those_of_the_logits() -> None:
    logits, label = drawn()
    nothing = recalibration.Correction(np.zeros((4, 4)), np.zeros(4))
    computed = recalibration.margin(logits, label, nothing)
    for view in range(2):
        wanted = margins.margin(logits[:, view], label)
        np.testing.assert_allclose(computed[:, view], wanted, rtol=1e-5, atol=1e-5)


def test_models_that_differ_by_a_leaning_become_alike() -> None:
    logits, label = drawn(2000)
    lean = np.array([1.0, -2.0, 0.5, 0.0])
    other = logits + lean
    before = margins.margin(other[:, 0], label) - margins.margin(logits[:, 0], label)
    first, second = (
        recalibration.margin(z, label, recalibration.fitted(z, label))
        for z in (logits, other)
    )
    assert np.abs(before).max() > 1
    assert np.abs(first - second).max() < 0.02


def test_the_scale_of_the_logits_does_not_change_the_penalty() -> None:
    # A model ten times as sure has margins ten times as wide before the labels speak;
    # the penalty of a weight between its logits is the same.
    logits, label = drawn(40)
    penalties = [
        recalibration.PRECISION * np.mean(recalibration.centred(z) ** 2)
        for z in (logits, 10 * logits)
    ]
    assert penalties[1] == pytest.approx(100 * penalties[0])
    for scale in (1.0, 10.0):
        args = (scale * logits, label, recalibration.PRECISION)
        correction = recalibration.fitted(scale * logits, label)
        flat = np.concatenate((correction.weights.ravel(), correction.bias))
        best = objective(flat, *args)
        rng = np.random.default_rng(1)
        for _ in range(20):
            away = flat + 1e-2 * rng.normal(size=flat.shape)
            assert objective(away, *args) > best


def test_a_constant_added_to_a_records_logits_changes_nothing() -> None:
    logits, label = drawn()
    moved = logits + np.random.default_rng(2).normal(size=(300, 2, 1)) * 50
    first, second = (
        recalibration.margin(z, label, recalibration.fitted(z, label))
        for z in (logits, moved)
    )
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_the_order_of_records_does_not_matter() -> None:
    logits, label = drawn()
    order = np.random.default_rng(3).permutation(len(label))
    first = recalibration.fitted(logits, label)
    second = recalibration.fitted(logits[order], label[order])
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-3)
    np.testing.assert_allclose(first.bias, second.bias, atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e4])
def test_flat_and_huge_logits_give_finite_margins(scale: float) -> None:
    logits, label = drawn()
    correction = recalibration.fitted(scale * logits, label)
    assert np.isfinite(recalibration.margin(scale * logits, label, correction)).all()


def test_a_class_that_no_record_has_gives_finite_margins() -> None:
    logits, label = drawn()
    kept = label != 3
    correction = recalibration.fitted(logits[kept], label[kept])
    computed = recalibration.margin(logits[kept], label[kept], correction)
    assert np.isfinite(computed).all()


def test_of_many_classes_the_directions_of_most_variance_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits, label = drawn(1000)
    whole = recalibration.fitted(logits, label)
    monkeypatch.setattr(recalibration, "MOST_AXES", 3)
    # Centred logits of four classes lie in three directions.
    correction = recalibration.fitted(logits, label)
    margins = [
        recalibration.margin(logits, label, either) for either in (whole, correction)
    ]
    np.testing.assert_allclose(*margins, atol=1e-2)
    monkeypatch.setattr(recalibration, "MOST_AXES", 1)
    assert np.linalg.matrix_rank(recalibration.fitted(logits, label).weights) == 1


def test_margins_are_computed_in_blocks_to_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits, label = drawn()
    correction = recalibration.fitted(logits, label)
    whole = recalibration.margin(logits, label, correction)
    monkeypatch.setattr(recalibration, "BLOCK_ROWS", 7)
    blocks = recalibration.margin(logits, label, correction)
    np.testing.assert_allclose(whole, blocks, rtol=1e-6)


def test_the_sample_is_of_audited_records_and_has_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audited = np.arange(50) % 2 == 0
    assert np.array_equal(recalibration.sample(audited), np.flatnonzero(audited))
    monkeypatch.setattr(recalibration, "MOST_RECORDS", 10)
    chosen = recalibration.sample(audited)
    assert len(set(chosen)) == 10
    assert audited[chosen].all()
    assert (np.diff(chosen) > 0).all()


def test_a_member_stands_out_better_among_recalibrated_models() -> None:
    # Eight models lean each its own way; a record's membership moves its margin less
    # than a leaning does.
    rng = np.random.default_rng(5)
    n_models, n_records, n_classes = 9, 2000, 5
    label = rng.integers(0, n_classes, n_records)
    own = np.arange(n_classes) == label[:, None]
    base = rng.normal(size=(n_records, n_classes)) * 2 + 2 * own
    member = rng.random((n_models, n_records)) < 0.5
    lean = rng.normal(size=(n_models, 1, n_classes)) * 2
    logits = base + lean + member[..., None] * own * 1.5
    logits += rng.normal(size=logits.shape) * 0.5
    raw = np.stack([margins.margin(model, label) for model in logits])
    corrected = np.stack(
        [
            recalibration.margin(
                model[:, None], label, recalibration.fitted(model[:, None], label)
            )[:, 0]
            for model in logits
        ]
    )
    areas = [
        metrics.auc(margin[0] - margin[1:].mean(axis=0), member[0])
        for margin in (raw, corrected)
    ]
    assert areas[1] > areas[0] + 0.05
