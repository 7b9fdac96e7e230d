import decimal
import math
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import special

from pipeline.signals import margins

LOGITS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2, 6)),
    elements=st.floats(-30, 30),
)
# A logit of 30 is known to 2 ** -48, and a margin takes half a dozen roundings.
ROUNDING = 6 * 2.0**-48


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with decimal.localcontext() as context:
        context.prec = 50
        yield


def labels_of(logits: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return a label for each record, all classes in turn."""
    return np.arange(len(logits), dtype=np.int32) % logits.shape[1]


def slow_margin(logits: NDArray[np.float64], label: int) -> float:
    """Return log(p / (1 - p)) computed with fifty digits from its definition."""
    odds = [Decimal(float(z)).exp() for z in logits]
    p = odds[label] / sum(odds)
    # 1 - p is summed, since fifty digits do not hold it beside a p near 1.
    rest = sum(o for i, o in enumerate(odds) if i != label) / sum(odds)
    return float((p / rest).ln())


@settings(derandomize=True, deadline=None)
@given(LOGITS)
def test_margin_is_the_log_odds_of_the_true_class(logits: NDArray[np.float64]) -> None:
    label = labels_of(logits)
    expected = [slow_margin(z, y) for z, y in zip(logits, label, strict=True)]
    assert margins.margin(logits, label) == pytest.approx(expected, abs=ROUNDING)


def test_margin_of_moderate_logits_is_that_from_the_softmax() -> None:
    logits = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    label = np.array([1, 0])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = softmax[[0, 1], label]
    expected = np.log(p / (1 - p))
    assert margins.margin(logits, label) == pytest.approx(expected, rel=1e-13)


@settings(derandomize=True, deadline=None)
@given(LOGITS, st.floats(-100, 100))
def test_margin_stays_when_all_logits_are_shifted(
    logits: NDArray[np.float64], shift: float
) -> None:
    label = labels_of(logits)
    # The shifted logits themselves are rounded, at most by half of 2 ** -45.
    assert margins.margin(logits + shift, label) == pytest.approx(
        margins.margin(logits, label), abs=6 * 2.0**-45
    )


@settings(derandomize=True, deadline=None)
@given(LOGITS)
def test_margin_of_a_record_does_not_depend_on_the_others(
    logits: NDArray[np.float64],
) -> None:
    label = labels_of(logits)
    alone = [
        margins.margin(logits[i : i + 1], label[i : i + 1])[0]
        for i in range(len(logits))
    ]
    assert margins.margin(logits, label).tolist() == alone


def test_margin_of_logits_of_ten_thousand_is_finite() -> None:
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=np.float32)
    computed = margins.margin(logits, np.array([0, 0]))
    # By hand: 10000 - log(1 + exp(-10000)), and -10000 - (10000 + log 2).
    assert computed == pytest.approx([1e4, -2e4 - math.log(2)], rel=1e-15)


def test_margin_of_two_classes_is_the_difference_of_their_logits() -> None:
    logits = np.array([[3.25, -1.5], [0.5, 2.0], [700.0, -700.0]])
    computed = margins.margin(logits, np.array([0, 0, 1]))
    assert computed.tolist() == [4.75, -1.5, -1400.0]


def test_margin_of_equal_logits_is_minus_the_log_of_the_other_classes() -> None:
    computed = margins.margin(np.zeros((1, 10)), np.array([3]))
    assert computed == pytest.approx([-math.log(9)], rel=1e-15)


def test_margin_of_single_precision_logits_is_computed_in_double() -> None:
    logits = np.array([[0.1, 0.2, 0.3]], dtype=np.float32)
    computed = margins.margin(logits, np.array([2]))
    assert computed == pytest.approx([slow_margin(logits[0], 2)], rel=1e-14)


@settings(derandomize=True, deadline=None)
@given(LOGITS)
def test_loss_is_minus_the_log_of_the_softmax(logits: NDArray[np.float64]) -> None:
    label = labels_of(logits)
    loss = margins.loss(margins.margin(logits, label))
    for z, y, value in zip(logits, label, loss, strict=True):
        odds = [Decimal(float(logit)).exp() for logit in z]
        expected = -(odds[y] / sum(odds)).ln()
        assert value == pytest.approx(float(expected), abs=ROUNDING)


@pytest.mark.parametrize("margin", [50, 300, 690])
def test_loss_of_a_confident_record_keeps_its_relative_precision(margin: int) -> None:
    # log(1 + e) is e to within e ** 2 / 2, which is below all rounding here.
    expected = float(Decimal(-margin).exp())
    assert margins.loss(np.array([margin])) == pytest.approx([expected], rel=1e-15)


def test_loss_of_a_hopeless_record_is_its_margin_reversed() -> None:
    assert margins.loss(np.array([-1e4])).tolist() == [1e4]


def test_loss_of_an_undecided_record_is_log_two() -> None:
    assert margins.loss(np.zeros(1)) == pytest.approx([math.log(2)], rel=1e-15)


def slow_clipped_loss(logits: NDArray[np.float64], label: int) -> float:
    odds = [Decimal(float(z)).exp() for z in logits]
    p = odds[label] / sum(odds)
    clipped = min(max(p, Decimal("1e-12")), 1 - Decimal("1e-12"))
    return float(-clipped.ln())


@settings(derandomize=True, deadline=None)
@given(LOGITS)
def test_clipped_loss_is_minus_the_log_of_the_clipped_softmax(
    logits: NDArray[np.float64],
) -> None:
    label = labels_of(logits)
    expected = [slow_clipped_loss(z, y) for z, y in zip(logits, label, strict=True)]
    # The softmax of six classes takes eight roundings; near 1 they stay as they are,
    # which is the cancellation that the exact loss avoids.
    assert margins.clipped_loss(logits, label) == pytest.approx(
        expected, rel=1e-13, abs=8 * 2.0**-53
    )


def test_clipped_loss_reaches_both_bounds_and_exceeds_neither() -> None:
    logits = np.array([[1e4, 0.0], [-1e4, 0.0]])
    loss = margins.clipped_loss(logits, np.array([0, 0]))
    assert loss.tolist() == [-np.log(1 - 1e-12), -np.log(1e-12)]


def test_inputs_may_be_read_only_and_stay_as_they_are() -> None:
    logits = np.array([[1.0, 2.0], [3.0, -4.0]])
    label = np.array([0, 1], dtype=np.int32)
    before, label_before = logits.copy(), label.copy()
    logits.flags.writeable = label.flags.writeable = False
    margin = margins.margin(logits, label)
    margin_before = margin.copy()
    margin.flags.writeable = False
    margins.loss(margin)
    margins.clipped_loss(logits, label)
    assert np.array_equal(logits, before)
    assert np.array_equal(label, label_before)
    assert np.array_equal(margin, margin_before)


def test_log_confidence_is_the_loss_negated() -> None:
    margin = np.linspace(-800, 800, 99)
    assert np.array_equal(margins.log_confidence(margin), -margins.loss(margin))


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def test_confidence_is_averaged_over_the_views() -> None:
    margin = np.random.default_rng(0).normal(size=(8, 40, 2)) * 3
    margin.flags.writeable = False
    np.testing.assert_allclose(
        np.exp(margins.log_mean_confidence(margin)),
        sigmoid(margin).mean(axis=2),
        rtol=1e-12,
    )


def test_the_log_mean_is_that_of_the_chosen_models() -> None:
    rng = np.random.default_rng(0)
    margin = rng.normal(size=(8, 40, 2)) * 3
    chosen = rng.permuted(np.arange(8)[:, None] % 2 * np.ones((8, 40)), axis=0) > 0
    log_mean = margins.log_mean(margins.log_mean_confidence(margin), chosen)
    p = sigmoid(margin).mean(axis=2)
    for record in range(40):
        mean = p[chosen[:, record], record].mean()
        assert np.exp(log_mean[record]) == pytest.approx(mean, rel=1e-12)


def test_the_log_mean_of_nothing_is_that_of_probability_zero() -> None:
    for n_models in (2, 0):
        nothing = np.zeros((n_models, 3))
        assert np.isneginf(margins.log_mean(nothing, nothing > 0)).all()


def test_a_record_is_right_where_its_class_has_the_largest_logit() -> None:
    logits = np.random.default_rng(0).normal(size=(300, 3))
    label = np.arange(300) % 3
    margin = margins.margin(logits, label)
    right = margins.right(logits, label, margin)
    assert right.tolist() == [
        row.argmax() == y for row, y in zip(logits, label, strict=True)
    ]
    # Of margins alone, those are surely right that have more than half of it all.
    surely = margins.right(logits[:, :0], label, margin)
    p = np.exp(logits[np.arange(300), label]) / np.exp(logits).sum(axis=1)
    assert surely.tolist() == (p > 0.5).tolist()
    assert 0 < surely.sum() < right.sum()
    assert right[surely].all()
    of_two = margins.margin(logits[:, :2], label % 2)
    both = [margins.right(logits[:, :n], label % 2, of_two) for n in (0, 2)]
    assert both[0].tolist() == both[1].tolist()


def test_the_confidence_is_the_largest_probability_of_the_softmax() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)) * 30
    expected = special.softmax(logits, axis=1).max(axis=1)
    np.testing.assert_allclose(margins.confidence(logits), expected, rtol=1e-13)
    huge = np.array([[1e4, 0.0], [-1e4, -1e4]])
    assert margins.confidence(huge).tolist() == [1.0, 0.5]
