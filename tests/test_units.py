import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pipeline.attacks import folds
from pipeline.audit import search
from pipeline.data import selection
from pipeline.errors import AuditError
from pipeline.findings import controls, figures, slices
from pipeline.statistics import intervals, metrics, units

UNIT = np.array([7, 3, 7, 9, 3, 7])


def crowd(
    n_units: int = 60, alike: float = 0.8, shift: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return scores, memberships and units of one to six records, in any order."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(n_units), rng.integers(1, 7, n_units))
    unit = rng.permutation(unit)
    member = unit % 2 == 0
    common, own = rng.normal(size=n_units)[unit], rng.normal(size=len(unit))
    score = shift * member + np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    return score, member, unit


def split_units(chosen: NDArray[np.bool_], unit: NDArray[np.int64]) -> int:
    """Return how many units have some records chosen and some not."""
    return len(np.intersect1d(unit[chosen], unit[~chosen]))


# The units themselves


def test_records_are_grouped_in_order_of_their_units_one_of_each() -> None:
    groups = units.grouped(UNIT, 6)
    assert groups.first.tolist() == [0, 1, 3]
    assert groups.place.tolist() == [0, 1, 0, 2, 1, 0]
    assert groups.size.tolist() == [3, 2, 1]
    assert units.totals(groups, np.arange(6)).tolist() == [7, 5, 3]
    assert units.one_of_each(UNIT, 6).tolist() == [0, 3, 4]


def test_without_units_each_record_stands_for_itself() -> None:
    groups = units.grouped(None, 3)
    assert all(part.tolist() == [0, 1, 2] for part in groups[:2])
    assert units.effective(None, 3) == 3
    assert units.of(None, np.array([True, False, True])) is None
    assert units.shared(None) is None


def test_units_of_one_record_each_are_as_none() -> None:
    assert units.shared(np.array([4, 1, 3])) is None
    assert units.shared(UNIT) is UNIT
    assert units.of(UNIT, np.array([3, 4])).tolist() == [9, 3]  # type: ignore[union-attr]


def test_of_units_on_both_sides_as_many_records_of_either_are_taken() -> None:
    unit = np.tile(np.arange(40), 2)  # first all members, then all non-members
    own = units.one_of_each(unit, 80)
    assert (own < 40).sum() == 20
    assert sorted(unit[own].tolist()) == [*range(40)]
    score = np.random.default_rng(0).normal(size=80) + 3 * (np.arange(80) < 40)
    assert metrics.p_value(score, np.arange(80) < 40, unit) < 1e-6


def test_equal_units_are_worth_their_number() -> None:
    assert units.effective(np.repeat(np.arange(5), 4), 20) == 5
    assert units.effective(UNIT, 6) == pytest.approx(36 / (9 + 4 + 1))


def test_whole_units_are_chosen_until_so_many_records_are() -> None:
    unit = np.repeat(np.arange(4), [3, 2, 3, 1])
    # The third is too large for the one place that is left; the fourth fits it.
    assert units.whole(unit, np.array([0, 1, 2, 3]), 6).sum() == 6
    assert units.whole(unit, np.array([0, 2, 1, 3]), 5).tolist() == (
        5 * [True] + 4 * [False]
    )
    assert units.whole(unit, np.array([2, 0, 1, 3]), 1).tolist() == (
        8 * [False] + [True]
    )
    assert units.whole(unit[:8], np.array([2, 0, 1]), 1).tolist() == (
        5 * [False] + 3 * [True]
    )
    assert not units.whole(unit, np.array([2, 0, 1, 3]), 0).any()


# What is drawn


@settings(derandomize=True, deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), fraction=st.sampled_from([0.2, 0.5]))
def test_a_division_parts_no_unit_and_keeps_the_shares(
    seed: int, fraction: float
) -> None:
    _, member, unit = crowd(seed=seed)
    member ^= unit == 4  # of this one, the other way round
    member[np.flatnonzero(unit == 2)[0]] = False
    label = unit % 3
    held_out = selection.eval_side(member, label, fraction, seed, unit=unit)
    assert split_units(held_out, unit) == 0
    for side in (member, ~member):
        assert abs(held_out[side].mean() - fraction) < 0.1


def test_all_units_are_as_likely_to_be_held_out() -> None:
    unit = np.repeat(np.arange(20), np.tile([1, 9], 10))
    member = unit < 10
    shares = np.mean(
        [
            selection.eval_side(member, unit % 2, 0.3, 1, draw, unit)
            for draw in range(1000)
        ],
        axis=0,
    )
    assert shares == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / 1000))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_halves_are_of_whole_units_and_complementary(seed: int) -> None:
    _, _, unit = crowd(seed=seed)
    halves = selection.halves(len(unit), 4, seed, unit)
    assert all(split_units(half, unit) == 0 for half in halves)
    assert (halves[::2] == ~halves[1::2]).all()
    assert abs(halves[0].sum() - len(unit) // 2) <= 6
    assert not (halves[0] == halves[2]).all()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_folds_part_no_unit_and_hold_equal_shares_of_each_side(seed: int) -> None:
    _, member, unit = crowd(seed=seed)
    member[0] = ~member[0]  # most often of a unit on both sides
    known = unit % 5 > 0
    sides = known & member, known & ~member
    fold = folds.drawn(sides, 3, seed, "per_class.folds", unit)
    assert (fold == -1).tolist() == (~known).tolist()
    for one, other in itertools.combinations(range(3), 2):
        assert not np.intersect1d(unit[fold == one], unit[fold == other]).size
    for side in sides:
        counts = np.bincount(fold[side], minlength=3)
        assert counts.max() - counts.min() <= 12


def test_a_sample_has_units_whole_one_after_the_other() -> None:
    ids = np.arange(10, 16)
    for choose in ("first", "sample"):
        found = selection.ordered(ids, choose, 1, "data.members", UNIT)
        of = UNIT[found - 10]
        assert len([None for a, b in itertools.pairwise(of) if a != b]) == 2
        assert sorted(found.tolist()) == ids.tolist()
    first = selection.ordered(ids, "first", 1, "data.members", UNIT)
    assert first.tolist() == [10, 12, 15, 11, 14, 13]


def test_shuffled_memberships_are_those_of_whole_units() -> None:
    _, member, unit = crowd()
    side = unit < 40
    found = controls.shuffled(member, (side, ~side), 1, unit)
    assert split_units(found, unit) == 0
    assert abs(int(found.sum()) - int(member.sum())) <= 12
    assert 0.2 < (found == member).mean() < 0.8


def test_the_folds_of_a_search_part_no_unit() -> None:
    _, member, unit = crowd()
    for train, judged in search.fold_sides(member, 3, 1, unit):
        assert not np.intersect1d(unit[train], unit[judged]).size
        assert len(train) + len(judged) == len(unit)


def test_more_folds_than_a_side_has_units_are_refused() -> None:
    member, unit = np.arange(40) < 20, np.repeat(np.arange(4), 10)
    with pytest.raises(AuditError) as caught:
        search.fold_sides(member, 3, 1, unit)
    assert str(caught.value) == (
        "attack.folds: is 3, but the smaller side of attack-train has 2 units. Fix: "
        "audit more records (data.members) or lower attack.folds."
    )


# What is measured


def test_units_of_one_record_each_change_no_figure() -> None:
    score, member, _ = crowd(150)
    alone = np.random.default_rng(1).permutation(len(score))
    decision = score > 0.5
    for known in (figures.figures, figures.exceeds):
        given_units = (
            (score, decision, member, 0.95, 0.99)
            if known is figures.figures
            else (decision, member, 0.6, 0.95)
        )
        assert known(*given_units, alone) == known(*given_units)  # type: ignore[operator]
    assert metrics.p_value(score, member, alone) == metrics.p_value(score, member)
    kinds = {"class": alone % 3}
    assert slices.slices(kinds, score, member, 0.9, alone) == (
        slices.slices(kinds, score, member, 0.9)
    )


def obuchowski(
    score: NDArray[np.float64], member: NDArray[np.bool_], unit: NDArray[np.int64]
) -> float:
    """Return the variance of the AUC as the paper defines it, in loops."""
    inside, outside = score[member], score[~member]
    n, m = len(inside), len(outside)

    def psi(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    auc = sum(psi(x, y) for x in inside for y in outside) / (n * m)
    of_unit = {}
    for number in np.unique(unit):
        own = unit == number
        ins, outs = score[own & member], score[own & ~member]
        v10 = sum(sum(psi(x, y) for y in outside) / m - auc for x in ins)
        v01 = sum(sum(psi(x, y) for x in inside) / n - auc for y in outs)
        of_unit[number] = v10, v01, len(ins) > 0, len(outs) > 0
    i10 = sum(each[2] for each in of_unit.values())
    i01 = sum(each[3] for each in of_unit.values())
    i = len(of_unit)
    s10 = i10 / ((i10 - 1) * n) * sum(each[0] ** 2 for each in of_unit.values())
    s01 = i01 / ((i01 - 1) * m) * sum(each[1] ** 2 for each in of_unit.values())
    s11 = i / (i - 1) * sum(each[0] * each[1] for each in of_unit.values())
    return s10 / n + s01 / m + 2 * s11 / (n * m)


@pytest.mark.parametrize("seed", range(4))
def test_the_variance_of_an_auc_is_obuchowskis(seed: int) -> None:
    score, member, unit = crowd(20, seed=seed)
    score = np.round(score, 1)  # some are equal
    member[::5] = ~member[::5]  # of some units, on both sides
    sides = metrics.placements(score, member)
    found = metrics.auc_variance(*sides, member, unit).total
    assert found == pytest.approx(obuchowski(score, member, unit))
    constant = np.zeros(len(score))
    error = metrics.auc_difference_error(score, constant, member, unit)
    assert error**2 == pytest.approx(found)


def test_records_that_are_all_alike_count_as_their_units() -> None:
    rng = np.random.default_rng(2)
    once = rng.normal(size=200) + (np.arange(200) < 100)
    side = np.arange(200) < 100
    unit = np.repeat(np.arange(200), 4)
    score, member = once[unit], side[unit]
    alone = intervals.auc(once, side, 0.95)
    assert intervals.auc(score, member, 0.95, unit) == pytest.approx(alone, abs=2e-3)
    hit = once > 0.5
    found = intervals.rate(hit[unit], 0.95, unit)
    assert found == pytest.approx(intervals.rate(hit, 0.95), abs=5e-3)
    assert intervals.worth(hit[unit], 0.95, unit) == pytest.approx(200, rel=0.05)


def test_so_few_units_with_the_rarer_outcome_count_as_all_alike() -> None:
    unit = np.repeat(np.arange(50), 4)
    hit = np.isin(unit, np.arange(9)) & (np.arange(200) % 4 == 0)
    assert intervals.worth(hit, 0.95, unit) == 50
    assert intervals.worth(~hit, 0.95, unit) == 50
    more = hit | (np.arange(200) == 9 * 4)
    assert intervals.worth(more, 0.95, unit) > 150
    assert intervals.worth(np.zeros(200, bool), 0.95, unit) == 50
    assert intervals.rate(np.zeros(200, bool), 0.95, unit) == pytest.approx(
        intervals.clopper_pearson(0, 50, 0.95)
    )


def test_trials_with_units_are_worth_what_korn_and_graubard_say() -> None:
    score, _, unit = crowd(40, alike=0.9)
    hit = score > 0.3
    n, share = len(hit), hit.mean()
    scatter = sum((hit[unit == u] - share).sum() ** 2 for u in np.unique(unit))
    variance = scatter * 40 / 39 / n**2
    rough = stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, 39)
    expected = share * (1 - share) / variance * rough**2
    assert intervals.worth(hit, 0.95, unit) == pytest.approx(expected)
    low, high = intervals.rate(hit, 0.95, unit)
    assert stats.beta.cdf(low, share * expected, (1 - share) * expected + 1) == (
        pytest.approx(0.025)
    )
    assert stats.beta.sf(high, share * expected + 1, (1 - share) * expected) == (
        pytest.approx(0.025)
    )


def test_a_tprs_interval_is_wider_where_units_are_alike() -> None:
    score, member, unit = crowd(400, alike=0.95)
    alone = intervals.tpr_at_fpr(score, member, 0.1, 0.95)
    found = intervals.tpr_at_fpr(score, member, 0.1, 0.95, unit)
    assert alone is not None
    assert found is not None
    assert found.low < alone.low < alone.high < found.high


def test_the_order_of_units_is_tested_by_students_test_of_their_sums() -> None:
    score, member, unit = crowd(80, shift=0.3)
    rank = stats.rankdata(score)
    parts = [
        ((member - member.mean()) * (rank - rank.mean()))[unit == u].sum()
        for u in np.unique(unit)
    ]
    t = np.mean(parts) / (np.std(parts, ddof=1) / np.sqrt(len(parts)))
    expected = 2 * stats.t.sf(abs(t), len(parts) - 1)
    assert metrics.compatibility(score, member, unit) == pytest.approx(expected)


def test_the_top_is_counted_among_one_record_of_each_unit() -> None:
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(300), 3)
    member = unit < 150
    score = rng.normal(size=900)
    own = units.one_of_each(unit, 900)
    score[own[:3]] = 100.0  # the three of 300 at the top are members
    top = stats.hypergeom.sf(2, 300, 150, 3)
    order = metrics.compatibility(score, member, unit)
    assert metrics.p_value(score, member, unit) == pytest.approx(
        min(1.0, 2 * min(top, order / 2 if metrics.auc(score, member) > 0.5 else 1))
    )


def test_where_nearly_all_tie_one_record_of_each_unit_is_tested() -> None:
    unit, member = np.repeat(np.arange(100), 3), np.repeat(np.arange(100), 3) < 50
    score, own = (unit < 2).astype(float), units.one_of_each(unit, 300)
    expected = metrics.compatibility(score[own], member[own])
    assert metrics.compatibility(score, member, unit) == expected
    only = np.arange(300) == 1  # not the one of its unit that is taken
    assert metrics.compatibility(only.astype(float), member, unit) == 1.0


def test_independence_counts_one_record_of_each_unit() -> None:
    # Fifteen units of forty records: by records, agreement would be no accident.
    unit = np.repeat(np.arange(15), 40)
    member, reference = unit < 8, (unit < 6) | (unit == 10)
    by_record = controls.independence(reference[None], member, ["a"])
    by_unit = controls.independence(reference[None], member, ["a"], unit)
    assert by_record is not None
    assert by_unit is not None
    assert not by_record.passed
    assert by_unit.passed
    alone = controls.independence(reference[None, ::40], member[::40], ["a"])
    assert by_unit == alone


def test_the_sides_are_compared_by_one_record_of_each_unit() -> None:
    unit = np.repeat(np.arange(12), 50)
    member = unit < 6
    correct = unit != 0
    by_record = controls.sides(correct, member, None)
    by_unit = controls.sides(correct, member, None, unit)
    assert by_record.passed is False
    assert by_unit.passed is True
    assert by_unit.members_accuracy == by_record.members_accuracy == 5 / 6
