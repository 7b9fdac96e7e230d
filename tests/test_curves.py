import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.findings.curves import Curve, band, histogram, roc, rule, thinned
from pipeline.statistics import intervals, metrics


def drawn(
    seed: int, n: int, values: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    member = rng.permutation(n) < max(1, n // 3)
    return rng.integers(0, values, n).astype(float), member


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 12))
def test_the_roc_curve_passes_through_the_point_of_every_threshold(
    seed: int, n: int, values: int
) -> None:
    score, member = drawn(seed, n, values)
    curve = roc(score, member)
    for threshold in (-1.0, *score):
        taken = score > threshold
        fpr, tpr = taken[~member].mean(), taken[member].mean()
        # Between two corners the curve is straight.
        distances = [
            abs((x2 - x1) * (y1 - tpr) - (x1 - fpr) * (y2 - y1))
            for x1, y1, x2, y2 in zip(
                curve.x[:-1], curve.y[:-1], curve.x[1:], curve.y[1:], strict=True
            )
            if x1 - 1e-9 <= fpr <= x2 + 1e-9 and y1 - 1e-9 <= tpr <= y2 + 1e-9
        ]
        assert min(distances) < 1e-9


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 12))
def test_the_area_under_the_roc_curve_is_the_auc(
    seed: int, n: int, values: int
) -> None:
    score, member = drawn(seed, n, values)
    curve = roc(score, member)
    area = float(np.sum(np.diff(curve.x) * (curve.y[1:] + curve.y[:-1]) / 2))
    assert area == pytest.approx(metrics.auc(score, member))


def test_the_roc_curve_has_corners_only() -> None:
    score = np.arange(10.0)
    curve = roc(score, score >= 5)
    assert curve.x.tolist() == [0, 0, 1]
    assert curve.y.tolist() == [0, 1, 1]


@given(st.integers(0, 10**6), st.floats(0.001, 0.3))
def test_a_thinned_curve_strays_no_further_than_a_step(seed: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = (np.sort(rng.random(50)) for _ in range(2))
    kept = thinned(Curve(x, y), step)
    assert (kept.x[0], kept.y[0], kept.x[-1], kept.y[-1]) == (x[0], y[0], x[-1], y[-1])
    for i in range(50):
        nearest = np.maximum(np.abs(kept.x - x[i]), np.abs(kept.y - y[i])).min()
        assert nearest <= step


def test_a_curve_of_many_points_is_thinned_to_what_can_be_seen() -> None:
    x = np.linspace(0, 1, 100_000)
    assert len(thinned(Curve(x, x), 0.002).x) < 1100


def test_the_band_is_the_interval_at_each_number_of_false_positives() -> None:
    score, member = drawn(3, 60, 50)
    n_others = int((~member).sum())
    made = band(score, member, 0.9, 5)
    assert made.x[0] == 1 / n_others
    assert made.x[-1] == pytest.approx(0.5, abs=1 / n_others)
    for x, low, high in zip(*made, strict=True):
        assert (low, high) == pytest.approx(
            tuple(intervals.tpr_at_fpr(score, member, x, 0.9))
        )


def test_the_band_counts_units() -> None:
    score, member = drawn(3, 60, 50)
    unit = np.arange(60) // 3
    made = band(score, member, 0.9, 5, unit)
    for x, low, high in zip(*made, strict=True):
        expected = intervals.tpr_at_fpr(score, member, x, 0.9, unit)
        assert expected == pytest.approx((low, high))
    assert not np.array_equal(made.low, band(score, member, 0.9, 5).low)


def test_the_shares_of_a_histogram_sum_to_one_whatever_lies_outside() -> None:
    score, member = drawn(5, 500, 400)
    score[:3] = np.inf, -np.inf, 1e9
    made = histogram(score, member, 20)
    assert made.members.sum() == pytest.approx(1)
    assert made.nonmembers.sum() == pytest.approx(1)
    assert made.edge[-1] < 1e6


@pytest.mark.parametrize("value", [2.0, np.inf])
def test_a_histogram_of_one_value_has_a_bin_for_it(value: float) -> None:
    made = histogram(np.full(4, value), np.array([1, 1, 0, 0], bool), 3)
    assert made.members.max() == made.nonmembers.max() == 1


@given(st.floats(0.5, 0.9), st.floats(0.1, 0.9), st.floats(0, 1))
def test_the_rule_begins_where_the_least_of_the_three_reaches_the_threshold(
    threshold: float, share: float, fpr: float
) -> None:
    (tpr,) = rule(threshold, share, np.array([fpr]))
    accuracy = share * tpr + (1 - share) * (1 - fpr)
    precision = share * tpr / (share * tpr + (1 - share) * fpr)
    assert min(accuracy, precision, tpr) == pytest.approx(threshold)
