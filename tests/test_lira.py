from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from pipeline.attacks import lira
from pipeline.attacks.moments import Moments, along, moments, principal_axes
from pipeline.statistics import metrics


def toy(
    n_models: int, n_records: int = 4000, seed: int = 0, gap: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Margins that are Gaussian about a record's own IN and OUT mean; noise 1."""
    rng = np.random.default_rng(seed)
    out_side = rng.normal(0, 2, n_records)
    member = rng.random(n_records) < 0.5
    in_models = np.zeros((n_models, n_records), dtype=bool)
    for model in range(n_models):
        half = rng.random(n_records) < 0.5
        in_models[model] = ~in_models[model - 1] if model % 2 else half
    margin = out_side + gap * in_models + rng.normal(size=in_models.shape)
    target = out_side + gap * member + rng.normal(size=n_records)
    return target[:, None], margin[..., None], in_models, member, out_side


def sides(margin: np.ndarray, in_models: np.ndarray) -> tuple[Moments, Moments]:
    return moments(margin, in_models), moments(margin, ~in_models)


@pytest.mark.parametrize("variance", ["record", "fixed"])
def test_online_is_the_definition_in_a_loop(variance: lira.Variance) -> None:
    target, margin, in_models, _, _ = toy(12, 50)
    score = lira.online(target, *sides(margin, in_models), variance)
    residuals: dict[bool, list[float]] = {True: [], False: []}
    for record in range(50):
        for side in (True, False):
            own = margin[in_models[:, record] == side, record, 0]
            residuals[side] += list(own - own.mean())
    for record in range(50):
        terms = []
        for side in (True, False):
            own = margin[in_models[:, record] == side, record, 0]
            std = own.std() if variance == "record" else np.std(residuals[side])
            terms.append(stats.norm.logpdf(target[record, 0], own.mean(), std))
        assert score[record] == pytest.approx(terms[0] - terms[1], abs=1e-9)


def test_with_fixed_variance_the_principal_axes_give_the_joint_gaussian() -> None:
    rng = np.random.default_rng(3)
    in_models = np.repeat(np.array([[True, False]]), 5, axis=0).reshape(-1, 1)
    in_models = np.broadcast_to(in_models, (10, 40))
    noise = rng.normal(size=(10, 40, 3)) @ rng.normal(size=(3, 3))
    margin = noise + in_models[..., None]
    # The same residuals on both sides, so that one covariance holds for both.
    margin[1::2] = margin[::2] - 1
    in_side, out_side = sides(margin, in_models)
    target = rng.normal(size=(40, 3))
    basis = principal_axes(in_side, out_side)
    score = lira.online(
        target @ basis, along(in_side, basis), along(out_side, basis), "fixed"
    )
    covariance = in_side.scatter.sum(axis=0) / in_side.count.sum()
    for record in range(40):
        terms = [
            stats.multivariate_normal.logpdf(
                target[record], side.mean[record], covariance
            )
            for side in (in_side, out_side)
        ]
        assert score[record] == pytest.approx(terms[0] - terms[1], abs=1e-9)


def test_online_reaches_the_optimal_auc_with_many_references() -> None:
    target, margin, in_models, member, _ = toy(512, 3000, gap=1.5)
    optimum = stats.norm.cdf(1.5 / np.sqrt(2))
    score = lira.online(target, *sides(margin, in_models), "fixed")
    # The standard error of an AUC of 1,500 + 1,500 records is below .009.
    assert metrics.auc(score, member) == pytest.approx(optimum, abs=0.02)


@pytest.mark.parametrize("variance", ["record", "fixed"])
def test_offline_is_the_z_value(variance: lira.Variance) -> None:
    target, margin, in_models, _, _ = toy(12, 50)
    score = lira.offline(target, moments(margin, ~in_models), variance)
    residuals: list[float] = []
    for record in range(50):
        own = margin[~in_models[:, record], record, 0]
        residuals += list(own - own.mean())
    for record in range(50):
        own = margin[~in_models[:, record], record, 0]
        std = own.std() if variance == "record" else np.std(residuals)
        z = (target[record, 0] - own.mean()) / std
        assert score[record] == pytest.approx(z, abs=1e-9)


def test_two_sided_offline_is_the_density_of_the_published_code() -> None:
    target, margin, in_models, _, _ = toy(8, 30)
    score = lira.offline(target, moments(margin, ~in_models), "record", two_sided=True)
    for record in range(30):
        own = margin[~in_models[:, record], record, 0]
        density = stats.norm.logpdf(target[record, 0], own.mean(), own.std())
        assert score[record] == pytest.approx(-density, abs=1e-9)


def test_offline_ranks_where_the_distribution_function_has_ties() -> None:
    out_side = Moments(np.full(3, 4), np.zeros((3, 1)), np.full((3, 1, 1), 4.0))
    score = lira.offline(np.array([[9.0], [10.0], [1e4]]), out_side, "fixed")
    assert stats.norm.cdf(score[0]) == stats.norm.cdf(score[1]) == 1.0
    assert all(a < b for a, b in pairwise(score))


def test_a_record_without_out_references_has_the_mean_offline_score() -> None:
    target, margin, in_models, _, _ = toy(6, 20)
    in_models = in_models.copy()
    in_models[:, 0] = True
    score = lira.offline(target, moments(margin, ~in_models), "fixed")
    assert score[0] == pytest.approx(score[1:].mean())


def test_a_record_without_out_references_is_filled_in_from_the_other_side() -> None:
    rng = np.random.default_rng(3)
    signal, chosen = rng.normal(size=(4, 30, 1)), np.ones((4, 30), dtype=bool)
    chosen[:2, :10] = False  # the first ten have two OUT references, the rest none
    in_side, out_side = moments(signal, chosen), moments(signal, ~chosen)
    phi = rng.normal(size=(30, 1))
    score = lira.offline(phi, out_side, "fixed", in_side=in_side)
    gap = (in_side.mean - out_side.mean)[:10].mean()
    sigma = np.sqrt(out_side.scatter.sum() / 20)
    usual = np.where(out_side.count[:, None] > 0, out_side.mean, in_side.mean - gap)
    np.testing.assert_allclose(score, ((phi - usual) / sigma)[:, 0])


def test_offline_without_any_out_reference_is_refused() -> None:
    target, margin, in_models, _, _ = toy(4, 10)
    with pytest.raises(ValueError, match="OUT of"):
        lira.offline(target, moments(margin, np.zeros_like(in_models)), "fixed")


def test_one_reference_a_side_falls_back_to_the_fixed_variance() -> None:
    target, margin, in_models, _, _ = toy(6, 30)
    in_models = in_models.copy()
    in_models[:, 0] = [True, *[False] * 5]
    by_record = lira.online(target, *sides(margin, in_models), "record")
    fixed = lira.variances(moments(margin, in_models), "fixed")[0, 0]
    own = margin[1:, 0, 0]
    wanted = stats.norm.logpdf(target[0, 0], margin[0, 0, 0], np.sqrt(fixed))
    wanted -= stats.norm.logpdf(target[0, 0], own.mean(), own.std())
    assert by_record[0] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("n_models", [1, 2])
def test_where_nobody_has_two_references_sigma_is_one(n_models: int) -> None:
    target, margin, in_models, member, _ = toy(2, 2000, gap=3.0)
    margin, in_models = margin[:n_models], in_models[:n_models]
    score = lira.online(target, *sides(margin, in_models), "record")
    assert np.isfinite(score).all()
    assert metrics.auc(score, member) > 0.7
    if n_models == 2:
        middle = margin[:, :, 0].mean(axis=0)
        in_side, out_side = sides(margin, in_models)
        gap = (in_side.mean - out_side.mean)[:, 0]
        np.testing.assert_allclose(score, gap * (target[:, 0] - middle), atol=1e-9)


def test_huge_margins_and_ties_give_finite_scores() -> None:
    target, margin, in_models, _, _ = toy(8, 30)
    tied = np.zeros_like(margin)
    for signal in (margin * 1e4, tied):
        for variance in ("record", "fixed"):
            score = lira.online(target * 1e4, *sides(signal, in_models), variance)
            assert np.isfinite(score).all()


def test_scores_follow_a_permutation_of_records_and_ignore_one_of_models() -> None:
    target, margin, in_models, _, _ = toy(8, 60)
    rng = np.random.default_rng(5)
    rows, models = rng.permutation(60), rng.permutation(8)
    for attack in (
        lambda t, i, o: lira.online(t, i, o, "record"),
        lambda t, i, o: lira.online(t, i, o, "fixed"),
        lambda t, i, o: lira.offline(t, o, "fixed"),
        lira.bayesian_offline,
        lira.bayesian_online,
        lira.hierarchical,
    ):
        score = attack(target, *sides(margin, in_models))
        moved = attack(
            target[rows], *sides(margin[models][:, rows], in_models[models][:, rows])
        )
        np.testing.assert_allclose(moved, score[rows], rtol=1e-9, atol=1e-9)


# The Bayesian variants


def test_the_predictive_distribution_is_murphys_in_a_loop() -> None:
    _, margin, in_models, _, _ = toy(6, 20)
    side, prior = moments(margin, in_models), lira.Prior(0.5, 0.7, 3.0, 2.0)
    law = lira.predictive(side, prior)
    for record in range(20):
        own = margin[in_models[:, record], record, 0]
        # One observation after the other, as conjugacy allows.
        mu, kappa, alpha, beta = prior
        for x in own:
            beta += kappa * (x - mu) ** 2 / (2 * (kappa + 1))
            mu = (kappa * mu + x) / (kappa + 1)
            kappa, alpha = kappa + 1, alpha + 0.5
        assert law.mean[record] == pytest.approx(mu)
        assert law.freedom[record] == pytest.approx(2 * alpha)
        scale = beta * (kappa + 1) / (alpha * kappa)
        assert law.variance[record] == pytest.approx(scale)


def test_the_fitted_prior_finds_the_one_records_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    n = 40_000
    variance = 1 / rng.gamma(6.0, 1 / 5.0, n)  # α 6, β 5: mean variance 1
    mean = 3 + rng.normal(size=n) * np.sqrt(variance / 0.25)
    signal = mean + rng.normal(size=(8, n)) * np.sqrt(variance)
    prior = lira.fitted_prior(moments(signal[..., None], np.ones((8, n), bool)))
    assert prior.mean == pytest.approx(3, abs=0.05)
    assert prior.strength == pytest.approx(0.25, rel=0.05)
    assert prior.shape == pytest.approx(6, rel=0.15)
    assert prior.scale == pytest.approx(5, rel=0.2)


@pytest.mark.parametrize("n_models", [4, 8, 16])
def test_bayesian_beats_per_record_variances_with_few_references(n_models: int) -> None:
    target, margin, in_models, member, _ = toy(n_models, gap=1.5)
    both = sides(margin, in_models)
    by_record = metrics.auc(lira.online(target, *both, "record"), member)
    assert metrics.auc(lira.bayesian_online(target, *both), member) > by_record + 0.01


def test_bayesian_equals_per_record_with_hundreds_of_references() -> None:
    target, margin, in_models, member, _ = toy(512, 2000)
    both = sides(margin, in_models)
    by_record = metrics.auc(lira.online(target, *both, "record"), member)
    bayesian = metrics.auc(lira.bayesian_online(target, *both), member)
    assert bayesian == pytest.approx(by_record, abs=0.005)


@pytest.mark.parametrize("n_models", [1, 2, 6])
def test_bayesian_offline_is_the_ratio_of_two_densities_in_a_loop(
    n_models: int,
) -> None:
    target, margin, in_models, _, _ = toy(n_models, 40)
    in_side, out_side = sides(margin, in_models)
    score = lira.bayesian_offline(target, in_side, out_side)
    prior = lira.fitted_hierarchy(target, in_side, out_side)
    freedom = [2 * lira.MOST_SHAPE] * 2
    if n_models > 2:
        freedom = [2 * lira.fitted_prior(side).shape for side in (in_side, out_side)]
    for record in range(40):
        # OUT references or, of a record without any, its IN references.
        side = 0 if in_models[:, record].all() else 1
        own = margin[in_models[:, record] == (side == 0), record, 0]
        # The joint Gaussian of both means and these references, conditioned.
        design = np.tile(np.eye(2)[side], (len(own), 1))
        noise = prior.noise[side] * np.eye(len(own))
        seen = design @ prior.covariance @ design.T + noise
        gain = prior.covariance @ design.T @ np.linalg.inv(seen)
        mean = prior.mean + gain @ (own - prior.mean[side])
        left = np.diag(prior.covariance - gain @ design @ prior.covariance)
        degrees = np.array(freedom)
        degrees[side] += len(own)
        terms = []
        for row in (0, 1):
            law = stats.t(degrees[row])
            width = np.sqrt((left[row] + prior.noise[row]) / law.var())
            z = (target[record, 0] - mean[row]) / width
            terms.append(law.logpdf(z) - np.log(width))
        assert score[record] == pytest.approx(terms[0] - terms[1], abs=1e-9)


@pytest.mark.parametrize("n_models", [1, 2, 8])
def test_bayesian_offline_beats_offline(n_models: int) -> None:
    target, margin, in_models, member, _ = toy(n_models, gap=1.5)
    in_side, out_side = sides(margin, in_models)
    score = lira.bayesian_offline(target, in_side, out_side)
    alone = lira.offline(target, out_side, "fixed", in_side=in_side)
    assert metrics.auc(score, member) > metrics.auc(alone, member)


@pytest.mark.parametrize("n_models", [2, 8])
def test_bayesian_offline_does_not_see_in_references(n_models: int) -> None:
    target, margin, in_models, _, _ = toy(n_models, gap=1.5)
    in_side, out_side = sides(margin, in_models)
    score = lira.bayesian_offline(target, in_side, out_side)
    # Two records exchange what their IN references say, and nothing else.
    means = in_side.mean.copy()
    both = (in_side.count > 0) & (out_side.count > 0)
    same = np.flatnonzero(both)[:2]
    means[same] = means[same[::-1]]
    other = Moments(in_side.count, means, in_side.scatter)
    hidden = np.delete(np.arange(len(score)), same)
    far = lira.bayesian_offline(target, other, out_side)
    np.testing.assert_allclose(far[hidden], score[hidden], atol=0.02)
    np.testing.assert_allclose(far[same], score[same], atol=0.02)


def test_a_prior_needs_two_references_somewhere() -> None:
    _, margin, in_models, _, _ = toy(2, 10)
    with pytest.raises(ValueError, match="two references"):
        lira.fitted_prior(moments(margin, in_models))


def test_the_posterior_is_the_conditional_gaussian() -> None:
    _, margin, in_models, _, _ = toy(6, 15)
    in_side, out_side = sides(margin, in_models)
    prior = lira.Hierarchy(
        np.array([1.0, 0.0]), np.array([[4.0, 3.0], [3.0, 5.0]]), np.array([1.5, 0.8])
    )
    centre, variance = lira.posterior(prior, in_side, out_side)
    for record in range(15):
        which = np.where(in_models[:, record], 0, 1)
        # The joint Gaussian of the two means and all observations, conditioned.
        design = np.eye(2)[which]
        seen = design @ prior.covariance @ design.T + np.diag(prior.noise[which])
        gain = prior.covariance @ design.T @ np.linalg.inv(seen)
        mean = prior.mean + gain @ (margin[:, record, 0] - design @ prior.mean)
        left = prior.covariance - gain @ design @ prior.covariance
        np.testing.assert_allclose(centre[:, record], mean, atol=1e-9)
        np.testing.assert_allclose(
            variance[:, record], np.diag(left) + prior.noise, atol=1e-9
        )


@pytest.mark.parametrize("n_models", [1, 2, 8])
def test_the_fitted_hierarchy_finds_the_one_records_were_drawn_from(
    n_models: int,
) -> None:
    target, margin, in_models, _, _ = toy(n_models, 60_000, gap=1.5)
    hierarchy = lira.fitted_hierarchy(target, *sides(margin, in_models))
    np.testing.assert_allclose(hierarchy.mean, [1.5, 0.0], atol=0.05)
    np.testing.assert_allclose(hierarchy.covariance, np.full((2, 2), 4.0), atol=0.2)
    np.testing.assert_allclose(hierarchy.noise, [1.0, 1.0], atol=0.15)


def test_the_fitted_hierarchy_finds_unequal_sides_from_one_reference() -> None:
    rng = np.random.default_rng(0)
    easy = rng.normal(size=60_000)
    sides_of = np.array([3.0, 1.0])[:, None] + np.array([1.0, 2.0])[:, None] * easy
    member, is_in = rng.random((2, 60_000)) < 0.5
    noise = np.array([0.6, 1.2])
    target, reference = (
        np.where(half, *sides_of) + np.where(half, *noise) * rng.normal(size=60_000)
        for half in (member, is_in)
    )
    both = sides(reference[None, :, None], is_in[None])
    hierarchy = lira.fitted_hierarchy(target[:, None], *both)
    np.testing.assert_allclose(hierarchy.mean, [3.0, 1.0], atol=0.05)
    np.testing.assert_allclose(np.diag(hierarchy.covariance), [1.0, 4.0], rtol=0.05)
    np.testing.assert_allclose(hierarchy.noise, noise**2, rtol=0.1)


@pytest.mark.parametrize("is_in", [True, False])
def test_a_side_without_references_lies_as_far_from_the_target_as_the_other(
    is_in: bool,
) -> None:
    target, margin, in_models, _, _ = toy(4, 60_000, gap=1.5)
    moved = margin - 1.5 * in_models[..., None] + 1.5 * is_in
    both = sides(moved, np.full_like(in_models, is_in))
    hierarchy = lira.fitted_hierarchy(target, *both)
    np.testing.assert_allclose(hierarchy.mean, [1.5, 0.0], atol=0.05)
    np.testing.assert_allclose(hierarchy.covariance, np.full((2, 2), 4.0), atol=0.2)
    np.testing.assert_allclose(hierarchy.noise, [1.0, 1.0], atol=0.05)


@pytest.mark.parametrize("n_models", [1, 2, 4, 8])
def test_hierarchical_beats_the_other_variants_with_few_references(
    n_models: int,
) -> None:
    target, margin, in_models, member, _ = toy(n_models, gap=1.5)
    both = sides(margin, in_models)
    others = [lira.online(target, *both, "fixed"), lira.online(target, *both, "record")]
    if n_models > 2:
        others.append(lira.bayesian_online(target, *both))
    best = max(metrics.auc(score, member) for score in others)
    assert metrics.auc(lira.hierarchical(target, *both), member) > best


def test_hierarchical_comes_near_the_optimum_that_one_reference_allows() -> None:
    target, margin, in_models, member, _ = toy(1, 20_000, gap=1.5)
    # With the laws known: the record's mean given the reference, then the target.
    phi, reference = target[:, 0], margin[0, :, 0] - 1.5 * in_models[0]
    mean, deviation = reference * 4 / 5, np.sqrt(4 / 5 + 1)
    optimum = stats.norm.logpdf(phi, mean + 1.5, deviation)
    optimum -= stats.norm.logpdf(phi, mean, deviation)
    score = lira.hierarchical(target, *sides(margin, in_models))
    best = metrics.auc(optimum, member)
    assert metrics.auc(score, member) == pytest.approx(best, abs=0.002)


def test_hierarchical_needs_a_reference() -> None:
    target, margin, in_models, _, _ = toy(2, 10)
    with pytest.raises(ValueError, match="no record has a reference"):
        lira.hierarchical(target, *sides(margin[:0], in_models[:0]))


@pytest.mark.parametrize("variance", ["record", "fixed"])
def test_variances_are_mean_squares_over_the_references_of_a_side(
    variance: lira.Variance,
) -> None:
    # From none to five references, so that each denominator is a number of its own.
    rng = np.random.default_rng(0)
    chosen = np.arange(5)[:, None] < rng.integers(0, 6, 60)
    assert {*chosen.sum(axis=0)} == {*range(6)}
    signal = rng.normal(size=(5, 60, 2)) * [1.0, 3.0]
    variances = lira.variances(moments(signal, chosen), variance)
    several = chosen.sum(axis=0) >= 2
    squares, n_references = np.zeros(2), 0
    for record in np.flatnonzero(several):
        own = signal[chosen[:, record], record]
        squares += ((own - own.mean(axis=0)) ** 2).sum(axis=0)
        n_references += len(own)
    for record in range(60):
        expected = squares / n_references
        if variance == "record" and several[record]:
            expected = signal[chosen[:, record], record].var(axis=0)
        np.testing.assert_allclose(variances[record], expected, rtol=1e-12)
