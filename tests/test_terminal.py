import pytest

from pipeline.audit import terminal
from pipeline.findings.schema import (
    Agreement,
    Range,
    Repeats,
    Report,
    Sizes,
    Spread,
    Spreads,
    Units,
)
from tests.reports import (
    NONE,
    UNLIKE,
    attack,
    blind,
    comparison,
    controls,
    counts,
    independence,
    labels,
    null,
    piece,
    report,
    resemblance,
    sides,
)


def shown(made: Report, width: int = 80) -> str:
    """Return the text with all its white space as single spaces."""
    return " ".join(terminal.text(made, width).split())


def row(made: Report, start: str, place: int = 0) -> str:
    lines = terminal.text(made, 80).splitlines()
    rows = [line for line in lines if line.startswith(start)]
    return " ".join(rows[place].split())


def screen(made: Report) -> list[str]:
    """Return the lines of the one screen of a report."""
    text = terminal.screen(made, 80, page="a/page.html", full="a/full.txt")
    return text.splitlines()


def test_the_screen_is_one_and_says_what_matters_first() -> None:
    attacks = [attack(method) for method in ("lr", "knn", "mlp", "rf", "stacked")]
    made = report(attack("loss", family="threshold"), *attacks)
    lines = screen(made)
    assert len(lines) <= 24
    assert max(len(line) for line in lines if "Method: " not in line) <= 80
    assert [line for line in lines if line.startswith("Method: ")] == [
        terminal.line(each) for each in attacks[:4]
    ]
    assert (
        "Controls: labels, sides, null, blind, references, independence passed" in lines
    )
    strongest = [line for line in lines if line.startswith("strongest ")]
    assert strongest == ["strongest .751 .400-.900 .250 .125-.375 -        .012"]
    assert "Verdict: leaks, grade moderate" in lines
    assert made.verdict.sentence in lines
    assert lines[-2:] == ["Page: a/page.html", "In full: a/full.txt, or VERBOSE=1"]


def test_the_screen_names_controls_that_failed_and_that_nobody_knows_of() -> None:
    failed = controls(
        blind=blind("mean"),
        null=null(passed=False),
        references=resemblance(passed=None),
        independence=None,
        labels=labels(passed=None),
    )
    (line,) = [
        line
        for line in screen(report(attack(), controls=failed))
        if line.startswith("Controls")
    ]
    assert (
        line == "Controls: sides passed; null, blind FAILED; labels, references unknown"
    )


def test_the_screen_speaks_of_no_references_where_there_are_none() -> None:
    alone = controls(references=None, independence=None)
    made = report(attack("loss", family="threshold"), controls=alone)
    lines = screen(made)
    assert "Controls: labels, sides, null, blind passed" in lines
    assert not [line for line in lines if line.startswith("Method")]


@pytest.mark.parametrize(
    ("leaks", "grade", "expected"),
    [
        (True, "high", "leaks, grade high"),
        (False, "none found", "no leak found"),
        (None, "cannot tell", "cannot tell"),
    ],
)
def test_the_outcome_is_the_verdict_in_a_word(
    leaks: bool | None, grade: str, expected: str
) -> None:
    update = {"leaks": leaks, "grade": grade}
    made = report(attack()).verdict.model_copy(update=update)
    assert terminal.outcome(made) == expected


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
    line = terminal.line(attack(recall=2 / 3, precision=1.0, accuracy=0.99996))
    assert line == (
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
        attack("mlp", precision=None, params=long),
    ]
    lines = terminal.text(report(*attacks), 80).splitlines()
    ours = [line for line in lines if not line.startswith("Method: ")]
    assert max(map(len, ours)) <= 80


def test_the_text_holds_each_methods_line_unbroken() -> None:
    attacks = [attack("lr"), attack("knn", precision=None)]
    lines = terminal.text(report(*attacks), 40).splitlines()
    methods = [line for line in lines if line.startswith("Method: ")]
    assert methods == [terminal.line(each) for each in attacks]


def test_the_text_tells_the_counts_the_accuracies_and_the_verdict() -> None:
    made = report(attack())
    text = shown(made)
    assert "5000 members and 4998 non-members; 7998 to learn from, 2000 to jud" in text
    assert "Duplicates of members dropped: 2. Mislabelled canaries: 0." in text
    assert "Copies within" not in text
    assert "drawn at random" not in text
    assert (
        "Learned attacks were fitted to 5000 of the 7998 records to learn from, drawn "
        "at random."
    ) in " ".join(shown(report(attack(), records=counts(fitted=5000))).split())
    assert "Copies within a side dropped: 9." in shown(
        report(attack(), records=counts(copies_dropped=9))
    )
    assert "Target accuracy: 0.9987 on members, 0.3333 on non-members." in text
    assert text.endswith(f" Verdict: leaks, grade moderate {made.verdict.sentence}")


def test_the_controls_stand_before_any_result() -> None:
    text = shown(report(attack()))
    expected = (
        "Controls "
        "labels passed right on 99.9% of members, above shuffled labels "
        "sides passed right on 99.9% of members, 33.3% of non-members, AUC of the loss "
        ".830 "
        "null passed 2 attacks, shuffled memberships: AUC .471 to .525, p .410 "
        "blind passed sides told apart without the model: AUC .503 .487-.519 "
        "references passed accuracy .999 against the references' .985 on members "
        "(allowed: .062), .333 against the references' .350 on others (allowed: .062) "
        "independence passed in or out as for the target .493 to .507, "
        "p .620 "
        "resolution 440 non-members measure no false-positive rate below 0.0023 "
    )
    assert expected in text
    assert text.index("Controls") < text.index("Method: ")


def test_a_control_that_failed_is_told_with_what_differs() -> None:
    failed = controls(
        blind=blind("zeros", "mean", auc=0.8, interval=(0.7, 0.9)),
        null=null(passed=False),
        references=UNLIKE,
        labels=labels(passed=False, accuracy=0.05),
        sides=sides(passed=False),
    )
    made = report(attack(), controls=failed)
    assert row(made, "null").startswith("null FAILED")
    assert row(made, "references ").startswith("references FAILED accuracy .448")
    assert row(made, "labels") == (
        "labels FAILED right on 5.0% of members, not above shuffled labels"
    )
    assert row(made, "sides").startswith("sides FAILED right on 99.9% of members")
    assert "the sides differ by zeros, mean" in shown(made)


def test_references_that_agree_with_the_target_are_named() -> None:
    agreeing = tuple(
        Agreement(reference=f"reference-{i:03d}", agreement=share)
        for i, share in enumerate((0.892, 0.108, 0.892))
    )
    failed = independence(
        passed=False,
        agreement=Range(lowest=0.108, highest=0.892),
        p_value=1e-200,
        agreeing=agreeing,
    )
    made = report(attack(), controls=controls(independence=failed))
    assert row(made, "independence").startswith("independence FAILED in or out")
    assert (
        "in or out as for the target .108 to .892, p <.001: "
        "reference-000 .892, reference-001 .108 and 1 more"
    ) in shown(made)


def test_what_was_not_compared_is_told() -> None:
    labels_alone = blind(
        auc=None, interval=None, inputs="labels only", reason="unknown"
    )
    without = controls(
        blind=labels_alone,
        references=None,
        independence=None,
        labels=labels(passed=None, reason="4 members are too few"),
        sides=sides(passed=None, reason="there are none"),
    )
    made = report(attack(), controls=without)
    assert row(made, "blind") == "blind passed labels alone were compared"
    nothing = blind(passed=None, auc=None, interval=None, reason="too few records")
    other = report(attack(), controls=controls(blind=nothing))
    assert row(other, "blind") == "blind - nothing was compared: too few records"
    assert row(made, "labels") == "labels - nothing was compared: 4 members are too few"
    assert row(made, "sides") == "sides - nothing was compared: there are none"
    assert row(made, "references -") == "references - there are none"
    assert "independence" not in shown(made)


def test_references_of_which_too_little_is_known_neither_pass_nor_fail() -> None:
    reason = "too few references to tell"
    unclear = comparison(0.9, 0.8, passed=None, reason=reason)
    control = resemblance(passed=None, train_accuracy=unclear)
    made = report(attack(), controls=controls(references=control))
    assert row(made, "references ").startswith("references unknown accuracy .900")
    assert f"on members (allowed: .062), {reason}, .333" in shown(made)


def test_the_tables_tell_every_figure_with_its_interval() -> None:
    made = report(attack(precision=None, precision_interval=None))
    scores, decisions, best = (row(made, "lr ", place) for place in range(3))
    assert scores == "lr .751 .400-.900 .250 .125-.375 - .012"
    assert decisions == "lr .713 .400-.900 - .881 .400-.900"
    assert best == "lr 10 C=0.1, max_iter=300"


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0009, "<.001"), (0.0012, ".001"), (1.0, "1.000")]
)
def test_small_p_values_are_told_as_small(value: float, expected: str) -> None:
    assert row(report(attack(p_value_corrected=value)), "lr ").endswith(expected)


def test_the_strongest_is_named_and_the_references_told() -> None:
    text = shown(report(attack("rf")))
    assert "The attack rf was chosen beforehand, on the records to learn from" in text
    expected = (
        "References: 2, accuracy 0.9800 to 0.9900 on their members, 0.5000 to 0.6"
    )
    assert expected in text
    assert text.count("Method: ") == 1


def test_the_text_has_no_colours_and_no_markup() -> None:
    text = terminal.text(report(attack(params={"class_weight": "[red]"})), 80)
    assert "\x1b" not in text
    assert "class_weight=[red]" in text


def test_the_tail_estimate_is_told_where_it_could_be_measured() -> None:
    expected = "Tail estimate: by the loss alone, 12.5% of the non-members are known"
    assert expected in shown(report(attack()))
    for tail in (None, {"0.01": NONE}):
        assert "Tail" not in shown(report(attack(), tail=tail))


def test_the_bounds_of_epsilon_are_told_with_what_they_mean() -> None:
    assert (
        "Epsilon at delta 1e-05, by the attack lr: at least 0.23 by its rates, and at "
        "least 1.23 by its guesses if each record was put in or left out by a fair "
        "coin. If the mechanism were Gaussian, which nothing shows, the figures would "
        "be 2.23 and 3.23; they are no lower bounds. It is no guarantee."
    ) in shown(report(attack()))


def test_the_number_of_flagged_records_is_told() -> None:
    assert (
        "Flagged as members: 312 of 9998 records, at most about 10% of them wrongly; "
        "see records.csv."
    ) in shown(report(attack()))


def test_that_canaries_are_left_out_of_controls_is_told() -> None:
    text = shown(report(attack(), records=counts(canaries=5)))
    assert "above shuffled labels; canaries left out sides passed" in text
    assert "AUC of the loss .830; canaries left out null" in text


def test_that_no_record_is_flagged_is_told_as_that() -> None:
    made = report(attack())
    none = made.risk.model_copy(update={"flagged": 0, "flagged_members": 0})
    assert (
        "Flagged as members: none of 9998 records. No threshold keeps the false ones "
        "to 10%."
    ) in shown(made.model_copy(update={"risk": none}))


def test_the_precision_of_an_attacker_in_the_wild_is_told() -> None:
    assert (
        "Of the records that lr takes for members: if 50% of all records are members, "
        "66.0% are; if 10% of all records are members, 17.7% are; if 1% of all records "
        "are members, 1.9% are."
    ) in shown(report(attack()))
    nobody = dict.fromkeys(("0.5", "0.1", "0.01"))
    assert "The attack lr takes no record for a member." in shown(
        report(attack(precision_at_base_rate=nobody))
    )


def test_of_many_slices_the_ends_are_told_and_of_few_all() -> None:
    text = terminal.text(report(attack()), 80)
    ends = [line.split()[1] for line in text.splitlines() if line.startswith("class")]
    assert ends == ["19", "18", "17", "16", "3", "2", "1", "0"]
    assert "outcome right 31 29 .750 .500-.900 .500" in " ".join(text.split())
    assert "outcome wrong 31 29 - -" in " ".join(text.split())


def test_the_spread_over_divisions_is_told() -> None:
    auc = Spread(lowest=0.71, highest=0.78, mean=0.745, deviation=0.03)
    spreads = Spreads(
        auc=auc, accuracy=None, precision=None, recall=None, tpr_at_fpr={}
    )
    repeats = Repeats(draws=5, strongest=5 * ("lr",), attacks={"strongest": spreads})
    assert (
        "Divided 5 times, the strongest attack has an AUC of 0.710 to 0.780, mean "
        "0.745."
    ) in shown(report(attack(), repeats=repeats))


def test_the_text_tells_of_a_population() -> None:
    made = report(attack(), records=counts(population=70))
    expected = "5000 members and 4998 non-members, beside a population of 70"
    assert expected in shown(made)


UNITS = Units(
    units=440,
    members=230,
    nonmembers=210,
    both=0,
    records_per_unit=Sizes(lowest=1, highest=6, median=3.5),
    flagged=31,
    flagged_nonmembers=2,
)


def test_the_screen_tells_of_units_and_of_margins_where_there_are_some() -> None:
    made = report(attack())
    assert "nits" not in "\n".join(screen(made))
    target = made.target.model_copy(update={"accuracy_by": "margins"})
    lines = screen(made.model_copy(update={"units": UNITS, "target": target}))
    assert "Units: 440 of 1 to 6 records, median 3.5." in lines
    assert terminal.BY_MARGINS in " ".join(lines)
    assert len(lines) <= 24


def test_the_text_tells_of_units_only_where_there_are_some() -> None:
    made = report(attack())
    assert "nits" not in shown(made)
    told = shown(made.model_copy(update={"units": UNITS}))
    assert "Units: 440 of 1 to 6 records, median 3.5." in told
    assert (
        "Flagged as known: 31 of 440 units, at most about 10% of them wrongly; see "
        "units.csv."
    ) in told
    equal = UNITS.records_per_unit.model_copy(update={"highest": 1.0})
    of_one = UNITS.model_copy(update={"records_per_unit": equal})
    told = shown(made.model_copy(update={"units": of_one}))
    assert "Units: 440 of 1 records each." in told
    changed = UNITS.model_copy(update={"flagged": 0, "both": 5})
    told = shown(made.model_copy(update={"units": changed}))
    assert "median 3.5; of 5, records are on both sides." in told
    assert "Flagged as known: none of 440 units; see units.csv." in told


def test_a_group_of_escape_characters_reaches_no_terminal() -> None:
    made = report(attack())
    kinds = {"group": (piece("\x1b[31mred\x07", 0.7),)}
    slices = made.slices.model_copy(update={"kinds": kinds})
    text = terminal.text(made.model_copy(update={"slices": slices}), 80)
    assert "group \ufffd[31mred" in text
    assert not {*text} & {"\x1b", "\x07"}
