import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import false_discovery_control

from pipeline.findings import exposure, persons

UNIT = np.array([0, 0, 1, 2, 2, 2, 3])
SCORE = np.array([1.0, 3.0, 2.0, -700.0, 800.0, 0.0, 2.0])
P_VALUE = np.array([0.2, 0.01, 0.5, np.nan, 0.3, 0.4, np.nan])
MEMBER = np.array([1, 1, 0, 0, 0, 0, 1], dtype=bool)
EVALUATION = np.array([1, 1, 0, 1, 1, 1, 0], dtype=bool)
KNOWN = np.array([True, False, True, True])


def table() -> dict[str, np.ndarray]:
    return persons.table(UNIT, SCORE, P_VALUE, MEMBER, EVALUATION, KNOWN, 0.1)


def test_each_unit_is_summed_up_over_its_records() -> None:
    found = table()
    assert found["unit"].tolist() == [0, 1, 2, 3]
    assert found["records"].tolist() == [2, 1, 3, 1]
    assert found["maximum"].tolist() == [3, 2, 800, 2]
    own = [SCORE[unit == UNIT] for unit in range(4)]
    assert found["mean"] == pytest.approx([each.mean() for each in own])
    assert found["log_sum_exp"] == pytest.approx([logsumexp(each) for each in own])
    assert found["rank"].tolist() == [2, 3, 1, 3]


def test_a_unit_with_non_members_is_on_both_sides_if_the_target_knows_it() -> None:
    # The third has no audited member, but the target was trained on a record of it.
    assert table()["side"].tolist() == ["member", "nonmember", "both", "member"]


def test_a_units_p_value_is_the_smallest_times_the_number_of_those_known() -> None:
    found = table()["p_value"]
    assert found[:3] == pytest.approx([0.02, 0.5, 0.6])
    assert np.isnan(found[3])
    assert persons.together(np.array([0.9, 0.8]), np.zeros(2, int)).tolist() == [1.0]


def test_units_are_flagged_by_the_procedure_of_benjamini_and_hochberg() -> None:
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(120), rng.integers(1, 4, 120))
    member, evaluation = unit < 60, unit % 2 == 0
    score = rng.normal(size=len(unit)) + 4 * member
    found = persons.flags(score, unit, ~member, evaluation, 0.1)
    p = np.ones(120)
    for number in range(120):
        own = unit == number
        others = score[(evaluation != evaluation[own][0]) & ~member]
        at_least = [(1 + (others >= s).sum()) / (1 + len(others)) for s in score[own]]
        p[number] = min(1, own.sum() * min(at_least))
    assert found.tolist() == (false_discovery_control(p) <= 0.1).tolist()
    assert found[:60].mean() > 0.5
    assert found[60:].mean() < 0.1


def test_units_that_are_audited_in_part_are_left_out() -> None:
    found = persons.table(
        UNIT[:3] + 1,
        SCORE[:3],
        P_VALUE[:3],
        MEMBER[:3],
        EVALUATION[:3],
        np.array([True, True, False, True]),
        0.1,
    )
    assert found["unit"].tolist() == [1, 2]
    assert found["side"].tolist() == ["member", "nonmember"]


def test_the_counts_are_those_of_the_table() -> None:
    found = persons.counts({**table(), "flagged": np.array([1, 1, 1, 0], dtype=bool)})
    assert (found.units, found.members, found.nonmembers, found.both) == (4, 2, 1, 1)
    size = found.records_per_unit
    assert (size.lowest, size.median, size.highest) == (1, 1.5, 3)
    assert (found.flagged, found.flagged_nonmembers) == (3, 1)


def test_a_rank_is_that_of_the_maximum() -> None:
    found = table()
    assert found["rank"].tolist() == exposure.rank(found["maximum"]).tolist()
