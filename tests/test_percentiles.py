import numpy as np
import pytest

from pipeline.attacks import percentiles


def test_attack_p_counts_the_population_at_or_above() -> None:
    rng = np.random.default_rng(0)
    signal = np.round(rng.normal(size=50), 1)
    population = np.round(rng.normal(size=30), 1)
    p = percentiles.attack_p(signal, population)
    wanted = [(1 + sum(z >= x for z in population)) / 31 for x in signal]
    np.testing.assert_allclose(p, wanted)


def test_p_values_of_non_members_are_at_most_a_rate_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    p = percentiles.attack_p(rng.normal(size=20_000), rng.normal(size=5_000))
    for rate in (0.01, 0.1, 0.5):
        assert np.mean(p <= rate) == pytest.approx(rate, abs=0.02)


def test_attack_r_is_valid_with_few_references() -> None:
    above, count = np.array([0, 2, 4, 0]), np.array([4, 4, 4, 0])
    p = percentiles.attack_r(above, count)
    np.testing.assert_allclose(p, [0.2, 0.6, 1.0, 1.0])
