import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from pipeline.statistics import metrics

Sides = tuple[NDArray[np.float64], NDArray[np.bool_]]


@st.composite
def both_sides(draw: st.DrawFn) -> Sides:
    """Scores of few values, so that many tie, with at least one record of a side."""
    n_members = draw(st.integers(1, 12))
    n_others = draw(st.integers(1, 12))
    member = draw(st.permutations([True] * n_members + [False] * n_others))
    score = [draw(st.integers(-3, 3)) / 4 for _ in member]
    return np.array(score), np.array(member)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    pairs = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
    decision, member = zip(*pairs, strict=True)
    return np.array(decision), np.array(member)


def slow_auc(score: NDArray[np.float64], member: NDArray[np.bool_]) -> float:
    wins = Fraction(0)
    for one in score[member]:
        for other in score[~member]:
            wins += 1 if one > other else Fraction(int(one == other), 2)
    return float(wins / (int(member.sum()) * int((~member).sum())))


@settings(derandomize=True, deadline=None)
@given(decisions())
def test_accuracy_is_the_share_of_right_decisions(
    given_: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> None:
    decision, member = given_
    right = sum(d == m for d, m in zip(decision, member, strict=True))
    assert metrics.accuracy(decision, member) == right / len(member)


@settings(derandomize=True, deadline=None)
@given(decisions())
def test_precision_is_the_share_of_members_among_those_taken_for_members(
    given_: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> None:
    decision, member = given_
    taken = [m for d, m in zip(decision, member, strict=True) if d]
    expected = sum(taken) / len(taken) if taken else None
    assert metrics.precision(decision, member) == expected


@settings(derandomize=True, deadline=None)
@given(decisions())
def test_recall_is_the_share_of_members_that_were_taken_for_members(
    given_: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> None:
    decision, member = given_
    found = [d for d, m in zip(decision, member, strict=True) if m]
    expected = sum(found) / len(found) if found else None
    assert metrics.recall(decision, member) == expected


def test_rates_of_one_confusion_table_are_those_counted_by_hand() -> None:
    # Three members of which two are found, five others of which one is mistaken.
    member = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    decision = np.array([1, 1, 0, 1, 0, 0, 0, 0], dtype=bool)
    assert metrics.accuracy(decision, member) == 6 / 8
    assert metrics.precision(decision, member) == 2 / 3
    assert metrics.recall(decision, member) == 2 / 3


def test_precision_is_undefined_when_no_record_is_taken_for_a_member() -> None:
    member = np.array([True, False])
    assert metrics.precision(np.zeros(2, dtype=bool), member) is None


def test_recall_is_undefined_without_members() -> None:
    decision = np.array([True, False])
    assert metrics.recall(decision, np.zeros(2, dtype=bool)) is None


@settings(derandomize=True, deadline=None)
@given(both_sides())
def test_auc_is_the_share_of_pairs_won_with_ties_counted_half(sides: Sides) -> None:
    assert metrics.auc(*sides) == pytest.approx(slow_auc(*sides), rel=1e-14)


@settings(derandomize=True, deadline=None)
@given(both_sides())
def test_auc_is_that_of_scikit_learn(sides: Sides) -> None:
    # It integrates the curve by trapezia, in another order of additions.
    score, member = sides
    assert metrics.auc(score, member) == pytest.approx(
        roc_auc_score(member, score), rel=1e-12, abs=1e-15
    )


@settings(derandomize=True, deadline=None)
@given(both_sides())
def test_auc_of_reversed_scores_is_the_complement(sides: Sides) -> None:
    score, member = sides
    expected = 1 - metrics.auc(score, member)
    assert metrics.auc(-score, member) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ([4, 3, 2, 1], 3 / 4),  # member, other, member, other: 3 of 4 pairs are won
        ([4, 2, 3, 1], 1.0),
        ([1, 3, 2, 4], 0.0),
        ([2, 2, 3, 1], 7 / 8),  # the tie of the first two is half a win
        ([5, 5, 5, 5], 1 / 2),
        ([np.inf, 0, 1, -np.inf], 1.0),
    ],
)
def test_auc_of_four_records_is_that_counted_by_hand(
    score: list[float], expected: float
) -> None:
    member = np.array([True, False, True, False])
    assert metrics.auc(np.array(score, dtype=float), member) == expected


@pytest.mark.parametrize("n_members", [0, 3])
def test_auc_refuses_records_of_one_side(n_members: int) -> None:
    member = np.arange(3) < n_members
    message = f"AUC needs both sides, got {n_members} members of 3 records"
    with pytest.raises(ValueError, match=message):
        metrics.auc(np.zeros(3), member)


def test_inputs_may_be_read_only_and_stay_as_they_are() -> None:
    score = np.array([0.3, 0.1, 0.2])
    decision = np.array([True, False, True])
    member = np.array([True, False, False])
    before = [array.copy() for array in (score, decision, member)]
    for array in (score, decision, member):
        array.flags.writeable = False
    metrics.auc(score, member)
    for rate in (metrics.accuracy, metrics.precision, metrics.recall):
        rate(decision, member)
    for array, old in zip((score, decision, member), before, strict=True):
        assert np.array_equal(array, old)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 1.0])
def test_tpr_at_fpr_is_the_last_point_of_the_roc_that_is_allowed(rate: float) -> None:
    rng = np.random.default_rng(0)
    member = rng.random(150) < 0.5
    # Rounded, so that members and non-members tie.
    score = np.round(rng.normal(size=150) + member, 1)
    points = []
    for threshold in [np.inf, *np.unique(score), -np.inf]:
        above = score > threshold
        points.append((above[~member].mean(), above[member].mean()))
    wanted = max(tpr for fpr, tpr in points if fpr <= rate + 1e-12)
    assert metrics.tpr_at_fpr(score, member, rate) == pytest.approx(wanted)


def test_a_rate_that_few_non_members_cannot_measure_is_none() -> None:
    member = np.arange(150) < 50
    score = np.arange(150.0)
    assert metrics.tpr_at_fpr(score, member, 0.01) is not None
    assert metrics.tpr_at_fpr(score, member, 0.0099) is None


def test_a_rate_of_whole_records_is_not_lost_to_rounding() -> None:
    # 0.1 × 70 is a little more or less than 7 in floating point.
    for n in range(10, 200, 10):
        member = np.arange(2 * n) < n
        score = np.where(member, 0.5, (np.arange(2 * n) - n < n // 10) * 1.0)
        assert metrics.tpr_at_fpr(score, member, 0.1) == 1.0


def test_the_true_negative_rate_counts_non_members_below_the_members_tail() -> None:
    score = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    member = np.array([0, 0, 1, 0, 1, 1, 0, 1], dtype=bool)
    # With sides and order reversed, as the report's tail estimate has it.
    assert metrics.tpr_at_fpr(-score, ~member, 0.25) == 0.75
    assert metrics.tpr_at_fpr(-score, ~member, 1.0) == 1.0
    assert metrics.tpr_at_fpr(-score, ~member, 0.2) is None


def test_the_error_of_a_difference_is_delongs_definition() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(40) < 15
    one = np.round(member + rng.normal(size=40), 1)
    other = np.round(one + rng.normal(size=40), 1)

    def wins(a: float, b: float) -> float:
        return float(a > b) + 0.5 * float(a == b)

    total = 0.0
    for side in (True, False):
        differences = []
        for own in np.flatnonzero(member == side):
            gap = 0.0
            for against in np.flatnonzero(member != side):
                sign = 1 if side else -1
                gap += wins(sign * one[own], sign * one[against])
                gap -= wins(sign * other[own], sign * other[against])
            differences.append(gap / (member != side).sum())
        total += np.var(differences, ddof=1) / len(differences)
    found = metrics.auc_difference_error(one, other, member)
    assert found == pytest.approx(np.sqrt(total), rel=1e-12)


def test_the_error_of_a_difference_is_that_of_new_draws() -> None:
    rng = np.random.default_rng(1)
    member = np.arange(400) < 200
    gaps, errors = [], []
    for _ in range(300):
        one = member + rng.normal(size=400)
        other = 0.5 * one + rng.normal(size=400)
        gaps.append(metrics.auc(one, member) - metrics.auc(other, member))
        errors.append(metrics.auc_difference_error(one, other, member))
    assert np.mean(errors) == pytest.approx(np.std(gaps), rel=0.15)


def test_equal_scores_differ_without_error() -> None:
    score = np.random.default_rng(2).normal(size=30)
    assert metrics.auc_difference_error(score, 3 * score, np.arange(30) < 9) == 0


def test_balanced_accuracy_and_advantage_count_each_side_by_itself() -> None:
    member = np.array([True, True, True, True, False, False])
    decision = np.array([True, True, True, False, True, False])
    # 3 of 4 members and 1 of 2 non-members are right.
    assert metrics.balanced_accuracy(decision, member) == pytest.approx(5 / 8)
    assert metrics.advantage(decision, member) == pytest.approx(3 / 4 - 1 / 2)


def test_noise_is_significant_as_often_as_its_level_says() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(300) < 120
    p = np.array([metrics.p_value(rng.normal(size=300), member) for _ in range(2000)])
    for level in (0.01, 0.05, 0.2):
        error = math.sqrt(level * (1 - level) / len(p))
        assert np.mean(p <= level) <= level + 3 * error
    assert np.mean(p <= 0.2) > 0.1


def test_a_p_value_sees_a_leak_in_the_order_of_all() -> None:
    rng = np.random.default_rng(1)
    member = np.arange(1000) < 500
    score = rng.normal(size=1000) + 0.3 * member
    expected = stats.mannwhitneyu(
        score[member], score[~member], alternative="greater"
    ).pvalue
    assert metrics.p_value(score, member) == pytest.approx(2 * expected)


def test_a_p_value_sees_a_leak_of_a_few_members_at_the_top() -> None:
    rng = np.random.default_rng(2)
    member = np.arange(2000) < 1000
    score = rng.normal(size=2000)
    score[:16] += 10
    # Sixteen members of the twenty at the top, and some of the other four.
    hits = member[np.argsort(-score)[:20]].sum()
    chance = sum(
        math.comb(1000, k) * math.comb(1000, 20 - k) for k in range(hits, 21)
    ) / math.comb(2000, 20)
    assert metrics.p_value(score, member) == pytest.approx(2 * chance)
    assert chance < 0.01 < metrics.compatibility(score, member)


def test_scores_all_equal_prove_nothing() -> None:
    member = np.arange(400) < 200
    assert metrics.p_value(np.zeros(400), member) == 1
    assert metrics.compatibility(np.zeros(400), member) == 1


def test_ties_at_the_top_are_broken_against_the_attack() -> None:
    # All members but ten tie with all non-members: the top four are non-members.
    member = np.arange(400) < 200
    score = np.where(np.arange(400) < 10, 0.0, 1.0)
    assert metrics.p_value(score, member) == 1


def test_infinite_scores_have_p_values_by_their_order() -> None:
    rng = np.random.default_rng(3)
    member = np.arange(200) < 100
    score = rng.normal(size=200) + member
    wild = np.where(score > 1, np.inf, score)
    tied = np.where(score > 1, 99.0, score)
    assert metrics.p_value(wild, member) == metrics.p_value(tied, member)
    assert metrics.compatibility(wild, member) == metrics.compatibility(tied, member)


@pytest.mark.parametrize(
    ("n", "n_others"), [(440, 440), (100, 100), (900, 100), (2000, 100), (6, 200)]
)
@pytest.mark.parametrize("deviants", [1, 3, 8, 30, 45])
def test_p_values_of_scores_that_nearly_all_tie_hold_exactly(
    n: int, n_others: int, deviants: int
) -> None:
    # Two-valued scores that say nothing: how many deviants are members is
    # hypergeometric, so the chance of a small p-value is a sum.
    member = np.arange(n + n_others) < n
    chance = stats.hypergeom(n + n_others, n, deviants)
    for sign in (1, -1):
        tests = {"one-sided": metrics.p_value, "two-sided": metrics.compatibility}
        for name, test in tests.items():
            size = dict.fromkeys((0.05, 0.01, 0.001), 0.0)
            for inside in range(max(0, deviants - n_others), min(deviants, n) + 1):
                score = np.zeros(n + n_others)
                score[:inside] = score[n : n + deviants - inside] = sign
                p = test(score, member)
                for level in size:
                    size[level] += (p <= level) * chance.pmf(inside)
            # Two values make coarse steps, over which the normal law errs a little.
            slack = 1 if metrics.few_differ(score, member) else 1.5
            for level, found in size.items():
                assert found <= slack * level * (1 + 1e-9), (name, sign, level)


def test_few_members_among_very_many_records_have_a_p_value() -> None:
    rng = np.random.default_rng(4)
    member = np.arange(100_000) < 5
    score = rng.normal(size=100_000)
    score[:5] += 3
    expected = stats.mannwhitneyu(
        score[member], score[~member], alternative="greater", method="asymptotic"
    ).pvalue
    assert metrics.p_value(score, member) == pytest.approx(
        min(2 * expected, metrics.p_value(score, member))
    )
    assert metrics.p_value(score, member) < 0.05


def test_the_precision_at_a_base_rate_is_that_of_counting() -> None:
    # 600 of 1,000 members and 90 of 900 others are taken for members.
    for n_members, n_others in ((1000, 1000), (1000, 9000), (10, 990)):
        hits, alarms = 0.6 * n_members, 0.1 * n_others
        share = n_members / (n_members + n_others)
        expected = hits / (hits + alarms)
        assert metrics.precision_at_base_rate(0.6, 0.1, share) == pytest.approx(
            expected
        )
    assert metrics.precision_at_base_rate(0.2, 0.0, 0.01) == 1.0
    assert metrics.precision_at_base_rate(0.0, 0.2, 0.5) == 0.0
    assert metrics.precision_at_base_rate(0.0, 0.0, 0.5) is None
