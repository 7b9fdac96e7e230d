from typing import Any

import pytest

from pipeline.findings import verdict

PASSED: dict[str, Any] = {
    "null": {"passed": True},
    "blind": {"passed": True, "differing": [], "auc": 0.5},
    "references": {"passed": True},
}


def attack(method: str = "loss", **more: Any) -> dict[str, Any]:
    return {
        "method": method,
        "accuracy": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "auc": 0.5,
        "auc_interval": [0.45, 0.55],
        "exceeds": False,
        "p_value_holm": 1.0,
        "tpr_at_fpr": {
            rate: {"value": 0.02, "interval": [0.0, 0.05]} for rate in ("0.01", "0.001")
        },
        **more,
    }


ABOVE = {"accuracy": 0.7, "auc": 0.75, "exceeds": True}


def reached(*attacks: dict[str, Any], **more: Any) -> dict[str, Any]:
    chosen = {**attacks[-1], "chosen": attacks[-1]["method"], "method": "strongest"}
    settings = {
        "controls": PASSED,
        "n_members": 500,
        "n_nonmembers": 500,
        "threshold": 0.6,
        "min_records": 200,
        "confidence": 0.95,
        **more,
    }
    return verdict.reached([*attacks, chosen], **settings)


def test_an_attack_above_the_threshold_and_beyond_chance_is_a_leak() -> None:
    found = reached(attack("rf", p_value_holm=0.001, **ABOVE), attack("loss"))
    assert found == {
        "leaks": True,
        "status": "leaks",
        "methods": ["rf"],
        "reasons": [],
        "caveats": [],
        "sentence": "This model leaks which records it was trained on: the attack rf "
        "told members from non-members rightly for 70% of 1000 records, where a guess "
        "is right for 50%.",
    }


def test_an_attack_beyond_chance_and_below_the_threshold_is_a_small_leak() -> None:
    found = reached(
        attack(p_value_holm=0.02), attack("rf", p_value_holm=0.001, auc=0.6)
    )
    assert found["leaks"] is False
    assert found["status"] == "below the threshold"
    assert found["sentence"] == (
        "This model leaks a little: the attack rf does better than chance (AUC 0.600, "
        "p 0.001), but none exceeds 60% in accuracy, precision and recall alike, "
        "beyond what chance allows."
    )


def test_a_leak_is_told_by_the_attack_that_was_chosen_if_it_shows_it() -> None:
    better = attack("rf", p_value_holm=0.001, **{**ABOVE, "accuracy": 0.9})
    chosen = attack("lr", p_value_holm=0.001, **ABOVE)
    found = reached(better, chosen)
    assert found["methods"] == ["rf", "lr"]
    assert (
        "the attack lr told members from non-members rightly for 70%"
        in (found["sentence"])
    )


def test_what_noise_may_have_produced_is_no_leak() -> None:
    found = reached(attack(p_value_holm=0.06, **ABOVE))
    assert found["status"] == "no leak found"
    assert found["leaks"] is False
    assert found["methods"] == []
    assert found["sentence"] == (
        "No leak was found by these attacks on 1000 records: none does better than "
        "chance, and the AUC of the strongest, loss, is below 0.550 with 95% "
        "confidence."
    )


def low(interval: list[float] | None, other: list[float] | None = None) -> Any:
    told: dict[str, Any] = {"value": None, "reason": "needs more"}
    return {
        "0.01": {"value": 0.3, "interval": interval} if interval else told,
        "0.001": {"value": 0.2, "interval": other} if other else told,
    }


def test_members_found_at_a_low_rate_are_a_leak_whatever_the_accuracy() -> None:
    rates = low([0.1, 0.5])
    found = reached(attack("lira", p_value_holm=0.01, tpr_at_fpr=rates))
    assert found["leaks"] is True
    assert found["methods"] == []
    assert found["sentence"] == (
        "This model leaks which records it was trained on: the attack lira finds 30% "
        "of the members at 1.0% false positives."
    )


def test_the_lowest_rate_at_which_members_are_found_is_told() -> None:
    rates = low([0.2, 0.5], [0.05, 0.4])
    found = reached(attack("lira", p_value_holm=0.01, tpr_at_fpr=rates, **ABOVE))
    assert found["sentence"].endswith(
        "; it finds 20% of the members at 0.1% false positives."
    )


@pytest.mark.parametrize(
    ("p", "rates"),
    [(0.01, low([0.09, 0.5])), (0.2, low([0.2, 0.5])), (0.01, low(None))],
)
def test_a_low_rate_counts_by_the_lower_end_and_beyond_chance(
    p: float, rates: Any
) -> None:
    found = reached(attack("lira", p_value_holm=p, tpr_at_fpr=rates))
    assert found["leaks"] is False


def test_another_attack_at_a_low_rate_is_one_of_many() -> None:
    # Only of the attack that was chosen beforehand does the interval hold.
    lucky = attack("lucky", p_value_holm=0.01, tpr_at_fpr=low([0.2, 0.5]))
    assert reached(lucky, attack("loss"))["leaks"] is False


DIFFERING = {
    "passed": False,
    "auc": 0.9,
    "differing": [{"statistic": name} for name in ("mean", "zeros", "max", "min")],
}


def test_sides_that_differ_without_the_model_allow_no_verdict() -> None:
    found = reached(
        attack("rf", p_value_holm=0.001, **ABOVE),
        controls={**PASSED, "blind": DIFFERING},
    )
    assert found["leaks"] is None
    assert found["status"] == "cannot tell"
    assert found["methods"] == []
    assert found["sentence"] == (
        "Cannot tell: the two sides differ without the model (by mean, zeros, max)."
    )


def test_attacks_that_find_what_is_not_there_allow_no_verdict() -> None:
    found = reached(
        attack(p_value_holm=0.001, **ABOVE),
        controls={**PASSED, "null": {"passed": False}},
    )
    assert found["sentence"] == (
        "Cannot tell: the attacks find members where memberships say nothing."
    )


def test_too_few_records_allow_no_verdict() -> None:
    found = reached(attack(p_value_holm=0.001, **ABOVE), n_members=80, n_nonmembers=60)
    assert found["sentence"] == (
        "Cannot tell: only 140 records were judged and 200 are needed."
    )
    assert found["leaks"] is None


def test_all_reasons_are_told() -> None:
    found = reached(
        attack(),
        controls={**PASSED, "null": {"passed": False}, "blind": DIFFERING},
        n_members=80,
        n_nonmembers=60,
    )
    assert len(found["reasons"]) == 3
    assert found["sentence"].count(";") == 2


def test_a_guess_is_the_larger_sides_share() -> None:
    found = reached(
        attack(p_value_holm=0.001, **ABOVE), n_members=300, n_nonmembers=100
    )
    assert "where a guess is right for 75%" in found["sentence"]


@pytest.mark.parametrize(("n_members", "n_nonmembers"), [(9, 400), (400, 9)])
def test_too_few_records_of_a_side_allow_no_verdict(
    n_members: int, n_nonmembers: int
) -> None:
    found = reached(
        attack(p_value_holm=0.001, auc_interval=None, **ABOVE),
        n_members=n_members,
        n_nonmembers=n_nonmembers,
    )
    assert found["sentence"] == (
        "Cannot tell: only 9 records of a side were judged and 10 are needed."
    )


@pytest.mark.parametrize("passed", [True, None])
def test_a_verdict_says_where_the_records_were_not_compared(
    passed: bool | None,
) -> None:
    blind = {"passed": passed, "differing": [], "auc": None}
    found = reached(
        attack(p_value_holm=0.001, **ABOVE), controls={**PASSED, "blind": blind}
    )
    assert found["leaks"] is True
    assert found["sentence"].endswith(
        "for 50%. The records themselves were not compared: whether members differ "
        "from non-members without the model is not known."
    )


def test_a_verdict_says_where_references_do_not_fit_as_the_target_does() -> None:
    found = reached(attack(), controls={**PASSED, "references": {"passed": False}})
    assert found["status"] == "no leak found"
    assert found["caveats"] == ["The references do not fit as the target does."]
    assert found["sentence"].endswith(found["caveats"][0])


def test_a_verdict_without_references_has_no_word_on_them() -> None:
    assert reached(attack(), controls={**PASSED, "references": None})["caveats"] == []
