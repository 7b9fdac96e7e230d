import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pipeline.statistics import intervals, metrics
from tests import bootstrap

COUNTS = st.tuples(st.integers(1, 60), st.integers(0, 60)).map(
    lambda pair: (min(pair), max(pair[0], pair[1], 1))
)


def noise(n: int, n_others: int, shift: float, seed: int) -> tuple[np.ndarray, ...]:
    """Scores of a binormal attack: members lie `shift` deviations higher."""
    rng = np.random.default_rng(seed)
    member = np.arange(n + n_others) < n
    score = rng.normal(size=n + n_others) + shift * member
    for array in (score, member):
        array.flags.writeable = False
    return score, member


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (17, 400)])
def test_a_rates_limits_are_those_of_its_definition(hits: int, trials: int) -> None:
    low, high = intervals.clopper_pearson(hits, trials, 0.9)
    # At a limit, so many hits or more (or fewer) are just as likely as the tail.
    if hits:
        assert stats.binom.sf(hits - 1, trials, low) == pytest.approx(0.05)
    if hits < trials:
        assert stats.binom.cdf(hits, trials, high) == pytest.approx(0.05)
    assert (low == 0) == (hits == 0)
    assert (high == 1) == (hits == trials)


def test_a_rates_limits_agree_with_scipy() -> None:
    expected = stats.binomtest(7, 31).proportion_ci(0.95, method="exact")
    found = intervals.clopper_pearson(7, 31, 0.95)
    assert found == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("hits", "trials"), [(3, 2), (-1, 2), (0, 0)])
def test_a_rate_needs_trials(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"got {hits} of {trials}"):
        intervals.clopper_pearson(hits, trials, 0.95)


def test_the_aucs_interval_is_delongs_on_log_odds() -> None:
    score, member = noise(60, 45, 1.0, seed=1)
    inside, outside = score[member], score[~member]
    # By the definition: structural components, pair by pair.
    order = np.array([[float(a > b) + (a == b) / 2 for b in outside] for a in inside])
    parts = [order.mean(axis=1), order.mean(axis=0)]
    terms = [one.var(ddof=1) / len(one) for one in parts]
    freedom = sum(terms) ** 2 / (terms[0] ** 2 / 59 + terms[1] ** 2 / 44)
    found = order.mean()
    step = stats.t.ppf(0.975, freedom) * math.sqrt(sum(terms)) / (found * (1 - found))
    centre = math.log(found / (1 - found))
    expected = [1 / (1 + math.exp(-(centre + s * step))) for s in (-1, 1)]
    assert intervals.auc(score, member, 0.95) == pytest.approx(expected)


def test_the_aucs_interval_is_as_long_as_the_bootstraps() -> None:
    score, member = noise(400, 300, 1.0, seed=2)
    drawn = bootstrap.resampled(
        score[None], score[None] > 0.5, member, (), n_resamples=2000, seed=1
    )
    expected = bootstrap.interval(drawn["auc"][0], 0.95)
    assert intervals.auc(score, member, 0.95) == pytest.approx(expected, abs=0.005)


def test_the_auc_of_the_reverse_score_has_the_reverse_interval() -> None:
    score, member = noise(30, 20, 0.7, seed=3)
    low, high = intervals.auc(score, member, 0.95)
    back = intervals.auc(-score, member, 0.95)
    assert back == pytest.approx((1 - high, 1 - low))


def test_records_all_in_order_leave_room_for_some_that_are_not() -> None:
    member = np.arange(50) < 20
    low, high = intervals.auc(member.astype(float), member, 0.95)
    # 20 disjoint pairs all in order: Clopper and Pearson's limit in closed form.
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    low, high = intervals.auc(-member.astype(float), member, 0.95)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_scores_all_equal_leave_room_on_both_sides() -> None:
    member = np.arange(50) < 20
    found = intervals.auc(np.zeros(50), member, 0.95)
    assert found == pytest.approx(intervals.clopper_pearson(10, 20, 0.95))


def test_few_records_of_a_side_tell_no_variance_of_their_own() -> None:
    # The larger side lies all at one place, in order with two of three.
    score = np.array([1.0, 1.0, -1.0, *np.zeros(500)])
    found = intervals.auc(score, np.arange(503) < 3, 0.95)
    assert found == pytest.approx(intervals.clopper_pearson(2, 3, 0.95))


def test_one_record_of_a_side_tells_next_to_nothing() -> None:
    low, high = intervals.auc(np.arange(4.0), np.arange(4) < 1, 0.95)
    assert (low, high) == (0.0, pytest.approx(0.975))


def decided(
    inside: tuple[int, int], outside: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return decisions with so many hits of members, and alarms of non-members."""
    decision = [np.arange(n) < hits for hits, n in (inside, outside)]
    return np.concatenate(decision), np.arange(inside[1] + outside[1]) < inside[1]


def test_the_advantage_has_the_interval_of_newcombe() -> None:
    # Newcombe's square-and-add, written out with the rates' own limits.
    (a, b), (c, d) = (intervals.clopper_pearson(*x, 0.95) for x in ((56, 70), (48, 80)))
    p, q = 56 / 70, 48 / 80
    low = p - q - math.sqrt((p - a) ** 2 + (d - q) ** 2)
    high = p - q + math.sqrt((b - p) ** 2 + (q - c) ** 2)
    found = intervals.advantage(*decided((56, 70), (48, 80)), 0.95)
    assert found == pytest.approx((low, high))
    # Near the .0524 to .3339 that the paper prints (table II, with Wilson's limits).
    assert found == pytest.approx((0.0524, 0.3339), abs=0.02)


@settings(derandomize=True, deadline=None)
@given(inside=COUNTS, outside=COUNTS)
def test_an_advantage_lies_within_its_interval(
    inside: tuple[int, int], outside: tuple[int, int]
) -> None:
    low, high = intervals.advantage(*decided(inside, outside), 0.95)
    assert -1 <= low <= inside[0] / inside[1] - outside[0] / outside[1] <= high <= 1


def test_a_tprs_limits_are_those_of_its_definition() -> None:
    score, member = noise(40, 50, 1.0, seed=4)
    inside, others = score[member], np.sort(score[~member])[::-1]
    low, high = intervals.tpr_at_fpr(score, member, 0.1, 0.9)
    at_low = at_high = 0.0
    for above in range(51):
        weight = stats.binom.pmf(above, 50, 0.1)
        # With so many above the threshold, it lies between these two.
        top = others[above - 1] if above else np.inf
        bottom = others[above] if above < 50 else -np.inf
        fewest, most = (inside > top).sum(), (inside > bottom).sum()
        at_low += weight * stats.binom.sf(fewest - 1, 40, low)
        at_high += weight * stats.binom.cdf(most, 40, high)
    assert at_low == pytest.approx(0.05, abs=1e-6)
    assert at_high == pytest.approx(0.05, abs=1e-6)


def test_a_threshold_within_ties_finds_no_member_for_certain() -> None:
    # Right or wrong predictions: no threshold between them has so low a rate.
    score = np.repeat([1.0, 0.0, 1.0, 0.0], [380, 20, 200, 200])
    member = np.arange(800) < 400
    found = intervals.tpr_at_fpr(score, member, 0.01, 0.95)
    assert found == pytest.approx(intervals.clopper_pearson(0, 400, 0.95), abs=1e-6)


def test_a_tpr_of_very_many_non_members_has_the_interval_of_a_known_threshold() -> None:
    score, member = noise(100, 2_000_000, 1.0, seed=5)
    hits = round(100 * metrics.tpr_at_fpr(score, member, 0.1))
    expected = intervals.clopper_pearson(hits, 100, 0.95)
    found = intervals.tpr_at_fpr(score, member, 0.1, 0.95)
    assert found == pytest.approx(expected, abs=0.006)


def test_too_few_non_members_give_no_interval() -> None:
    score, member = noise(40, 50, 1.0, seed=6)
    assert intervals.tpr_at_fpr(score, member, 0.01, 0.95) is None
    assert intervals.tpr_at_fpr(score, member, 0.02, 0.95) is not None


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    scores=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=8),
    rate=st.sampled_from((0.1, 0.25, 0.5)),
)
def test_a_tpr_lies_within_its_interval(
    scores: list[tuple[int, bool]], rate: float
) -> None:
    score = np.array([float(one) for one, _ in scores])
    member = np.array([side for _, side in scores])
    found = intervals.tpr_at_fpr(score, member, rate, 0.95)
    value = metrics.tpr_at_fpr(score, member, rate)
    assert (found is None) == (value is None)
    if found is not None and value is not None:
        assert 0 <= found.low <= value <= found.high <= 1


def test_the_difference_of_means_has_welchs_interval() -> None:
    rng = np.random.default_rng(0)
    inside, outside = 2 + 3 * rng.normal(size=15), rng.exponential(size=40)
    values, member = np.concatenate((inside, outside)), np.arange(55) < 15
    low, high = intervals.mean_difference(values, member, 0.9)
    test = stats.ttest_ind(outside, inside, equal_var=False)
    expected = test.confidence_interval(0.9)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_the_difference_of_constant_means_is_known() -> None:
    member = np.arange(8) < 3
    assert intervals.mean_difference(1.0 - member, member, 0.95) == (1.0, 1.0)


def test_alike_records_of_a_unit_make_no_difference_surer() -> None:
    rng = np.random.default_rng(0)
    member, unit = np.arange(80) < 30, np.arange(80)
    score, other = rng.normal(size=80) + member, rng.normal(size=80) + member
    thrice = [np.tile(values, 3) for values in (score, other, member, unit)]
    assert intervals.mean_difference(thrice[0], *thrice[2:3], 0.95, thrice[3]) == (
        pytest.approx(intervals.mean_difference(score, member, 0.95))
    )
    assert intervals.auc_difference(*thrice[:3], 0.95, thrice[3]) == pytest.approx(
        intervals.auc_difference(score, other, member, 0.95)
    )
    # Counted one by one, they would.
    low, high = intervals.mean_difference(thrice[0], thrice[2], 0.95)
    narrow = intervals.mean_difference(thrice[0], thrice[2], 0.95, thrice[3])
    assert high - low < 0.7 * (narrow.high - narrow.low)


def test_units_on_both_sides_make_a_difference_of_means_surer() -> None:
    rng = np.random.default_rng(0)
    unit, member = np.tile(np.arange(40), 2), np.arange(80) < 40
    hardness = np.tile(rng.normal(size=40), 2)
    values = hardness + 0.1 * rng.normal(size=80)
    low, high = intervals.mean_difference(values, member, 0.95, unit)
    # The deviation of forty differences, each of one unit.
    apart = (values[~member] - values[member]).std(ddof=1)
    assert (high - low) / 2 == pytest.approx(1.99 * apart / 40**0.5, rel=0.02)
    # Where it cancels all, the difference still is not taken as known.
    again = intervals.mean_difference(hardness, member, 0.95, unit)
    assert again.high - again.low > 0.5


@pytest.mark.parametrize("unit", [None, np.array([0, 0, 1, 2, 3, 4])])
def test_of_a_single_unit_of_a_side_all_differences_of_aucs_may_be(
    unit: NDArray[np.int64] | None,
) -> None:
    member = np.arange(6) < (1 if unit is None else 2)
    score = np.arange(6.0)
    assert intervals.auc_difference(score, -score, member, 0.95, unit) == (-1.0, 1.0)


def test_the_interval_of_a_difference_of_aucs_is_the_normal_one_of_pairs() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(300) < 100
    first = rng.normal(size=300) + member
    second = first + rng.normal(size=300)
    low, high = intervals.auc_difference(first, second, member, 0.95)
    difference = metrics.auc(first, member) - metrics.auc(second, member)
    error = metrics.auc_difference_error(first, second, member)
    assert (low + high) / 2 == pytest.approx(difference)
    assert (high - low) / 2 == pytest.approx(1.959964 * error, rel=1e-6)
    # Scores that are much alike differ by little that chance could explain.
    assert high - low < intervals.auc(first, member, 0.95).high - low
    assert intervals.auc_difference(first, first, member, 0.95) == (0.0, 0.0)


def test_the_interval_of_a_difference_of_aucs_covers() -> None:
    rng = np.random.default_rng(1)
    member = np.arange(200) < 100
    truth = norm_auc(1.0) - norm_auc(1 / np.sqrt(1.5))
    n_draws, covering = 300, 0
    for _ in range(n_draws):
        first = rng.normal(size=200) + member
        second = first + np.sqrt(0.5) * rng.normal(size=200)
        low, high = intervals.auc_difference(first, second, member, 0.95)
        covering += low <= truth <= high
    # Three standard errors below .95.
    assert covering >= n_draws * (0.95 - 3 * np.sqrt(0.95 * 0.05 / n_draws))


def norm_auc(shift: float) -> float:
    """Return the AUC of normal scores whose sides lie so many deviations apart."""
    return float(stats.norm.cdf(shift / np.sqrt(2)))
