"""Reporting: what the audit found, in words and tables."""

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

RATES = ("recall", "precision", "accuracy")
# Where what is chosen, or picked out of many, was chosen, and what corrects for it.
CHOICES = {
    "attacks.threshold": "attack-train: the highest balanced accuracy",
    "attacks.params": "attack-train: the highest accuracy in cross-validation",
    "attacks.exceeds": "corrected for the number of attacks (Bonferroni)",
    "attacks.chosen": "attack-train: the highest AUC, the amortised attack's preferred",
    "attacks.p_value_holm": "corrected for the number of attacks (Holm)",
    "attacks.tpr_at_fpr": "attack-eval: the threshold, as its interval allows for",
    "tail": "attack-eval: the threshold, as its interval allows for",
    "references.rmia_slope": "references: by attacks on one another, or by their means",
    "epsilon.attack": "attack-train: as attacks.chosen",
    "epsilon.bounds.chosen": "attack-train: the highest bound there",
    "slices.attack": "attack-train: as attacks.chosen",
    "slices.auc_interval": "corrected for the number of slices (Bonferroni)",
    "slices.p_value": "corrected for the number of slices (Holm)",
    "repeats.strongest": "attack-train of each draw: as attacks.chosen",
    "risk.flagged": "corrected for the number of records (Benjamini and Hochberg)",
    "controls.null.p_value": "corrected for the number of attacks (Bonferroni)",
    "controls.blind.differing": "corrected for the number of statistics (Holm)",
    "verdict.methods": "corrected for the number of attacks: attacks.exceeds and "
    "attacks.p_value_holm",
}
BOUNDS = {
    "clopper_pearson": "by its rates",
    "one_run": "by its guesses in one run",
    "gaussian": "by its rates if the mechanism were Gaussian",
    "f_dp_one_run": "by its guesses then",
}
SLICES_SHOWN = 8  # of a kind; of more, the ends only


def line(attack: dict[str, Any]) -> str:
    """Return a method's line as MindArmour's tutorial prints it.

    Args:
        attack: with "method" and the rates; a rate that is undefined is None.
    """
    rates = ", ".join(f"'{name}': {_rate(attack[name])}" for name in RATES)
    return f"Method: {attack['method']}, {{{rates}}}"


def text(report: dict[str, Any], width: int) -> str:
    """Return the report as it is read at a terminal of that many columns."""
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        highlight=False,
        markup=False,
    )
    for told in _about(report):
        console.print(told)
    console.print()
    console.print("Controls")
    console.print(_controls(report))
    console.print()
    attacks = report["attacks"]
    learned = [
        one for one in attacks if one["family"] == "learned" and "chosen" not in one
    ]
    for attack in learned:
        console.print(line(attack), soft_wrap=True)
    if learned:
        console.print()
    console.print(
        f"Each figure with its {report['confidence']:.0%} interval; p is that of "
        "chance, corrected for the number of attacks."
    )
    console.print(_scores(attacks))
    console.print()
    console.print(_decisions(attacks))
    console.print(f"{attacks[-1]['method']}: {attacks[-1]['chosen']}, by attack-train")
    if learned:
        console.print()
        console.print(_candidates(learned))
    console.print()
    for told in _beyond(report):
        console.print(told)
    console.print(_slices(report["slices"]))
    console.print()
    console.print(report["verdict"]["sentence"])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _about(report: dict[str, Any]) -> list[str]:
    """Say what was audited."""
    target, records = report["target"], report["records"]
    audited = f"{records['members']} members and {records['nonmembers']} non-members"
    if records["population"]:
        audited += f", beside a population of {records['population']}"
    sides = (
        f"{records['attack_train']} to learn from, {records['attack_eval']} to judge"
    )
    return [
        f"Audit {report['audit']}: {audited}; {sides}.",
        f"Duplicates of members dropped: {records['duplicates_dropped']}. "
        f"Mislabelled canaries: {records['canaries']}.",
        f"Target accuracy: {target['train_accuracy']:.4f} on members, "
        f"{target['test_accuracy']:.4f} on non-members.",
        _about_references(report["references"]),
    ]


def _about_references(references: dict[str, Any]) -> str:
    models = references["models"]
    if not models:
        return "References: none."
    told = []
    for side, where in (("train", "their members"), ("test", "the rest")):
        rates = [one[f"{side}_accuracy"] for one in models]
        rates = [rate for rate in rates if rate is not None]
        if rates:
            told.append(f"{min(rates):.4f} to {max(rates):.4f} on {where}")
    return f"References: {references['count']}, accuracy {', '.join(told)}."


def _controls(report: dict[str, Any]) -> Table:
    """Return a line for each control."""
    shown = _grid()
    shown.show_header = False
    for _ in range(3):
        shown.add_column()
    controls = report["controls"]
    null, blind, alike = (controls[name] for name in ("null", "blind", "references"))
    found = [one["auc"] for one in null["attacks"].values()]
    told = (
        f"{len(found)} attacks on shuffled memberships: AUC {_three(min(found))} to "
        f"{_three(max(found))}, p {_p(null['p_value'])}"
    )
    shown.add_row("null", _passed(null), told)
    shown.add_row("blind", _passed(blind), _about_blind(blind))
    if alike is None:
        shown.add_row("references", "-", "there are none")
    else:
        pairs = [
            f"{_three(alike[name]['target'])} against "
            f"{_three(alike[name]['references'])} {on}"
            for name, on in (
                ("train_accuracy", "in training"),
                ("test_accuracy", "outside"),
            )
            if name in alike
        ]
        passed = "passed" if alike["passed"] else "differ"
        shown.add_row("references", passed, f"accuracy {', '.join(pairs)}")
    fine = controls["resolution"]
    told = (
        f"{fine['nonmembers']} non-members measure false-positive rates from "
        f"{fine['smallest_fpr']:.2g} up"
    )
    shown.add_row("resolution", "", told)
    return shown


def _about_blind(blind: dict[str, Any]) -> str:
    if blind["passed"] is None:
        return f"nothing was compared: {blind['reason']}"
    if blind["auc"] is None:
        told = "labels alone were compared"
    else:
        low, high = blind["interval"]
        told = f"without the model AUC {_figure(blind['auc'], (low, high))}"
    if blind["differing"]:
        names = ", ".join(one["statistic"] for one in blind["differing"])
        told += f"; the sides differ by {names}"
    return told


def _scores(attacks: Sequence[dict[str, Any]]) -> Table:
    """Return a table of the attacks' scores."""
    shown = _grid()
    shown.add_column("attack", no_wrap=True)
    for name in ("AUC", "TPR@1%", "TPR@0.1%", "p"):
        shown.add_column(name, no_wrap=True)
    for one in attacks:
        rates = [one["tpr_at_fpr"][rate] for rate in ("0.01", "0.001")]
        shown.add_row(
            one["method"],
            _figure(one["auc"], one["auc_interval"]),
            *(_figure(rate["value"], rate.get("interval")) for rate in rates),
            _p(one["p_value_holm"]),
        )
    return shown


def _decisions(attacks: Sequence[dict[str, Any]]) -> Table:
    """Return a table of what the attacks take for members."""
    shown = _grid()
    shown.add_column("attack", no_wrap=True)
    for name in ("accuracy", "precision", "recall"):
        shown.add_column(name, no_wrap=True)
    for one in attacks:
        told = [
            _figure(one[name], one[f"{name}_interval"])
            for name in ("accuracy", "precision", "recall")
        ]
        shown.add_row(one["method"], *told)
    return shown


def _candidates(attacks: Sequence[dict[str, Any]]) -> Table:
    """Return a table of the learned attacks' searches."""
    shown = _grid()
    shown.add_column("learned")
    shown.add_column("tried", justify="right")
    shown.add_column("best", overflow="fold")
    for attack in attacks:
        best = ", ".join(
            f"{name}={_short(value)}" for name, value in attack["params"].items()
        )
        shown.add_row(attack["method"], str(attack["n_candidates"]), best)
    return shown


def _beyond(report: dict[str, Any]) -> list[str]:
    """Say what else the scores tell."""
    found = []
    tail = (report["tail"] or {}).get("0.01")
    if tail is not None and tail["value"] is not None:
        found.append(
            f"Tail estimate: the loss alone rules out {tail['value']:.4f} of the "
            "non-members while it loses 1% of the members."
        )
    repeats = report["repeats"]
    if repeats is not None:
        own = repeats["attacks"][report["attacks"][-1]["method"]]
        auc = own["auc"]
        found.append(
            f"Divided {repeats['draws']} times, the strongest attack has an AUC of "
            f"{auc['lowest']:.3f} to {auc['highest']:.3f}, mean {auc['mean']:.3f}."
        )
    epsilon = report["epsilon"]
    bounds = ", ".join(
        f"{epsilon['bounds'][name]['epsilon']:.2f} {words}"
        for name, words in BOUNDS.items()
    )
    found.append(
        f"Epsilon at delta {epsilon['delta']:g} is at least, with the attack "
        f"{epsilon['attack']}: {bounds}. {epsilon['meaning']}"
    )
    risk = report["risk"]
    found.append(
        f"Flagged as members: {risk['flagged']} of {risk['records']} records, of which "
        f"{risk['false_discoveries']:.0%} may be false; see records.csv."
    )
    return found


def _slices(slices: dict[str, Any]) -> Table:
    """Return a table of the slices: all of a kind, or of many the ends."""
    shown = _grid()
    shown.add_column(f"slices, by {slices['attack']}")
    for name in ("members", "others"):
        shown.add_column(name, justify="right")
    for name in ("AUC", "p"):
        shown.add_column(name, no_wrap=True)
    for kind, parts in slices.items():
        if kind == "attack":
            continue
        some = list(parts)
        if len(some) > SLICES_SHOWN:
            some = [one for one in some if one["auc"] is not None]
            some.sort(key=lambda one: -one["auc"])
            half = SLICES_SHOWN // 2
            some = [*some[:half], *some[half:][-half:]]
        for one in some:
            p = "-" if one["p_value"] is None else _p(one["p_value"])
            shown.add_row(
                f"{kind} {one['value']}",
                str(one["members"]),
                str(one["nonmembers"]),
                _figure(one["auc"], one["auc_interval"]),
                p,
            )
    return shown


def _grid() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
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


def _passed(control: dict[str, Any]) -> str:
    return {True: "passed", False: "FAILED", None: "-"}[control["passed"]]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rate(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}"
