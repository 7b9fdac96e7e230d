import gc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from pipeline.statistics import corrections

# Few values, so that many tie; the ends; and any others.
P_VALUES = st.lists(
    st.one_of(
        st.sampled_from([0.0, 1e-300, 0.01, 0.02, 0.05, 0.5, 1.0]), st.floats(0, 1)
    ),
    min_size=1,
    max_size=30,
)


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> Iterator[None]:
    """Spare the modules: for Holm's, statsmodels collects garbage at every call."""
    gc.freeze()
    yield
    gc.unfreeze()


@settings(derandomize=True, deadline=None)
@given(p=P_VALUES)
def test_adjusted_p_values_are_those_of_statsmodels(p: list[float]) -> None:
    expected = multipletests(p, method="holm")[1]
    adjusted = corrections.holm(np.array(p))
    # It divides where we multiply, and denormal p-values then round otherwise.
    np.testing.assert_allclose(adjusted, expected, rtol=1e-13, atol=1e-300)


@settings(derandomize=True, deadline=None)
@given(p=P_VALUES)
def test_the_order_of_the_questions_does_not_matter(p: list[float]) -> None:
    values, order = np.array(p), np.random.default_rng(0).permutation(len(p))
    in_order = corrections.holm(values)[order]
    assert np.array_equal(corrections.holm(values[order]), in_order)


def test_four_p_values_are_adjusted_as_by_hand() -> None:
    p = np.array([0.02, 0.5, 0.01, 0.03])
    # Times 4, 3, 2, 1 in ascending order, none below the one before.
    assert corrections.holm(p) == pytest.approx([0.06, 0.5, 0.04, 0.06])


def test_no_questions_have_no_p_values() -> None:
    assert corrections.holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_single_p_value_stays_as_it_is(p: float) -> None:
    assert corrections.holm(np.array([p])).tolist() == [p]


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
def test_what_is_no_p_value_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\], got {wrong}"):
        corrections.holm(np.array([0.5, wrong, 0.1]))


def test_read_only_p_values_stay_as_they_are() -> None:
    p = np.array([0.3, 0.1, 0.2])
    p.flags.writeable = False
    corrections.holm(p)
    assert p.tolist() == [0.3, 0.1, 0.2]


# One question chosen beforehand


QUESTIONS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9)


def claimed(p: list[float], rate: float, share: float) -> list[bool]:
    """Return what is claimed at a rate, step by step; the first question is chosen."""
    first, *others = p
    claims = [first <= share * rate]
    left = rate if claims[0] else (1 - share) * rate
    waiting = sorted(range(len(others)), key=lambda i: others[i])
    of_others = [False] * len(others)
    while waiting and others[waiting[0]] <= left / len(waiting):
        of_others[waiting.pop(0)] = True
    return claims + of_others


@settings(derandomize=True, deadline=None)
@given(p=QUESTIONS, rate=st.sampled_from([0.01, 0.05, 0.3]))
def test_the_chosen_question_goes_first(p: list[float], rate: float) -> None:
    adjusted = corrections.chosen_first(np.array(p), 0, np.arange(len(p)), 0.8)
    near = np.abs(adjusted - rate) < 1e-9 * rate
    expected = np.array(claimed(p, rate, 0.8))
    assert np.array_equal((adjusted <= rate)[~near], expected[~near])


@settings(derandomize=True, deadline=None)
@given(p=QUESTIONS, more=QUESTIONS)
def test_other_questions_do_not_change_the_chosen_ones(
    p: list[float], more: list[float]
) -> None:
    before, after = (
        corrections.chosen_first(np.array(each), 0, np.arange(len(each)), 0.8)[0]
        for each in (p, p + more)
    )
    assert before == after


def test_tests_of_one_question_count_once_wherever_they_stand() -> None:
    p = np.array([0.02, 0.001, 0.02, 0.3, 0.001])
    p.flags.writeable = False
    adjusted = corrections.chosen_first(p, 4, np.array([7, 3, 7, 5, 3]), 0.8)
    # Chosen: .001 / .8. Others: 2 * .02 and .3, at the whole rate.
    assert adjusted == pytest.approx([0.04, 0.00125, 0.04, 0.3, 0.00125])
    apart = corrections.chosen_first(p[:2], 0, np.arange(2), 0.8)
    assert apart == pytest.approx([0.025, 0.005])


@pytest.mark.parametrize("p", [[0.1, np.nan], [np.nan, 0.1]])
def test_what_is_no_p_value_is_refused_of_any_question(p: list[float]) -> None:
    with pytest.raises(ValueError, match="must be in"):
        corrections.chosen_first(np.array(p), 0, np.arange(2), 0.8)
