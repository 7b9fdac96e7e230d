"""The stage that makes the page."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cache import arrays, files, kinds, stamps, tables
from pipeline.config import Data
from pipeline.errors import AuditError
from pipeline.pages.content import ExposedUnit
from stages import page
from tests.conftest import Checkout


@pytest.fixture
def job(finished: Checkout, monkeypatch: pytest.MonkeyPatch) -> stamps.Job:
    monkeypatch.chdir(finished.folder)
    return stamps.read(stamps.stamp_path(Path("artifacts/tiny"), "page"))


def test_the_page_lies_beside_its_digest_and_that_of_its_report(
    finished: Checkout,
) -> None:
    folder = finished.run / "page"
    made = json.loads((folder / "page.json").read_text())
    report = json.loads((finished.run / "report" / "report.json").read_text())
    assert made["report_sha256"] == report["sha256"]
    assert made["files"] == {
        name: files.sha256(folder / name) for name in ("report.html", "report.md")
    }
    html = (folder / "report.html").read_text()
    assert report["sha256"] in html
    assert report["verdict"]["sentence"].split(":")[0] in html
    assert made["origin"].keys() == {"jinja2", "matplotlib", "numpy", "scipy"}


def test_the_page_shows_the_settings_the_keys_and_the_times_of_the_audit(
    job: stamps.Job,
) -> None:
    content = page.read(job)
    assert content.config["data"]["members"] == 60
    assert content.config["features"]["shard_rows"] == 50
    assert content.config["report"]["threshold"] == content.threshold == 0.6
    assert content.keys["report"] == job.key_of("report")
    assert {*content.keys} == {*stamps.chain("page")}
    assert {"loss", "lira_online", "learned"} <= content.seconds.keys()
    assert len(content.member) == len(content.loss) == 30


def test_the_most_exposed_are_shown_as_they_are(job: stamps.Job) -> None:
    content = page.read(job)
    assert content.unseen is None
    assert len(content.exposed) == 12
    columns = page.table_of(job, tables.RECORDS)
    rank = dict(zip(columns["id"].tolist(), columns["rank"].tolist(), strict=True))
    ranks = [rank[record.id] for record in content.exposed]
    assert ranks == sorted(ranks)
    records = arrays.upstream(job, "records", kinds.Records)
    members = {*records.id[records.member].tolist()}
    for record in content.exposed:
        assert record.id in members
        assert record.picture is not None
        assert record.values is None
        assert record.unit is None
        assert record.p_value is None or 0 <= record.p_value <= 1
    assert (content.unit, content.exposed_units) == (None, ())


def test_the_most_exposed_units_are_those_that_the_model_knows() -> None:
    table = {
        "unit": np.array(["a", "b", "c", "d"], dtype=object),
        "records": np.array([3, 1, 2, 4]),
        "side": np.array(["member", "nonmember", "both", "member"], dtype=object),
        "rank": np.array([3, 1, 2, 3]),
        "p_value": np.array([0.5, 0.25, np.nan, 1.0]),
        "flagged": np.array([False, True, True, False]),
    }
    assert page.exposed_units(table) == (
        ExposedUnit("c", 2, None, flagged=True),
        ExposedUnit("a", 3, 0.5, flagged=False),
        ExposedUnit("d", 4, 1.0, flagged=False),
    )


def test_a_record_of_margins_alone_has_no_class() -> None:
    table = {
        "id": np.array([4]),
        "canary": np.array([False]),
        "unit": np.array(["a"], dtype=object),
        "posterior": np.array([0.75]),
        "p_value": np.array([np.nan]),
    }
    record = page.exposed(table, 0, None)
    assert (record.label, record.unit, record.p_value) == (None, "a", None)


def test_each_record_is_shown_beside_its_own_number(job: stamps.Job) -> None:
    records = arrays.upstream(job, "records", kinds.Records)
    data = job.section(Data)
    ids = records.id[[9, 2, 30]]
    together, why = page.seen(data, records, ids)
    assert why is None
    for number, record in zip(ids, together, strict=True):
        (alone,), _ = page.seen(data, records, np.array([number]))
        assert record is not None
        assert alone is not None
        assert np.array_equal(record[0], alone[0])


def test_thumbnails_can_be_left_out(job: stamps.Job) -> None:
    records = arrays.upstream(job, "records", kinds.Records)
    shown, why = page.seen(None, records, records.id[:2])
    assert shown == [None, None]
    assert why == "[report] thumbnails = false"


def test_arrays_are_shown_by_their_inputs_or_not_at_all(
    job: stamps.Job, tmp_path: Path
) -> None:
    records = arrays.upstream(job, "records", kinds.Records)
    n_source = int(records.n_source)
    inputs = np.arange(3 * n_source, dtype=np.float32).reshape(n_source, 3)
    path = tmp_path / "a.npz"
    data = Data(source="arrays", path=str(path))
    np.savez(path, inputs=inputs)
    shown, why = page.seen(data, records, records.id[[4, 1]])
    assert why is None
    for number, record in zip(records.id[[4, 1]], shown, strict=True):
        assert record is not None
        assert record[0].tolist() == inputs[number].tolist()
    np.savez(path, other=inputs)
    shown, why = page.seen(data, records, records.id[:2])
    assert (shown, why) == ([None, None], "the file of arrays holds no inputs")


def test_a_page_does_without_records_that_cannot_be_read(
    job: stamps.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = arrays.upstream(job, "records", kinds.Records)
    data = job.section(Data)

    def fail(*_: object) -> None:
        raise ImportError("No module named 'mindspore'")

    monkeypatch.setattr(page.sources, "blocks", fail)
    shown, why = page.seen(data, records, records.id[:1])
    assert shown == [None]
    assert why is not None
    assert "ImportError: No module named 'mindspore'" in why

    def changed(*_: object) -> None:
        raise AuditError("folder/data.py", "gives other records", "do not")

    monkeypatch.setattr(page.sources, "blocks", changed)
    _, why = page.seen(data, records, records.id[:1])
    assert why == "they cannot be read here (gives other records)"


def test_times_that_are_lost_are_left_out(
    job: stamps.Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page, "TIMINGS", str(tmp_path / "gone.json"))
    assert page.seconds(job) == {}


def test_equal_contents_have_pages_of_equal_bytes(job: stamps.Job) -> None:
    made = page.read(job)
    assert page.page(made) == page.page(page.read(job))
