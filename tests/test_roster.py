from dataclasses import replace

import numpy as np
import pytest

from pipeline.attacks import catalogue, roster
from pipeline.attacks.evidence import evidence
from pipeline.data import selection
from pipeline.errors import LacksError
from pipeline.signals import margins, recalibration
from pipeline.statistics import metrics

# The others draw folds of the records by their place.
FREE_OF_PLACE = (*catalogue.GLOBAL, *catalogue.POPULATION, *catalogue.REFERENCE)
# QMIA learns from a population what non-members reach, on purpose.
DEAF_TO_POPULATION = [name for name in catalogue.ALL if name not in catalogue.QUANTILE]


def drawn(
    n_models: int = 6, n_records: int = 200, extra: int = 0, seed: int = 0
) -> roster.Given:
    """A target and references that learn their members; `extra` of a population."""
    rng = np.random.default_rng(seed)
    n = n_records + extra
    inside = selection.halves(n, n_models, seed)
    member = rng.permutation(n) % 2 == 0
    audited = np.arange(n) < n_records
    member &= audited
    label = rng.integers(0, 4, n)
    own = np.arange(4) == label[:, None, None]
    learned = np.vstack((member[None], inside))[..., None, None]
    logits = rng.normal(size=(n_models + 1, n, 2, 4)) + own * (1 + 2 * learned)
    return given(logits, label, member, inside, audited)


def given(
    logits: np.ndarray,
    label: np.ndarray,
    member: np.ndarray,
    inside: np.ndarray,
    audited: np.ndarray,
) -> roster.Given:
    margin, corrected = (
        np.stack([of(one, label) for one in logits]) for of in (plain, recalibrated)
    )
    for array in (logits, label, member, inside, audited, margin, corrected):
        array.flags.writeable = False
    return roster.Given(
        logits=logits[0],
        margin=margin[0],
        recalibrated=corrected[0],
        label=label,
        audited=audited,
        memberships=roster.Memberships(
            audited & (np.arange(len(label)) % 5 > 0), member
        ),
        references=margin[1:],
        references_recalibrated=corrected[1:],
        inside=inside,
        kept=np.ones_like(inside),
        evidence=evidence(margin[1:], inside, ~inside),
        seed=1,
    )


def plain(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    return np.stack([margins.margin(logits[:, v], label) for v in range(2)], axis=1)


def recalibrated(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    return recalibration.margin(logits, label, recalibration.fitted(logits, label))


@pytest.mark.parametrize("name", catalogue.ALL)
def test_every_attack_scores_members_higher_than_chance(name: str) -> None:
    # Inputs are read-only: an attack that wrote into one would fail.
    found = drawn()
    score = roster.score(name, found).score
    assert score.shape == (200,)
    assert np.isfinite(score).all()
    if name.removesuffix(catalogue.PER_CLASS) != "entropy":
        assert score[found.member].mean() > score[~found.member].mean()


@pytest.mark.parametrize("name", FREE_OF_PLACE)
def test_the_order_of_records_and_models_does_not_matter(name: str) -> None:
    one = drawn()
    rng = np.random.default_rng(1)
    records, models = rng.permutation(200), rng.permutation(6)
    other = replace(
        one,
        logits=one.logits[records],
        margin=one.margin[records],
        label=one.label[records],
        memberships=roster.Memberships(one.known[records], one.member[records]),
        references=one.references[models][:, records],
        inside=one.inside[models][:, records],
        evidence=evidence(
            one.references[models][:, records],
            one.inside[models][:, records],
            ~one.inside[models][:, records],
        ),
    )
    np.testing.assert_allclose(
        roster.score(name, other).score,
        roster.score(name, one).score[records],
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", catalogue.ALL)
def test_a_constant_added_to_the_logits_changes_no_score(name: str) -> None:
    one = drawn()
    rng = np.random.default_rng(2)
    logits = one.logits + rng.normal(size=(200, 2, 1))
    other = replace(
        one,
        logits=logits,
        margin=plain(logits, one.label),
        recalibrated=recalibrated(logits, one.label),
    )
    # Networks enlarge the last bits of what they are trained on.
    near = 2e-2 if name in catalogue.AMORTISED else 1e-9
    np.testing.assert_allclose(
        roster.score(name, other).score, roster.score(name, one).score, atol=near
    )


@pytest.mark.parametrize("name", catalogue.ALL)
def test_huge_logits_and_ties_give_finite_scores(name: str) -> None:
    one = drawn()
    huge = np.where(one.margin > 0, 1e4, -1e4)
    references = np.where(one.references > 0, 1e4, -1e4)
    other = replace(
        one,
        margin=huge,
        recalibrated=huge,
        references=references,
        references_recalibrated=references,
        evidence=evidence(references, one.inside, ~one.inside),
    )
    assert np.isfinite(roster.score(name, other).score).all()


def test_a_population_is_what_rmia_and_attack_p_compare_with() -> None:
    found = drawn(extra=50)
    assert np.array_equal(found.population, ~found.audited)
    assert found.population.sum() == 50
    alone = drawn()
    assert np.array_equal(alone.population, alone.known & ~alone.member)
    phi = found.phi[:, 0]
    reading = roster.score("attack_p", found).reading
    assert reading is not None
    others = phi[~found.audited]
    wanted = [(1 + (others >= one).sum()) / 51 for one in phi]
    np.testing.assert_allclose(reading, wanted)


@pytest.mark.parametrize("name", DEAF_TO_POPULATION)
def test_what_the_target_says_of_the_population_scores_no_audited_record(
    name: str,
) -> None:
    one = drawn(extra=60)
    loud = np.where(one.audited[:, None], one.margin, one.margin + 3)
    other = replace(
        one,
        margin=loud,
        recalibrated=np.where(one.audited[:, None], one.recalibrated, 3.0),
    )
    scores = [roster.score(name, found).score[one.audited] for found in (one, other)]
    np.testing.assert_allclose(*scores, rtol=1e-12)


@pytest.mark.parametrize("name", [*catalogue.OFFLINE, "rmia_online", "amortised"])
def test_references_that_saw_no_record_serve_what_needs_no_other(name: str) -> None:
    one = drawn()
    inside = np.zeros_like(one.inside)
    other = replace(
        one, inside=inside, evidence=evidence(one.references, inside, ~inside)
    )
    assert roster.lack(name, inside) is None
    assert np.isfinite(roster.score(name, other).score).all()


BOTH = np.array([[True, False], [False, True]])


@pytest.mark.parametrize(
    ("name", "inside", "reason"),
    [
        ("loss", BOTH[:0], None),
        ("lira_online", BOTH, None),
        ("references", BOTH[:0], "needs references, and there are none"),
        (
            "lira_online",
            BOTH & False,
            "needs 1 reference that a record is IN of, and no record has more than 0",
        ),
        (
            "attack_r",
            BOTH | True,
            "needs 1 reference that a record is OUT of, and no record has more than 0",
        ),
        (
            "lira_offline_bayes",
            BOTH,
            "needs 2 references that a record is OUT of, and no record has more than 1",
        ),
    ],
)
def test_what_an_attack_lacks_is_said(
    name: str, inside: np.ndarray, reason: str | None
) -> None:
    assert roster.lack(name, inside) == reason


def test_a_record_needs_references_on_both_sides_for_the_hierarchy() -> None:
    alike = np.array([[True, False], [True, False]])
    reason = roster.lack("lira_online_hierarchical", alike)
    assert reason == "needs a record with references on both sides, and there is none"


def test_an_attack_that_lacks_references_is_refused() -> None:
    one = drawn()
    none = one.inside[:0]
    other = replace(one, references=one.references[:0], inside=none, kept=none)
    with pytest.raises(LacksError, match="needs references, and there are none"):
        roster.score("amortised", other)


def test_learned_features_stand_in_the_order_asked_for() -> None:
    found = drawn()
    scored = {"loss": roster.score("loss", found)}
    wanted = ("margin", "views", "sorted", "loss", "references")
    columns = roster.features(wanted, found, scored)
    assert columns.shape == (200, 1 + 2 + 4 + 1 + 4)
    np.testing.assert_allclose(columns[:, 0], found.margin.mean(axis=1))
    np.testing.assert_allclose(columns[:, 1:3], found.margin)
    assert (np.diff(columns[:, 3:7], axis=1) <= 0).all()
    np.testing.assert_allclose(columns[:, 3:7].sum(axis=1), 1)
    np.testing.assert_allclose(columns[:, 7], margins.loss(found.margin[:, 0]))


def test_a_feature_that_did_not_run_is_refused() -> None:
    with pytest.raises(LacksError, match="'qmia', which lacked what it needs"):
        roster.features(("qmia",), drawn(), {})


def test_the_amortised_attack_sees_that_only_the_unchanged_view_is_known() -> None:
    # Members' margins are raised in the first view and lowered in the second, so that
    # their mean tells nothing.
    rng = np.random.default_rng(3)
    one = drawn(n_models=8, n_records=1000)
    sides = np.vstack((one.member[None], one.inside))[..., None]
    margin = rng.normal(size=(9, 1000, 2)) + np.array([1.0, -1.0]) * sides
    other = replace(
        one,
        margin=margin[0],
        recalibrated=margin[0],
        references=margin[1:],
        references_recalibrated=margin[1:],
        evidence=evidence(margin[1:], one.inside, ~one.inside),
    )
    score = roster.score("amortised", other).score
    best = metrics.auc(margin[0, :, 0] - margin[0, :, 1], one.member)
    assert metrics.auc(score, one.member) > best - 0.03
