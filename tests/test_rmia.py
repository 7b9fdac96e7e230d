import numpy as np
import pytest

from pipeline.attacks import rmia
from pipeline.signals import margins


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(40, 2)) * 3
    margin = rng.normal(size=(8, 40, 2)) * 3
    member = rng.permuted(np.arange(8)[:, None] % 2 * np.ones((8, 40)), axis=0) > 0
    margin.flags.writeable = target.flags.writeable = False
    return target, margin, member


def test_online_and_offline_priors_are_the_papers() -> None:
    _, margin, member = drawn()
    p = sigmoid(margin).mean(axis=2)
    log_p = np.log(p)
    p_in = np.array([p[member[:, i], i].mean() for i in range(40)])
    p_out = np.array([p[~member[:, i], i].mean() for i in range(40)])
    online = rmia.log_prior_online(
        margins.log_mean(log_p, member), margins.log_mean(log_p, ~member), 0.3
    )
    np.testing.assert_allclose(np.exp(online), (p_in + p_out) / 2, rtol=1e-9)
    for a in (0.0, 0.3, 1.0):
        offline = rmia.log_prior_offline(np.log(p_out), a)
        np.testing.assert_allclose(
            np.exp(offline), 0.5 * ((1 + a) * p_out + 1 - a), rtol=1e-9
        )


def test_a_missing_side_is_filled_by_the_linear_relation() -> None:
    nothing = -np.inf
    log_in = np.array([nothing, np.log(0.9), np.log(0.1)])
    log_out = np.array([np.log(0.5), nothing, nothing])
    prior = np.exp(rmia.log_prior_online(log_in, log_out, 0.4))
    # a·P_out + 1 − a = .8; (P_in − 1 + a)/a = .75, and nothing below 0.
    np.testing.assert_allclose(prior, [(0.8 + 0.5) / 2, (0.9 + 0.75) / 2, 0.05])


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_the_share_by_sort_equals_the_defining_double_loop(gamma: float) -> None:
    rng = np.random.default_rng(0)
    # Rounded, so that there are ties; strictly greater does not count them.
    ratio = np.round(rng.normal(size=200), 1)
    population = np.round(rng.normal(size=90), 1)
    shares = rmia.share(ratio, population, gamma)
    for x, value in zip(ratio, shares, strict=True):
        wins = sum(float(x - np.log(gamma) > z) for z in population)
        assert value == wins / 90


def test_a_share_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a population"):
        rmia.share(np.zeros(3), np.zeros(0))


def test_huge_margins_keep_their_order() -> None:
    margin = np.array([[-2e4], [-1e4], [0.0], [1.0]])
    prior = rmia.log_prior_offline(np.full(4, -1e4), 0.3)
    score = rmia.log_ratio(margins.log_mean_confidence(margin), prior)
    assert np.isfinite(score).all()
    assert (np.diff(score) > 0).all()


def test_the_slope_between_the_sides_is_that_of_the_relation() -> None:
    rng = np.random.default_rng(0)
    p_out = rng.random(50)
    p_in = 0.4 * p_out + 0.6
    slope = rmia.slope_between(np.log(p_in), np.log(p_out))
    assert slope == pytest.approx(0.4, rel=1e-12)
    # Each record has one side only, as with one reference.
    sides = rng.random(20_000) < 0.5
    p_out = rng.random(20_000)
    with np.errstate(divide="ignore"):
        log_in = np.log(np.where(sides, 0.4 * p_out + 0.6, 0.0))
        log_out = np.log(np.where(sides, 0.0, p_out))
    assert rmia.slope_between(log_in, log_out) == pytest.approx(0.4, abs=0.02)


def test_there_is_no_slope_between_a_side_and_nothing() -> None:
    nothing, sure = np.full(3, -np.inf), np.zeros(3)
    assert rmia.slope_between(nothing, sure) is None
    assert rmia.slope_between(sure, nothing) is None
    assert rmia.slope_between(sure, sure) is None
    # References that do worse on what they know tell a slope of one at most.
    assert rmia.slope_between(np.log([0.2]), np.log([0.5])) == 1.0
