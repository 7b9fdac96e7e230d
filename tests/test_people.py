"""Audits of a source where each person has several records that are nearly copies."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cache import arrays, kinds
from pipeline.config import Data
from pipeline.data import sources
from pipeline.errors import AuditError
from stages import records, references, split
from tests import jobs
from tests.conftest import Checkout

CONFIG = """
[data]
source = "arrays"
path = "people.npz"
{}
[split]
eval_fraction = 0.5
[attack]
attacks = ["loss"]
[[attack.methods]]
method = "knn"
params = {{ n_neighbors = [1, 3] }}
[report]
min_records = 100
"""
N_PERSONS = 200
SIZES = [3, 3, 4, 4, 5, 5, 6, 6]
N_BOTH = 12  # of them, with a record of the other side


def people(
    leak: float, n_both: int = 0
) -> tuple[dict[str, NDArray[Any]], NDArray[np.str_]]:
    """Return signals of persons' near copies, and the person of each record.

    A record's outputs tell its person, and its membership only if there is a leak.
    """
    rng = np.random.default_rng(5)
    # As many records on either side, so that all are audited.
    person = np.repeat(np.arange(N_PERSONS), np.tile(SIZES, N_PERSONS // len(SIZES)))
    label = rng.integers(0, 6, N_PERSONS)[person]
    logits = rng.normal(size=(N_PERSONS, 6))[person] * 2
    logits += 0.05 * rng.normal(size=logits.shape)
    known = np.arange(N_PERSONS) % 2 == 0
    logits[np.arange(len(person)), label] += 2 + leak * known[person]
    member = known[person]
    first = np.unique(person, return_index=True)[1][:n_both]
    member[first] = ~member[first]
    signals = {"logits": logits, "label": label, "member": member}
    return signals, np.char.add("p", person.astype(str))


def audit(checkout: Checkout, *, told: bool, **leak: Any) -> dict[str, Any]:
    """Return the report of an audit, with or without the persons told."""
    signals, person = people(**leak)
    np.savez(checkout.folder / "people.npz", **signals)  # type: ignore[arg-type]
    np.save(checkout.folder / "persons.npy", person)
    checkout.config.write_text(CONFIG.format('units = "persons.npy"' if told else ""))
    assert "report" in checkout.ran("audit")
    report = json.loads((folder_of(checkout) / "report.json").read_text())
    assert isinstance(report, dict)
    return report


def folder_of(checkout: Checkout) -> Path:
    return checkout.run / "report"


def attack(report: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [each for each in report["attacks"] if each["method"] == name]
    return dict(found)


def test_an_attack_that_recognises_persons_finds_nothing_once_they_are_told(
    checkout: Checkout,
) -> None:
    sound = audit(checkout, told=True, leak=0.0)
    assert sound["verdict"]["leaks"] is False
    assert 0.4 < attack(sound, "knn")["auc"] < 0.6
    assert sound["units"]["units"] == N_PERSONS
    assert "Obuchowski" in sound["intervals"]["auc"]
    text = (folder_of(checkout) / "report.txt").read_text()
    assert "Units: 200 of 3 to 6 records, median 4.5" in text
    assert (folder_of(checkout) / "units.csv").exists()

    fooled = audit(checkout, told=False, leak=0.0)
    assert attack(fooled, "knn")["auc"] > 0.9
    assert attack(fooled, "knn")["p_value_corrected"] < 1e-6
    assert fooled["units"] is None
    assert not (folder_of(checkout) / "units.csv").exists()


def test_a_leak_is_found_and_told_of_persons(checkout: Checkout) -> None:
    leaky = audit(checkout, told=True, leak=12.0, n_both=N_BOTH)
    assert leaky["verdict"]["leaks"] is True
    of_units = leaky["units"]
    assert (of_units["both"], of_units["units"]) == (N_BOTH, N_PERSONS)
    assert of_units["members"] == of_units["nonmembers"] == (N_PERSONS - N_BOTH) // 2
    assert f"units with non-members, {N_BOTH} are known" in leaky["verdict"]["sentence"]
    folder = folder_of(checkout)
    text = (folder / "report.txt").read_text()
    assert f"of {N_BOTH}, records are on both sides" in " ".join(text.split())
    with (folder / "units.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == [
        *("unit", "records", "side", "maximum", "mean", "log_sum_exp"),
        *("rank", "p_value", "flagged"),
    ]
    assert sum(row["flagged"] == "true" for row in rows) == of_units["flagged"] > 20
    with (folder / "records.csv").open() as file:
        of_record = {row["unit"] for row in csv.DictReader(file)}
    assert of_record == {row["unit"] for row in rows}
    assert {row["side"] for row in rows} == {"member", "nonmember", "both"}

    # A table that is lost is made again.
    (folder / "units.csv").unlink()
    assert checkout.ran("audit") == ["report"]
    assert (folder / "units.csv").exists()


# The stages, one by one


def written(folder: Path, ids: NDArray[Any] | None = None, **more: Any) -> Data:
    """Return settings of signals on disk, with units in a file if there are any."""
    signals, _ = people(leak=1.0)
    np.savez(folder / "a.npz", **{**signals, **more})
    where = {"source": "arrays", "path": str(folder / "a.npz")}
    if ids is not None:
        np.save(folder / "persons.npy", ids)
        where["units"] = str(folder / "persons.npy")
    return Data.model_validate(where)


def test_units_come_from_their_file_or_from_that_of_the_arrays(tmp_path: Path) -> None:
    _, person = people(leak=1.0)
    n = len(person)
    assert sources.units(written(tmp_path), n) is None
    for more in ({"ids": person}, {"unit": person}):
        found = sources.units(written(tmp_path, **more), n)
        assert found is not None
        assert found.tolist() == person.tolist()


def test_units_that_are_told_twice_are_refused(tmp_path: Path) -> None:
    _, person = people(leak=1.0)
    settings = written(tmp_path, person, unit=person)
    with pytest.raises(AuditError) as caught:
        sources.units(settings, len(person))
    assert str(caught.value) == (
        f"data.units: is set, and {tmp_path}/a.npz has the array 'unit'. Fix: leave "
        "one of the two out."
    )


def test_units_in_the_arrays_are_checked_as_those_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(AuditError) as caught:
        sources.units(written(tmp_path, unit=np.arange(3.0)), 900)
    assert str(caught.value).startswith(
        f"{tmp_path}/a.npz: array unit has type float64 and shape (3,). Fix: save "
        "whole numbers or strings of shape (900,)"
    )


def chosen(catalogue: sources.Catalogue, unit: NDArray[Any], **more: Any) -> Any:
    settings = Data.model_validate({"source": "digits", **more})
    return records.choose(settings, catalogue, unit)


def pool(n: int, member: NDArray[np.bool_] | None = None) -> sources.Catalogue:
    label = (np.arange(n) % 3).astype(np.int32)
    content = np.arange(n).astype("S32")
    return sources.Catalogue(label, member, content, n_classes=3)


def units_of(found: kinds.Records, rows: NDArray[np.bool_]) -> set[str]:
    return {text.decode() for text in found.unit_id[found.unit[rows]]}


def test_where_the_audit_draws_the_sides_no_unit_is_on_two() -> None:
    unit = np.random.default_rng(0).permutation(np.repeat(np.arange(30), 5))
    found = chosen(pool(150), unit, members=48, nonmembers=48, population=20)
    assert (found.member.sum(), found.nonmember.sum()) == (48, 48)
    assert found.population.sum() == 20
    sides = [units_of(found, rows) for rows in (found.member, found.nonmember)]
    sides.append(units_of(found, found.population))
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert len(sides[0]) == 10  # all of nine, and three records of a tenth
    assert len(found.on_both_sides) == 0
    assert found.unit_member.sum() == 10
    assert found.shared_unit is not None


def test_units_of_one_record_each_change_no_draw() -> None:
    for more in ({}, {"members": 40, "population": 10}, {"choose": "first"}):
        plain = records.choose(
            Data.model_validate({"source": "digits", **more}), pool(150)
        )
        found = chosen(pool(150), np.arange(150)[::-1], **more)
        assert found.id.tolist() == plain.id.tolist()
        assert found.member.tolist() == plain.member.tolist()
        assert found.shared_unit is None


def test_more_non_members_than_other_units_have_are_refused() -> None:
    unit = np.repeat(np.arange(2), 75)
    with pytest.raises(AuditError) as caught:
        chosen(pool(150), unit, members=40, nonmembers=80)
    assert str(caught.value) == (
        "data.nonmembers: is 80, but 75 differ from every member and are of other "
        "units. Fix: lower it."
    )


def test_a_population_has_no_unit_that_the_target_was_trained_on() -> None:
    # Records 0 to 49 are members; of unit 9, one member and all of 90 to 99.
    unit, member = np.arange(100) // 10, np.arange(100) < 50
    unit[0] = 9
    found = chosen(pool(100, member), unit, members=5, nonmembers=10, population=20)
    assert units_of(found, found.population) & {"9"} == set()
    both = {found.unit_id[u].decode() for u in found.on_both_sides}
    assert both == {"9"} & units_of(found, found.nonmember)


def test_the_line_of_records_tells_of_units(tmp_path: Path) -> None:
    signals, person = people(leak=1.0, n_both=4)
    for array in signals.values():
        array[-1] = array[-2]
    person[-1] = "somebody else"
    settings = written(tmp_path, person, **signals)
    job = jobs.job(
        "records",
        tmp_path / "run",
        {"data": {"source": "arrays", "members": 450, "nonmembers": 449}},
        {"path": str(settings.path), "units": str(settings.units)},
    )
    line = records.compute(job)
    assert "units of which 4 have records on both sides" in line
    assert "1 records equal one of another unit and were left out" in line
    kept = arrays.read(job.artifact("records"), kinds.Records, key=job.key, fix="")
    assert len(kept.unit) == len(kept.id)
    assert kept.unit_id[kept.unit].tolist() == [
        name.encode() for name in person[kept.id]
    ]


def test_a_division_of_ones_own_that_parts_a_unit_is_refused() -> None:
    evaluation, unit = np.arange(6) < 3, np.array([0, 1, 2, 2, 3, 0])
    split.check_units(evaluation, None)
    split.check_units(evaluation, np.array([0, 0, 1, 2, 2, 3]))
    with pytest.raises(AuditError) as caught:
        split.check_units(evaluation, unit)
    assert str(caught.value) == (
        "array train: divides the records of 2 units. Fix: put all records of a unit "
        "on one side, or leave train out."
    )


def test_references_that_know_a_unit_in_part_are_counted() -> None:
    member = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], dtype=bool)
    assert references.partly_known(member, np.array([0, 0, 1, 1])) == 2
    assert references.partly_known(member, None) == 0
