"""The report's records: what is written is read back, and nothing else is."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.findings import schema
from pipeline.findings.schema import (
    AttackChoice,
    Candidate,
    Division,
    DivisionFigures,
    Learned,
    Report,
    Search,
    Spread,
    Strongest,
)
from pipeline.record import Record
from tests import reports

PROJECT = Path(__file__).parents[1]
RECORDS = [
    kind
    for kind in vars(schema).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
]


def full_report() -> Report:
    """Return a report in which everything is there that can be."""
    spread = Spread(lowest=0.1, highest=0.3, mean=0.2, deviation=0.1)
    spreads = schema.Spreads(
        auc=spread,
        accuracy=spread,
        precision=None,
        recall=spread,
        tpr_at_fpr={"0.1": spread, "0.001": None},
    )
    repeats = schema.Repeats(
        draws=2, strongest=("lr", "loss"), attacks={"strongest": spreads}
    )
    return reports.report(
        reports.attack("loss", family="threshold", params={}, threshold=0.5),
        reports.attack("mlp", params={"hidden": [64, 32], "solver": None}),
        controls=reports.controls(blind=reports.blind("mean", "zeros")),
        repeats=repeats,
    )


def search() -> Search:
    figures = DivisionFigures(
        auc=0.7, accuracy=0.6, precision=None, recall=0.0, tpr_at_fpr={"0.1": None}
    )
    return Search(
        attacks=(
            AttackChoice(
                method="loss",
                family="threshold",
                params={},
                n_candidates=1,
                threshold=-0.25,
            ),
        ),
        strongest=Strongest(chosen="loss", auc_on_attack_train={"loss": 0.7}),
        rmia_slope=None,
        fitted=100,
        null=reports.null(),
        repeats=(Division(strongest="loss", attacks={"loss": figures}),),
        methods=(
            Learned(
                name="mlp",
                method="mlp",
                best_params={"hidden_layer_sizes": (64, 32)},
                candidates=(
                    Candidate(
                        params={"hidden_layer_sizes": (64, 32)},
                        mean_accuracy=0.5,
                        accuracy=(0.4, 0.6),
                        auc=(0.4, 0.6),
                        converged=True,
                    ),
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    "record", [full_report(), search(), reports.blind("mean"), reports.blind()]
)
def test_a_record_is_read_back_from_its_json(record: Record) -> None:
    content = json.dumps(record.model_dump(mode="json", by_alias=True), allow_nan=False)
    assert type(record).model_validate_json(content) == record


@pytest.mark.parametrize("kind", RECORDS)
def test_every_record_has_a_schema_that_allows_no_other_field(
    kind: type[Record],
) -> None:
    described = kind.model_json_schema()
    parts = [described, *described.get("$defs", {}).values()]
    objects = [part for part in parts if "properties" in part]
    assert objects
    assert all(part["additionalProperties"] is False for part in objects)
    assert kind.model_config["frozen"]


def test_the_schema_of_the_report_names_every_part_of_it() -> None:
    described = TypeAdapter(Report).json_schema()
    assert [*described["properties"]] == [
        "schema",
        "audit",
        "about",
        "controls",
        "target",
        "records",
        "references",
        "confidence",
        "intervals",
        "tail",
        "attacks",
        "epsilon",
        "slices",
        "risk",
        "units",
        "repeats",
        "growth",
        "outlook",
        "drivers",
        "choices",
        "verdict",
        "provenance",
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the numbers of a JSON value stand."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*path, key))
    elif isinstance(value, float):
        yield path


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def test_every_number_of_a_report_is_finite_or_null() -> None:
    content = full_report().model_dump(mode="json", by_alias=True)
    # Parameters are the user's, and checked where they are read.
    numbers = [path for path in places(content) if "params" not in path]
    assert len(numbers) > 150
    for path in numbers:
        parent, number = at(content, path[:-1]), at(content, path)
        # What was chosen for a bound may be a word.
        text = () if "chosen" in path else ("0.5",)
        for wrong in (float("nan"), float("inf"), *text):
            parent[path[-1]] = wrong
            with pytest.raises(ValidationError):
                Report.model_validate_json(json.dumps(content))
        parent[path[-1]] = number
    assert Report.model_validate_json(json.dumps(content)) == full_report()


def test_a_report_with_an_unknown_field_is_refused() -> None:
    content = full_report().model_dump(mode="json", by_alias=True)
    for part in (content, content["verdict"], content["controls"]["null"]):
        part["lucky"] = 0.9
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            Report.model_validate_json(json.dumps(content))
        del part["lucky"]


def test_a_report_of_another_schema_is_refused() -> None:
    content = full_report().model_dump(mode="json", by_alias=True)
    assert content["schema"] == 5
    content["schema"] = 4
    with pytest.raises(ValidationError, match="Input should be 5"):
        Report.model_validate_json(json.dumps(content))


def test_a_report_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        full_report().audit = "other"  # type: ignore[misc]


def test_a_report_is_read_without_loading_anything_heavy() -> None:
    code = (
        "import sys, pipeline.findings.schema\n"
        "print(*{'numpy', 'mindspore', 'sklearn', 'h5py', 'scipy', 'joblib'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"
