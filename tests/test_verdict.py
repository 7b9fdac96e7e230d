from typing import Any

import pytest

from pipeline.cache.summaries import Contradicted
from pipeline.findings import verdict
from pipeline.findings.schema import (
    Agreement,
    AttackFigures,
    Rate,
    Resemblance,
    Sizes,
    Units,
    Verdict,
)
from tests import reports
from tests.reports import (
    NONE,
    UNLIKE,
    blind,
    comparison,
    controls,
    independence,
    labels,
    null,
    rate,
    resemblance,
    sides,
)


def attack(method: str = "loss", **changed: Any) -> AttackFigures:
    """Return an attack that does no better than chance."""
    noise = {
        "accuracy": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "auc": 0.5,
        "auc_interval": (0.45, 0.55),
        "p_value_corrected": 1.0,
        "tpr_at_fpr": {name: rate(0.02, 0.0, 0.05) for name in ("0.01", "0.001")},
    }
    return reports.attack(method, **{**noise, **changed})


ABOVE = {"accuracy": 0.7, "auc": 0.75, "exceeds": True}


def reached(*attacks: AttackFigures, **changed: Any) -> Verdict:
    settings: dict[str, Any] = {
        "controls": controls(),
        "n_members": 500,
        "n_nonmembers": 500,
        "threshold": 0.6,
        "min_records": 200,
        "confidence": 0.95,
    }
    attacks = (*attacks, reports.strongest(attacks[-1]))
    return verdict.verdict(attacks, **{**settings, **changed})


def test_an_attack_above_the_threshold_and_beyond_chance_is_a_leak() -> None:
    outcome = reached(attack("rf", p_value_corrected=0.001, **ABOVE), attack("loss"))
    assert outcome == Verdict(
        leaks=True,
        exceeds=True,
        grade="moderate",
        rule=verdict.RULE,
        attack="rf",
        methods=("rf",),
        reasons=(),
        caveats=(),
        sentence="This model leaks which records it was trained on, to a moderate "
        "degree: the attack rf told members from non-members rightly for 70% of 1000 "
        "records, where a guess is right for 50%. The attack loss, which was chosen "
        "beforehand and which the bounds of epsilon and the slices speak of, does not "
        "beat chance.",
    )


def test_an_attack_beyond_chance_and_below_the_threshold_is_a_small_leak() -> None:
    outcome = reached(
        attack(p_value_corrected=0.02), attack("rf", p_value_corrected=0.001, auc=0.6)
    )
    assert outcome.leaks is True
    assert outcome.exceeds is False
    assert outcome.grade == "low"
    assert outcome.sentence == (
        "This model leaks which records it was trained on, to a low degree: the attack "
        "rf does better than chance (AUC 0.600, p 0.001), but no attack exceeds 60% in "
        "accuracy, precision and recall alike, beyond what chance allows."
    )


def test_a_small_leak_is_told_by_the_attack_that_was_chosen_if_it_shows_it() -> None:
    outcome = reached(
        attack("rf", p_value_corrected=0.001), attack("loss", p_value_corrected=0.04)
    )
    assert outcome.attack == "loss"
    assert "the attack loss does better than chance" in outcome.sentence
    assert "rf" not in outcome.sentence


def test_where_another_attack_exceeds_both_are_spoken_of() -> None:
    outcome = reached(
        attack("rf", p_value_corrected=0.001, **ABOVE),
        attack("loss", p_value_corrected=0.001),
    )
    assert (outcome.attack, outcome.methods) == ("rf", ("rf",))
    assert outcome.sentence.endswith(
        "The attack loss, which was chosen beforehand and which the bounds of epsilon "
        "and the slices speak of, beats chance as well, but does not exceed the "
        "threshold."
    )


def test_a_leak_is_high_where_the_order_is_nearly_right() -> None:
    for low_end, grade in ((0.81, "high"), (0.79, "moderate")):
        fields = {**ABOVE, "auc": 0.85, "auc_interval": (low_end, 0.9)}
        outcome = reached(attack(p_value_corrected=0.001, **fields))
        assert outcome.grade == grade
        # Of another attack, which is one of many, that says less.
        other = reached(attack("rf", p_value_corrected=0.001, **fields), attack())
        assert other.grade == "moderate"
        assert f"to a {grade} degree" in outcome.sentence


def test_the_words_of_a_verdict_agree() -> None:
    outcomes = [
        reached(attack(p_value_corrected=p, tpr_at_fpr=rates, **fields), **changed)
        for p in (0.001, 1.0)
        for rates in (low((0.02, 0.5)), low((0.2, 0.5)))
        for fields in (
            {},
            {"exceeds": True},
            {"exceeds": True, "auc_interval": (0.9, 1.0)},
        )
        for changed in ({}, {"min_records": 2000})
    ]
    assert {each.grade for each in outcomes} == {
        "cannot tell",
        "none found",
        "low",
        "moderate",
        "high",
    }
    for outcome in outcomes:
        unknown = outcome.grade == "cannot tell"
        assert (outcome.leaks is None) is (outcome.exceeds is None) is unknown
        assert bool(outcome.reasons) is unknown
        if not unknown:
            assert outcome.leaks is (outcome.grade != "none found")
            assert outcome.exceeds is (outcome.grade in {"moderate", "high"})
            assert ("This model leaks" in outcome.sentence) is outcome.leaks


def test_a_leak_is_told_by_the_attack_that_was_chosen_if_it_shows_it() -> None:
    better = attack("rf", p_value_corrected=0.001, **{**ABOVE, "accuracy": 0.9})
    chosen = attack("lr", p_value_corrected=0.001, **ABOVE)
    outcome = reached(better, chosen)
    assert outcome.methods == ("rf", "lr")
    assert "the attack lr told members from non-members rightly for 70%" in (
        outcome.sentence
    )


def test_what_noise_may_have_produced_is_no_leak() -> None:
    outcome = reached(attack(p_value_corrected=0.06, **ABOVE))
    assert outcome.grade == "none found"
    assert outcome.leaks is False
    assert outcome.exceeds is False
    assert outcome.attack == "loss"
    assert outcome.methods == ()
    assert outcome.sentence == (
        "No leak was found by these attacks on 1000 records: none does better than "
        "chance, and the AUC of the strongest, loss, is below 0.550 with 95% "
        "confidence."
    )


def low(
    interval: tuple[float, float] | None, other: tuple[float, float] | None = None
) -> dict[str, Rate]:
    return {
        "0.01": rate(0.3, *interval) if interval else NONE,
        "0.001": rate(0.2, *other) if other else NONE,
    }


def test_members_found_at_a_low_rate_are_a_leak_whatever_the_accuracy() -> None:
    rates = low((0.1, 0.5))
    outcome = reached(attack("lira", p_value_corrected=0.01, tpr_at_fpr=rates))
    assert outcome.leaks is True
    assert outcome.methods == ()
    assert outcome.sentence == (
        "This model leaks which records it was trained on, to a high degree: the "
        "attack lira finds 30% of the members at 1.0% false positives."
    )


def test_the_lowest_rate_at_which_members_are_found_is_told() -> None:
    rates = low((0.2, 0.5), (0.05, 0.4))
    outcome = reached(attack("lira", p_value_corrected=0.01, tpr_at_fpr=rates, **ABOVE))
    assert outcome.sentence.endswith(
        "; it finds 20% of the members at 0.1% false positives."
    )


@pytest.mark.parametrize(
    ("p", "rates"),
    [(0.01, low((0.09, 0.5))), (0.2, low((0.2, 0.5))), (0.01, low(None))],
)
def test_a_low_rate_counts_by_the_lower_end_and_beyond_chance(
    p: float, rates: dict[str, Rate]
) -> None:
    outcome = reached(attack("lira", p_value_corrected=p, tpr_at_fpr=rates))
    assert outcome.exceeds is False


def test_another_attack_at_a_low_rate_is_one_of_many() -> None:
    # Only of the attack that was chosen beforehand does the interval hold.
    lucky = attack("lucky", p_value_corrected=0.01, tpr_at_fpr=low((0.2, 0.5)))
    outcome = reached(lucky, attack("loss"))
    assert (outcome.exceeds, outcome.grade) == (False, "low")


DIFFERING = blind("mean", "zeros", "max", "min", auc=0.9)


def test_sides_that_differ_without_the_model_allow_no_verdict() -> None:
    outcome = reached(
        attack("rf", p_value_corrected=0.001, **ABOVE),
        controls=controls(blind=DIFFERING),
    )
    assert outcome.leaks is None
    assert outcome.grade == "cannot tell"
    assert outcome.methods == ()
    assert outcome.sentence == (
        "Cannot tell: the two sides differ without the model (by mean, zeros, max)."
    )


def test_attacks_that_find_what_is_not_there_allow_no_verdict() -> None:
    outcome = reached(
        attack(p_value_corrected=0.001, **ABOVE),
        controls=controls(null=null(passed=False)),
    )
    assert outcome.sentence == (
        "Cannot tell: the attacks find members where memberships say nothing."
    )


def test_too_few_records_allow_no_verdict() -> None:
    outcome = reached(
        attack(p_value_corrected=0.001, **ABOVE), n_members=80, n_nonmembers=60
    )
    assert outcome.sentence == (
        "Cannot tell: only 140 records were judged and 200 are needed."
    )
    assert outcome.leaks is None


def test_all_reasons_are_told() -> None:
    outcome = reached(
        attack(),
        controls=controls(null=null(passed=False), blind=DIFFERING),
        n_members=80,
        n_nonmembers=60,
    )
    assert len(outcome.reasons) == 3
    assert outcome.sentence.count(";") == 2


def test_a_guess_is_the_larger_sides_share() -> None:
    outcome = reached(
        attack(p_value_corrected=0.001, **ABOVE), n_members=300, n_nonmembers=100
    )
    assert "where a guess is right for 75%" in outcome.sentence


@pytest.mark.parametrize(("n_members", "n_nonmembers"), [(9, 400), (400, 9)])
def test_too_few_records_of_a_side_allow_no_verdict(
    n_members: int, n_nonmembers: int
) -> None:
    outcome = reached(
        attack(p_value_corrected=0.001, **ABOVE),
        n_members=n_members,
        n_nonmembers=n_nonmembers,
    )
    assert outcome.sentence == (
        "Cannot tell: only 9 records of a side were judged and 10 are needed."
    )


@pytest.mark.parametrize("passed", [True, None])
def test_a_verdict_says_where_the_records_were_not_compared(
    passed: bool | None,
) -> None:
    unseen = blind(passed=passed, auc=None, interval=None, reason="unknown")
    outcome = reached(
        attack(p_value_corrected=0.001, **ABOVE), controls=controls(blind=unseen)
    )
    assert outcome.leaks is True
    assert outcome.sentence.endswith(
        "for 50%. The records themselves were not compared: whether members differ "
        "from non-members without the model is not known."
    )


def test_a_verdict_begins_with_references_that_do_not_resemble_the_target() -> None:
    for p, begins in ((1.0, "no leak was found"), (0.001, "this model leaks which")):
        outcome = reached(
            attack(p_value_corrected=p), controls=controls(references=UNLIKE)
        )
        assert outcome.sentence.startswith(
            "By references that do not resemble the target (right on their members on "
            f"28.5% where the target is on 44.8%): {begins}"
        )
        assert outcome.caveats == (
            "References that differ so blunt the attacks that compare with them, LiRA "
            "most: the leak may be larger than shown.",
        )
        assert outcome.sentence.endswith(outcome.caveats[0])


@pytest.mark.parametrize(
    ("inside", "outside", "most"),
    [
        ((0.45, 0.29), (0.29, 0.22), "LiRA most"),
        ((0.45, 0.29), None, "LiRA most"),
        ((0.87, 0.99), (0.27, 0.35), "at the lowest rates most"),
        ((0.87, 0.90), (0.40, 0.45), "LiRA most"),  # it fits all records better
        (None, (0.40, 0.30), "at the lowest rates most"),
    ],
)
def test_which_way_references_differ_tells_what_suffers_most(
    inside: tuple[float, float] | None,
    outside: tuple[float, float] | None,
    most: str,
) -> None:
    pairs = [
        None if pair is None else comparison(*pair, passed=False)
        for pair in (inside, outside)
    ]
    unlike = resemblance(passed=False, train_accuracy=pairs[0], test_accuracy=pairs[1])
    outcome = reached(attack(), controls=controls(references=unlike))
    assert outcome.caveats == (
        "References that differ so blunt the attacks that compare with them, "
        f"{most}: the leak may be larger than shown.",
    )


@pytest.mark.parametrize(
    ("control", "why"),
    [
        (
            resemblance(
                passed=None,
                test_accuracy=comparison(
                    0.5, 0.5, passed=None, reason="too few references to tell"
                ),
            ),
            "too few references to tell",
        ),
        (
            resemblance(passed=None, train_accuracy=None, test_accuracy=None),
            "they have no records to compare",
        ),
    ],
)
def test_a_verdict_says_where_too_little_is_known_of_the_references(
    control: Resemblance, why: str
) -> None:
    outcome = reached(attack(), controls=controls(references=control))
    assert outcome.grade == "none found"
    assert outcome.caveats == (
        f"Whether the references resemble the target is not known: {why}.",
    )


def test_labels_that_do_not_fit_allow_no_verdict() -> None:
    outcome = reached(
        attack(p_value_corrected=0.001, **ABOVE),
        controls=controls(labels=labels(passed=False, accuracy=0.0512)),
    )
    assert (outcome.leaks, outcome.grade) == (None, "cannot tell")
    assert outcome.sentence == (
        "Cannot tell: the target is right on 5.1% of its members, no more often than "
        "with shuffled labels, so labels, classes or checkpoint do not fit (check that "
        "labels stand in the order of the records and are numbered as in training, and "
        "that the checkpoint is the trained one)."
    )


@pytest.mark.parametrize(
    ("auc", "told"), [(0.2812, "; AUC of the loss 0.281"), (None, "")]
)
def test_sides_that_look_exchanged_allow_no_verdict(
    auc: float | None, told: str
) -> None:
    control = sides(
        passed=False, members_accuracy=0.28, nonmembers_accuracy=0.45, loss_auc=auc
    )
    outcome = reached(attack(), controls=controls(sides=control))
    assert (outcome.leaks, outcome.grade) == (None, "cannot tell")
    assert outcome.sentence == (
        "Cannot tell: the target does worse on members than on non-members (right on "
        f"28.0% against 45.0%{told}), so the sides look exchanged (check which records "
        "are marked as members; if they are right, non-members are easier and cannot "
        "be compared with them)."
    )


def test_controls_of_labels_and_sides_without_anything_to_compare_forbid_nothing() -> (
    None
):
    nothing = controls(labels=labels(passed=None), sides=sides(passed=None))
    assert reached(attack(), controls=nothing).grade == "none found"


def test_a_verdict_without_references_has_no_word_on_them() -> None:
    assert (
        reached(attack(), controls=controls(references=None, independence=None)).caveats
        == ()
    )


def test_a_verdict_names_references_that_agree_with_the_target() -> None:
    agreeing = tuple(
        Agreement(reference=f"model-{i}.ckpt", agreement=share)
        for i, share in enumerate((0.892, 0.108))
    )
    failed = controls(independence=independence(passed=False, agreeing=agreeing))
    outcome = reached(attack(p_value_corrected=0.001, **ABOVE), controls=failed)
    assert outcome.leaks is True
    assert outcome.caveats == (
        "The references were not drawn independently of the target, as their "
        "memberships show: model-0.ckpt (89% alike), model-1.ckpt (11% alike).",
    )
    many = controls(independence=independence(passed=False, agreeing=2 * agreeing))
    (caveat,) = reached(attack(), controls=many).caveats
    assert caveat.endswith("model-0.ckpt (89% alike) and 1 more.")


def test_labels_that_all_models_contradict_are_a_caveat() -> None:
    def caveats(records: int, accuracy: float | None) -> tuple[str, ...]:
        contradicted = Contradicted(
            records=records, of=500, accuracy_on_others=accuracy
        )
        told = controls(labels=labels(contradicted=contradicted))
        return reached(attack(), controls=told).caveats

    assert caveats(150, 0.97) == (
        "150 of 500 records have a label that no model gives that was trained on them, "
        "though these models are right on 97% of the others: a part of the labels may "
        "be out of order, or wrong and not learned. It blunts every attack.",
    )
    for records, accuracy in ((50, 0.97), (150, 0.89), (500, None)):
        assert caveats(records, accuracy) == ()


@pytest.mark.parametrize(("both", "is_told"), [(0, False), (9, False), (10, True)])
def test_units_on_both_sides_are_a_caveat_where_they_are_many(
    both: int, *, is_told: bool
) -> None:
    units = Units(
        units=400,
        members=200,
        nonmembers=200 - both,
        both=both,
        records_per_unit=Sizes(lowest=1, highest=6, median=3),
        flagged=0,
        flagged_nonmembers=0,
    )
    found = reached(attack(), units=units)
    caveat = (
        f"Of the 200 units with non-members, {both} are known to the target by other "
        "records: by units, the leak may be larger than shown."
    )
    assert (caveat in found.caveats) == (caveat in found.sentence) == is_told
