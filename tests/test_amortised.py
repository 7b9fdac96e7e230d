import joblib
import numpy as np
import pytest
from scipy import stats

from pipeline.attacks import actors, amortised, coverage, lira, rmia
from pipeline.attacks.evidence import evidence, together
from pipeline.attacks.moments import along, mean_axis
from pipeline.signals import margins
from pipeline.statistics import metrics


def toy(
    n_models: int, n_records: int = 3000, seed: int = 0, n_views: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Margins that are Gaussian about a record's own IN and OUT mean; noise 1."""
    rng = np.random.default_rng(seed)
    out_mean = rng.normal(0, 2, n_records)
    member = rng.random(n_records) < 0.5
    in_models = np.zeros((n_models, n_records), dtype=bool)
    for pair in range(0, n_models - 1, 2):
        in_models[pair] = rng.random(n_records) < 0.5
        in_models[pair + 1] = ~in_models[pair]
    if n_models % 2:
        in_models[-1] = rng.random(n_records) < 0.5
    shape = (*in_models.shape, n_views)
    margin = (out_mean + 1.5 * in_models)[..., None] + rng.normal(size=shape)
    target = out_mean + 1.5 * member
    target = target[:, None] + rng.normal(size=(n_records, n_views))
    for array in (target, margin, in_models):
        array.flags.writeable = False
    return target, margin, in_models, member, out_mean


def signals(target: np.ndarray, margin: np.ndarray) -> list[amortised.Signal]:
    return [amortised.Signal(target, margin)]


def every(records: np.ndarray) -> np.ndarray:
    return np.ones(len(records), dtype=bool)


def test_amortised_comes_near_the_optimum_of_the_gaussian_toy() -> None:
    target, margin, in_models, member, out_mean = toy(16)
    score = amortised.scores(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    phi = target[:, 0]
    optimum = stats.norm.logpdf(phi, out_mean + 1.5) - stats.norm.logpdf(phi, out_mean)
    assert metrics.auc(score, member) > metrics.auc(optimum, member) - 0.03
    known = evidence(margin, in_models, ~in_models)
    fixed = lira.online(target, known.in_side.margin, known.out_side.margin, "fixed")
    assert metrics.auc(score, member) > metrics.auc(fixed, member)


@pytest.mark.parametrize("n_models", [4, 5])
def test_a_target_that_learned_nothing_shows_nothing(n_models: int) -> None:
    _, margin, in_models, _, out_mean = toy(n_models)
    rng = np.random.default_rng(9)
    blank = (out_mean + rng.normal(size=len(out_mean)))[:, None]
    # Unrelated to the target: no score may tell it.
    member = rng.random(len(out_mean)) < 0.5
    score = amortised.scores(
        signals(blank, margin), in_models, np.ones_like(in_models), every(blank), seed=1
    )
    assert metrics.auc(score, member) == pytest.approx(0.5, abs=0.04)


def test_references_that_learned_nothing_teach_nothing() -> None:
    # If the left-out model's side could be read off the counts, or a record's rows
    # taught its own score, this would be far from one half.
    _, _, in_models, _, out_mean = toy(8)
    rng = np.random.default_rng(3)
    shuffled = rng.permuted(in_models, axis=0)
    assert (shuffled.sum(axis=0) == 4).all()
    for balanced in (in_models, shuffled):
        margin = (out_mean + rng.normal(size=balanced.shape))[..., None]
        scale = amortised.scale_of(margin, every(out_mean))
        level = amortised.rescaled(margin, scale, scale)
        prior = amortised.hierarchy_of(
            level[0], evidence(level, balanced, ~balanced), every(out_mean)
        )
        taught = amortised.rows(level, balanced, np.ones_like(balanced), prior, 1, 0)
        half = len(out_mean) // 2
        judge = amortised.fitted(
            taught[:, :half].reshape(-1, taught.shape[-1]),
            balanced[:, :half].ravel(),
            1,
            0,
            joblib.Parallel(1),
        )
        score = amortised.judged(judge, taught[:, half:].reshape(-1, taught.shape[-1]))
        found = metrics.auc(score, balanced[:, half:].ravel())
        assert found == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("n_models", "able"), [(0, False), (1, False), (2, False)])
def test_few_references_cannot_play(n_models: int, able: bool) -> None:
    _, margin, in_models, _, _ = toy(n_models, 100)
    assert actors.can_play(in_models, np.ones_like(in_models)) is able
    target = np.zeros((100, 1))
    with pytest.raises(ValueError, match=f"{n_models} references are too few"):
        amortised.scores(
            signals(target, margin),
            in_models,
            np.ones_like(in_models),
            every(target),
            seed=1,
        )


def test_equal_seeds_give_equal_scores_and_the_order_of_views_does_not_matter() -> None:
    target, margin, in_models, _, _ = toy(4, 400, n_views=3)
    one = amortised.scores(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    assert np.array_equal(
        one,
        amortised.scores(
            signals(target, margin),
            in_models,
            np.ones_like(in_models),
            every(target),
            1,
            2,
        ),
    )
    other = amortised.scores(
        signals(target[:, ::-1], margin[..., ::-1]),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    np.testing.assert_allclose(one, other, atol=1e-2)


def test_a_targets_own_scale_does_not_change_its_scores() -> None:
    target, margin, in_models, _, _ = toy(4, 400)
    one = amortised.scores(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    other = amortised.scores(
        signals(3 * target + 7, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("n_models", [1, 2, 3])
def test_scores_by_labels_beat_the_margin_alone(n_models: int) -> None:
    target, margin, in_models, member, _ = toy(n_models)
    known = np.arange(len(member)) < 2000
    score = amortised.scores_by_labels(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        known,
        member,
        seed=1,
    )
    for side in (known, ~known):
        alone = metrics.auc(target[side, 0], member[side])
        assert metrics.auc(score[side], member[side]) > alone + 0.03


def test_scores_by_labels_do_not_look_at_unknown_memberships() -> None:
    target, margin, in_models, member, _ = toy(2, 400)
    known = np.arange(400) < 200
    other = np.where(known, member, ~member)
    args = (
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        known,
    )
    one = amortised.scores_by_labels(*args, member, seed=1)
    assert np.array_equal(one, amortised.scores_by_labels(*args, other, seed=1))


def test_scores_by_labels_of_known_records_are_out_of_fold() -> None:
    target, margin, in_models, _, _ = toy(2, 600)
    rng = np.random.default_rng(4)
    member = rng.random(600) < 0.5
    known = np.ones(600, bool)
    score = amortised.scores_by_labels(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        known,
        member,
        seed=1,
    )
    assert metrics.auc(score, member) < 0.56


@pytest.mark.parametrize("is_in", [True, False])
def test_references_on_one_side_only_still_help(is_in: bool) -> None:
    target, margin, one_sided, member, out_mean = toy(1)
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(3, len(out_mean)))
    margin = (out_mean + 1.5 * is_in + noise)[..., None]
    one_sided = np.full((3, len(out_mean)), is_in)
    known = np.arange(len(member)) < 2000
    score = amortised.scores_by_labels(
        signals(target, margin),
        one_sided,
        np.ones_like(one_sided),
        every(target),
        known,
        member,
        1,
    )
    alone = metrics.auc(target[~known, 0], member[~known])
    assert metrics.auc(score[~known], member[~known]) > alone + 0.03


def test_evidence_in_blocks_is_the_evidence_of_the_whole() -> None:
    _, margin, in_models, _, _ = toy(6, 50, n_views=2)
    whole = evidence(margin, in_models, ~in_models)
    blocks = [
        evidence(margin[:, rows], in_models[:, rows], ~in_models[:, rows])
        for rows in (slice(0, 20), slice(20, 50))
    ]
    found = together(blocks)
    for one, other in (
        (whole.in_side, found.in_side),
        (whole.out_side, found.out_side),
    ):
        assert np.array_equal(one.log_confidence, other.log_confidence)
        assert np.array_equal(one.view_spread, other.view_spread)
        assert np.array_equal(one.margin.scatter, other.margin.scatter)


def test_the_likelihood_ratio_among_the_features_is_that_of_the_hierarchy() -> None:
    target, margin, in_models, _, _ = toy(6, 200)
    known = evidence(margin, in_models, ~in_models)
    prior = amortised.hierarchy_of(target, known, every(target))
    found = amortised.features(target, known, prior)
    basis = mean_axis(1)
    ratio = lira.hierarchical(
        target, along(known.in_side.margin, basis), along(known.out_side.margin, basis)
    )
    # After four confidences, three ratios of them and two means with differences.
    np.testing.assert_allclose(found[:, 11], ratio, rtol=1e-4, atol=1e-4)
    online = rmia.log_ratio(
        margins.log_mean_confidence(target),
        rmia.log_prior_online(
            known.in_side.log_confidence, known.out_side.log_confidence, 0.3
        ),
    )
    np.testing.assert_allclose(found[:, 4], online, rtol=1e-4, atol=1e-5)


def test_a_population_teaches_the_networks_but_not_the_targets_scale() -> None:
    target, margin, in_models, member, _ = toy(6)
    audited = np.arange(len(member)) < 1500
    # What the target says of records that are not audited is not looked at.
    other = np.where(audited[:, None], target, 100.0)
    one = amortised.scores(
        signals(target, margin), in_models, np.ones_like(in_models), audited, seed=1
    )[audited]
    assert np.array_equal(
        one,
        amortised.scores(
            signals(other, margin), in_models, np.ones_like(in_models), audited, seed=1
        )[audited],
    )
    alone = amortised.scores(
        signals(target[audited], margin[:, audited]),
        in_models[:, audited],
        np.ones_like(in_models[:, audited]),
        every(one),
        seed=1,
    )
    truth = member[audited]
    assert metrics.auc(one, truth) > metrics.auc(alone, truth) - 0.005


def test_evidence_is_summed_up_in_blocks_to_the_same_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, margin, in_models, _, _ = toy(4, 400)
    whole = amortised.scores(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    monkeypatch.setattr(amortised, "BLOCK_ROWS", 150)
    blocks = amortised.scores(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    assert np.array_equal(whole, blocks)


def test_a_second_signal_helps_where_the_first_is_noise() -> None:
    target, margin, in_models, member, _ = toy(6)
    rng = np.random.default_rng(6)
    noise = amortised.Signal(
        rng.normal(size=target.shape), rng.normal(size=margin.shape)
    )
    one = amortised.scores(
        signals(target, margin),
        in_models,
        np.ones_like(in_models),
        every(target),
        seed=1,
    )
    both = [noise, *signals(target, margin)]
    two = amortised.scores(
        both, in_models, np.ones_like(in_models), every(target), seed=1
    )
    assert metrics.auc(two, member) > metrics.auc(one, member) - 0.02
    few, known = in_models[:2], np.arange(len(member)) < 2000
    both = [amortised.Signal(one.target, one.references[:2]) for one in both]
    score = amortised.scores_by_labels(
        both, few, np.ones_like(few), every(target), known, member, seed=1
    )
    alone = metrics.auc(target[~known, 0], member[~known])
    assert metrics.auc(score[~known], member[~known]) > alone + 0.03


@pytest.mark.parametrize("n_models", [6, 10])
def test_a_target_that_shared_out_the_records_shows_nothing_by_counts(
    n_models: int,
) -> None:
    # Every record was in_models to half of the models, the target among them, and none
    # learned anything: where counts could be read, the area would be .9 and .6.
    rng = np.random.default_rng(0)
    side = np.arange(n_models)[:, None] < n_models // 2
    member = rng.permuted(side * np.ones((1, 2500), dtype=bool), axis=0)
    margin = rng.normal(0, 2, (2500, 1)) + rng.normal(size=(n_models, 2500, 1))
    in_models = member[1:]
    assert coverage.reveals(in_models, member[0])
    kept = coverage.balanced(in_models, seed=1)
    score = amortised.scores(
        signals(margin[0], margin[1:]), in_models, kept, every(margin[0]), seed=1
    )
    assert metrics.auc(score, member[0]) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("n_models", [4, 8])
def test_a_population_that_no_reference_learned_costs_nothing(n_models: int) -> None:
    target, margin, in_models, member, _ = toy(n_models)
    audited = np.arange(len(member)) < 2400
    inside = in_models & audited
    # The margins of what is not learned are those of OUT references.
    lowered = margin - 1.5 * (in_models & ~audited)[..., None]
    args = (inside, np.ones_like(inside), audited)
    one = amortised.scores(signals(target, lowered), *args, seed=1)[audited]
    alone = (
        in_models[:, audited],
        np.ones_like(in_models[:, audited]),
        audited[audited],
    )
    known = signals(target[audited], margin[:, audited])
    two = amortised.scores(known, *alone, seed=1)
    truth = member[audited]
    assert metrics.auc(one, truth) > metrics.auc(two, truth) - 0.01
