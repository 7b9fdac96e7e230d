import numpy as np
import pytest

from pipeline.attacks import quantile


def drawn(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    described = rng.normal(size=(n, 2))
    # Spread and centre both depend on the description.
    return described[:, 0] * 2 + np.exp(described[:, 1] / 2) * rng.normal(
        size=n
    ), described


@pytest.mark.parametrize("rate", [0.05, 0.25])
def test_non_members_exceed_their_quantile_at_the_rate(rate: float) -> None:
    signal, described = drawn()
    known = np.arange(4000) < 3000
    limits = quantile.quantiles(signal, described.__getitem__, known, rate, 1)
    for side in (known, ~known):
        above = np.mean(signal[side] > limits[side])
        # Three standard errors, and a point for the regression's own error.
        assert above == pytest.approx(
            rate, abs=3 * np.sqrt(rate * (1 - rate) / side.sum()) + 0.02
        )


def test_the_quantile_follows_the_description() -> None:
    signal, described = drawn()
    limits = quantile.quantiles(
        signal, described.__getitem__, np.ones(4000, bool), 0.25, 1
    )
    assert np.corrcoef(limits, described[:, 0])[0, 1] > 0.8


def test_a_non_member_does_not_decide_its_own_quantile() -> None:
    signal, described = drawn(400)
    known = np.ones(400, bool)
    before = quantile.quantiles(signal, described.__getitem__, known, 0.25, 1)
    changed = signal.copy()
    changed[7] = 1e6
    after = quantile.quantiles(changed, described.__getitem__, known, 0.25, 1)
    assert after[7] == before[7]
    assert not np.array_equal(after, before)


def test_too_few_non_members_are_refused() -> None:
    signal, described = drawn(20)
    with pytest.raises(ValueError, match="needs 5 non-members, got 4"):
        quantile.quantiles(signal, described.__getitem__, np.arange(20) < 4, 0.1, 1)


def test_the_description_ignores_the_own_class_and_a_constant() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4)) * 5
    label = np.array([0, 1, 2, 3, 0, 1])
    columns = quantile.description(logits, label)
    for row in range(6):
        others = np.delete(logits[row], label[row])
        p = np.exp(others) / np.exp(others).sum()
        np.testing.assert_allclose(columns[row, :-1], np.sort(np.log(p))[::-1])
    changed = logits + 1e4
    changed[np.arange(6), label] = -7
    np.testing.assert_allclose(quantile.description(changed, label), columns, atol=1e-9)
    assert columns[:, -1].tolist() == label.tolist()
