from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.attacks import amortised, catalogue, folds, roster
from pipeline.attacks.division import Division
from pipeline.attacks.evidence import evidence
from pipeline.cache.scratch import Scratch
from pipeline.errors import LacksError
from pipeline.signals.margins import UNLABELLED
from pipeline.statistics import metrics
from tests.views import drawn, plain, recalibrated

ALL = catalogue.names()
# The others draw folds of the records by their place.
FREE_OF_PLACE = [
    name
    for name in ALL
    if not name.endswith("_per_class") and name not in ("qmia", "amortised")
]
# QMIA learns from a population what non-members reach, on purpose.
DEAF_TO_POPULATION = [name for name in ALL if name != "qmia"]
OFFLINE = [
    name
    for name in ALL
    if (needs := catalogue.needs(name)) is not None and needs.sides == "OUT"
]


@pytest.mark.parametrize("name", ALL)
def test_every_attack_scores_members_higher_than_chance(name: str) -> None:
    # Inputs are read-only: an attack that wrote into them would fail.
    view = drawn()
    score = roster.score(name, view).score
    assert score.shape == (200,)
    assert np.isfinite(score).all()
    if name.removesuffix("_per_class") != "entropy":
        assert score[view.member].mean() > score[~view.member].mean()


@pytest.mark.parametrize("name", FREE_OF_PLACE)
def test_the_order_of_records_and_models_does_not_matter(name: str) -> None:
    view = drawn()
    rng = np.random.default_rng(1)
    records, models = rng.permutation(200), rng.permutation(6)
    other = replace(
        view,
        logits=view.logits[records],
        margin=view.margin[records],
        label=view.label[records],
        division=Division(
            view.audited, view.attack_train[records], view.member[records]
        ),
        references=view.references[models][:, records],
        in_models=view.in_models[models][:, records],
        evidence=evidence(
            view.references[models][:, records],
            view.in_models[models][:, records],
            ~view.in_models[models][:, records],
        ),
    )
    np.testing.assert_allclose(
        roster.score(name, other).score,
        roster.score(name, view).score[records],
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", ALL)
def test_a_constant_added_to_the_logits_changes_no_score(name: str) -> None:
    view = drawn()
    rng = np.random.default_rng(2)
    logits = view.logits + rng.normal(size=(200, 2, 1))
    other = replace(
        view,
        logits=logits,
        margin=plain(logits, view.label),
        recalibrated=recalibrated(logits, view.label),
    )
    # Networks enlarge the last bits of what they are trained on.
    near = 2e-2 if name == "amortised" else 1e-9
    np.testing.assert_allclose(
        roster.score(name, other).score, roster.score(name, view).score, atol=near
    )


BY_MARGINS = [name for name in ALL if not catalogue.reads(name)]


@pytest.mark.parametrize("name", [*BY_MARGINS])
def test_margins_alone_give_the_scores_that_logits_give(name: str) -> None:
    view = drawn()
    alone = replace(
        view, logits=view.logits[:, :, :0], label=np.full_like(view.label, UNLABELLED)
    )
    score = roster.score(name, alone).score
    if name == "amortised":  # it has no corrected logits then
        assert metrics.auc(score, view.member) > 0.8
    else:
        assert np.array_equal(score, roster.score(name, view).score)


def test_attacks_that_read_what_is_unknown_say_so() -> None:
    view = drawn()
    no_logits = replace(view, logits=view.logits[:, :, :0])
    no_labels = replace(view, label=np.full_like(view.label, UNLABELLED))
    lacking = {
        "needs logits, and there are margins alone": (
            no_logits,
            [
                *("entropy", "modified_entropy", "correctness"),
                *("entropy_per_class", "modified_entropy_per_class", "qmia"),
            ],
        ),
        "needs labels, and there are none": (
            no_labels,
            [name for name in ALL if name.endswith("_per_class")],
        ),
    }
    for reason, (unknown, names) in lacking.items():
        for name in ALL:
            if name in names:
                with pytest.raises(LacksError, match=f"^{reason}$"):
                    roster.score(name, unknown)
            else:
                assert roster.lack(name, view.in_models, unknown.unknown) is None


@pytest.mark.parametrize("name", ALL)
def test_huge_logits_and_ties_give_finite_scores(name: str) -> None:
    view = drawn()
    huge = np.where(view.margin > 0, 1e4, -1e4)
    references = np.where(view.references > 0, 1e4, -1e4)
    other = replace(
        view,
        margin=huge,
        recalibrated=huge,
        references=references,
        references_recalibrated=references,
        evidence=evidence(references, view.in_models, ~view.in_models),
    )
    assert np.isfinite(roster.score(name, other).score).all()


@pytest.mark.parametrize("n_models", [2, 6])
def test_scores_are_the_same_out_of_files_and_in_small_blocks(
    n_models: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amortised, "NETWORKS", 1)
    view = drawn(n_models, n_records=150, population=20)
    names = [name for name in ALL if not roster.lack(name, view.in_models)]
    whole = {name: roster.score(name, view).score for name in names}
    arrays = {}
    for name in ("logits", "references", "references_recalibrated"):
        array = getattr(view, name)
        arrays[name] = Scratch(tmp_path / name, array.shape, array.dtype)
        arrays[name].put(array)
    monkeypatch.setattr("pipeline.attacks.evidence.BLOCK_VALUES", 100)
    monkeypatch.setattr(amortised, "JUDGED_ROWS", 40)
    stored = replace(view, **arrays)
    for name, score in whole.items():
        again = roster.score(name, stored).score
        # Networks sum in another order over other numbers of rows, in float32.
        tolerance = 1e-4 if name == "amortised" else 0.0
        np.testing.assert_allclose(again, score, tolerance, tolerance, err_msg=name)


def test_a_population_is_what_attack_p_compares_with() -> None:
    view = drawn(population=50)
    phi = view.phi[:, 0]
    reading = roster.score("attack_p", view).reading
    assert reading is not None
    others = phi[~view.audited]
    expected = [(1 + (others >= own).sum()) / 51 for own in phi]
    np.testing.assert_allclose(reading, expected)


@pytest.mark.parametrize("name", DEAF_TO_POPULATION)
def test_what_the_target_says_of_the_population_scores_no_audited_record(
    name: str,
) -> None:
    view = drawn(population=60)
    loud = np.where(view.audited[:, None], view.margin, view.margin + 3)
    other = replace(
        view,
        margin=loud,
        recalibrated=np.where(view.audited[:, None], view.recalibrated, 3.0),
    )
    scores = [
        roster.score(name, either).score[view.audited] for either in (view, other)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-12)


@pytest.mark.parametrize("name", [*OFFLINE, "rmia_online", "amortised"])
def test_references_that_saw_no_record_serve_what_needs_no_other(name: str) -> None:
    view = drawn()
    in_models = np.zeros_like(view.in_models)
    other = replace(
        view,
        in_models=in_models,
        evidence=evidence(view.references, in_models, ~in_models),
    )
    assert roster.lack(name, in_models) is None
    assert np.isfinite(roster.score(name, other).score).all()


BOTH = np.array([[True, False], [False, True]])


@pytest.mark.parametrize(
    ("name", "in_models", "reason"),
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
            "lira_online_bayes",
            BOTH,
            "needs 2 references that a record is IN of, and no record has more than 1",
        ),
    ],
)
def test_what_an_attack_lacks_is_said(
    name: str, in_models: np.ndarray, reason: str | None
) -> None:
    assert roster.lack(name, in_models) == reason


FEW = {"n_models": 2}  # too few to attack one another


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("population", [0, 50])
def test_an_attack_is_informed_as_the_catalogue_declares(
    population: int, few: bool
) -> None:
    view = drawn(population=population, **(FEW if few else {}))
    expected = {"qmia", *(name for name in ALL if name.endswith("_per_class"))}
    if not population:
        expected |= {"attack_p", "rmia_online", "rmia_offline"}
    if few:
        expected |= {"amortised"}
    able = [name for name in ALL if roster.lack(name, view.in_models) is None]
    assert {name for name in able if roster.score(name, view).informed} == expected


@pytest.mark.parametrize("name", ALL)
def test_memberships_outside_attack_train_change_no_score(name: str) -> None:
    view = drawn(n_models=4, n_records=100)
    assert view.division is not None
    flipped = np.where(view.attack_train, view.member, ~view.member)
    other = replace(view, division=replace(view.division, member=flipped))
    score, expected = (roster.score(name, either) for either in (other, view))
    assert np.array_equal(score.score, expected.score)


@pytest.fixture
def fixed_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the folds of each purpose once, whatever memberships come later."""
    drawn_before: dict[str, np.ndarray] = {}
    real = folds.drawn

    def drawn_once(
        sides: Sequence[np.ndarray],
        n_folds: int,
        seed: int,
        purpose: str,
        unit: np.ndarray | None = None,
    ) -> np.ndarray:
        if purpose not in drawn_before:
            drawn_before[purpose] = real(sides, n_folds, seed, purpose, unit)
        return drawn_before[purpose]

    monkeypatch.setattr(folds, "drawn", drawn_once)


@pytest.mark.usefixtures("fixed_folds")
@pytest.mark.parametrize(
    "name", [name for name in ALL if catalogue.ATTACKS[name].informed]
)
def test_flipping_a_known_membership_leaves_that_records_own_score(name: str) -> None:
    view = drawn(leak=1.0, **FEW)
    division = view.division
    assert division is not None
    before = roster.score(name, view)
    assert before.informed
    moved = np.zeros(len(view.label), dtype=bool)
    for record in np.flatnonzero(view.attack_train)[::16]:
        member = view.member.copy()
        member[record] = not member[record]
        flipped = replace(view, division=replace(division, member=member))
        after = roster.score(name, flipped).score
        assert after[record] == before.score[record]
        moved |= after != before.score
    # The others learn from it, but for attacks that are informed for their reading.
    assert moved.any() == (before.reading is None)


def test_an_attack_that_lacks_references_is_refused() -> None:
    view = drawn()
    none = view.in_models[:0]
    other = replace(view, references=view.references[:0], in_models=none, kept=none)
    with pytest.raises(LacksError, match="needs references, and there are none"):
        roster.score("rmia_online", other)
    score = roster.score("amortised", other)
    assert not score.informed
    assert metrics.auc(score.score, view.member) > 0.8


def test_the_amortised_attack_sees_that_only_the_unchanged_view_is_known() -> None:
    # Members' margins are raised in the first view and lowered in the second, so that
    # their mean tells nothing.
    rng = np.random.default_rng(3)
    view = drawn(n_models=8, n_records=1000)
    sides = np.vstack((view.member[None], view.in_models))[..., None]
    margin = rng.normal(size=(9, 1000, 2)) + np.array([1.0, -1.0]) * sides
    other = replace(
        view,
        margin=margin[0],
        recalibrated=margin[0],
        references=margin[1:],
        references_recalibrated=margin[1:],
        evidence=evidence(margin[1:], view.in_models, ~view.in_models),
    )
    score = roster.score("amortised", other).score
    best = metrics.auc(margin[0, :, 0] - margin[0, :, 1], view.member)
    assert metrics.auc(score, view.member) > best - 0.03
