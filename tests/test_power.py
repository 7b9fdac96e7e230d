"""Power, by counting the audits of a known leak that `metrics.p_value` notices."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.statistics import metrics, power

LEVEL = 0.04
DRAWS = 200
# Three standard errors of a share about .8.
ALLOWED = 3 * (0.8 * 0.2 / DRAWS) ** 0.5


def noticed(
    scores: NDArray[np.float64],
    member: NDArray[np.bool_],
    unit: NDArray[np.int64] | None = None,
) -> float:
    p = [metrics.p_value(own, member, unit) for own in scores]
    return float(np.mean(np.array(p) < LEVEL))


def sides(n_members: int, n_nonmembers: int) -> NDArray[np.bool_]:
    return np.arange(n_members + n_nonmembers) < n_members


@pytest.mark.parametrize(
    ("n_members", "n_nonmembers"), [(60, 60), (440, 440), (40, 400), (400, 40)]
)
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_the_smallest_auc_is_noticed_four_times_in_five(
    n_members: int, n_nonmembers: int, shape: str
) -> None:
    auc = power.smallest_auc(n_members, n_nonmembers, LEVEL / 2, 0.8)
    assert auc is not None
    member = sides(n_members, n_nonmembers)
    rng = np.random.default_rng(0)
    if shape == "normal":
        scores = rng.normal(size=(DRAWS, len(member)))
        scores += member * norm.ppf(auc) * np.sqrt(2)
    else:
        scores = rng.exponential(size=(DRAWS, len(member)))
        scores *= np.where(member, auc / (1 - auc), 1.0)
    assert metrics.auc(scores.ravel(), np.tile(member, DRAWS)) == pytest.approx(
        auc, abs=0.01
    )
    # The second look, at the highest scores, adds up to a tenth where tails are long.
    assert 0.8 - ALLOWED <= noticed(scores, member) <= 0.9 + ALLOWED


def test_alike_records_of_units_are_worth_their_number() -> None:
    auc = power.smallest_auc(60, 60, LEVEL / 2, 0.8)
    assert auc is not None
    member, unit = sides(60, 60), np.arange(120)
    scores = np.random.default_rng(0).normal(size=(DRAWS, 120))
    scores += member * norm.ppf(auc) * np.sqrt(2)
    share = noticed(np.tile(scores, 4), np.tile(member, 4), np.tile(unit, 4))
    assert 0.8 - ALLOWED <= share <= 0.9 + ALLOWED


def test_the_smallest_auc_of_large_sides_is_that_of_the_plain_sample_size() -> None:
    # Noether 1987, JASA 82: N = (z + z')² / (12 c (1 − c) (AUC − 1/2)²), near one half.
    n = 200_000
    auc = power.smallest_auc(n // 4, 3 * n // 4, 0.02, 0.8)
    quantiles = norm.isf(0.02) + norm.isf(0.2)
    expected = 0.5 + quantiles / np.sqrt(12 * 0.25 * 0.75 * n)
    assert auc == pytest.approx(expected, rel=1e-4)


def test_more_records_and_less_power_show_smaller_leaks() -> None:
    aucs = [power.smallest_auc(n, n, 0.02, 0.8) for n in (20, 50, 200, 1000)]
    assert aucs == sorted(aucs, reverse=True)
    some, most = (power.smallest_auc(50, 50, 0.02, p) for p in (0.5, 0.95))
    assert some is not None
    assert most is not None
    assert some < most


def test_a_handful_of_records_shows_not_even_full_separation() -> None:
    assert power.smallest_auc(3, 3, 0.02, 0.8) is None
    # One order of the seventy is below .02, and full separation has just that one.
    assert power.smallest_auc(4, 4, 0.02, 0.8) is not None
    member = sides(3, 3)
    assert metrics.p_value(member.astype(np.float64), member) >= LEVEL


def found_above(
    n_members: int, n_nonmembers: int, tpr: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return scores of which the share `tpr` of members and 1 % of others are high."""
    member = sides(n_members, n_nonmembers)
    high = rng.random((DRAWS, len(member))) < np.where(member, tpr, 0.01)
    return rng.random(high.shape) + high


@pytest.mark.parametrize(
    ("n_members", "n_nonmembers"), [(440, 440), (200, 1000), (1000, 700)]
)
def test_the_smallest_tpr_is_noticed_four_times_in_five(
    n_members: int, n_nonmembers: int
) -> None:
    tpr = power.smallest_tpr(n_members, n_nonmembers, LEVEL / 2, 0.8)
    assert tpr is not None
    rng = np.random.default_rng(1)
    member = sides(n_members, n_nonmembers)
    scores = found_above(n_members, n_nonmembers, tpr, rng)
    # The order of all records is a second look, which such a leak changes too.
    share = noticed(scores, member)
    assert share >= 0.8 - ALLOWED
    weaker = found_above(n_members, n_nonmembers, tpr / 2, rng)
    assert noticed(weaker, member) < share - ALLOWED


def test_a_rate_that_cannot_be_measured_or_noticed_is_none() -> None:
    assert power.smallest_tpr(0, 1000, 0.02, 0.8) is None
    assert power.smallest_tpr(10, 99, 0.02, 0.8) is None
    # Both of the two highest must be members, each with probability √.8; of 100 others
    # one lies as high.
    share = 0.8**0.5
    expected = share / (10 * (1 - share))
    assert power.smallest_tpr(10, 100, 0.02, 0.8) == pytest.approx(expected)
    # Even if all of the twelve highest are members, that is chance in one of nine.
    assert power.smallest_tpr(1000, 200, 0.02, 0.8) is None


def test_a_rate_above_one_is_none() -> None:
    # Two members among 10,000 others: even if both are found, a hundred others lie
    # above the threshold.
    assert power.smallest_tpr(2, 10_000, 0.0001, 0.8) is None
