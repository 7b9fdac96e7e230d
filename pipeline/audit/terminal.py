"""Terminal: the report of an audit as text and tables."""

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.attacks import grids
from pipeline.cache.summaries import Accuracies
from pipeline.findings.schema import (
    AttackFigures,
    Blind,
    Controls,
    Ends,
    Independence,
    Labels,
    Report,
    Resemblance,
    Risk,
    Sides,
    Slice,
    Slices,
    Units,
    Verdict,
)
from pipeline.texts import visible

NAMED = 2  # references that a control names
SLICES_SHOWN = 8  # of a kind; of more, the ends only
BY_MARGINS = (
    "Of margins alone a record counts as right if its class has more than half of the "
    "probability."
)


def line(attack: AttackFigures) -> str:
    """Return a method's line as MindArmour's tutorial prints it."""
    rates = ", ".join(
        f"'{name}': {_rate(value)}"
        for name, value in (
            ("recall", attack.recall),
            ("precision", attack.precision),
            ("accuracy", attack.accuracy),
        )
    )
    return f"Method: {attack.method}, {{{rates}}}"


def outcome(verdict: Verdict) -> str:
    """Return the verdict in a word or two."""
    if verdict.leaks:
        return f"leaks, grade {verdict.grade}"
    return "no leak found" if verdict.leaks is False else verdict.grade


def screen(report: Report, width: int, *, page: str, full: str) -> str:
    """Return what an audit comes to, on one screen of that many columns.

    Args:
        report: of the audit.
        width: columns of the terminal.
        page: where the page of the audit lies.
        full: where the full text lies.
    """
    console = _console(width)
    for sentence in (_audited(report), *_about_units(report), *_about_target(report)):
        console.print(sentence)
    console.print()
    console.print(f"Controls: {_outcomes(report.controls)}")
    console.print()
    tutorial = [
        attack for attack in _learned(report) if attack.method in grids.TUTORIAL
    ]
    for attack in tutorial:
        console.print(line(attack), soft_wrap=True)
    if tutorial:
        console.print()
    console.print(_scores([report.strongest]))
    console.print()
    console.print(f"Verdict: {outcome(report.verdict)}")
    console.print(report.verdict.sentence)
    console.print()
    console.print(f"Page: {page}", soft_wrap=True)
    console.print(f"In full: {full}, or VERBOSE=1", soft_wrap=True)
    return _printed(console)


def text(report: Report, width: int) -> str:
    """Return the whole report as it is read at a terminal of that many columns."""
    console = _console(width)
    for paragraph in _about(report):
        console.print(paragraph)
    console.print()
    console.print("Controls")
    console.print(_controls(report.controls, report.records.canaries))
    console.print()
    learned = _learned(report)
    for attack in learned:
        console.print(line(attack), soft_wrap=True)
    if learned:
        console.print()
    console.print("Attacks")
    for paragraph in _about_figures(report):
        console.print(paragraph)
    console.print()
    console.print(_scores(report.attacks))
    console.print()
    console.print(_decisions(report.attacks))
    if learned:
        console.print()
        console.print(_candidates(learned))
    console.print()
    for paragraph in _beyond(report):
        console.print(paragraph)
    console.print()
    console.print(_slices(report.slices))
    console.print()
    console.print(f"Verdict: {outcome(report.verdict)}")
    console.print(report.verdict.sentence)
    return _printed(console)


def _console(width: int) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        highlight=False,
        markup=False,
    )


def _printed(console: Console) -> str:
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "".join(f"{visible(line.rstrip())}\n" for line in lines)


def _learned(report: Report) -> list[AttackFigures]:
    return [
        attack
        for attack in report.attacks
        if attack.family == "learned" and attack.chosen is None
    ]


def _about(report: Report) -> list[str]:
    """Say what was audited."""
    records = report.records
    n_copies = records.copies_dropped
    copies = [f"Copies within a side dropped: {n_copies}."] if n_copies else []
    return [
        _audited(report),
        f"Duplicates of members dropped: {records.duplicates_dropped}. "
        f"Mislabelled canaries: {records.canaries}.",
        *copies,
        *_about_fitted(report),
        *_about_units(report),
        *_about_target(report),
        _about_references(report.references.models),
    ]


def _audited(report: Report) -> str:
    records = report.records
    audited = f"{records.members} members and {records.nonmembers} non-members"
    if records.population:
        audited += f", beside a population of {records.population}"
    sides = f"{records.attack_train} to learn from, {records.attack_eval} to judge"
    return f"Audit {report.audit}: {audited}; {sides}."


def _about_target(report: Report) -> list[str]:
    """Say how well the target does, and what counts as right if that is not plain."""
    target = report.target
    accuracy = (
        f"Target accuracy: {target.train_accuracy:.4f} on members, "
        f"{target.test_accuracy:.4f} on non-members."
    )
    return [accuracy, BY_MARGINS] if target.accuracy_by == "margins" else [accuracy]


def _about_fitted(report: Report) -> list[str]:
    """Say to how many records attacks were fitted, if not to all there are."""
    records = report.records
    if records.fitted == records.attack_train:
        return []
    return [
        f"Learned attacks were fitted to {records.fitted} of the "
        f"{records.attack_train} records to learn from, drawn at random."
    ]


def _about_units(report: Report) -> list[str]:
    """Say how many units there are, and of how many records, if there are any."""
    units = report.units
    if units is None:
        return []
    size = units.records_per_unit
    numbers = f"{size.lowest:g} to {size.highest:g} records, median {size.median:g}"
    if size.lowest == size.highest:
        numbers = f"{size.lowest:g} records each"
    both = f"; of {units.both}, records are on both sides" if units.both else ""
    return [f"Units: {units.units} of {numbers}{both}."]


def _about_references(models: Sequence[Accuracies]) -> str:
    if not models:
        return "References: none."
    sides = (
        ("their members", [model.train_accuracy for model in models]),
        ("the rest", [model.test_accuracy for model in models]),
    )
    ranges = []
    for where, accuracies in sides:
        rates = [rate for rate in accuracies if rate is not None]
        if rates:
            ranges.append(f"{min(rates):.4f} to {max(rates):.4f} on {where}")
    return f"References: {len(models)}, accuracy {', '.join(ranges)}."


def _outcomes(controls: Controls) -> str:
    """Return how the controls came out, in a line; the verdict says why they fail."""
    names: dict[str, list[str]] = {"passed": [], "FAILED": [], "unknown": []}
    for name, passed in controls.outcomes.items():
        word = {True: "passed", False: "FAILED", None: "unknown"}[passed]
        names[word].append(name)
    return "; ".join(f"{', '.join(own)} {word}" for word, own in names.items() if own)


def _controls(controls: Controls, n_canaries: int) -> Table:
    """Return a line for each control."""
    without = "; canaries left out" if n_canaries else ""
    shown = _grid()
    shown.show_header = False
    for _ in range(3):
        shown.add_column()
    null, blind, fine = controls.null, controls.blind, controls.resolution
    aucs = [attack.auc for attack in null.attacks.values()]
    labels, sides = controls.labels, controls.sides
    shown.add_row("labels", _passed(labels.passed), _about_labels(labels) + without)
    shown.add_row("sides", _passed(sides.passed), _about_sides(sides) + without)
    shown.add_row(
        "null",
        _passed(null.passed),
        f"{len(aucs)} attacks, shuffled memberships: AUC {_three(min(aucs))} to "
        f"{_three(max(aucs))}, p {_p(null.p_value)}",
    )
    shown.add_row("blind", _passed(blind.passed), _about_blind(blind))
    if controls.references is None:
        shown.add_row("references", "-", "there are none")
    else:
        passed = {True: "passed", False: "FAILED", None: "unknown"}
        shown.add_row(
            "references",
            passed[controls.references.passed],
            _about_accuracies(controls.references),
        )
    if controls.independence is not None:
        shown.add_row(
            "independence",
            _passed(controls.independence.passed),
            _about_independence(controls.independence),
        )
    shown.add_row(
        "resolution",
        "",
        f"{fine.nonmembers} non-members measure no false-positive rate below "
        f"{fine.smallest_fpr:.2g}",
    )
    return shown


def _about_labels(labels: Labels) -> str:
    if labels.reason is not None:
        return f"nothing was compared: {labels.reason}"
    than = "above" if labels.passed else "not above"
    return f"right on {labels.accuracy:.1%} of members, {than} shuffled labels"


def _about_sides(sides: Sides) -> str:
    if sides.reason is not None:
        return f"nothing was compared: {sides.reason}"
    loss = (
        "" if sides.loss_auc is None else f", AUC of the loss {_three(sides.loss_auc)}"
    )
    return (
        f"right on {sides.members_accuracy:.1%} of members, "
        f"{sides.nonmembers_accuracy:.1%} of non-members{loss}"
    )


def _about_blind(blind: Blind) -> str:
    if blind.passed is None:
        return f"nothing was compared: {blind.reason}"
    if blind.auc is None:
        compared = "labels alone were compared"
    else:
        compared = (
            "sides told apart without the model: AUC "
            f"{_figure(blind.auc, blind.interval)}"
        )
    if blind.differing:
        names = ", ".join(differing.statistic for differing in blind.differing)
        compared += f"; the sides differ by {names}"
    return compared


def _about_accuracies(alike: Resemblance) -> str:
    pairs = [
        f"{_three(compared.target)} against the references' "
        f"{_three(compared.references)} {where} (allowed: {_three(compared.allowed)})"
        + (f", {compared.reason}" if compared.reason else "")
        for compared, where in (
            (alike.train_accuracy, "on members"),
            (alike.test_accuracy, "on others"),
        )
        if compared is not None
    ]
    return f"accuracy {', '.join(pairs)}"


def _about_independence(independence: Independence) -> str:
    lowest, highest = independence.agreement.lowest, independence.agreement.highest
    agreeing = independence.agreeing
    names = ", ".join(
        f"{model.reference} {_three(model.agreement)}" for model in agreeing[:NAMED]
    )
    more = f" and {len(agreeing) - NAMED} more" if len(agreeing) > NAMED else ""
    return (
        f"in or out as for the target {_three(lowest)} to {_three(highest)}, "
        f"p {_p(independence.p_value)}"
    ) + (f": {names}{more}" if agreeing else "")


def _about_figures(report: Report) -> list[str]:
    """Say what the figures are, and which attack was chosen."""
    strongest = report.strongest
    return [
        f"The attack {strongest.chosen} was chosen beforehand, on the records to learn "
        "from; the last row, strongest, repeats it. Each figure is followed by its "
        f"{report.confidence:.0%} interval. Of accuracy, precision and recall, which "
        "are compared with the threshold, the intervals of all other attacks hold "
        "together and so are wider.",
        "AUC: how often a member scores above a non-member; .500 is chance. TPR@1%: "
        "the share of members found where 1% of the non-members are taken for "
        "members. p: how likely chance does as well, corrected for the number of "
        "attacks. -: not measurable with so few records.",
    ]


def _scores(attacks: Sequence[AttackFigures]) -> Table:
    """Return a table of the attacks' scores."""
    shown = _grid()
    shown.add_column("attack", no_wrap=True)
    for name in ("AUC", "TPR@1%", "TPR@0.1%", "p"):
        shown.add_column(name, no_wrap=True)
    for attack in attacks:
        rates = [attack.tpr_at_fpr[rate] for rate in ("0.01", "0.001")]
        shown.add_row(
            attack.method,
            _figure(attack.auc, attack.auc_interval),
            *(_figure(rate.value, rate.interval) for rate in rates),
            _p(attack.p_value_corrected),
        )
    return shown


def _decisions(attacks: Sequence[AttackFigures]) -> Table:
    """Return a table of what the attacks take for members."""
    shown = _grid()
    shown.add_column("attack", no_wrap=True)
    for name in ("accuracy", "precision", "recall"):
        shown.add_column(name, no_wrap=True)
    for attack in attacks:
        shown.add_row(
            attack.method,
            _figure(attack.accuracy, attack.accuracy_interval),
            _figure(attack.precision, attack.precision_interval),
            _figure(attack.recall, attack.recall_interval),
        )
    return shown


def _candidates(learned: Sequence[AttackFigures]) -> Table:
    """Return a table of the learned attacks' searches."""
    shown = _grid()
    shown.add_column("learned attack")
    shown.add_column("candidates", justify="right")
    shown.add_column("the best of them", overflow="fold")
    for attack in learned:
        best = ", ".join(
            f"{name}={_short(value)}" for name, value in attack.params.items()
        )
        shown.add_row(attack.method, str(attack.n_candidates), best)
    return shown


def _beyond(report: Report) -> list[str]:
    """Say what else the scores show."""
    paragraphs = []
    tail = None if report.tail is None else report.tail["0.01"].value
    if tail is not None:
        paragraphs.append(
            f"Tail estimate: by the loss alone, {tail:.1%} of the non-members are "
            "known not to be members, at the price of 1% of the members."
        )
    if report.repeats is not None:
        auc = report.repeats.attacks[report.strongest.method].auc
        if auc is not None:
            paragraphs.append(
                f"Divided {report.repeats.draws} times, the strongest attack has an "
                f"AUC of {auc.lowest:.3f} to {auc.highest:.3f}, mean {auc.mean:.3f}."
            )
    epsilon, risk = report.epsilon, report.risk
    bounds = {**epsilon.bounds, **epsilon.if_gaussian}
    value = {name: f"{bound.epsilon:.2f}" for name, bound in bounds.items()}
    paragraphs.append(
        f"Epsilon at delta {epsilon.delta:g}, by the attack {epsilon.attack}: at least "
        f"{value['clopper_pearson']} by its rates, and at least {value['one_run']} by "
        "its guesses if each record was put in or left out by a fair coin. If the "
        "mechanism were Gaussian, which nothing shows, the figures would be "
        f"{value['gaussian']} and {value['f_dp_one_run']}; they are no lower bounds. "
        f"{epsilon.meaning}"
    )
    paragraphs.append(_about_precision(report.strongest))
    paragraphs.append(
        f"Flagged as members: {risk.flagged} of {risk.records} records, at most about "
        f"{risk.false_discoveries:.0%} of them wrongly; see records.csv."
        if risk.flagged
        else f"Flagged as members: none of {risk.records} records. No threshold keeps "
        f"the false ones to {risk.false_discoveries:.0%}."
    )
    if report.units is not None:
        paragraphs.append(_about_flagged_units(report.units, risk))
    return paragraphs


def _about_flagged_units(units: Units, risk: Risk) -> str:
    """Say how many units are claimed to be known to the target."""
    if not units.flagged:
        return f"Flagged as known: none of {units.units} units; see units.csv."
    return (
        f"Flagged as known: {units.flagged} of {units.units} units, at most about "
        f"{risk.false_discoveries:.0%} of them wrongly; see units.csv."
    )


def _about_precision(strongest: AttackFigures) -> str:
    """Say how often an attacker in the wild would be right."""
    shares = {
        rate: share
        for rate, share in strongest.precision_at_base_rate.items()
        if share is not None
    }
    if not shares:
        return f"The attack {strongest.chosen} takes no record for a member."
    precisions = "; ".join(
        f"if {float(rate):.0%} of all records are members, {share:.1%} are"
        for rate, share in shares.items()
    )
    return f"Of the records that {strongest.chosen} takes for members: {precisions}."


def _slices(slices: Slices) -> Table:
    """Return a table of the slices: all of a kind, or of many the ends."""
    shown = _grid()
    shown.add_column(f"{slices.attack} on parts of the records")
    for name in ("members", "others"):
        shown.add_column(name, justify="right")
    for name in ("AUC", "p"):
        shown.add_column(name, no_wrap=True)
    for kind, parts in slices.kinds.items():
        for part in _ends(parts):
            shown.add_row(
                f"{kind} {part.value}",
                str(part.members),
                str(part.nonmembers),
                _figure(part.auc, part.auc_interval),
                "-" if part.p_value is None else _p(part.p_value),
            )
    return shown


def _ends(parts: Sequence[Slice]) -> Sequence[Slice]:
    """Return all slices, or of many those of the highest and the lowest AUC."""
    if len(parts) <= SLICES_SHOWN:
        return parts
    by_auc = [(part.auc, part) for part in parts if part.auc is not None]
    by_auc.sort(key=lambda pair: -pair[0])
    half = SLICES_SHOWN // 2
    return [part for _, part in (*by_auc[:half], *by_auc[half:][-half:])]


def _grid() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))


def _figure(value: float | None, interval: Ends | None) -> str:
    if value is None:
        return "-"
    if interval is None:
        return _three(value)
    return f"{_three(value)} {_three(interval[0])}-{_three(interval[1])}"


def _three(value: float) -> str:
    """Return three digits without the zero before the point, which takes room."""
    return f"{value:.3f}".removeprefix("0")


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else _three(value)


def _passed(passed: bool | None) -> str:
    return {True: "passed", False: "FAILED", None: "-"}[passed]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rate(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}"
