"""Differences of two models on the same records, against oracles of their own."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar

from pipeline.statistics import intervals, metrics, paired
from tests import bootstrap

Scores = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def audits(
    shift: float,
    other_shift: float,
    *,
    n: int = 300,
    shared: float = 0.6,
    seed: int = 0,
) -> Scores:
    """Scores of two models on n members and n others, which are noisy alike."""
    rng = np.random.default_rng(seed)
    member = np.arange(2 * n) < n
    common, *own = rng.normal(size=(3, 2 * n))
    first, second = (
        math.sqrt(shared) * common + math.sqrt(1 - shared) * noise + s * member
        for noise, s in zip(own, (shift, other_shift), strict=True)
    )
    for array in (first, second, member):
        array.flags.writeable = False
    return first, second, member


def differences(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    member: NDArray[np.bool_],
    name: str,
) -> NDArray[np.float64]:
    """Return how a metric differs on resamples that both models share."""
    score = np.stack([first, second])
    rates = () if name == "auc" else (float(name),)
    drawn = bootstrap.resampled(score, score > 0, member, rates, 2000, seed=1)
    resampled: NDArray[np.float64] = drawn[name][1] - drawn[name][0]
    return resampled


def test_an_auc_changes_as_the_bootstrap_says() -> None:
    first, second, member = audits(1.5, 0.8)
    change = paired.auc(first, second, member, 0.95)
    assert change.first == metrics.auc(first, member)
    assert change.second == metrics.auc(second, member)
    resampled = differences(first, second, member, "auc")
    assert change.interval == pytest.approx(
        bootstrap.interval(resampled, 0.95), abs=0.005
    )
    assert change.difference == pytest.approx(resampled.mean(), abs=0.002)
    assert change.p_value < 1e-6


def test_an_aucs_p_value_is_that_of_delongs_ratio() -> None:
    first, second, member = audits(1.0, 0.9, seed=2)
    change = paired.auc(first, second, member, 0.95)
    # By the definition: covariances of the placements of both models on either side.
    before, after = (metrics.placements(s, member) for s in (first, second))
    variance = sum(
        float(np.var(now - was, ddof=1)) / len(was)
        for was, now in zip(before, after, strict=True)
    )
    z = change.difference / math.sqrt(variance)
    assert change.p_value == pytest.approx(2 * norm.sf(abs(z)))
    assert 0.001 < change.p_value < 0.99


def test_a_pair_is_known_better_than_two_audits_of_other_records() -> None:
    first, second, member = audits(1.0, 0.9, shared=0.9)
    change = paired.auc(first, second, member, 0.95)
    alone = [intervals.auc(s, member, 0.95) for s in (first, second)]
    length = change.interval.high - change.interval.low
    assert length < 0.7 * min(ends.high - ends.low for ends in alone)


def test_where_few_records_move_the_interval_reaches_as_far_as_both() -> None:
    first, _, member = audits(1.0, 0.0, n=100)
    second = first.copy()
    second[:3] = -9.0  # three members alone
    change = paired.auc(first, second, member, 0.95)
    of_first, of_second = (intervals.auc(s, member, 0.95) for s in (first, second))
    assert change.interval.low == pytest.approx(of_second.low - of_first.high)
    assert change.interval.high == pytest.approx(of_second.high - of_first.low)
    assert change.p_value > 0.05
    # Where everything changes, that few may be enough.
    perfect, reverse = member.astype(float), -member.astype(float)
    change = paired.auc(perfect, reverse, member, 0.95)
    assert (change.difference, change.p_value) == (-1.0, paired.LEAST_P)


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_one_model_with_itself_changes_nothing(rate: float) -> None:
    first, _, member = audits(1.0, 0.0)
    nothing = (0.0, (0.0, 0.0), 1.0)
    assert paired.auc(first, first, member, 0.95)[2:] == nothing
    # Only the order counts.
    assert paired.auc(first, np.exp(first), member, 0.95)[2:] == nothing
    change = paired.tpr_at_fpr(first, np.exp(first), member, rate, 0.95)
    assert change is not None
    assert change[2:] == nothing


def test_a_true_positive_rate_changes_within_limits_wider_than_the_bootstraps() -> None:
    first, second, member = audits(2.0, 1.0, n=400)
    change = paired.tpr_at_fpr(first, second, member, 0.1, 0.95)
    assert change is not None
    assert change.first == metrics.tpr_at_fpr(first, member, 0.1)
    assert change.second == metrics.tpr_at_fpr(second, member, 0.1)
    low, high = np.quantile(differences(first, second, member, "0.1"), (0.025, 0.975))
    # The bootstrap takes the threshold for better known than it is.
    assert change.interval.low < low < high < change.interval.high
    assert change.interval.high - change.interval.low < 1.6 * (high - low)


def test_the_p_value_of_a_rate_is_the_level_at_which_its_interval_meets_zero() -> None:
    first, second, member = audits(1.5, 1.1, n=200, seed=3)
    change = paired.tpr_at_fpr(first, second, member, 0.1, 0.95)
    assert change is not None
    assert 0.001 < change.p_value < 0.5
    at, below = (
        paired.tpr_at_fpr(first, second, member, 0.1, 1 - level)
        for level in (change.p_value, change.p_value / 1.05)
    )
    assert at is not None
    assert below is not None
    assert at.interval.high < 0 < below.interval.high


def test_too_few_non_members_measure_no_change_of_a_rate() -> None:
    first, second, member = audits(1.0, 0.0, n=50)
    assert paired.tpr_at_fpr(first, second, member, 0.01, 0.95) is None


COUNTS = st.tuples(*[st.integers(0, 40)] * 4).filter(any)


def shares(
    counts: tuple[int, ...],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two models' hits: both, the first alone, the second alone, none."""
    first = np.repeat([True, True, False, False], counts)
    second = np.repeat([True, False, True, False], counts)
    return first, second


@settings(derandomize=True, deadline=None, max_examples=60)
@given(counts=COUNTS)
def test_a_share_has_the_p_value_of_mcnemar(counts: tuple[int, ...]) -> None:
    both, first, second, none = counts
    change = paired.share(*shares(counts), 0.95)
    expected = mcnemar([[both, first], [second, none]], exact=True).pvalue
    assert change.p_value == pytest.approx(min(expected, 1.0))
    assert change.difference == pytest.approx((second - first) / sum(counts))
    low, high = change.interval
    assert -1 <= low <= change.difference + 1e-12
    assert change.difference - 1e-12 <= high <= 1


@settings(derandomize=True, deadline=None, max_examples=30)
@given(counts=COUNTS)
def test_the_other_way_round_a_share_changes_the_other_way(
    counts: tuple[int, ...],
) -> None:
    first, second = shares(counts)
    there, back = (
        paired.share(first, second, 0.95),
        paired.share(second, first, 0.95),
    )
    low, high = back.interval
    assert there.interval == pytest.approx((-high, -low))
    assert there.p_value == back.p_value


def test_a_share_that_no_record_changes_may_yet_change_a_little() -> None:
    first, second = shares((30, 0, 0, 10))
    change = paired.share(first, second, 0.95)
    # Clopper and Pearson's limit of none in 40, in closed form.
    limit = 1 - 0.025 ** (1 / 40)
    assert change[2:] == (0.0, pytest.approx((-limit, limit)), 1.0)


def test_records_of_one_unit_count_as_one() -> None:
    first, second = shares((20, 12, 2, 6))
    alone = paired.share(first, second, 0.95)
    # Ten records of each unit, all alike, say what one of each says.
    unit = np.repeat(np.arange(40), 10)
    many = paired.share(np.repeat(first, 10), np.repeat(second, 10), 0.95, unit)
    assert many.difference == pytest.approx(alone.difference)
    assert many.interval == pytest.approx(alone.interval, abs=0.02)
    as_if_alone = paired.share(np.repeat(first, 10), np.repeat(second, 10), 0.95)
    assert as_if_alone.p_value < 1e-6 < 1e-3 < many.p_value
    low, high = paired.share(first, second, 0.95, np.arange(40)).interval
    assert (low, high) == alone.interval


def test_units_make_changes_of_scores_less_sure() -> None:
    first, second, member = audits(1.5, 0.8, n=80)
    rows = np.repeat(np.arange(160), 5)
    unit = rows.copy()
    for change in (paired.auc, rate_of(0.1)):
        alone = change(first, second, member, 0.95, None)
        alike = change(first[rows], second[rows], member[rows], 0.95, unit)
        lengths = [each.interval.high - each.interval.low for each in (alone, alike)]
        assert alike.difference == pytest.approx(alone.difference, abs=0.03)
        assert lengths[1] == pytest.approx(lengths[0], rel=0.25)


def rate_of(rate: float) -> Callable[..., paired.Change]:
    def change(*words: object) -> paired.Change:
        first, second, member, confidence, unit = words
        made = paired.tpr_at_fpr(first, second, member, rate, confidence, unit)
        assert made is not None
        return made

    return change


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("shift", "other", "shared"), [(2.0, 1.0, 0.5), (1.5, 1.5, 0.95)]
)
def test_intervals_of_changes_cover(
    shift: float,
    other: float,
    shared: float,
    n_costly_draws: int,
    tell: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only the intervals are looked at.
    monkeypatch.setattr(paired, "_p_value", lambda *_: 1.0)
    rate = 0.01
    rates = [norm.sf(norm.isf(rate) - s) for s in (shift, other)]
    aucs = [norm.cdf(s / math.sqrt(2)) for s in (shift, other)]
    shares_ = [norm.cdf(s / 2) for s in (shift, other)]
    truth = {
        "AUC": aucs[1] - aucs[0],
        "TPR at .01": rates[1] - rates[0],
        "accuracy": shares_[1] - shares_[0],
    }
    covering = dict.fromkeys(truth, 0)
    for seed in range(n_costly_draws):
        first, second, member = audits(shift, other, n=400, shared=shared, seed=seed)
        right = [
            (score > s / 2)[member] for score, s in ((first, shift), (second, other))
        ]
        changes = {
            "AUC": paired.auc(first, second, member, 0.95),
            "TPR at .01": paired.tpr_at_fpr(first, second, member, rate, 0.95),
            "accuracy": paired.share(*right, 0.95),
        }
        for name, change in changes.items():
            assert change is not None
            covering[name] += change.interval.low <= truth[name] <= change.interval.high
    for name, hits in covering.items():
        tell(
            f"change of the {name}, {shift} to {other}", f"{hits / n_costly_draws:.3f}"
        )
        error = math.sqrt(0.95 * 0.05 / n_costly_draws)
        assert hits / n_costly_draws > 0.95 - 3 * error
