import re
from typing import Any

import pytest

from pipeline.findings import advice as room
from pipeline.findings.advice import Advice, Source, advice
from pipeline.findings.schema import Report
from tests.reports import (
    UNLIKE,
    attack,
    blind,
    controls,
    counts,
    labels,
    null,
    report,
    sides,
)

SOURCES = [value for value in vars(room).values() if isinstance(value, Source)]


def graded(grade: str, **changed: Any) -> Report:
    made = report(attack(), **changed)
    leaks = {"cannot tell": None, "none found": False}.get(grade, True)
    update = {"grade": grade, "leaks": leaks}
    return made.model_copy(update={"verdict": made.verdict.model_copy(update=update)})


def actions(made: Report) -> str:
    return " ".join(each.action for each in advice(made))


def that_says(made: Report, words: str) -> Advice:
    (piece,) = [each for each in advice(made) if words in each.action]
    return piece


@pytest.mark.parametrize("grade", ["moderate", "high"])
def test_a_clear_leak_holds_the_release_back_first(grade: str) -> None:
    first = advice(graded(grade))[0]
    assert first.action.startswith("Hold the release back")
    assert grade in first.why


def test_a_low_leak_asks_for_a_decision_first() -> None:
    assert advice(graded("low"))[0].action.startswith("Decide whether this leak is")


def test_no_leak_stands_in_the_way_of_nothing_and_is_no_guarantee() -> None:
    first = advice(graded("none found"))[0]
    assert "nothing stands against the release" in first.action
    assert "no guarantee" in first.why
    assert "DP-SGD" not in actions(graded("none found"))


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ({"labels": labels(passed=False)}, "Put labels, records and checkpoint in"),
        ({"sides": sides(passed=False)}, "Check which records are marked"),
        ({"blind": blind("mean")}, "Take non-members that come from where"),
        ({"null": null(passed=False)}, "Look for records that stand on both sides"),
    ],
)
def test_each_control_that_forbids_a_verdict_has_its_mend(
    failed: dict[str, Any], expected: str
) -> None:
    made = graded("cannot tell", controls=controls(**failed))
    mends = advice(made)
    assert mends[0].action.startswith(expected)
    assert len(mends) == 2
    assert "nothing stands against" not in actions(made)
    assert not actions(graded("high")).count(expected)


def test_too_few_records_ask_for_more() -> None:
    few = controls().resolution.model_copy(update={"nonmembers": 8})
    made = graded("cannot tell", controls=controls(resolution=few))
    (only,) = advice(made)
    assert only.kind == "measure"
    assert only.action.endswith("on more records.")


def test_overfitting_is_answered_where_there_is_a_gap_and_else_not() -> None:
    made = graded("high")
    gap = that_says(made, "Close the gap")
    assert "99.9% of the members and on 33.3% of the others" in gap.why
    assert gap.sources == (room.YEOM, room.SONG)
    even = made.target.model_copy(update={"test_accuracy": 0.99})
    assert "Close the gap" not in actions(graded("high", target=even))


def test_what_does_not_help_is_said_with_who_showed_it() -> None:
    made = graded("moderate")
    assert that_says(made, "label smoothing").sources == (room.KAYA,)
    assert that_says(made, "hiding or rounding").sources == (room.LABEL_ONLY,)
    assert that_says(made, "just delete the most exposed").sources == (room.ONION,)
    assert that_says(made, "differential privacy").sources == (room.ABADI,)


def test_references_are_asked_for_until_more_would_hardly_change_it() -> None:
    made = graded("high")
    none = made.references.model_copy(update={"count": 0, "models": ()})
    assert that_says(graded("high", references=none), "Add references: [references]")
    assert that_says(made, "Add references: there are 2.")
    assert made.outlook is not None
    level = made.outlook.model_copy(update={"gain_interval": (-0.01, 0.02)})
    assert "Add references" not in actions(graded("high", outlook=level))
    many = made.references.model_copy(update={"count": 64})
    assert "Add references" not in actions(graded("high", references=many))


def test_references_unlike_the_target_are_to_be_trained_by_its_recipe() -> None:
    made = graded("low", controls=controls(references=UNLIKE))
    assert that_says(made, "Train the references by the target's own recipe")


def test_more_nonmembers_are_asked_for_where_a_low_rate_was_not_measured() -> None:
    made = graded("none found")
    assert "440" in that_says(made, "Audit more non-members").why
    fine = controls().resolution.model_copy(update={"unmeasured": (0.0001,)})
    fine_enough = graded("none found", controls=controls(resolution=fine))
    assert "Audit more non-members" not in actions(fine_enough)


def test_canaries_ask_for_an_audit_without_them() -> None:
    with_canaries = graded("high", records=counts(canaries=5))
    assert "5 of the records" in that_says(with_canaries, "without wrong labels").why
    assert "without wrong labels" not in actions(graded("high"))


def test_every_source_can_be_looked_up() -> None:
    assert len(SOURCES) >= 10
    for source in SOURCES:
        assert re.fullmatch(r"\d{4}\.\d{5}|ICML 2021", source.place), source
        assert re.search(r"20\d\d[ab]?$", source.authors), source
    assert len({source.title for source in SOURCES}) == len(SOURCES)
