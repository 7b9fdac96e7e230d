from typing import Any

import pytest

from pipeline.audit import terminal

INTERVALS = {
    f"{name}_interval": [0.4, 0.9]
    for name in ("auc", "accuracy", "precision", "recall")
}


def attack(method: str = "lr", **figures: Any) -> dict[str, Any]:
    """Return a method's entry in a report."""
    return {
        "method": method,
        "family": "learned",
        "tpr_at_fpr": {
            "0.1": {"value": 0.5, "interval": [0.4, 0.6]},
            "0.01": {"value": 0.25, "interval": [0.125, 0.375]},
            "0.001": {"value": None, "reason": "needs 1000 records of the other side"},
        },
        "params": {"C": 0.1, "max_iter": 300},
        "n_candidates": 10,
        "accuracy": 0.7132,
        "precision": 0.6596,
        "recall": 0.8810,
        "auc": 0.7512,
        "p_value_holm": 0.0123,
        **INTERVALS,
        **figures,
    }


def piece(value: Any, auc: float | None, **more: Any) -> dict[str, Any]:
    return {
        "value": value,
        "members": 31,
        "nonmembers": 29,
        "auc": auc,
        "auc_interval": None if auc is None else [0.5, 0.9],
        "p_value": None if auc is None else 0.5,
        **more,
    }


def controls(**changed: Any) -> dict[str, Any]:
    return {
        "null": {
            "passed": True,
            "p_value": 0.41,
            "attacks": {"lr": {"auc": 0.4712}, "rf": {"auc": 0.5249}},
        },
        "blind": {
            "passed": True,
            "auc": 0.5031,
            "interval": [0.4871, 0.5191],
            "inputs": "seen",
            "differing": [],
        },
        "references": {
            "passed": True,
            "train_accuracy": {"target": 0.99871, "references": 0.985},
            "test_accuracy": {"target": 1 / 3, "references": 0.55},
        },
        "resolution": {"passed": True, "nonmembers": 440, "smallest_fpr": 1 / 440},
        **changed,
    }


def report(*attacks: dict[str, Any], **changed: Any) -> dict[str, Any]:
    chosen = {**attacks[-1], "method": "strongest", "chosen": attacks[-1]["method"]}
    return {
        "audit": "a-rather-long-name-of-a-config-as-people-give-them",
        "controls": controls(),
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
        "confidence": 0.95,
        "tail": {"0.01": {"value": 0.125, "interval": [0.1, 0.2]}},
        "attacks": [*attacks, chosen],
        "epsilon": {
            "attack": "lr",
            "delta": 1e-5,
            "meaning": "It is no guarantee.",
            "bounds": {
                name: {"epsilon": place + 0.2345}
                for place, name in enumerate(terminal.BOUNDS)
            },
        },
        "slices": {
            "attack": "lr",
            "class": [piece(i, 0.5 + i / 100) for i in range(20)],
            "outcome": [piece("right", 0.75), piece("wrong", None)],
        },
        "risk": {"records": 9998, "flagged": 312, "false_discoveries": 0.1},
        "repeats": None,
        "verdict": {"sentence": "This model leaks which records it was trained on."},
        **changed,
    }


def told(made: dict[str, Any], width: int = 80) -> str:
    """Return the text with all its white space as single spaces."""
    return " ".join(terminal.text(made, width).split())


def row(made: dict[str, Any], start: str, place: int = 0) -> str:
    lines = [
        one for one in terminal.text(made, 80).splitlines() if one.startswith(start)
    ]
    return " ".join(lines[place].split())


def test_a_line_is_as_mindarmour_prints_it() -> None:
    # From the output in MindArmour's tutorial on membership inference.
    assert terminal.line(attack()) == (
        "Method: lr, {'recall': 0.8810, 'precision': 0.6596, 'accuracy': 0.7132}"
    )


def test_a_line_says_nan_of_an_undefined_rate() -> None:
    assert terminal.line(attack(precision=None, recall=0.0, accuracy=0.5)) == (
        "Method: lr, {'recall': 0.0000, 'precision': nan, 'accuracy': 0.5000}"
    )


def test_a_line_rounds_to_four_digits() -> None:
    found = terminal.line(attack(recall=2 / 3, precision=1.0, accuracy=0.99996))
    assert found == (
        "Method: lr, {'recall': 0.6667, 'precision': 1.0000, 'accuracy': 1.0000}"
    )


def test_the_text_fits_its_width_but_for_the_lines_that_are_mindarmours() -> None:
    long = {
        "hidden_layer_sizes": [64, 32],
        "solver": "adam",
        "learning_rate": "adaptive",
    }
    attacks = [
        attack("modified_entropy_per_class", family="threshold"),
        attack("lr"),
        {**attack("mlp", precision=None), "params": long},
    ]
    lines = terminal.text(report(*attacks), 80).splitlines()
    ours = [line for line in lines if not line.startswith("Method: ")]
    assert max(map(len, ours)) <= 80


def test_the_text_holds_each_methods_line_unbroken() -> None:
    attacks = [attack("lr"), attack("knn", precision=None)]
    lines = terminal.text(report(*attacks), 40).splitlines()
    found = [line for line in lines if line.startswith("Method: ")]
    assert found == [terminal.line(one) for one in attacks]


def test_the_text_tells_the_counts_the_accuracies_and_the_verdict() -> None:
    made = report(attack())
    found = told(made)
    assert "5000 members and 4998 non-members; 7998 to learn from, 2000 to jud" in found
    assert "Duplicates of members dropped: 2. Mislabelled canaries: 0." in found
    assert "Target accuracy: 0.9987 on members, 0.3333 on non-members." in found
    assert found.endswith(made["verdict"]["sentence"])


def test_the_controls_stand_before_any_result() -> None:
    found = told(report(attack()))
    expected = (
        "Controls "
        "null passed 2 attacks on shuffled memberships: AUC .471 to .525, p .410 "
        "blind passed without the model AUC .503 .487-.519 "
        "references passed accuracy .999 against .985 in training, .333 against .550 "
        "outside "
        "resolution 440 non-members measure false-positive rates from 0.0023 up "
    )
    assert expected in found
    assert found.index("Controls") < found.index("Method: ")


def test_a_control_that_failed_is_told_with_what_differs() -> None:
    blind = {
        "passed": False,
        "auc": 0.8,
        "interval": [0.7, 0.9],
        "inputs": "seen",
        "differing": [{"statistic": "zeros"}, {"statistic": "mean"}],
    }
    null = {**controls()["null"], "passed": False}
    alike = {**controls()["references"], "passed": False}
    made = report(attack(), controls=controls(blind=blind, null=null, references=alike))
    assert row(made, "null").startswith("null FAILED")
    assert row(made, "references").startswith("references differ accuracy .999")
    assert "the sides differ by zeros, mean" in told(made)


def test_what_was_not_compared_is_told() -> None:
    blind = {
        "passed": True,
        "auc": None,
        "interval": None,
        "inputs": "labels only",
        "differing": [],
    }
    made = report(attack(), controls=controls(blind=blind, references=None))
    assert row(made, "blind") == "blind passed labels alone were compared"
    nothing = {**blind, "passed": None, "reason": "too few records"}
    other = report(attack(), controls=controls(blind=nothing, references=None))
    assert row(other, "blind") == "blind - nothing was compared: too few records"
    assert row(made, "references -") == "references - there are none"


def test_the_tables_tell_every_figure_with_its_interval() -> None:
    made = report(attack(precision=None, precision_interval=None))
    scores, decisions, best = (row(made, "lr ", place) for place in range(3))
    assert scores == "lr .751 .400-.900 .250 .125-.375 - .012"
    assert decisions == "lr .713 .400-.900 - .881 .400-.900"
    assert best == "lr 10 C=0.1, max_iter=300"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0009, "<.001"), (0.0012, ".001"), (1.0, "1.000")]
)
def test_small_p_values_are_told_as_small(value: float, shown: str) -> None:
    assert row(report(attack(p_value_holm=value)), "lr ").endswith(shown)


def test_the_strongest_is_named_and_the_references_told() -> None:
    found = told(report(attack("rf")))
    assert "strongest: rf, by attack-train" in found
    expected = (
        "References: 2, accuracy 0.9800 to 0.9900 on their members, 0.5000 to 0.6"
    )
    assert expected in found
    assert found.count("Method: ") == 1


def test_the_text_has_no_colours_and_no_markup() -> None:
    text = terminal.text(report(attack(params={"class_weight": "[red]"})), 80)
    assert "\x1b" not in text
    assert "class_weight=[red]" in text


def test_the_tail_estimate_is_told_where_it_could_be_measured() -> None:
    expected = "Tail estimate: the loss alone rules out 0.1250 of the non-members"
    assert expected in told(report(attack()))
    for tail in (None, {"0.01": {"value": None, "reason": "needs more"}}):
        assert "Tail" not in told(report(attack(), tail=tail))


def test_the_bounds_of_epsilon_are_told_with_what_they_mean() -> None:
    assert (
        "Epsilon at delta 1e-05 is at least, with the attack lr: 0.23 by its rates, "
        "1.23 by its guesses in one run, 2.23 by its rates if the mechanism were "
        "Gaussian, 3.23 by its guesses then. It is no guarantee."
    ) in told(report(attack()))


def test_the_number_of_flagged_records_is_told() -> None:
    assert (
        "Flagged as members: 312 of 9998 records, of which 10% may be false; see "
        "records.csv."
    ) in told(report(attack()))


def test_of_many_slices_the_ends_are_told_and_of_few_all() -> None:
    found = terminal.text(report(attack()), 80)
    shown = [line.split()[1] for line in found.splitlines() if line.startswith("class")]
    assert shown == ["19", "18", "17", "16", "3", "2", "1", "0"]
    assert "outcome right 31 29 .750 .500-.900 .500" in " ".join(found.split())
    assert "outcome wrong 31 29 - -" in " ".join(found.split())


def test_the_spread_over_divisions_is_told() -> None:
    auc = {"lowest": 0.71, "highest": 0.78, "mean": 0.745}
    repeats = {"draws": 5, "attacks": {"strongest": {"auc": auc}}}
    assert (
        "Divided 5 times, the strongest attack has an AUC of 0.710 to 0.780, mean "
        "0.745."
    ) in told(report(attack(), repeats=repeats))


def test_the_text_tells_of_a_population() -> None:
    made = report(attack())
    made["records"]["population"] = 70
    expected = "5000 members and 4998 non-members, beside a population of 70"
    assert expected in told(made)
