"""The program that says of records brought later whether they were used."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.cache import arrays, keys, kinds, shards
from pipeline.cache.stamps import Job
from pipeline.data import sources
from pipeline.data.brought import Brought
from pipeline.errors import AuditError
from pipeline.findings.inference import Inferences, Signs, inference
from stages import infer
from tests.conftest import Checkout
from tests.test_make import error_of


@pytest.fixture
def job(finished: Checkout, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(finished.folder)
    return infer.job_of(Path("artifacts/tiny"), Path("tiny.toml"), None)


def stored() -> tuple[np.ndarray, np.ndarray]:
    return sources._digits()


def saved(folder: Path, pictures: dict[str, tuple[np.ndarray, int]]) -> Path:
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label"])
        for name, (pixels, label) in pictures.items():
            Image.fromarray(pixels[..., 0]).save(folder / name, format="png")
            table.writerow([name, label])
    return folder


def known_ids(audit: Checkout) -> tuple[int, int]:
    """Return the number of a member and of a non-member within the source."""
    scores = json.loads((audit.run / "report" / "report.json").read_text())
    assert scores["records"]["members"] == 60
    with (audit.run / "report" / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sides = {row["member"]: int(row["id"]) for row in rows}
    return sides["true"], sides["false"]


def test_make_says_of_records_whether_they_were_used(audited: Checkout) -> None:
    images, labels = stored()
    member, nonmember = known_ids(audited)
    strange = 255 - images[member]
    pictures = {
        "member.png": (images[member], int(labels[member])),
        "=1+1.png": (strange, 3),
        "nonmember.png": (images[nonmember], int(labels[nonmember])),
    }
    saved(audited.folder / "brought", pictures)
    done = audited.make("infer", "RECORDS=brought")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "member.png is one of the audit's records, and the model was trained on it."
    )
    assert lines[1].startswith("=1+1.png is none of the audit's records. Of 15 non-")
    assert "and the model was not trained on it" in lines[2]
    assert "3 records -> artifacts/tiny/infer/infer.json" in lines[3]

    content = json.loads((audited.run / "infer" / "infer.json").read_text())
    digest = content.pop("sha256")
    assert keys.digest(content) == digest
    fields = {k: v for k, v in content.items() if k not in ("key", "origin")}
    made = Inferences.model_validate_json(json.dumps(fields))
    assert [record.known for record in made.records] == ["member", None, "nonmember"]
    assert made.attack == "loss"
    # Known records have the scores of the audit.
    with (audited.run / "report" / "records.csv").open(newline="") as file:
        rows = {int(row["id"]): row for row in csv.DictReader(file)}
    for record, number in zip(made.records[::2], (member, nonmember), strict=True):
        assert record.score == pytest.approx(float(rows[number]["score_loss"]))
        # By one pair of references no record of the audit has a p-value.
        assert rows[number]["p_value"] == ""
        assert record.p_value is None
    assert made.records[1].p_value is not None
    with (audited.run / "infer" / "infer.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table[1]["name"] == "'=1+1.png"
    assert table[1]["text"].startswith("'=1+1.png is none")
    assert audited.ran("audit") == []

    # Without the checkpoints the audit's own records are known as well as before.
    (audited.run / "references" / "reference-001.ckpt").unlink()
    assert "reference-001.ckpt: is gone, a checkpoint that references.json" in error_of(
        audited, "infer", "RECORDS=brought"
    )
    table_of = audited.folder / "brought" / "labels.csv"
    lines_kept = [line for line in table_of.read_text().splitlines() if "=" not in line]
    table_of.write_text("\n".join(lines_kept))
    assert audited.make("infer", "RECORDS=brought").returncode == 0


def brought_of(job: Job, ids: Any) -> Brought:
    images, _ = stored()
    records = arrays.upstream(job, "records", kinds.Records)
    label = records.label[np.searchsorted(records.id, ids)]
    return Brought(tuple(map(str, ids)), (images[ids],), label)


def test_models_say_of_a_record_what_they_said_in_the_audit(job: Job) -> None:
    audit = infer.read(job)
    rows = np.array([5, 90, 41])
    asked = brought_of(job, audit.records.id[rows])
    outputs = infer.run_models(job, asked, np.arange(3), audit)
    expected = shards.target_margin(job)[rows]
    np.testing.assert_allclose(outputs.target, expected, rtol=1e-4, atol=1e-4)
    blocks = list(shards.reference_blocks(job))
    expected = np.concatenate([block.margin for block in blocks], axis=1)[:, rows]
    np.testing.assert_allclose(outputs.references, expected, rtol=1e-4, atol=1e-4)


def test_a_record_has_the_same_signs_beside_whichever_others(job: Job) -> None:
    audit = infer.read(job)._replace(attack="rmia_offline", slope=0.4)
    n_models = len(audit.in_models)
    rng = np.random.default_rng(0)
    asked = brought_of(job, audit.records.id[:4])
    content = sources.hashes(*asked.inputs)
    outputs = infer.Outputs(
        rng.normal(size=(4, 1)).astype(np.float32),
        rng.normal(size=(n_models, 4, 1)).astype(np.float32),
    )
    signs = infer.measured(job, audit, asked, np.arange(4), content, outputs)
    for row in range(4):
        alone = infer.Outputs(outputs.target[[row]], outputs.references[:, [row]])
        rows = np.array([row])
        own = infer.measured(job, audit, asked, rows, content[rows], alone)
        assert own == [signs[row]]
    assert len({each.score for each in signs}) == 4
    assert all(0 < (each.p_value or 0.0) <= 1 for each in signs)


def test_a_record_far_above_all_references_is_the_likeliest(job: Job) -> None:
    audit = infer.read(job)
    asked = brought_of(job, audit.records.id[:2])
    margins = np.tile(np.array([0.0, 1.0], np.float32)[:, None, None], (1, 2, 1))
    outputs = infer.Outputs(np.array([[30.0], [-30.0]], np.float32), margins)
    content = sources.hashes(*asked.inputs)
    high, low = infer.measured(job, audit, asked, np.arange(2), content, outputs)
    assert high.score > low.score
    assert high.p_value is not None
    assert low.p_value is not None
    assert high.p_value < low.p_value == 1


def test_a_label_that_is_not_the_audits_is_noted(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = infer.read(job)
    asked = brought_of(job, audit.records.id[:1])
    label = int(asked.label[0])
    other = asked.__class__(("a",), asked.inputs, np.array([label + 1], np.int32))
    assert infer.of_known(job, audit, other, 0, 0).label == label
    assert f"a has the label {label} in the audit" in capsys.readouterr().err


def test_a_record_of_the_population_is_none_of_the_members(job: Job) -> None:
    audit = infer.read(job)
    row = int(np.flatnonzero(~audit.records.member)[0])
    population = np.arange(len(audit.records.id)) == row
    records = kinds.Records(**{**vars(audit.records), "population": population})
    asked = brought_of(job, audit.records.id[[row]])
    signs = infer.of_known(job, audit._replace(records=records), asked, 0, row)
    assert (signs.known, signs.p_value) == ("population", None)
    expected = audit.scores.score[infer.row_of(audit.scores, audit.attack), row]
    assert signs.score == pytest.approx(expected)


def test_what_cannot_be_inferred_is_refused(
    job: Job, finished: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG", "tiny.toml")
    monkeypatch.delenv("RECORDS", raising=False)
    with pytest.raises(AuditError, match="RECORDS: is missing"):
        infer.main()
    text = finished.config.read_text()
    path = tmp_path / "tiny.toml"
    path.write_text(text.replace("folds = 3", "folds = 4"))
    with pytest.raises(AuditError, match=r"is not finished as its .*folds: 3 -> 4"):
        infer.job_of(Path("artifacts/tiny"), path, None)
    monkeypatch.setitem(job.paths, "source", "arrays")
    monkeypatch.setitem(job.paths, "path", "a.npz")
    with pytest.raises(AuditError, match="whose models ran elsewhere"):
        infer.inferred(job, tmp_path)


@pytest.mark.parametrize(
    ("n_unknown", "note"),
    [
        (infer.SEVERAL - 1, ""),
        (
            infer.SEVERAL,
            "note: if none of these 20 records had been used, up to 1 of them would "
            "show a sign by chance\n",
        ),
    ],
)
def test_of_many_records_that_are_asked_about_some_show_a_sign_by_chance(
    n_unknown: int,
    note: str,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    audit = infer.read(job)
    signs = [Signs(str(i), 3, None, 0.0, 0.5) for i in range(n_unknown)]
    signs += [Signs("known", 3, "member", 0.0, 0.5)] * 5
    made = Inferences(
        audit="tiny",
        grade="low",
        attack=audit.attack,
        nonmembers=40,
        confidence=0.95,
        records=tuple(inference(each, np.linspace(-1, 1, 40), 0.95) for each in signs),
    )
    monkeypatch.setenv("CONFIG", "tiny.toml")
    monkeypatch.setenv("RECORDS", "brought")
    monkeypatch.setattr(infer, "inferred", lambda job, path: made)
    monkeypatch.setattr(infer, "write", lambda run, job, made: None)
    infer.main()
    told = capsys.readouterr()
    assert told.err == note
    assert len(told.out.splitlines()) == len(signs) + 1


def test_an_audit_without_an_attack_for_such_records_is_refused(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer.outside, "ATTACKS", {"difficulty": None})
    with pytest.raises(AuditError, match=r"attack\.attacks: none of difficulty was"):
        infer.read(job)
