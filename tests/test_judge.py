"""The judge: what it sees of a record, what it makes of it, and what is shipped."""

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.neural_network import MLPClassifier

from pipeline import config
from pipeline.attacks import amortised, judge, traits
from pipeline.attacks.division import Division
from pipeline.attacks.view import View
from pipeline.cache import stamps
from pipeline.cache.digests import Digests
from pipeline.statistics import metrics
from tests import views
from tests.judge import by_margins
from tests.test_amortised import GAP, every, toy, view_of


def outputs_of(view: View) -> NDArray[np.float64]:
    return judge.outputs(
        view.logits, view.margin, view.recalibrated, view.label, view.audited
    )


def opinion_of(view: View) -> NDArray[np.float64]:
    return amortised.opinion(view, amortised.prepared(view)).log_odds


def with_order(view: View, records: NDArray[Any], models: NDArray[Any]) -> View:
    """Return a view with its records and references in another order."""
    return replace(
        view,
        logits=view.logits[records],
        margin=view.margin[records],
        recalibrated=view.recalibrated[records],
        label=view.label[records],
        audited=view.audited[records],
        division=None,
        references=view.references[models][:, records],
        references_recalibrated=view.references_recalibrated[models][:, records],
        in_models=view.in_models[models][:, records],
        kept=view.kept[models][:, records],
    )


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("n_networks", [1, 3])
def test_log_odds_are_those_of_the_networks_averaged(n_networks: int) -> None:
    rng = np.random.default_rng(0)
    inputs, member = rng.normal(size=(200, 5)), rng.random(200) < 0.5
    fits = [
        MLPClassifier((7, 4), max_iter=3, random_state=state).fit(inputs, member)
        for state in range(n_networks)
    ]
    networks = [judge.Network((*f.coefs_,), (*f.intercepts_,)) for f in fits]
    expected = np.mean([special.logit(f.predict_proba(inputs)[:, 1]) for f in fits], 0)
    score = judge.log_odds(networks, inputs)
    np.testing.assert_allclose(score, expected, rtol=1e-9, atol=1e-12)


def test_a_judge_is_unpacked_as_it_was_packed() -> None:
    rng = np.random.default_rng(0)

    def network(*widths: int) -> judge.Network:
        pairs = list(itertools.pairwise(widths))
        return judge.Network(
            tuple(rng.normal(size=pair).astype(np.float32) for pair in pairs),
            tuple(rng.normal(size=width).astype(np.float32) for _, width in pairs),
        )

    # Eleven of them, so that their numbers are not in the order of their letters.
    networks = tuple(network(4, place + 1, 1) for place in range(11))
    made = judge.Judge(networks[:1], networks)
    again = judge.unpacked(judge.packed(made))
    assert [len(part) for part in again] == [1, 11]
    inputs = rng.normal(size=(6, 4))
    for part, other in zip(made, again, strict=True):
        score = judge.log_odds(part, inputs)
        assert np.array_equal(judge.log_odds(other, inputs), score)


def test_standardised_features_are_clipped_and_constant_ones_are_zero() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, size=(500, 3))
    features[:, 1] = 1e6 + 1e-6 * rng.random(500)
    features[0, 2] = 1e3
    audited = np.arange(500) < 400
    ready = judge.standard(features, audited).of(features)
    own = features[:400, 0]
    expected = (features[:, 0] - own.mean()) / own.std()
    np.testing.assert_allclose(ready[:, 0], expected, rtol=1e-12)
    assert (ready[:, 1] == 0).all()
    assert ready[0, 2] == traits.FARTHEST


def test_outputs_are_their_definition_in_a_loop() -> None:
    view = views.drawn(2, 60)
    expected = []
    for logits, label in zip(view.logits, view.label, strict=True):
        rows = []
        for z in logits - logits.mean(axis=1, keepdims=True):
            p = special.softmax(z)
            entropy = -(p * np.log(p)).sum()
            largest = np.sort(z)
            rows.append(
                [
                    np.log(entropy + judge.LEAST_ENTROPY),
                    largest[-1],
                    largest[-1] - largest[-2],
                    np.sqrt(np.mean((z - z.mean()) ** 2)),
                    z[label],
                    float(z.argmax() == label),
                    np.log(1 - p[label]),
                ]
            )
        expected.append(np.mean(rows, axis=0))
    expected_table = np.array(expected)
    table = judge.standard(expected_table, view.audited).of(expected_table)
    ready = outputs_of(view)
    # After the four of the margins; what is right comes last but for its class.
    np.testing.assert_allclose(ready[:, 4:9], table[:, :5], atol=1e-9)
    np.testing.assert_allclose(ready[:, 9], table[:, 6], atol=1e-9)
    np.testing.assert_allclose(ready[:, 11], table[:, 5], atol=1e-9)
    # The margin, less the mean of its class with three records more of the usual.
    phi = view.margin.mean(axis=1)
    usual = [
        (phi[view.label == own].sum() + 3 * phi.mean())
        / ((view.label == own).sum() + 3)
        for own in view.label
    ]
    away = (phi - usual)[:, None]
    within = judge.standard(away, view.audited).of(away)
    np.testing.assert_allclose(ready[:, 12], within[:, 0], atol=1e-9)


@pytest.mark.parametrize("n_models", [0, 1, 2, 5])
def test_the_judge_names_no_record_no_model_and_no_class(n_models: int) -> None:
    view = views.drawn(n_models, 150)
    rng = np.random.default_rng(1)
    records, models = rng.permutation(150), rng.permutation(n_models)
    score = opinion_of(view)
    moved = opinion_of(with_order(view, records, models))
    np.testing.assert_allclose(moved, score[records], rtol=1e-6, atol=1e-6)
    classes = rng.permutation(views.N_CLASSES)
    logits = np.empty_like(view.logits)
    logits[..., classes] = view.logits + rng.normal(size=(150, 2, 1))
    renamed = replace(view, logits=logits, label=classes[view.label].astype(np.int32))
    np.testing.assert_allclose(opinion_of(renamed), score, rtol=1e-6, atol=1e-6)


def test_a_population_does_not_change_what_is_usual() -> None:
    view = views.drawn(2, 150, population=60)
    loud = replace(
        view,
        logits=np.where(view.audited[:, None, None], view.logits, 9.0),
        margin=np.where(view.audited[:, None], view.margin, 9.0),
        recalibrated=np.where(view.audited[:, None], view.recalibrated, 9.0),
    )
    score, other = (opinion_of(each)[view.audited] for each in (view, loud))
    np.testing.assert_allclose(other, score, rtol=1e-9)


@pytest.mark.parametrize("n_models", [1, 2, 4])
def test_the_judge_comes_near_the_optimum_of_the_gaussian_toy(n_models: int) -> None:
    bed = toy(n_models, 4000)
    view = view_of(bed, every(bed.target), bed.member)
    # The laws known, a record's OUT mean given its references, then the target.
    reference = bed.margin[..., 0] - GAP * bed.in_models
    share = 4 * n_models / (4 * n_models + 1)
    mean, deviation = share * reference.mean(axis=0), np.sqrt(4 * (1 - share) + 1)
    phi = bed.target[:, 0]
    optimum = stats.norm.logpdf(phi, mean + GAP, deviation)
    optimum -= stats.norm.logpdf(phi, mean, deviation)
    best = metrics.auc(optimum, bed.member)
    assert best - 0.02 < metrics.auc(opinion_of(view), bed.member) < best + 0.005


def blank(n_models: int, audit: int) -> View:
    """Return models that learned nothing, of records that are hard or easy."""
    rng = np.random.default_rng((n_models, audit))
    bed = toy(n_models, 200, seed=audit)
    label = rng.integers(0, 4, 200)
    usual = rng.normal(size=(200, 1, 4)) + 2 * (np.arange(4) == label[:, None, None])
    logits = usual + rng.normal(size=(n_models + 1, 200, 1, 4))
    margin = np.stack([views.plain(model, label) for model in logits])
    return replace(
        view_of(bed, every(bed.target), bed.member),
        logits=logits[0],
        label=label,
        margin=margin[0],
        recalibrated=margin[0] + rng.normal(size=(200, 1)),
        references=margin[1:],
        references_recalibrated=margin[1:] + rng.normal(size=(n_models, 200, 1)),
    )


@pytest.mark.parametrize("n_models", [0, 1, 2, 4, 16])
def test_memberships_that_say_nothing_are_not_told(n_models: int) -> None:
    areas = []
    for audit in range(50):
        view = blank(n_models, audit)
        areas.append(metrics.auc(opinion_of(view), view.member))
    # The area of 100 members and 100 others deviates by this from one half.
    deviation = np.sqrt(201 / (12 * 100 * 100))
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * deviation / np.sqrt(50))


def test_memberships_of_attack_train_do_not_tell_those_that_say_nothing() -> None:
    areas = []
    for audit in range(20):
        view = blank(1, audit)
        half = np.arange(200) < 100
        known = replace(view, division=Division(view.audited, half, view.member))
        score = amortised.score(known).score[~half]
        areas.append(metrics.auc(score, view.member[~half]))
    deviation = np.sqrt(101 / (12 * 50 * 50))
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * deviation / np.sqrt(20))


def test_margins_alone_are_seen_as_the_training_showed_them() -> None:
    view = views.drawn(2, 80)
    arrays = view.in_models, view.kept, view.audited
    ready = amortised.prepared(view)
    known = judge.beside(ready, *arrays).features(slice(None))
    ready[1] = None
    hidden = judge.beside(ready, *arrays).features(slice(None))
    np.testing.assert_allclose(by_margins(known), hidden, rtol=1e-6)


def test_what_is_shipped_is_small_and_has_a_card() -> None:
    path = Path(judge.__file__).with_name(judge.WEIGHTS)
    assert path.stat().st_size < 100_000
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = path.with_name("judge.md").read_text(encoding="utf-8")
    assert digest in card, "the card is of another judge"


def test_another_judge_decides_the_attack_and_what_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(Path(__file__).parents[1] / "configs" / "digits.toml")
    before = stamps.stamps(settings, Digests(tmp_path / "digests.json"))
    other = tmp_path / "judge.npz"
    other.write_bytes(b"another")
    monkeypatch.setattr(stamps, "JUDGE", other)
    after = stamps.stamps(settings, Digests(tmp_path / "digests.json"))
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["attack", "report", "page"]
