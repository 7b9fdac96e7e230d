"""A report is checked against the artifacts that it was made from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cache import documents, integrity, keys, runs, stamps
from pipeline.cache.stages import STAGES
from pipeline.errors import AuditError
from stages import verify
from tests.conftest import Checkout

Verified = Callable[[str], tuple[int, list[str]]]
REPORT = "artifacts/tiny/report/report.json"


@pytest.fixture
def verified(
    audited: Checkout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Verified:
    """Return a function that gives the exit code for a file, and what differs."""
    monkeypatch.chdir(audited.folder)
    monkeypatch.setenv("CONFIG", "tiny.toml")

    def checked(report: str) -> tuple[int, list[str]]:
        monkeypatch.setenv("REPORT", report)
        code = 0
        try:
            verify.main()
        except SystemExit as ended:
            code = int(str(ended.code))
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].startswith("not verified: " if code else "verified ")
        return code, [line for line in lines if line.startswith("differs")]

    return checked


@pytest.mark.parametrize(
    "name", ["report.json", "report.txt", "records.csv", "records.parquet"]
)
def test_a_file_of_the_report_is_verified_in_its_place_and_as_a_copy(
    name: str, verified: Verified, audited: Checkout, tmp_path: Path
) -> None:
    place = audited.run / "report" / name
    assert verified(f"artifacts/tiny/report/{name}") == (0, [])
    copy = Path(shutil.copy(place, tmp_path / name))
    assert verified(str(copy)) == (0, [])
    copy.write_bytes(copy.read_bytes() + b"\n")
    original = f"artifacts/tiny/report/{name}"
    assert verified(str(copy)) == (2, [f"differs  {copy}: differs from {original}"])


def test_a_file_that_is_gone_or_changed_is_named(
    verified: Verified, audited: Checkout
) -> None:
    csv = "artifacts/tiny/report/records.csv"
    (audited.folder / csv).write_text("id\n")
    code, lines = verified(REPORT)
    assert code == 2
    assert lines == ["differs  report/records.csv: is not as it was made"]
    (audited.folder / csv).unlink()
    assert verified(csv) == (
        2,
        [
            f"differs  {csv}: is not there",
            "differs  report/records.csv: is not there",
        ],
    )


@pytest.mark.parametrize("stage", stamps.chain("report")[:-1])
def test_an_artifact_that_is_gone_or_corrupt_is_named(
    stage: str, verified: Verified, audited: Checkout
) -> None:
    file = STAGES[stage].file
    path = audited.run / file
    whole = path.read_bytes()
    if path.suffix == ".json":
        path.write_bytes(whole.replace(b'"key": "', b'"key": "0', 1))
    else:
        path.write_bytes(whole[: len(whole) // 2])
    assert verified(REPORT) == (2, [f"differs  {file}: is corrupt"])
    path.unlink()
    assert verified(REPORT) == (2, [f"differs  {file}: is not there"])


def test_an_artifact_of_other_inputs_is_named(
    verified: Verified, audited: Checkout
) -> None:
    path = audited.run / STAGES["target"].file
    content = json.loads(path.read_text())
    del content["sha256"]
    content["key"] = 64 * "0"
    content["sha256"] = keys.digest(content)
    path.write_text(json.dumps(content))
    code, (line,) = verified(REPORT)
    assert code == 2
    assert line.startswith("differs  target/target.json: was made from other inputs (0")


def test_a_report_with_another_figure_is_found(
    verified: Verified, audited: Checkout
) -> None:
    path = audited.folder / REPORT
    content = json.loads(path.read_text())
    content["attacks"][0]["auc"] = 0.5
    path.write_text(json.dumps(content, indent=1) + "\n")
    code, lines = verified(REPORT)
    assert (code, lines) == (2, ["differs  report/report.json: is corrupt"])


@pytest.mark.parametrize("name", ["report.html", "report.md", "page.json"])
def test_the_page_is_verified_with_all_that_it_was_made_from(
    name: str, verified: Verified, audited: Checkout
) -> None:
    file = f"page/{name}"
    assert verified(f"artifacts/tiny/{file}") == (0, [])
    assert verified(REPORT) == (0, [])
    (audited.run / file).write_text("<p>no leak</p>")
    problem = "is corrupt" if name == "page.json" else "is not as it was made"
    assert verified(f"artifacts/tiny/{file}") == (2, [f"differs  {file}: {problem}"])
    (audited.run / file).unlink()
    gone = [f"differs  {f}: is not there" for f in (f"artifacts/tiny/{file}", file)]
    assert verified(f"artifacts/tiny/{file}") == (2, gone)
    # The report does not depend on its page.
    assert verified(REPORT) == (0, [])


def test_a_page_of_another_report_is_found(
    verified: Verified, audited: Checkout
) -> None:
    path = audited.run / "page" / "page.json"
    content = documents.checked(path, "")
    content["report_sha256"] = 64 * "0"
    path.write_text(json.dumps({**content, "sha256": keys.digest(content)}))
    code, lines = verified("artifacts/tiny/page/report.md")
    assert code == 2
    assert lines == ["differs  page/page.json: was made from another report"]


def test_an_audit_that_lies_elsewhere_is_verified_by_itself(
    verified: Verified, audited: Checkout, tmp_path: Path
) -> None:
    archive = shutil.copytree(audited.run, tmp_path / "archive")
    audited.make("clean")
    assert verified(str(archive / "report" / "report.json")) == (0, [])


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("", "REPORT: is empty. Fix: pass REPORT=artifacts/NAME/report/report.json."),
        ("mine.pdf", "REPORT mine.pdf: has not the name of a file that an audit makes"),
        ("report.json", "artifacts/tiny: is not there. Fix: pass CONFIG=of the audit"),
    ],
)
def test_what_cannot_be_verified_is_an_error(
    report: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFIG", "tiny.toml")
    monkeypatch.setenv("REPORT", report)
    with pytest.raises(AuditError) as error:
        verify.main()
    assert message in str(error.value)


def test_a_report_without_stamps_is_an_error(tmp_path: Path) -> None:
    (tmp_path / runs.MARK).touch()
    with pytest.raises(AuditError, match="so how the report was made is not known"):
        [*integrity.checks(tmp_path, Path("report/report.json"))]
