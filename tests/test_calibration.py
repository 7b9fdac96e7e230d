import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from pipeline.statistics import calibration


def drawn(n: int = 500) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.1, 1.0, n)
    return confidence, rng.random(n) < confidence**2


def test_bins_are_those_of_scikit_learn() -> None:
    confidence, correct = drawn()
    bins = calibration.reliability(confidence, correct)
    right, sure = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    some = bins.records > 0
    np.testing.assert_allclose(bins.accuracy[some], right)
    np.testing.assert_allclose(bins.confidence[some], sure)
    assert np.isnan(bins.accuracy[~some]).all()
    assert bins.records.sum() == 500


def test_the_expected_error_is_that_of_counting() -> None:
    confidence, correct = drawn()
    expected = 0.0
    for number in range(1, 16):
        inside = ((number - 1) / 15 < confidence) & (confidence <= number / 15)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    bins = calibration.reliability(confidence, correct)
    assert calibration.expected_error(bins) == pytest.approx(expected, rel=1e-12)


def test_a_bin_holds_its_upper_edge_and_the_first_one_zero() -> None:
    confidence = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    bins = calibration.reliability(confidence, np.ones(5, dtype=bool), n_bins=4)
    assert bins.records.tolist() == [2, 1, 1, 1]
    assert bins.edges.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(("share", "error"), [(0.8, 0.0), (0.5, 0.3), (1.0, 0.2)])
def test_the_error_of_a_model_that_is_always_equally_sure(
    share: float, error: float
) -> None:
    correct = np.arange(100) < 100 * share
    bins = calibration.reliability(np.full(100, 0.8), correct)
    assert calibration.expected_error(bins) == pytest.approx(error, abs=1e-12)
