from typing import Any

import pytest

from pipeline import reporting


def attack(method: str = "lr", **rates: float | None) -> dict[str, Any]:
    """Return a method's entry in a report, its rates well above a guess."""
    return {
        "method": method,
        "family": "learned",
        "tpr_at_fpr": {"0.1": 0.5, "0.01": 0.25, "0.001": None},
        "params": {"C": 0.1, "max_iter": 300},
        "n_candidates": 10,
        "accuracy": 0.7132,
        "precision": 0.6596,
        "recall": 0.8810,
        "auc": 0.7512,
        **rates,
    }


def judged(*attacks: dict[str, Any], **changed: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "n_members": 100,
        "n_nonmembers": 100,
        "threshold": 0.6,
        "min_records": 200,
    }
    return reporting.verdict(attacks, **{**settings, **changed})


def report(*attacks: dict[str, Any]) -> dict[str, Any]:
    return {
        "audit": "a-rather-long-name-of-a-config-as-people-give-them",
        "target": {"train_accuracy": 0.99871, "test_accuracy": 1 / 3},
        "records": {
            "members": 5000,
            "nonmembers": 4998,
            "population": 0,
            "attack_train": 7998,
            "attack_eval": 2000,
            "duplicates_dropped": 2,
            "canaries": 0,
        },
        "references": {
            "count": 2,
            "models": [
                {"train_accuracy": 0.99, "test_accuracy": 0.5},
                {"train_accuracy": 0.98, "test_accuracy": 0.6},
            ],
        },
        "tail": {"0.1": 0.5, "0.01": 0.125, "0.001": None},
        "attacks": attacks,
        "verdict": judged(*attacks),
    }


def test_a_line_is_as_mindarmour_prints_it() -> None:
    # From the output in MindArmour's tutorial on membership inference.
    assert reporting.line(attack()) == (
        "Method: lr, {'recall': 0.8810, 'precision': 0.6596, 'accuracy': 0.7132}"
    )


def test_a_line_says_nan_of_an_undefined_rate() -> None:
    assert reporting.line(attack(precision=None, recall=0.0, accuracy=0.5)) == (
        "Method: lr, {'recall': 0.0000, 'precision': nan, 'accuracy': 0.5000}"
    )


def test_a_line_rounds_to_four_digits() -> None:
    found = reporting.line(attack(recall=2 / 3, precision=1.0, accuracy=0.99996))
    assert found == (
        "Method: lr, {'recall': 0.6667, 'precision': 1.0000, 'accuracy': 1.0000}"
    )


def test_a_method_with_every_rate_above_the_threshold_is_a_leak() -> None:
    found = judged(attack())
    assert (found["leaks"], found["methods"]) == (True, ["lr"])


@pytest.mark.parametrize("rate", ["accuracy", "precision", "recall"])
@pytest.mark.parametrize("value", [0.59, 0.6])
def test_one_rate_that_does_not_exceed_the_threshold_makes_it_none(
    rate: str, value: float
) -> None:
    found = judged(attack(**{rate: value}))
    assert (found["leaks"], found["methods"]) == (False, [])


def test_the_auc_does_not_count_in_the_verdict() -> None:
    assert judged(attack(auc=0.1))["leaks"]


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_an_undefined_precision_is_no_leak(threshold: float) -> None:
    assert not judged(attack(precision=None), threshold=threshold)["leaks"]


def test_rates_of_different_methods_do_not_add_up_to_a_leak() -> None:
    assert not judged(attack("lr", recall=0.1), attack("rf", precision=0.1))["leaks"]


def test_the_methods_of_a_verdict_are_those_above_the_threshold_in_order() -> None:
    found = judged(attack("rf"), attack("knn", recall=0.5), attack("lr"))
    assert found["methods"] == ["rf", "lr"]


@pytest.mark.parametrize(
    ("n_members", "leaks"), [(99, False), (100, True), (101, True)]
)
def test_too_few_records_allow_no_verdict(n_members: int, leaks: bool) -> None:
    found = judged(attack(), n_members=n_members)
    assert (found["leaks"], found["methods"]) == (leaks, ["lr"] if leaks else [])


def test_a_leak_is_told_by_the_best_method_beside_a_guess() -> None:
    found = judged(attack("lr"), attack("rf", accuracy=0.8), n_nonmembers=300)
    assert found["sentence"] == (
        "This model leaks which records it was trained on: the attack rf told members "
        "from non-members rightly for 80% of 400 records, where a guess is right for "
        "75%."
    )


def test_a_leak_is_told_by_a_method_that_shows_it() -> None:
    better = attack("rf", accuracy=0.9, recall=0.5)
    assert "the attack lr told" in judged(attack("lr"), better)["sentence"]


def test_no_leak_is_told_with_the_threshold_and_the_best_method() -> None:
    worse, best = attack("lr", accuracy=0.5), attack("rf", accuracy=0.54)
    assert judged(worse, best)["sentence"] == (
        "No leak was found by these attacks: the attack rf told members from "
        "non-members rightly for 54% of 200 records, and none exceeded 60% in "
        "accuracy, precision and recall alike."
    )


def test_too_few_records_are_told_with_the_number_needed() -> None:
    assert judged(attack(), n_members=10, n_nonmembers=20)["sentence"] == (
        "Cannot tell: only 30 records were judged and 200 are needed; the attack lr "
        "told members from non-members in 71% of them."
    )


def test_the_text_fits_its_width_but_for_the_lines_that_are_mindarmours() -> None:
    long = {
        "hidden_layer_sizes": [64, 32],
        "solver": "adam",
        "learning_rate": "adaptive",
    }
    attacks = [attack("lr"), {**attack("mlp", precision=None), "params": long}]
    lines = reporting.text(report(*attacks), 80).splitlines()
    ours = [line for line in lines if not line.startswith("Method: ")]
    assert max(map(len, ours)) <= 80


def test_the_text_holds_each_methods_line_unbroken() -> None:
    attacks = [attack("lr"), attack("knn", precision=None)]
    lines = reporting.text(report(*attacks), 40).splitlines()
    found = [line for line in lines if line.startswith("Method: ")]
    assert found == [reporting.line(one) for one in attacks]


def test_the_text_tells_the_counts_the_accuracies_and_the_verdict() -> None:
    made = report(attack())
    found = " ".join(reporting.text(made, 80).split())
    assert "5000 members and 4998 non-members; 7998 to learn from, 2000 to jud" in found
    assert "Duplicates of members dropped: 2. Mislabelled canaries: 0." in found
    assert "Target accuracy: 0.9987 on members, 0.3333 on non-members." in found
    assert found.endswith(made["verdict"]["sentence"])


def test_the_table_tells_every_rate_and_the_best_parameters() -> None:
    text = reporting.text(report(attack(precision=None)), 80)
    rows = [line.split() for line in text.splitlines() if line.startswith("lr ")]
    rates, best = map(" ".join, rows)
    assert rates == "lr 0.7512 0.2500 - 0.7132 - 0.8810"
    assert best == "lr 10 C=0.1, max_iter=300"


def test_the_strongest_is_named_and_the_references_told() -> None:
    strongest = {**attack("strongest"), "chosen": "rf"}
    text = reporting.text(report(attack("rf"), strongest), 80)
    assert "strongest: rf, chosen on attack-train" in text.splitlines()
    told = "References: 2, accuracy 0.9800 to 0.9900 on their members, 0.5000 to 0.6000"
    assert told in text.replace("\n", " ")
    assert text.count("Method: ") == 1


def test_the_text_has_no_colours_and_no_markup() -> None:
    made = report({**attack(), "params": {"class_weight": "[red]"}})
    text = reporting.text(made, 80)
    assert "\x1b" not in text
    assert "class_weight=[red]" in text


def test_the_text_tells_the_tail_estimate_where_it_could_be_measured() -> None:
    made = report(attack())
    told = "Tail estimate: the loss alone rules out 0.1250 of the non-members while it"
    assert told in reporting.text(made, 80)
    for tail in (None, {"0.1": 0.5, "0.01": None, "0.001": None}):
        assert "Tail" not in reporting.text({**made, "tail": tail}, 80)


def test_the_text_tells_of_a_population() -> None:
    made = report(attack())
    made["records"]["population"] = 70
    told = "5000 members and 4998 non-members, beside a population of 70"
    assert told in " ".join(reporting.text(made, 80).split())
