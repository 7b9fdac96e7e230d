"""The report of the tiny audit: its schema, and that every choice in it is recorded."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.audit import terminal
from pipeline.findings import exposure
from pipeline.statistics import corrections, metrics
from tests.conftest import Checkout

# Of the report's numbers these were counted, measured or configured; nothing that they
# depend on was picked from several.
PLAIN = [
    "schema",
    "confidence",
    "controls.blind.auc",
    "controls.blind.interval",
    "controls.blind.confidence",
    "controls.blind.statistics",
    "controls.blind.level",
    "controls.null.level",
    "controls.null.attacks",
    "controls.references",
    "controls.resolution",
    "target",
    "records",
    "references.count",
    "references.models",
    "attacks.n_candidates",
    "attacks.auc",
    "attacks.auc_interval",
    "attacks.p_value",
    "attacks.accuracy",
    "attacks.accuracy_interval",
    "attacks.balanced_accuracy",
    "attacks.balanced_accuracy_interval",
    "attacks.advantage",
    "attacks.advantage_interval",
    "attacks.precision",
    "attacks.precision_interval",
    "attacks.recall",
    "attacks.recall_interval",
    "epsilon.delta",
    "epsilon.confidence",
    "epsilon.bounds.epsilon",
    "slices.value",
    "slices.members",
    "slices.nonmembers",
    "slices.auc",
    "risk.records",
    "risk.flagged_members",
    "risk.false_discoveries",
    "risk.prior",
    "repeats.draws",
    "repeats.attacks",
]
# Levels of the report that are named by what they hold.
NAMED = {
    ("controls", "null", "attacks"),
    ("epsilon", "bounds"),
    ("slices",),
    ("repeats", "attacks"),
}


def numbers(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the place of every number in a report, without names and positions."""
    if isinstance(value, dict):
        for key, inner in value.items():
            named = path in NAMED and isinstance(inner, dict | list)
            yield from numbers(inner, (*path, "*" if named else key))
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield tuple(part for part in path if part != "*")


def is_told(path: tuple[str, ...], known: set[str]) -> bool:
    return any(".".join(path[:end]) in known for end in range(1, len(path) + 1))


@pytest.fixture
def report(finished: Checkout) -> dict[str, Any]:
    return dict(json.loads((finished.run / "report" / "report.json").read_text()))


@pytest.fixture
def rows(finished: Checkout) -> list[dict[str, str]]:
    with (finished.run / "report" / "records.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scores_of(audit: Checkout) -> dict[str, Any]:
    with h5py.File(audit.run / "attack" / "scores.h5") as file:
        return {name: file[name][()] for name in file}


def test_every_figure_is_plain_or_its_choice_is_recorded(
    report: dict[str, Any],
) -> None:
    known = {*PLAIN, *report["choices"]}
    assert report["choices"] == terminal.CHOICES
    untold = {".".join(path) for path in numbers(report) if not is_told(path, known)}
    assert untold == set()


def test_a_figure_that_is_picked_from_several_is_noticed(
    report: dict[str, Any],
) -> None:
    report["attacks"][0]["best_of_ten"] = 0.9
    report["slices"]["class"][0]["lucky"] = 0.9
    known = {*PLAIN, *report["choices"]}
    untold = {".".join(path) for path in numbers(report) if not is_told(path, known)}
    assert untold == {"attacks.best_of_ten", "slices.lucky"}


def test_every_choice_is_said_to_be_made_elsewhere_or_corrected_for() -> None:
    allowed = ("attack-train", "references", "corrected for", "attack-eval")
    for name, told in terminal.CHOICES.items():
        assert told.startswith(allowed), name
        if told.startswith("attack-eval"):
            assert "allows for" in told or "p_value_holm" in told


def test_the_figures_are_those_of_the_scores(
    report: dict[str, Any], finished: Checkout
) -> None:
    scores = scores_of(finished)
    judged = scores["evaluation"]
    member = scores["member"][judged]
    p = []
    for row, name in enumerate(scores["method"]):
        entry = report["attacks"][row]
        assert entry["method"] == name.decode()
        assert entry["auc"] == metrics.auc(scores["score"][row][judged], member)
        assert entry["auc_interval"][0] <= entry["auc"] <= entry["auc_interval"][1]
        p.append(metrics.p_value(scores["score"][row][judged], member))
        assert entry["p_value"] == p[-1]
    holm = corrections.holm(np.array(p))
    assert [one["p_value_holm"] for one in report["attacks"][:-1]] == holm.tolist()


def test_the_controls_are_all_there(report: dict[str, Any]) -> None:
    controls = report["controls"]
    assert [*controls] == ["null", "blind", "references", "resolution"]
    methods = [one["method"] for one in report["attacks"][:-1]]
    assert [*controls["null"]["attacks"]] == methods
    # RMIA's share is one of known non-members.
    assert controls["null"]["refitted"] == ["rmia_online", "amortised", "lr", "rf"]
    assert controls["resolution"]["nonmembers"] == 15
    assert controls["resolution"]["unmeasured"] == [0.01, 0.001, 0.0001]
    assert all("passed" in controls[name] for name in ("null", "blind", "references"))


def test_epsilon_is_told_with_what_it_assumes(report: dict[str, Any]) -> None:
    epsilon = report["epsilon"]
    assert {*epsilon["bounds"]} == {*terminal.BOUNDS}
    for one in epsilon["bounds"].values():
        assert one["epsilon"] >= 0
        assert one["chosen"]
        assert one["assumes"].startswith("that ")
    assert epsilon["meaning"].startswith("Empirical")


def test_the_slices_are_classes_and_outcomes(
    report: dict[str, Any], finished: Checkout
) -> None:
    scores = scores_of(finished)
    judged, slices = scores["evaluation"], report["slices"]
    assert [*slices] == ["attack", "class", "outcome"]
    classes = np.unique(scores["label"][judged]).tolist()
    assert [one["value"] for one in slices["class"]] == classes
    right = scores["correct"][judged]
    counts = {
        one["value"]: one["members"] + one["nonmembers"] for one in slices["outcome"]
    }
    expected = {"right": int(right.sum()), "wrong": int((~right).sum())}
    assert counts == {name: count for name, count in expected.items() if count}


def test_the_table_of_the_records_is_that_of_the_scores(
    rows: list[dict[str, str]], report: dict[str, Any], finished: Checkout
) -> None:
    scores = scores_of(finished)
    assert [int(row["id"]) for row in rows] == scores["id"].tolist()
    for place, name in enumerate(scores["method"]):
        found = [float(row[f"score_{name.decode()}"]) for row in rows]
        assert found == scores["score"][place].tolist()
    chosen = [*scores["method"]].index(report["attacks"][-1]["chosen"].encode())
    ranks = [int(row["rank"]) for row in rows]
    assert ranks == exposure.rank(scores["score"][chosen]).tolist()
    assert all(0 < float(row["posterior"]) < 1 for row in rows)
    # One reference a side tells no spread.
    assert {row["p_value"] for row in rows} == {""}
    assert sum(row["flagged"] == "true" for row in rows) == report["risk"]["flagged"]


def test_parquet_and_csv_tell_the_same(
    rows: list[dict[str, str]], finished: Checkout
) -> None:
    table = pq.read_table(finished.run / "report" / "records.parquet")
    assert table.column_names == [*rows[0]]
    assert table.num_rows == len(rows)
    assert table.column("rank").to_pylist() == [int(row["rank"]) for row in rows]


def test_repeated_divisions_show_the_spread_of_every_attack(
    audited: Checkout, report: dict[str, Any]
) -> None:
    audited.edit("eval_fraction = 0.25", "eval_fraction = 0.25\nrepeats = 3")
    assert audited.ran("audit") == ["split", "attack", "report"]
    found = json.loads((audited.run / "report" / "report.json").read_text())
    # The first division is the one there was before, and so are its figures.
    for one, other in zip(found["attacks"], report["attacks"], strict=True):
        assert one["auc"] == other["auc"]
    repeats = found["repeats"]
    assert (repeats["draws"], len(repeats["strongest"])) == (3, 3)
    assert [*repeats["attacks"]] == [one["method"] for one in found["attacks"]]
    auc = repeats["attacks"]["loss"]["auc"]
    assert auc["lowest"] <= found["attacks"][0]["auc"] <= auc["highest"]
    assert auc["deviation"] > 0
    known = {*PLAIN, *found["choices"]}
    assert all(is_told(path, known) for path in numbers(found))


def test_groups_are_slices_and_a_column_of_the_table(audited: Checkout) -> None:
    groups = np.array([f"hospital {i % 3}" for i in range(1797)])
    np.save(audited.folder / "groups.npy", groups)
    audited.edit("threshold = 0.6", 'threshold = 0.6\ngroups = "groups.npy"')
    assert audited.ran("audit") == ["report"]
    found = json.loads((audited.run / "report" / "report.json").read_text())
    told = [one["value"] for one in found["slices"]["group"]]
    assert told == ["hospital 0", "hospital 1", "hospital 2"]
    with (audited.run / "report" / "records.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["group"] == groups[int(row["id"])]


def test_groups_of_another_shape_are_refused(audited: Checkout) -> None:
    np.save(audited.folder / "groups.npy", np.arange(5))
    audited.edit("threshold = 0.6", 'threshold = 0.6\ngroups = "groups.npy"')
    done = audited.make("audit")
    assert done.returncode != 0
    assert (
        "error: report.groups: groups.npy has type int64 and shape (5,). Fix: save "
        "whole numbers or strings of shape (1797,), one for each record of the source."
    ) in done.stderr


def test_a_bootstrap_gives_other_intervals_and_the_same_values(
    audited: Checkout, report: dict[str, Any]
) -> None:
    audited.edit(
        "threshold = 0.6", 'threshold = 0.6\nintervals = "bootstrap"\nresamples = 200'
    )
    assert audited.ran("audit") == ["report"]
    found = json.loads((audited.run / "report" / "report.json").read_text())
    assert found["intervals"]["auc"] == "bootstrap, percentiles"
    for one, other in zip(found["attacks"], report["attacks"], strict=True):
        assert one["auc"] == other["auc"]
        assert one["auc_interval"] != other["auc_interval"]


def test_the_report_writes_what_it_says(finished: Checkout) -> None:
    folder = Path(finished.run / "report")
    assert sorted(path.name for path in folder.iterdir()) == [
        "records.csv",
        "records.parquet",
        "report.json",
        "report.txt",
        "timings.json",
    ]
