import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from pipeline.attacks import perceptrons

RNG = np.random.default_rng(0)
MEMBER = RNG.random(450) < 0.5
TRAIN = 3 * RNG.normal(size=(450, 7)) + MEMBER[:, None]
ALPHAS = (1e-4, 0.1, 20.0)
SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": (6, 5),
    "max_iter": 12,
    "random_state": 3,
    "learning_rate_init": 0.01,
}


def alone(
    params: dict[str, Any], alpha: float, train: NDArray[Any] = TRAIN
) -> MLPClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier(**params, alpha=alpha).fit(train, MEMBER.astype(int))


def assert_alike(
    params: dict[str, Any], dtype: type[np.floating[Any]], tolerance: float
) -> None:
    fitted = perceptrons.fitted(TRAIN, MEMBER, params, ALPHAS, dtype)
    for place, alpha in enumerate(ALPHAS):
        expected = alone(params, alpha, TRAIN.astype(dtype))
        for layer, (weight, bias) in enumerate(
            zip(expected.coefs_, expected.intercepts_, strict=True)
        ):
            ours = fitted.networks.weights[layer][place]
            np.testing.assert_allclose(ours, weight, atol=tolerance)
            ours = fitted.networks.biases[layer][place, 0]
            np.testing.assert_allclose(ours, bias, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_iterations", [1, 2, 12])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"hidden_layer_sizes": (8,)},
        {"hidden_layer_sizes": 8, "batch_size": 64, "shuffle": False},
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "batch_size": 1000},
    ],
)
@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_weights_are_scikit_learns_after_every_iteration(
    change: dict[str, Any], n_iterations: int, dtype: type[np.floating[Any]]
) -> None:
    params = {**SETTINGS, **change, "max_iter": n_iterations}
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert_alike(params, dtype, tolerance)


def test_each_stops_where_scikit_learns_stops_and_says_so() -> None:
    params = {**SETTINGS, "max_iter": 60, "n_iter_no_change": 2, "tol": 0.003}
    assert_alike(params, np.float64, 1e-12)
    iterations = [alone(params, alpha).n_iter_ for alpha in ALPHAS]
    assert min(iterations) < max(iterations) < 60
    # Stopped by the rule in the very last iteration is not stopped by the limit.
    for limit in (min(iterations) - 1, min(iterations), max(iterations)):
        limited = {**params, "max_iter": limit}
        fitted = perceptrons.fitted(TRAIN, MEMBER, limited, ALPHAS, np.float64)
        assert fitted.converged.tolist() == [n <= limit for n in iterations]


def test_a_network_does_not_depend_on_the_others() -> None:
    # They stop after different iterations.
    params = {**SETTINGS, "max_iter": 40, "n_iter_no_change": 2, "tol": 0.01}
    together = perceptrons.fitted(TRAIN, MEMBER, params, ALPHAS).networks.numbers
    for place, alpha in enumerate(ALPHAS):
        single = perceptrons.fitted(TRAIN, MEMBER, params, [alpha]).networks.numbers
        assert np.array_equal(single[0], together[place])


def test_probabilities_are_scikit_learns() -> None:
    networks = perceptrons.fitted(TRAIN, MEMBER, SETTINGS, ALPHAS, np.float64).networks
    for place, alpha in enumerate(ALPHAS):
        expected = alone(SETTINGS, alpha).predict_proba(TRAIN[:50])[:, 1]
        ours = networks.probability(TRAIN[:50])[place]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
    assert networks.probability(TRAIN[:0]).shape == (3, 0)


def test_a_network_that_overflows_is_not_a_number_and_spoils_no_other() -> None:
    alphas = (ALPHAS[0], 1e30)
    fitted = perceptrons.fitted(TRAIN, MEMBER, SETTINGS, alphas).networks.numbers
    single = perceptrons.fitted(TRAIN, MEMBER, SETTINGS, alphas[:1]).networks.numbers
    assert np.array_equal(fitted[0], single[0])
    assert np.isnan(fitted[1]).all()


@pytest.mark.parametrize(
    "change",
    [
        {"solver": "sgd"},
        {"solver": "lbfgs"},
        {"activation": "tanh"},
        {"early_stopping": True},
        {"random_state": None},
    ],
)
def test_other_algorithms_are_left_to_scikit_learn(change: dict[str, Any]) -> None:
    assert perceptrons.suits(SETTINGS)
    assert not perceptrons.suits({**SETTINGS, **change})
