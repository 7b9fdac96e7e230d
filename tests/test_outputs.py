import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from pipeline.signals import margins, outputs


def logits(
    n: int = 40, n_classes: int = 5, scale: float = 3.0, seed: int = 0
) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, n_classes)) * scale


def softmax(n_classes: int = 5, scale: float = 3.0) -> NDArray[np.float64]:
    return np.asarray(special.softmax(logits(60, n_classes, scale), axis=1))


@pytest.mark.parametrize("n_classes", [2, 10, 1000])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.01, 3.0, 30.0])
def test_probabilities_are_known_in_any_precision(
    n_classes: int, kind: type, scale: float
) -> None:
    found = softmax(n_classes, scale).astype(kind)
    assert outputs.fault(found) == "probabilities"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: np.clip(p, 1e-4, 1 - 1e-4),
        lambda p: np.clip(p, 1e-12, 1 - 1e-12),
        lambda p: np.round(p, 3),
        lambda p: np.stack((p, p), axis=1),
    ],
    ids=["clipped", "clipped little", "rounded", "two views"],
)
def test_probabilities_are_known_clipped_rounded_and_of_views(change: object) -> None:
    assert callable(change)
    assert outputs.fault(change(softmax())) == "probabilities"


@pytest.mark.parametrize(("n_classes", "decimals"), [(5, 1), (100, 2), (400, 3)])
def test_probabilities_are_known_however_they_are_rounded(
    n_classes: int, decimals: int
) -> None:
    rng = np.random.default_rng(3)
    exact = rng.dirichlet(np.full(n_classes, 0.3), 50)
    rounded = exact.round(decimals)
    assert np.abs(rounded.sum(axis=1) - 1).max() > 2 * outputs.SUM_TOLERANCE
    assert outputs.fault(rounded.astype(np.float32)) == "probabilities"


def test_logits_rounded_between_0_and_1_are_logits() -> None:
    rounded = np.random.default_rng(4).random((40, 10)).round(1)
    assert outputs.fault(rounded) is None


def test_probabilities_beside_records_that_are_not_finite_are_known() -> None:
    found = softmax()
    found[3] = np.nan
    assert outputs.fault(found) == "probabilities"
    found[:] = np.nan
    assert outputs.fault(found) is None


def test_one_record_that_sums_to_another_number_makes_them_logits() -> None:
    found = np.tile(softmax(), (200, 1))
    found[-1] *= 1.1
    assert outputs.fault(found) is None


def test_decisions_are_known() -> None:
    found = np.eye(5)[logits().argmax(axis=1)]
    assert outputs.fault(found) == "decisions"


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_negative_log_probabilities_are_known(kind: type) -> None:
    assert outputs.fault(-np.log(softmax()).astype(kind)) == "negated"


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_constant_outputs_are_known_to_the_last_bit(kind: type) -> None:
    one = logits(1).astype(kind)
    found = np.repeat(one, 40, axis=0)
    assert outputs.fault(found) == "constant"
    found[7] = np.nextafter(found[7], kind(9))
    assert outputs.fault(found) == "constant"
    found[7] *= kind(1.1)
    assert outputs.fault(found) is None


def test_zeros_are_constant() -> None:
    assert outputs.fault(np.zeros((40, 5))) == "constant"


@pytest.mark.parametrize("n_classes", [2, 3, 100])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "change",
    [
        lambda z: z,
        lambda z: z * 1e-3,
        lambda z: z + 1000,
        np.abs,
        lambda z: -np.abs(z),
        special.expit,
        special.log_softmax,
        lambda z: special.log_softmax(z, axis=1),
        lambda z: z - z.mean(axis=1, keepdims=True),
        lambda z: np.clip(z, 0, 1),
    ],
    ids=[
        *("normal", "small", "far from 0", "positive", "negative", "sigmoid"),
        *("of all", "log-softmax", "centred", "clipped"),
    ],
)
def test_logits_are_not_refused(n_classes: int, kind: type, change: object) -> None:
    assert callable(change)
    assert outputs.fault(change(logits(40, n_classes)).astype(kind)) is None


def test_few_records_are_not_judged() -> None:
    assert outputs.fault(np.array([[0.0, 1.0], [1.0, 0.0]])) is None
    assert outputs.fault(softmax()[: outputs.FEWEST - 1]) is None
    assert outputs.fault(softmax()[: outputs.FEWEST]) == "probabilities"


def test_random_logits_of_two_classes_are_never_taken_for_probabilities() -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        # Within [0, 1], where sums near 1 are likeliest.
        assert outputs.fault(rng.random((outputs.FEWEST, 2))) is None


def test_log_probabilities_have_the_margins_of_their_logits() -> None:
    given, label = logits(200, 7, 10.0), np.arange(200) % 7
    as_log = special.log_softmax(given, axis=1)
    found = margins.margin(as_log, label)
    np.testing.assert_allclose(found, margins.margin(given, label), rtol=1e-12)
    # In float32 they keep 2**-24 of the largest logit, as the logits do.
    half = margins.margin(as_log.astype(np.float32), label)
    tolerance = 4 * 2**-24 * np.abs(as_log).max()
    np.testing.assert_allclose(half, found, atol=tolerance)


@pytest.mark.parametrize("axes", [(), (3,)], ids=["one view", "views"])
def test_single_outputs_within_the_unit_range_are_probabilities(
    axes: tuple[int, ...],
) -> None:
    rng = np.random.default_rng(7)
    single = rng.random((50, *axes))
    pairs = np.stack((np.zeros_like(single), single), axis=-1)
    assert outputs.fault(pairs) == "sigmoids"
    assert outputs.fault(np.round(pairs)) == "sigmoids"
    for place, value in (((7, *(0 for _ in axes), 1), 1.2), ((7, *axes[:0], 0), 0.1)):
        other = pairs.copy()
        other[place] = value
        assert outputs.fault(other) is None
    assert outputs.fault(pairs - pairs[..., 1:]) is None
