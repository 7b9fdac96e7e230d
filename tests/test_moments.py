import numpy as np
import pytest

from pipeline.attacks import moments as m


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(7, 20, 3))
    chosen = rng.random((7, 20)) < 0.6
    signal.flags.writeable = chosen.flags.writeable = False
    return signal, chosen


def test_moments_are_those_of_the_definition_and_leave_their_input_alone() -> None:
    signal, chosen = drawn()
    side = m.moments(signal, chosen)
    for record in range(20):
        own = signal[chosen[:, record], record]
        assert side.count[record] == len(own)
        mean = own.mean(axis=0) if len(own) else np.zeros(3)
        np.testing.assert_allclose(side.mean[record], mean, atol=1e-14)
        np.testing.assert_allclose(
            side.scatter[record], (own - mean).T @ (own - mean), atol=1e-12
        )


def test_the_order_of_models_does_not_matter() -> None:
    signal, chosen = drawn()
    order = np.random.default_rng(1).permutation(7)
    either, other = m.moments(signal, chosen), m.moments(signal[order], chosen[order])
    np.testing.assert_allclose(either.scatter, other.scatter, atol=1e-13)


def test_blocks_joined_are_the_whole() -> None:
    signal, chosen = drawn()
    blocks = [
        m.moments(signal[:, rows], chosen[:, rows])
        for rows in (slice(0, 8), slice(8, 20))
    ]
    whole, side = m.moments(signal, chosen), m.joined(blocks)
    assert np.array_equal(whole.mean, side.mean)
    assert np.array_equal(whole.scatter, side.scatter)
    assert np.array_equal(whole.count, side.count)


def test_moments_along_a_basis_are_those_of_the_combined_signal() -> None:
    signal, chosen = drawn()
    basis = np.random.default_rng(2).normal(size=(3, 2))
    combined = m.along(m.moments(signal, chosen), basis)
    wanted = m.moments(signal @ basis, chosen)
    np.testing.assert_allclose(combined.mean, wanted.mean, atol=1e-13)
    np.testing.assert_allclose(combined.scatter, wanted.scatter, atol=1e-12)


def test_the_mean_axis_averages_the_views() -> None:
    signal, _ = drawn()
    np.testing.assert_allclose(
        (signal @ m.mean_axis(3))[..., 0], signal.mean(axis=-1), atol=1e-15
    )


def test_along_the_principal_axes_pooled_residuals_are_uncorrelated() -> None:
    signal, chosen = drawn()
    in_side, out_side = m.moments(signal, chosen), m.moments(signal, ~chosen)
    basis = m.principal_axes(in_side, out_side)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    pooled = (m.along(in_side, basis).scatter + m.along(out_side, basis).scatter).sum(
        axis=0
    )
    np.testing.assert_allclose(pooled, np.diag(np.diag(pooled)), atol=1e-10)


def side(count: list[int], mean: list[float]) -> m.Moments:
    n = len(count)
    return m.Moments(
        np.array(count), np.array(mean, float)[:, None], np.zeros((n, 1, 1))
    )


def test_a_missing_side_is_the_other_shifted_by_the_mean_gap() -> None:
    in_side, out_side = m.with_both_sides(
        side([1, 2, 0], [5.0, 9.0, 0.0]), side([1, 0, 3], [3.0, 0.0, 4.0])
    )
    # Only the first record has both sides: a gap of 2.
    assert in_side.mean[:, 0].tolist() == [5.0, 9.0, 6.0]
    assert out_side.mean[:, 0].tolist() == [3.0, 7.0, 4.0]


def test_without_any_record_on_both_sides_the_gap_is_between_their_means() -> None:
    in_side, out_side = m.with_both_sides(
        side([1, 0, 1], [5.0, 0.0, 7.0]), side([0, 1, 0], [0.0, 2.0, 0.0])
    )
    assert in_side.mean[:, 0].tolist() == [5.0, 6.0, 7.0]
    assert out_side.mean[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_record_without_references_is_refused() -> None:
    with pytest.raises(ValueError, match="no reference at all"):
        m.with_both_sides(side([1, 0], [1, 0]), side([1, 0], [1, 0]))


@pytest.mark.parametrize(("n_in", "n_out", "name"), [(0, 1, "IN"), (1, 0, "OUT")])
def test_a_side_that_nobody_has_is_refused(n_in: int, n_out: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"that it is {name} of"):
        m.with_both_sides(side([n_in], [1]), side([n_out], [1]))
