from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.attacks import actors, amortised, coverage, lira, rmia, traits
from pipeline.attacks.division import Division
from pipeline.attacks.evidence import evidence, together
from pipeline.attacks.moments import along, mean_axis
from pipeline.attacks.traits import Signal
from pipeline.attacks.view import View
from pipeline.errors import LacksError
from pipeline.signals import margins
from pipeline.statistics import metrics


class Toy(NamedTuple):
    """Margins that are Gaussian about a record's own IN and OUT mean."""

    target: NDArray[np.float64]  # (n_records, n_views)
    margin: NDArray[np.float64]  # (n_models, n_records, n_views)
    in_models: NDArray[np.bool_]  # (n_models, n_records) in complementary pairs
    member: NDArray[np.bool_]  # (n_records,)
    out_mean: NDArray[np.float64]  # (n_records,)

    @property
    def signals(self) -> list[Signal]:
        return [Signal(self.target, self.margin)]


GAP = 1.5  # between the two means; the noise about them is 1


def toy(n_models: int, n_records: int = 2000, seed: int = 0, n_views: int = 1) -> Toy:
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
    margin = (out_mean + GAP * in_models)[..., None] + rng.normal(size=shape)
    target = out_mean + GAP * member
    target = target[:, None] + rng.normal(size=(n_records, n_views))
    for array in (target, margin, in_models):
        array.flags.writeable = False
    return Toy(target, margin, in_models, member, out_mean)


def every(records: NDArray[Any]) -> NDArray[np.bool_]:
    return np.ones(len(records), dtype=bool)


def scored(
    signals: list[Signal],
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_] | None = None,
    audited: NDArray[np.bool_] | None = None,
    jobs: int = 1,
) -> NDArray[np.float64]:
    """Return scores; unless it is said, references count and records are audited."""
    kept = np.ones_like(in_models) if kept is None else kept
    audited = every(signals[0].target) if audited is None else audited
    ready = [traits.prepared(signal, in_models, kept, audited) for signal in signals]
    return amortised.scores(ready, in_models, kept, 1, jobs)


def view_of(
    bed: Toy, attack_train: NDArray[np.bool_], member: NDArray[np.bool_]
) -> View:
    """Return a view of margins alone."""
    n_records, audited = len(bed.target), every(bed.target)
    return View(
        logits=np.empty((n_records, bed.target.shape[1], 0)),
        margin=bed.target,
        recalibrated=bed.target,
        label=np.full(n_records, margins.UNLABELLED),
        audited=audited,
        division=Division(audited, attack_train, member),
        references=bed.margin,
        references_recalibrated=bed.margin[:0],
        in_models=bed.in_models,
        kept=np.ones_like(bed.in_models),
        evidence=evidence(bed.margin, bed.in_models, ~bed.in_models),
        seed=1,
    )


def scored_by_labels(
    bed: Toy, attack_train: NDArray[np.bool_], member: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return amortised.score(view_of(bed, attack_train, member)).score


@pytest.fixture
def one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a single network shows what three do, in a third of the time."""
    monkeypatch.setattr(amortised, "NETWORKS", 1)


def test_amortised_comes_near_the_optimum_of_the_gaussian_toy() -> None:
    bed = toy(16, 900)
    score = scored(bed.signals, bed.in_models)
    phi = bed.target[:, 0]
    optimum = stats.norm.logpdf(phi, bed.out_mean + GAP)
    optimum -= stats.norm.logpdf(phi, bed.out_mean)
    assert metrics.auc(score, bed.member) > metrics.auc(optimum, bed.member) - 0.03
    both = evidence(bed.margin, bed.in_models, ~bed.in_models)
    sides = both.in_side.margin, both.out_side.margin
    fixed = lira.online(bed.target, *sides, "fixed")
    assert metrics.auc(score, bed.member) > metrics.auc(fixed, bed.member)


@pytest.mark.usefixtures("one_network")
@pytest.mark.parametrize("n_models", [4, 5])
def test_a_target_that_learned_nothing_shows_nothing(n_models: int) -> None:
    bed = toy(n_models)
    rng = np.random.default_rng(9)
    blank = (bed.out_mean + rng.normal(size=len(bed.out_mean)))[:, None]
    # Unrelated to the target: no score may tell it.
    member = rng.random(len(bed.out_mean)) < 0.5
    score = scored([Signal(blank, bed.margin)], bed.in_models)
    assert metrics.auc(score, member) == pytest.approx(0.5, abs=0.04)


@pytest.mark.usefixtures("one_network")
def test_references_that_learned_nothing_teach_nothing() -> None:
    # If the left-out model's side could be read off the counts, or a record's rows
    # taught its own score, this would be far from one half.
    bed = toy(8, 3000)
    rng = np.random.default_rng(3)
    shuffled = rng.permuted(bed.in_models, axis=0)
    assert (shuffled.sum(axis=0) == 4).all()
    for in_models in (bed.in_models, shuffled):
        margin = (bed.out_mean + rng.normal(size=in_models.shape))[..., None]
        scale = traits.scale_of(margin, every(bed.target))
        rescaled = traits.rescaled(margin, scale, scale)
        prior = traits.hierarchy_of(
            rescaled[0], evidence(rescaled, in_models, ~in_models), every(bed.target)
        )
        kept = np.ones_like(in_models)
        rows = amortised.rows(rescaled, in_models, kept, prior, 1, 0)
        half = len(bed.target) // 2
        judge = amortised.fitted(
            rows[:, :half].reshape(-1, rows.shape[-1]),
            in_models[:, :half].ravel(),
            1,
            0,
            joblib.Parallel(1),
        )
        score = amortised.judged(judge, rows[:, half:].reshape(-1, rows.shape[-1]))
        area = metrics.auc(score, in_models[:, half:].ravel())
        assert area == pytest.approx(0.5, abs=0.03)


def memorising(
    ready: NDArray[np.float32], member: NDArray[np.bool_], state: int
) -> KNeighborsClassifier:
    """In place of a network: what answers with the side of the nearest row."""
    return KNeighborsClassifier(1).fit(ready, member)


def test_no_row_of_a_record_trains_the_networks_that_score_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The target repeats a reference, so that the nearest row of all would be that
    # reference's own row of the same record, and would give away its side.
    monkeypatch.setattr(amortised, "_network", memorising)
    monkeypatch.setattr(amortised, "NETWORKS", 1)
    bed = toy(64, 300)
    rng = np.random.default_rng(1)
    # Records differ widely and nobody learned anything: other rows say nothing.
    margin = 2 * bed.out_mean[:, None] + rng.normal(size=bed.margin.shape)
    score = scored([Signal(margin[0], margin)], bed.in_models)
    # Were its own rows among them, it would be .8.
    assert metrics.auc(score, bed.in_models[0]) < 0.6


@pytest.mark.parametrize("n_models", [0, 1, 2])
def test_few_references_cannot_play(n_models: int) -> None:
    bed = toy(n_models, 100)
    kept = np.ones_like(bed.in_models)
    assert not actors.can_play(bed.in_models, kept)
    with pytest.raises(LacksError, match=f"{n_models} references are too few"):
        amortised.scores([], bed.in_models, kept, seed=1)


def test_equal_seeds_give_equal_scores_and_the_order_of_views_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two, so that two workers share them out.
    monkeypatch.setattr(amortised, "NETWORKS", 2)
    bed = toy(4, 200, n_views=2)
    score = scored(bed.signals, bed.in_models)
    assert np.array_equal(score, scored(bed.signals, bed.in_models, jobs=2))
    reversed_views = Signal(bed.target[:, ::-1], bed.margin[..., ::-1])
    other = scored([reversed_views], bed.in_models)
    np.testing.assert_allclose(score, other, atol=1e-2)


@pytest.mark.usefixtures("one_network")
def test_a_targets_own_scale_does_not_change_its_scores() -> None:
    bed = toy(4, 300)
    score = scored(bed.signals, bed.in_models)
    other = scored([Signal(3 * bed.target + 7, bed.margin)], bed.in_models)
    np.testing.assert_allclose(score, other, atol=1e-3)


@pytest.mark.usefixtures("one_network")
def test_scores_do_not_depend_on_the_number_of_threads() -> None:
    bed = toy(4, 300)
    with threadpool_limits(1):
        score = scored(bed.signals, bed.in_models)
    with threadpool_limits(2):
        assert np.array_equal(score, scored(bed.signals, bed.in_models))


@pytest.mark.parametrize("n_models", [1, 2, 3])
def test_scores_by_labels_beat_the_margin_alone(n_models: int) -> None:
    bed = toy(n_models, 3000)
    attack_train = np.arange(3000) < 2000
    score = scored_by_labels(bed, attack_train, bed.member)
    for side in (attack_train, ~attack_train):
        alone = metrics.auc(bed.target[side, 0], bed.member[side])
        assert metrics.auc(score[side], bed.member[side]) > alone + 0.03


def test_scores_by_labels_do_not_look_at_unknown_memberships() -> None:
    bed = toy(2, 400)
    attack_train = np.arange(400) < 200
    flipped = np.where(attack_train, bed.member, ~bed.member)
    score, other = (
        scored_by_labels(bed, attack_train, member) for member in (bed.member, flipped)
    )
    assert np.array_equal(score, other)


def test_scores_by_labels_of_known_records_are_out_of_fold() -> None:
    bed = toy(2, 600)
    member = np.random.default_rng(4).random(600) < 0.5
    score = scored_by_labels(bed, every(member), member)
    assert metrics.auc(score, member) < 0.56


def test_scores_by_labels_do_not_depend_on_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: set[int] = set()

    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            threads.update(pool["num_threads"] for pool in threadpool_info())
            return real(*args)

        return noted

    for name in ("fit", "decision_function"):
        real = getattr(LogisticRegression, name)
        monkeypatch.setattr(LogisticRegression, name, noting(real))
    bed = toy(2, 3000)
    attack_train = np.arange(3000) < 2000
    scores = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            scores.append(scored_by_labels(bed, attack_train, bed.member))
    assert np.array_equal(*scores)
    # Where sums of two threads happen to agree, this still shows that one was used.
    assert threads == {1}


@pytest.mark.parametrize("is_in", [True, False])
def test_references_on_one_side_only_still_help(is_in: bool) -> None:
    bed = toy(1, 3000)
    noise = np.random.default_rng(2).normal(size=(3, 3000))
    margin = (bed.out_mean + GAP * is_in + noise)[..., None]
    one_sided = bed._replace(margin=margin, in_models=np.full((3, 3000), is_in))
    attack_train = np.arange(3000) < 2000
    score = scored_by_labels(one_sided, attack_train, bed.member)
    judged = ~attack_train
    alone = metrics.auc(bed.target[judged, 0], bed.member[judged])
    assert metrics.auc(score[judged], bed.member[judged]) > alone + 0.03


def test_evidence_in_blocks_is_the_evidence_of_the_whole() -> None:
    bed = toy(6, 50, n_views=2)
    margin, in_models = bed.margin, bed.in_models
    whole = evidence(margin, in_models, ~in_models)
    blocks = together(
        [
            evidence(margin[:, rows], in_models[:, rows], ~in_models[:, rows])
            for rows in (slice(0, 20), slice(20, 50))
        ]
    )
    for side, expected in (
        (blocks.in_side, whole.in_side),
        (blocks.out_side, whole.out_side),
    ):
        assert np.array_equal(side.log_confidence, expected.log_confidence)
        assert np.array_equal(side.view_spread, expected.view_spread)
        assert np.array_equal(side.margin.scatter, expected.margin.scatter)


def test_the_likelihood_ratio_among_the_features_is_that_of_the_hierarchy() -> None:
    bed = toy(6, 200)
    both = evidence(bed.margin, bed.in_models, ~bed.in_models)
    prior = traits.hierarchy_of(bed.target, both, every(bed.target))
    columns = traits.features(bed.target, both, prior)
    basis = mean_axis(1)
    sides = along(both.in_side.margin, basis), along(both.out_side.margin, basis)
    ratio = lira.hierarchical(bed.target, *sides)
    # After four confidences, three ratios of them and two means with differences.
    np.testing.assert_allclose(columns[:, 11], ratio, rtol=1e-4, atol=1e-4)
    log_prior = rmia.log_prior_online(
        both.in_side.log_confidence, both.out_side.log_confidence, 0.3
    )
    online = rmia.log_ratio(margins.log_mean_confidence(bed.target), log_prior)
    np.testing.assert_allclose(columns[:, 4], online, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("one_network")
def test_a_population_teaches_the_networks_but_not_the_targets_scale() -> None:
    bed = toy(6)
    audited = np.arange(2000) < 1000
    # What the target says of records that are not audited is not looked at.
    loud = Signal(np.where(audited[:, None], bed.target, 100.0), bed.margin)
    score, other = (
        scored(signals, bed.in_models, audited=audited)[audited]
        for signals in (bed.signals, [loud])
    )
    assert np.array_equal(score, other)
    few = Signal(bed.target[audited], bed.margin[:, audited])
    alone = scored([few], bed.in_models[:, audited])
    member = bed.member[audited]
    assert metrics.auc(score, member) > metrics.auc(alone, member) - 0.005


@pytest.mark.usefixtures("one_network")
def test_evidence_is_summed_up_in_blocks_to_the_same_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bed = toy(4, 300)
    whole = scored(bed.signals, bed.in_models)
    monkeypatch.setattr("pipeline.attacks.evidence.BLOCK_VALUES", 660)
    assert np.array_equal(whole, scored(bed.signals, bed.in_models))


@pytest.mark.usefixtures("one_network")
def test_a_second_signal_helps_where_the_first_is_noise() -> None:
    bed = toy(6)
    rng = np.random.default_rng(6)
    noise = Signal(rng.normal(size=bed.target.shape), rng.normal(size=bed.margin.shape))
    score = scored(bed.signals, bed.in_models)
    other = scored([noise, *bed.signals], bed.in_models)
    assert metrics.auc(other, bed.member) > metrics.auc(score, bed.member) - 0.02


def test_by_labels_recalibrated_margins_help_where_the_others_are_noise() -> None:
    bed = toy(2, 3000)
    rng = np.random.default_rng(6)
    attack_train = np.arange(3000) < 2000
    noise, of_references = rng.normal(size=bed.target.shape), rng.normal(size=(2, 3000))
    view = replace(
        view_of(bed, attack_train, bed.member),
        logits=rng.normal(size=(3000, 1, 3)),
        margin=noise,
        label=rng.integers(0, 3, 3000),
        references=of_references[..., None],
        references_recalibrated=bed.margin,
    )
    score = amortised.score(view).score
    judged = ~attack_train
    alone = metrics.auc(bed.target[judged, 0], bed.member[judged])
    assert metrics.auc(score[judged], bed.member[judged]) > alone + 0.03


def test_without_references_the_judge_is_alone_and_sees_no_label() -> None:
    bed = toy(0, 3000)
    view = view_of(bed, every(bed.target), bed.member)
    assert not amortised.needs_labels(view)
    score = amortised.score(view.withheld).score
    # It knows margins of networks, which are not Gaussian as these are.
    assert 0.6 < metrics.auc(score, bed.member) < 0.7


def test_the_judges_share_is_that_of_a_fit_that_loses_so_many_nats() -> None:
    sure = np.log(3) * np.array([1.0, -1.0, 1.0, -1.0])  # probabilities of 3/4 and 1/4
    told = np.log(2) - (0.75 * np.log(4 / 3) + 0.25 * np.log(4))
    # A shift of all log-odds says how many members there are, and nothing of a record.
    for shift in (0.0, 7.0):
        of_judge = amortised.share(sure + shift, 1000, nats=1000 * told)
        assert of_judge == pytest.approx(0.5, rel=1e-9)
    assert amortised.share(sure, 1000, 1000 * told, least=0.2) == pytest.approx(0.6)
    assert amortised.share(sure, 10**12, 300.0, least=0.1) == pytest.approx(0.1)
    # Where the judge tells nothing, nothing is to be learned either.
    assert amortised.share(np.zeros(4), 1000, 300.0) == 1.0


@pytest.mark.usefixtures("one_network")
@pytest.mark.parametrize("n_models", [2, 4])
def test_the_judge_has_its_share_beside_networks_and_labels(n_models: int) -> None:
    bed = toy(n_models, 300)
    view = view_of(bed, np.arange(300) < 150, bed.member)
    judged, ratios = amortised.opinion(view, amortised.prepared(view))
    if n_models == 4:
        learned = scored(bed.signals, bed.in_models)
        of_judge = amortised.share(judged, 4 * 300, 1000.0, least=0.1)
    else:
        described = np.column_stack((judged, ratios))
        known = view.attack_train, view.member
        learned = amortised.scores_by_labels(described, *known, view.seed)
        of_judge = amortised.share(judged, 150, 30.0)
    assert 0.1 < of_judge < 0.9
    expected = (1 - of_judge) * learned + of_judge * judged
    np.testing.assert_allclose(amortised.score(view).score, expected, rtol=1e-9)


@pytest.mark.usefixtures("one_network")
@pytest.mark.parametrize("n_models", [6, 10])
def test_a_target_that_shared_out_the_records_shows_nothing_by_counts(
    n_models: int,
) -> None:
    # Every record was given to half of the models, the target among them, and none
    # learned anything: where counts could be read, the area would be .9 and .6.
    rng = np.random.default_rng(0)
    side = np.arange(n_models)[:, None] < n_models // 2
    trained = rng.permuted(side * np.ones((1, 2500), dtype=bool), axis=0)
    margin = rng.normal(0, 2, (2500, 1)) + rng.normal(size=(n_models, 2500, 1))
    member, in_models = trained[0], trained[1:]
    assert coverage.reveals(in_models, member)
    kept = coverage.balanced(in_models, seed=1)
    score = scored([Signal(margin[0], margin[1:])], in_models, kept)
    assert metrics.auc(score, member) == pytest.approx(0.5, abs=0.04)


@pytest.mark.usefixtures("one_network")
@pytest.mark.parametrize("n_models", [4, 8])
def test_a_population_that_no_reference_learned_costs_nothing(n_models: int) -> None:
    bed = toy(n_models)
    audited = np.arange(2000) < 1600
    # The margins of what is not learned are those of OUT references.
    lowered = bed.margin - GAP * (bed.in_models & ~audited)[..., None]
    score = scored(
        [Signal(bed.target, lowered)], bed.in_models & audited, audited=audited
    )[audited]
    few = Signal(bed.target[audited], bed.margin[:, audited])
    alone = scored([few], bed.in_models[:, audited])
    member = bed.member[audited]
    assert metrics.auc(score, member) > metrics.auc(alone, member) - 0.01
