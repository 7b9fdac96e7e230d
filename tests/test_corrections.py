import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from pipeline.statistics import corrections

Adjust = Callable[[NDArray[np.float64]], NDArray[np.float64]]
BOTH = [(corrections.holm, "holm"), (corrections.benjamini_hochberg, "fdr_bh")]
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


@pytest.mark.parametrize(("adjust", "name"), BOTH)
@settings(derandomize=True, deadline=None)
@given(p=P_VALUES)
def test_adjusted_p_values_are_those_of_statsmodels(
    adjust: Adjust, name: str, p: list[float]
) -> None:
    expected = multipletests(p, method=name)[1]
    found = adjust(np.array(p))
    # It divides where we multiply, and denormal p-values then round otherwise.
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize(("adjust", "name"), BOTH)
@settings(derandomize=True, deadline=None)
@given(p=P_VALUES)
def test_the_order_of_the_questions_does_not_matter(
    adjust: Adjust, name: str, p: list[float]
) -> None:
    one = np.array(p)
    order = np.random.default_rng(0).permutation(len(p))
    assert np.array_equal(adjust(one[order]), adjust(one)[order])


def test_four_p_values_are_adjusted_as_by_hand() -> None:
    p = np.array([0.02, 0.5, 0.01, 0.03])
    # Times 4, 3, 2, 1 in ascending order, none below the one before.
    assert corrections.holm(p) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    # Times 4/1, 4/2, 4/3, 4/4, none above the one after.
    assert corrections.benjamini_hochberg(p) == pytest.approx([0.04, 0.5, 0.04, 0.04])


@pytest.mark.parametrize(("adjust", "name"), BOTH)
def test_no_questions_have_no_p_values(adjust: Adjust, name: str) -> None:
    assert adjust(np.array([])).shape == (0,)


@pytest.mark.parametrize(("adjust", "name"), BOTH)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_single_p_value_stays_as_it_is(adjust: Adjust, name: str, p: float) -> None:
    assert adjust(np.array([p])).tolist() == [p]


@pytest.mark.parametrize(("adjust", "name"), BOTH)
@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
def test_what_is_no_p_value_is_refused(adjust: Adjust, name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\], got {wrong}"):
        adjust(np.array([0.5, wrong, 0.1]))


@pytest.mark.parametrize(("adjust", "name"), BOTH)
def test_read_only_p_values_stay_as_they_are(adjust: Adjust, name: str) -> None:
    p = np.array([0.3, 0.1, 0.2])
    p.flags.writeable = False
    adjust(p)
    assert p.tolist() == [0.3, 0.1, 0.2]
