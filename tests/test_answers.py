from typing import Any, get_args

import pytest

from pipeline.attacks import catalogue
from pipeline.findings.schema import Grade, Report
from pipeline.pages import answers
from tests.reports import NONE, attack, rate, report


def graded(grade: str, **of_attack: Any) -> Report:
    made = report(attack(**of_attack))
    verdict = made.verdict.model_copy(update={"grade": grade})
    return made.model_copy(update={"verdict": verdict})


def rates(**changed: Any) -> dict[str, Any]:
    return {"tpr_at_fpr": {**attack().tpr_at_fpr, **changed}}


def test_every_grade_has_a_headline_and_a_meaning() -> None:
    assert {*answers.HEADLINES} == {*answers.MEANINGS} == {*get_args(Grade)}
    assert {*answers.GRADES} == {*get_args(Grade)} - {"cannot tell"}


def test_every_family_says_what_its_attacker_has() -> None:
    families = {catalogue.family_of(name) for name in catalogue.names()}
    assert {*answers.ASSUMPTIONS} == families | {"learned"}


def test_severity_counts_people_and_compares_with_a_guess() -> None:
    assert answers.severity(graded("high")) == (
        "Of 5,000 training records, about 1,250 (625 to 1,875) can be named while one "
        "in a hundred non-members is named wrongly. A guess would name 50, so this is "
        "25 times a guess. Grade high begins at 10 times, by the lower end."
    )


def test_severity_goes_by_the_lowest_rate_that_was_measured() -> None:
    finer = graded("high", **rates(**{"0.001": rate(0.1, 0.05, 0.2)}))
    assert "one in a thousand non-members" in answers.severity(finer)
    assert "A guess would name 5," in answers.severity(finer)


def test_severity_is_modest_where_a_guess_may_do_as_well() -> None:
    weak = graded("low", **rates(**{"0.01": rate(0.02, 0.001, 0.05)}))
    expected = "A guess would name 50, which the interval does not exclude."
    assert answers.severity(weak).endswith(expected)


def test_severity_without_low_rates_says_why() -> None:
    coarse = graded("low", **rates(**{"0.01": NONE}))
    assert answers.severity(coarse) == (
        "The strongest attack is right for 71% of the records. How many members it "
        "names with few false alarms could not be measured: there are only 440 "
        "non-members to judge by."
    )


def test_no_figure_is_quoted_where_there_is_no_verdict() -> None:
    made = graded("cannot tell")
    text = answers.severity(made) + answers.nearness(made, 0.6)
    assert not any(character.isdigit() for character in text)


@pytest.mark.parametrize(
    ("low", "expected"),
    [
        (0.125, "the interval is 12.5%, 2.5 points above it. Of the 60% rule"),
        (
            0.07,
            "the interval is 7.0%, 3.0 points short of it. Or it needs an AUC surely "
            "above 0.8 beside the threshold; the lower end of the AUC is 0.400.",
        ),
    ],
)
def test_nearness_measures_the_low_rate_against_ten_times_it(
    low: float, expected: str
) -> None:
    made = graded("moderate", **rates(**{"0.01": rate(0.2, low, 0.4)}))
    text = answers.nearness(made, 0.6)
    assert "Grade high needs 10% of the members found at 1% false positives" in text
    assert expected in text


def test_nearness_speaks_of_the_low_rate_that_does_best_or_of_the_auc_alone() -> None:
    both = {"0.01": rate(0.4, 0.2, 0.5), "0.001": rate(0.02, 0.001, 0.05)}
    text = answers.nearness(graded("high", **rates(**both)), 0.6)
    assert text.startswith("Grade high needs 10% of the members found at 1% false")
    assert "Or it needs" not in text
    neither = answers.nearness(graded("moderate", **rates(**{"0.01": NONE})), 0.6)
    assert neither.startswith("Grade high needs an AUC surely above 0.8 beside the th")


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ((0.65, 0.9), "precision decides: its lower end is 65.0%, 5.0 points above."),
        ((0.57, 0.9), "precision decides: its lower end is 57.0%, 3.0 points below."),
        (None, "precision decides: its lower end is 0.0%, 60.0 points below."),
    ],
)
def test_nearness_names_the_figure_nearest_to_the_threshold(
    precision: tuple[float, float] | None, expected: str
) -> None:
    made = graded(
        "moderate",
        accuracy_interval=(0.7, 0.9),
        recall_interval=(0.8, 0.9),
        precision_interval=precision,
    )
    text = answers.nearness(made, 0.6)
    assert f"Of the 60% rule on accuracy, precision and recall, {expected}" in text


def test_nearness_without_a_leak_compares_with_chance() -> None:
    assert answers.nearness(graded("none found"), 0.6) == (
        "The AUC of the strongest attack is 0.751 (0.400 to 0.900), where chance is "
        "0.500; its p-value is 0.012, where below 0.05 would have been a leak."
    )


def test_what_more_references_change_is_the_outlook_or_why_there_is_none() -> None:
    made = report(attack())
    assert made.outlook is not None
    assert answers.more_references(made) == made.outlook.sentence
    unmeasured = made.model_copy(update={"outlook": None})
    assert answers.more_references(unmeasured).startswith("Not measured: of 2 referenc")
    none = made.references.model_copy(update={"count": 0, "models": ()})
    alone = made.model_copy(update={"references": none, "outlook": None})
    assert answers.more_references(alone).startswith("Probably: there are none")


def test_the_attacks_not_run_are_those_of_the_catalogue_that_are_missing() -> None:
    made = report(attack("loss", family="threshold"))
    assert answers.not_run(made) == [n for n in catalogue.names() if n != "loss"]


def test_the_best_of_each_family_has_its_highest_auc() -> None:
    made = report(
        attack("lr", auc=0.7),
        attack("loss", family="threshold", auc=0.6),
        attack("rf", auc=0.8),
    )
    assert [best.method for best in answers.families(made)] == ["rf", "loss"]
