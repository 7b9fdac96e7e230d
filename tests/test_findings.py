"""The report of made-up scores, without any file."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.attacks.growth import Point
from pipeline.audit import terminal
from pipeline.cache.summaries import Contradicted
from pipeline.config import About
from pipeline.config import Report as Settings
from pipeline.findings import controls, exposure, report, slices
from pipeline.findings.figures import RATES
from pipeline.findings.report import Audited, Inputs
from pipeline.findings.schema import (
    Accuracies,
    AttackChoice,
    Division,
    DivisionFigures,
    Range,
    Search,
    Strongest,
    Target,
)
from pipeline.signals.margins import UNLABELLED
from pipeline.statistics import corrections, epsilon, metrics
from tests import reports

METHODS = ("loss", "lira_online", "lr")
N = 800
SETTINGS = Settings()


def inputs(seed: int = 0, shift: float = 1.5, **changed: Any) -> Inputs:
    """Return three attacks, of which the second finds most."""
    rng = np.random.default_rng(seed)
    member, evaluation = rng.random(N) < 0.5, rng.random(N) < 0.5
    strength = shift * np.array([[0.5], [1.0], [0.7]])
    score = rng.normal(size=(3, N)) + strength * member
    audited = Audited(
        id=np.arange(0, 2 * N, 2),
        label=rng.integers(0, 4, N).astype(np.int32),
        member=member,
        evaluation=evaluation,
        canary=rng.random(N) < 0.05,
        correct=rng.random(N) < 0.8,
        loss=rng.exponential(size=N),
        confidence=rng.uniform(0.25, 1.0, N),
        group=None,
        p_value=rng.random(N),
        method=METHODS,
        score=score,
        decision=score > 0.5,
    )
    search = Search(
        attacks=tuple(
            AttackChoice(
                method=name, family=family, params={}, n_candidates=1, threshold=0.5
            )
            for name, family in zip(
                METHODS, ("threshold", "reference", "learned"), strict=True
            )
        ),
        strongest=Strongest(
            chosen="lira_online", auc_on_attack_train=dict.fromkeys(METHODS, 0.7)
        ),
        rmia_slope=None,
        fitted=40,
        null=reports.null(),
        repeats=(division(0.7),),
        methods=(),
    )
    halves, n_eval = rng.random((2, N)) < 0.5, int(evaluation.sum())
    fields: dict[str, Any] = {
        "audit": "made-up",
        "about": About(name="A model"),
        "audited": audited,
        "n_population": 7,
        "n_duplicates_dropped": 3,
        "n_copies_dropped": 2,
        "target": Target(train_accuracy=0.9, test_accuracy=0.8, checkpoint_sha256=None),
        "within_classes": 1.0,
        "contradicted": Contradicted(records=1, of=500, accuracy_on_others=0.9),
        "references": 4 * (Accuracies(train_accuracy=0.9, test_accuracy=0.8),),
        "reference_names": tuple("abcd"),
        "reference_member": np.concatenate([halves, ~halves]),
        "search": search,
        "growth": (
            Point("lira_online", 2, score[1, evaluation] + rng.normal(size=n_eval)),
        ),
        "blind": reports.blind(),
        "origins": {},
    }
    return Inputs(**{**fields, **changed})


def division(auc: float) -> Division:
    attacks = {
        name: DivisionFigures(
            auc=auc + place / 100,
            accuracy=0.6,
            precision=None,
            recall=0.5,
            tpr_at_fpr={"0.1": 0.2},
        )
        for place, name in enumerate(METHODS)
    }
    return Division(strongest="lira_online", attacks=attacks)


def test_the_figures_are_those_of_attack_eval() -> None:
    basis = inputs()
    made, *_ = report.findings(basis, SETTINGS)
    audited = basis.audited
    judged = audited.evaluation
    member = audited.member[judged]
    p = np.array([metrics.p_value(own[judged], member) for own in audited.score])
    corrected = corrections.chosen_first(p, 1, np.arange(3), 0.8)
    for row, attack in enumerate(made.attacks[:-1]):
        score, decision = audited.score[row][judged], audited.decision[row][judged]
        assert attack.method == METHODS[row]
        assert attack.auc == metrics.auc(score, member)
        assert attack.accuracy == metrics.accuracy(decision, member)
        assert attack.auc_interval[0] < attack.auc < attack.auc_interval[1]
        assert attack.p_value == p[row]
        assert attack.p_value_corrected == corrected[row]
        assert attack.chosen is None
    assert made.tail is not None
    assert made.tail["0.1"].value == metrics.tpr_at_fpr(
        -audited.score[0][judged], ~member, 0.1
    )


def test_the_strongest_is_the_one_chosen_on_attack_train() -> None:
    made, records, *_ = report.findings(inputs(), SETTINGS)
    second = made.attacks[1]
    assert made.strongest == second.model_copy(
        update={"method": "strongest", "chosen": "lira_online"}
    )
    assert made.epsilon.attack == made.slices.attack == "lira_online"
    score = inputs().audited.score[1]
    assert np.array_equal(records["rank"], exposure.rank(score))
    assert np.array_equal(records["score_lira_online"], score)


def test_the_counts_are_those_of_the_records() -> None:
    basis = inputs()
    made, records, _ = report.findings(basis, SETTINGS)
    audited = basis.audited
    assert made.records.members + made.records.nonmembers == N
    assert made.records.members == audited.member.sum()
    assert made.records.attack_eval == audited.evaluation.sum()
    assert made.records.attack_train == (~audited.evaluation).sum()
    assert made.records.fitted == 40
    assert made.records.population == 7
    assert made.records.duplicates_dropped == 3
    assert made.records.copies_dropped == 2
    assert made.risk.flagged == records["flagged"].sum() > 0
    both = records["flagged"] & audited.member
    assert made.risk.flagged_members == both.sum()
    judged = audited.evaluation & ~audited.member
    resolution = made.controls.resolution
    assert resolution.nonmembers == judged.sum()
    assert resolution.level == pytest.approx(0.04)
    assert resolution == controls.resolution(
        audited.member[audited.evaluation], RATES, resolution.level
    )


def test_what_is_learned_of_memberships_is_learned_on_attack_train() -> None:
    basis = inputs()
    made, records, _ = report.findings(basis, SETTINGS)
    audited, score = basis.audited, basis.audited.score[1]
    known = ~audited.evaluation
    bounds = epsilon.bounds(
        score, audited.member, known, delta=1e-5, confidence=0.95, seed=1
    )
    assert [*made.epsilon.bounds] == ["clopper_pearson", "one_run"]
    assert [*made.epsilon.if_gaussian] == ["f_dp_one_run", "gaussian"]
    reported = {**made.epsilon.bounds, **made.epsilon.if_gaussian}
    for bound in bounds:
        assert reported[bound.name].epsilon == bound.epsilon > 0
        assert reported[bound.name].chosen == bound.chosen
    posterior = exposure.posterior(score, audited.member, known, 0.5)
    assert np.array_equal(records["posterior"], posterior)
    flags = exposure.flags(score, audited.member, audited.evaluation, 0.1)
    assert np.array_equal(records["flagged"], flags)


def test_slices_are_those_of_the_strongest_on_attack_eval() -> None:
    basis = inputs()
    made, *_ = report.findings(basis, SETTINGS)
    audited = basis.audited
    judged = audited.evaluation
    kinds = {
        "class": audited.label[judged],
        "outcome": np.where(audited.correct[judged], "right", "wrong"),
    }
    score, member = audited.score[1][judged], audited.member[judged]
    assert made.slices.kinds == slices.slices(kinds, score, member, 0.95)


def test_the_interval_that_decides_is_the_one_that_is_reported() -> None:
    basis = inputs()
    made, *_ = report.findings(basis, SETTINGS)
    confidence = [attack.confidence_of_decisions for attack in made.attacks]
    assert confidence == [0.975, 0.95, 0.975, 0.95]
    # Just below the smallest of an attack's lower ends, and just at it.
    for place, attack in enumerate(made.attacks):
        assert attack.precision_interval is not None
        ends = (
            attack.accuracy_interval,
            attack.precision_interval,
            attack.recall_interval,
        )
        lowest = min(low for low, _ in ends)
        for threshold, exceeds in ((lowest - 1e-9, True), (lowest, False)):
            other, *_ = report.findings(basis, Settings(threshold=threshold))
            assert other.attacks[place].exceeds is exceeds


def with_attacks(basis: Inputs, score: np.ndarray, *names: str) -> Inputs:
    """Return inputs with more attacks, which decide by the sign of their scores."""
    audited = replace(
        basis.audited,
        method=(*basis.audited.method, *names),
        score=np.vstack((basis.audited.score, score)),
        decision=np.vstack((basis.audited.decision, score > 0)),
    )
    more = tuple(
        basis.search.attacks[0].model_copy(update={"method": name}) for name in names
    )
    search = basis.search.model_copy(update={"attacks": basis.search.attacks + more})
    return replace(basis, audited=audited, search=search)


def test_attacks_that_rank_alike_are_counted_once() -> None:
    basis = inputs()
    made, *_ = report.findings(basis, SETTINGS)
    # Twice the same order by other scores, and the chosen attack again.
    loss, chosen = basis.audited.score[:2]
    names = ("entropy", "margin", "again")
    more = with_attacks(basis, np.stack([loss**3, np.sinh(loss), 2 * chosen]), *names)
    # What ranks alike and decides alike is one attack.
    decision = more.audited.decision.copy()
    decision[3:] = decision[[0, 0, 1]]
    more = replace(more, audited=replace(more.audited, decision=decision))
    again, *_ = report.findings(more, SETTINGS)
    for place, twin in enumerate((0, 1, 2, 0, 0, 1)):
        attack, before = again.attacks[place], made.attacks[twin]
        assert attack.p_value_corrected == before.p_value_corrected
        assert attack.confidence_of_decisions == before.confidence_of_decisions
        assert attack.accuracy_interval == before.accuracy_interval


@pytest.mark.parametrize("shift", [0.1, 0.3, 0.6, 1.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_more_attacks_never_undo_what_the_chosen_one_shows(
    shift: float, seed: int
) -> None:
    basis = inputs(seed, shift)
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(40, N))
    more = with_attacks(basis, noise, *(f"noise-{i}" for i in range(40)))
    (few, *_), (many, *_) = (report.findings(each, SETTINGS) for each in (basis, more))
    assert few.strongest == many.strongest
    assert few.epsilon == many.epsilon
    if few.strongest.p_value_corrected < 0.05:
        assert many.verdict.leaks
        assert many.verdict.attack == few.verdict.attack
        assert not few.verdict.methods or many.verdict.exceeds


def test_accuracies_are_compared_as_far_as_their_records_allow() -> None:
    basis = inputs()
    made, *_ = report.findings(basis, SETTINGS)
    n_members = int(basis.audited.member.sum())
    assert n_members != N - n_members
    assert made.controls.references == controls.resemblance(
        basis.target, basis.references, (n_members, N - n_members), (N / 2, N / 2)
    )


def test_labels_in_another_order_allow_no_verdict() -> None:
    basis = inputs()
    shuffled = np.random.default_rng(1).random(N) < 0.25  # of four classes
    other = replace(basis.audited, correct=shuffled)
    made, *_ = report.findings(replace(basis, audited=other), SETTINGS)
    assert made.controls.labels.passed is False
    assert made.verdict.leaks is None
    assert "labels, classes or checkpoint do not fit" in made.verdict.sentence


def test_canaries_are_left_out_of_what_the_labels_are_held_against() -> None:
    basis = inputs()
    audited = basis.audited
    # A target that learned no canary is wrong on all of them, members all.
    canary = audited.member & (np.arange(N) % 10 > 0)
    correct = audited.correct & ~canary
    other = replace(audited, canary=canary, correct=correct)
    made, *_ = report.findings(replace(basis, audited=other), SETTINGS)
    assert made.controls.labels.passed
    assert made.controls.labels.accuracy == correct[audited.member & ~canary].mean()
    assert made.controls.sides.passed


@pytest.mark.parametrize("loss", ["loss", "confidence", "margin", "qmia"])
def test_exchanged_sides_allow_no_verdict_whatever_ran(loss: str) -> None:
    basis = inputs()
    audited = basis.audited
    # Members are right more often, and are then marked as the non-members.
    correct = audited.correct & (audited.member | (np.arange(N) % 2 == 0))
    score = audited.score.copy()
    score[0] += 2 * audited.member
    other = replace(
        audited,
        member=~audited.member,
        correct=correct,
        score=score,
        method=(loss, *METHODS[1:]),
    )
    search = basis.search
    first = search.attacks[0].model_copy(update={"method": loss})
    attacks = (first, *search.attacks[1:])
    search = search.model_copy(update={"attacks": attacks})
    made, *_ = report.findings(replace(basis, audited=other, search=search), SETTINGS)
    assert made.controls.sides.passed is False
    assert (made.controls.sides.loss_auc is None) is (loss == "qmia")
    assert made.verdict.leaks is None
    assert "the sides look exchanged" in made.verdict.sentence


def test_groups_are_slices_and_a_column() -> None:
    basis = inputs()
    made, records, _ = report.findings(basis, SETTINGS)
    assert [*made.slices.kinds] == ["class", "outcome"]
    assert "group" not in records
    group = np.array([f"hospital {i % 3}" for i in range(N)])
    grouped = replace(basis, audited=replace(basis.audited, group=group))
    made, records, _ = report.findings(grouped, SETTINGS)
    values = [part.value for part in made.slices.kinds["group"]]
    assert values == ["hospital 0", "hospital 1", "hospital 2"]
    assert np.array_equal(records["group"], group)


def test_references_that_agree_with_the_target_are_a_caveat() -> None:
    basis = inputs()
    made, *_ = report.findings(basis, SETTINGS)
    assert made.controls.independence is not None
    assert made.controls.independence.passed
    assert made.verdict.caveats == ()
    member = basis.audited.member
    trained = np.stack([basis.reference_member[0], member, ~member, member])
    agreeing = replace(basis, reference_member=trained)
    made, *_ = report.findings(agreeing, SETTINGS)
    assert made.controls.independence is not None
    assert made.controls.independence.agreement == Range(lowest=0.0, highest=1.0)
    (caveat,) = made.verdict.caveats
    assert "b (100% alike), c (0% alike), d (100% alike)." in caveat
    assert made.verdict.sentence.endswith(caveat)
    assert made.verdict.leaks is True


def test_without_references_there_is_nothing_to_control() -> None:
    nothing = np.empty((0, N), dtype=bool)
    without = inputs(references=(), reference_names=(), reference_member=nothing)
    made, *_ = report.findings(without, SETTINGS)
    assert made.controls.references is None
    assert made.controls.independence is None
    assert made.references.count == 0


def test_repeated_divisions_show_the_spread_of_every_attack() -> None:
    basis = inputs()
    made, *_ = report.findings(basis, SETTINGS)
    assert made.repeats is None
    divisions = (division(0.6), division(0.8))
    search = basis.search.model_copy(update={"repeats": divisions})
    made, *_ = report.findings(replace(basis, search=search), SETTINGS)
    assert made.repeats is not None
    assert [*made.repeats.attacks] == [*METHODS, "strongest"]
    auc = made.repeats.attacks["strongest"].auc
    assert auc is not None
    assert (auc.lowest, auc.highest) == pytest.approx((0.61, 0.81))
    assert made.repeats.strongest == ("lira_online", "lira_online")


def test_the_tail_is_that_of_the_loss_and_missing_without_it() -> None:
    basis = inputs()
    other = replace(basis.audited, method=("margin", *METHODS[1:]))
    made, *_ = report.findings(replace(basis, audited=other), SETTINGS)
    assert made.tail is None


def test_the_versions_are_those_of_the_numbers() -> None:
    origins = {
        "blind": {"numpy": "1.26.4", "scikit-learn": "1.7.0"},
        "features": {"device": "Ascend", "mindspore": "2.10.0"},
        "attack": {"numpy": "1.26.5", "scikit-learn": "1.7.0", "scipy": "1.11.0"},
    }
    made, *_ = report.findings(inputs(origins=origins), SETTINGS)
    assert made.provenance.stages == origins
    # Of two versions none is hidden.
    assert made.provenance.versions == {
        "mindspore": "2.10.0",
        "device": "Ascend",
        "scikit-learn": "1.7.0",
        "numpy": "1.26.4, 1.26.5",
        "scipy": "1.11.0",
    }


def test_signals_made_elsewhere_have_no_device() -> None:
    versions = report.provenance({"attack": {"numpy": "1.26.4"}}).versions
    assert versions["device"] is None
    assert versions["mindspore"] is None


def test_a_seed_decides_what_is_drawn_and_nothing_else() -> None:
    (first, table, _), (again, same, _) = (
        report.findings(inputs(), SETTINGS) for _ in range(2)
    )
    assert first == again
    assert all(np.array_equal(table[n], same[n]) for n in table)
    other, changed, *_ = report.findings(inputs(), Settings(seed=2))
    assert other.attacks == first.attacks
    assert other.slices == first.slices
    differing = [n for n in table if not np.array_equal(table[n], changed[n])]
    assert differing == []


@pytest.mark.parametrize("seed", range(5))
def test_rank_posterior_and_flag_of_the_records_agree(seed: int) -> None:
    _, records, *_ = report.findings(inputs(seed, 2.5), SETTINGS)
    order = np.argsort(records["rank"], kind="stable")
    assert (np.diff(records["posterior"][order]) <= 0).all()
    flagged = records["flagged"][order]
    assert flagged.any()
    # No record is flagged after one that is not.
    assert (np.diff(flagged.astype(int)) <= 0).all()


def test_of_margins_without_labels_nothing_is_said_of_classes_or_predictions() -> None:
    whole = inputs()
    known = report.findings(whole, SETTINGS)
    by_margins = replace(
        whole,
        audited=replace(whole.audited, label=np.full(N, UNLABELLED, np.int32)),
        target=whole.target.model_copy(update={"accuracy_by": "margins"}),
    )
    found, table, _ = report.findings(by_margins, SETTINGS)
    assert found.controls.labels.passed is None
    assert found.controls.labels.reason == "there are no labels"
    assert [*found.slices.kinds] == []
    assert {*known.records} - {*table} == {"label", "correct"}
    assert found.attacks == known.report.attacks
    labelled = replace(by_margins, audited=whole.audited)
    found, table, _ = report.findings(labelled, SETTINGS)
    assert found.controls.labels.reason == "margins alone tell no predictions"
    assert [*found.slices.kinds] == ["class"]
    assert {*known.records} - {*table} == {"correct"}
    assert "Of margins alone a record counts as right if" in terminal.text(found, 200)
