"""The report of the tiny audit: whole, and with a record of every choice in it."""

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import rankdata

from pipeline.cache import documents, stamps
from pipeline.config import Report as Settings
from pipeline.findings import exposure
from pipeline.findings.report import CHOICES, CHOSEN_SHARE, alike
from pipeline.findings.schema import Report, Search
from pipeline.statistics import corrections, metrics
from stages import report as report_stage
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
    "controls.labels",
    "controls.sides.members_accuracy",
    "controls.sides.nonmembers_accuracy",
    "controls.sides.loss_auc",
    "controls.sides.level",
    "controls.null.level",
    "controls.null.attacks",
    "controls.references",
    "controls.independence.agreement",
    "controls.independence.level",
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
    "attacks.precision_at_base_rate",
    "epsilon.bounds.epsilon",
    "epsilon.if_gaussian.epsilon",
    "slices.kinds.value",
    "slices.kinds.members",
    "slices.kinds.nonmembers",
    "slices.kinds.auc",
    "risk.records",
    "risk.flagged_members",
    "risk.false_discoveries",
    "risk.prior",
    "repeats.draws",
    "repeats.attacks",
    "growth",
    "outlook.fewer",
    "outlook.references",
    "outlook.gain",
    "outlook.gain_interval",
    "drivers",
]
# Parts of the report whose keys are names of what they hold.
NAMED = {
    ("controls", "null", "attacks"),
    ("epsilon", "bounds"),
    ("epsilon", "if_gaussian"),
    ("slices", "kinds"),
    ("repeats", "attacks"),
}


def numbers(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the place of every number in a report, without names and positions."""
    if isinstance(value, dict):
        for key, inner in value.items():
            named = path in NAMED
            yield from numbers(inner, (*path, "*" if named else key))
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield tuple(part for part in path if part != "*")


def is_told(path: tuple[str, ...], known: set[str]) -> bool:
    return any(".".join(path[:end]) in known for end in range(1, len(path) + 1))


def read(audit: Checkout) -> Report:
    path = audit.run / "report" / "report.json"
    key = json.loads(path.read_text())["key"]
    return documents.read(path, Report, key=key, fix="")


@pytest.fixture
def report(finished: Checkout) -> Report:
    return read(finished)


@pytest.fixture
def rows(finished: Checkout) -> list[dict[str, str]]:
    with (finished.run / "report" / "records.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scores_of(audit: Checkout) -> dict[str, Any]:
    with h5py.File(audit.run / "attack" / "scores.h5") as file:
        return {name: file[name][()] for name in file}


def unexplained(content: dict[str, Any]) -> set[str]:
    """Return the numbers that are neither plain nor have their choice recorded."""
    known = {*PLAIN, *content["choices"]}
    return {".".join(path) for path in numbers(content) if not is_told(path, known)}


def test_every_figure_is_plain_or_its_choice_is_recorded(report: Report) -> None:
    assert report.choices == CHOICES
    assert unexplained(report.model_dump(mode="json", by_alias=True)) == set()


def test_a_figure_that_is_picked_from_several_is_noticed(report: Report) -> None:
    content = report.model_dump(mode="json", by_alias=True)
    content["attacks"][0]["best_of_ten"] = 0.9
    content["slices"]["kinds"]["class"][0]["lucky"] = 0.9
    assert unexplained(content) == {"attacks.best_of_ten", "slices.kinds.lucky"}


def test_every_choice_is_said_to_be_made_elsewhere_or_corrected_for() -> None:
    allowed = ("attack-train", "references", "corrected for", "attack-eval")
    for name, told in CHOICES.items():
        assert told.startswith(allowed), name
        if told.startswith("attack-eval"):
            assert "allows for" in told or "p_value_corrected" in told


def test_the_figures_are_those_of_the_scores(
    report: Report, finished: Checkout
) -> None:
    scores = scores_of(finished)
    judged = scores["evaluation"]
    member = scores["member"][judged]
    p = []
    for row, name in enumerate(scores["method"]):
        attack = report.attacks[row]
        assert attack.method == name.decode()
        assert attack.auc == metrics.auc(scores["score"][row][judged], member)
        assert attack.auc_interval[0] <= attack.auc <= attack.auc_interval[1]
        p.append(metrics.p_value(scores["score"][row][judged], member))
        assert attack.p_value == p[-1]
    ranking = alike(rankdata(scores["score"][:, judged], axis=1))
    chosen = [*scores["method"]].index(str(report.strongest.chosen).encode())
    corrected = corrections.chosen_first(np.array(p), chosen, ranking, CHOSEN_SHARE)
    told = [attack.p_value_corrected for attack in report.attacks[:-1]]
    assert told == corrected.tolist()


def test_the_controls_are_all_there(report: Report) -> None:
    controls = report.controls
    names = [
        "labels",
        "sides",
        "null",
        "blind",
        "references",
        "independence",
        "resolution",
    ]
    assert [name for name, _ in controls] == names
    methods = [attack.method for attack in report.attacks[:-1]]
    assert [*controls.null.attacks] == methods
    # RMIA's share is one of known non-members.
    assert controls.null.refitted == ("rmia_online", "amortised", "lr", "rf")
    assert controls.resolution.nonmembers == 15
    assert controls.resolution.unmeasured == (0.01, 0.001, 0.0001)
    assert controls.resolution.smallest_tpr_at_fpr == {"0.01": None}
    assert controls.references is not None
    assert controls.independence is not None
    # Both of a pair: as much as one agrees, the other does not.
    agreement = controls.independence.agreement
    assert agreement.lowest + agreement.highest == pytest.approx(1)


def test_epsilon_is_told_with_what_it_assumes(report: Report) -> None:
    assert {*report.epsilon.bounds} == {"clopper_pearson", "one_run"}
    assert {*report.epsilon.if_gaussian} == {"gaussian", "f_dp_one_run"}
    assert "fair coin" in report.epsilon.bounds["one_run"].assumes
    both = (report.epsilon.bounds, report.epsilon.if_gaussian)
    for bound in itertools.chain(*(bounds.values() for bounds in both)):
        assert bound.epsilon >= 0
        assert bound.chosen
        assert bound.assumes.startswith("that ")
    assert report.epsilon.meaning.startswith("Empirical")


def test_the_slices_are_classes_and_outcomes(
    report: Report, finished: Checkout
) -> None:
    scores = scores_of(finished)
    judged, kinds = scores["evaluation"], report.slices.kinds
    assert [*kinds] == ["class", "outcome"]
    classes = np.unique(scores["label"][judged]).tolist()
    assert [part.value for part in kinds["class"]] == classes
    right = scores["correct"][judged]
    counts = {part.value: part.members + part.nonmembers for part in kinds["outcome"]}
    expected = {"right": int(right.sum()), "wrong": int((~right).sum())}
    assert counts == {name: count for name, count in expected.items() if count}


def test_the_table_of_the_records_is_that_of_the_scores(
    rows: list[dict[str, str]], report: Report, finished: Checkout
) -> None:
    scores = scores_of(finished)
    assert [int(row["id"]) for row in rows] == scores["id"].tolist()
    for place, name in enumerate(scores["method"]):
        column = [float(row[f"score_{name.decode()}"]) for row in rows]
        assert column == scores["score"][place].tolist()
    chosen = [*scores["method"]].index(str(report.strongest.chosen).encode())
    ranks = [int(row["rank"]) for row in rows]
    assert ranks == exposure.rank(scores["score"][chosen]).tolist()
    assert all(0 < float(row["posterior"]) < 1 for row in rows)
    # One reference a side tells no spread.
    assert {row["p_value"] for row in rows} == {""}
    assert sum(row["flagged"] == "true" for row in rows) == report.risk.flagged


def test_parquet_and_csv_tell_the_same(
    rows: list[dict[str, str]], finished: Checkout
) -> None:
    table = pq.read_table(finished.run / "report" / "records.parquet")
    assert table.column_names == [*rows[0]]
    assert table.num_rows == len(rows)
    assert table.column("rank").to_pylist() == [int(row["rank"]) for row in rows]


def test_repeated_divisions_show_the_spread_of_every_attack(
    audited: Checkout, report: Report
) -> None:
    audited.edit("eval_fraction = 0.25", "eval_fraction = 0.25\nrepeats = 3")
    assert audited.ran("audit") == ["split", "attack", "report", "page"]
    found = read(audited)
    # The first division is the one there was before, and so are its figures.
    for attack, before in zip(found.attacks, report.attacks, strict=True):
        assert attack.auc == before.auc
    repeats = found.repeats
    assert repeats is not None
    assert (repeats.draws, len(repeats.strongest)) == (3, 3)
    assert [*repeats.attacks] == [attack.method for attack in found.attacks]
    auc = repeats.attacks["loss"].auc
    assert auc is not None
    assert auc.lowest <= found.attacks[0].auc <= auc.highest
    assert auc.deviation > 0
    assert unexplained(found.model_dump(mode="json", by_alias=True)) == set()


def test_groups_are_slices_and_a_column_of_the_table(audited: Checkout) -> None:
    groups = np.array([f"hospital {i % 3}" for i in range(1797)])
    np.save(audited.folder / "groups.npy", groups)
    audited.edit("threshold = 0.6", 'threshold = 0.6\ngroups = "groups.npy"')
    assert audited.ran("audit") == ["report", "page"]
    values = [part.value for part in read(audited).slices.kinds["group"]]
    assert values == ["hospital 0", "hospital 1", "hospital 2"]
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


def test_the_versions_are_those_that_the_artifacts_were_made_with(
    audited: Checkout,
) -> None:
    # As if the scores had been made by another version of a library.
    path = audited.run / "attack" / "search.json"
    search, origin = documents.read_with_origin(
        path, Search, key=json.loads(path.read_text())["key"], fix=""
    )
    other = {**origin, "numpy": "1.26.0"}
    key = json.loads(path.read_text())["key"]
    documents.write(path, search, key=key, origin=other)
    stamps.keep(stamps.read(stamps.stamp_path(audited.run, "attack")))
    (audited.run / "report" / "report.json").unlink()
    assert audited.ran("report") == ["report"]
    provenance = read(audited).provenance
    assert provenance.stages["attack"] == other
    assert "1.26.0" in str(provenance.versions["numpy"])
    assert provenance.versions["device"] == "CPU"
    assert provenance.versions["mindspore"]


def test_the_report_writes_what_it_says(finished: Checkout) -> None:
    folder = Path(finished.run / "report")
    assert sorted(path.name for path in folder.iterdir()) == [
        "full.txt",
        "records.csv",
        "records.parquet",
        "report.json",
        "report.txt",
        "timings.json",
    ]


@pytest.mark.parametrize(
    ("csv_scores", "n_records", "kept"),
    [
        (None, 100_000, True),
        (None, 100_001, False),
        (True, 100_001, True),
        (False, 3, False),
    ],
)
def test_records_csv_has_scores_unless_there_are_very_many_records(
    csv_scores: bool | None, n_records: int, kept: bool
) -> None:
    columns = {name: np.zeros(n_records) for name in ("id", "score_loss", "rank")}
    settings = Settings(csv_scores=csv_scores)
    left = () if kept else ("score_loss",)
    assert report_stage.not_in_csv(columns, settings) == left
