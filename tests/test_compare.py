"""The program that compares two audits by what their stages have left."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cache import files, keys, stamps
from pipeline.errors import AuditError
from pipeline.findings.comparison import Comparison
from stages import compare
from tests.conftest import Checkout


def call(monkeypatch: pytest.MonkeyPatch, a: str, b: str) -> None:
    monkeypatch.setenv("A", a)
    monkeypatch.setenv("B", b)
    compare.main()


@pytest.fixture
def there(audited: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A finished audit, in whose folder the program runs."""
    monkeypatch.chdir(audited.folder)
    return audited


def test_make_compares_an_audit_with_itself(audited: Checkout) -> None:
    done = audited.make("compare", "A=tiny", "B=artifacts/tiny")
    assert done.returncode == 0, done.stderr
    assert "A and B are audits of the same model outputs." in done.stdout
    folder = audited.run / "compare" / "tiny"
    assert f"the page is {folder.relative_to(audited.folder)}/" in done.stdout
    assert {path.name for path in folder.iterdir()} == {"compare.json", "compare.html"}
    content = json.loads((folder / "compare.json").read_text())
    digest = content.pop("sha256")
    assert keys.digest(content) == digest
    fields = {k: v for k, v in content.items() if k not in ("key", "origin")}
    made = Comparison.model_validate_json(json.dumps(fields))
    assert made.strongest.auc.difference == 0
    assert made.utility.nonmembers.interval == (0, 0)
    report = json.loads((audited.run / "report" / "report.json").read_text())
    assert made.first.report_sha256 == made.second.report_sha256 == report["sha256"]
    assert made.members + made.nonmembers == report["records"]["attack_eval"]
    # All stages hold as before.
    assert audited.ran("audit") == []


def test_an_audit_is_named_by_its_folder_or_its_config(
    there: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = there.folder / "elsewhere" / "other"
    shutil.copytree(there.run, copy)
    call(monkeypatch, "tiny.toml", "elsewhere/other")
    assert "A is tiny, B is other." in capsys.readouterr().out
    assert (copy / "compare" / "tiny" / "compare.html").is_file()
    call(monkeypatch, str(copy), "tiny")
    assert (there.run / "compare" / "other" / "compare.json").is_file()


@pytest.mark.parametrize("name", ["A", "B"])
def test_a_name_that_is_missing_or_of_no_audit_is_refused(
    there: Checkout, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    names = {"A": "tiny", "B": "tiny"}
    with pytest.raises(AuditError, match=rf"{name}: is missing\. Fix: pass A=NAME"):
        call(monkeypatch, *{**names, name: ""}.values())
    for text in ("tyni", "artifacts", "tyni.toml", "artifacts/tiny/report"):
        with pytest.raises(AuditError, match=f"{name}={text}: there are no artifacts"):
            call(monkeypatch, *{**names, name: text}.values())


def test_a_config_whose_folder_is_anothers_is_refused(
    there: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = there.folder / "more" / "tiny.toml"
    other.parent.mkdir()
    other.write_text(there.config.read_text())
    with pytest.raises(AuditError, match=r"holds the artifacts of tiny\.toml"):
        call(monkeypatch, "tiny", "more/tiny.toml")


def test_what_is_not_finished_or_was_changed_is_refused_with_what_mends_it(
    there: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix = r"Fix: run `make audit CONFIG=tiny\.toml`"
    scores = there.run / "attack" / "scores.h5"
    whole = scores.read_bytes()
    scores.write_bytes(whole[:-100])
    with pytest.raises(AuditError, match=rf"scores\.h5: is corrupt\. {fix}"):
        call(monkeypatch, "tiny", "tiny")
    scores.write_bytes(whole)
    made = stamps.made_path(there.run, "report")
    text = made.read_text()
    content = json.loads(text)
    content["stamps"]["attack"]["settings"]["attack"]["folds"] = 7
    files.write_json(made, content)
    with pytest.raises(AuditError, match=rf"was made from other inputs.*{fix}"):
        call(monkeypatch, "tiny", "tiny")
    made.write_text(text[:50])
    with pytest.raises(AuditError, match=rf"report\.made\.json: is corrupt\. {fix}"):
        call(monkeypatch, "tiny", "tiny")
    made.unlink()
    with pytest.raises(AuditError, match=rf"tiny: has no report\. {fix}"):
        call(monkeypatch, "tiny", "tiny")


def test_the_command_that_mends_quotes_what_a_shell_would_read(
    there: Checkout,
) -> None:
    path = there.run / "stamps" / "paths.json"
    arguments = f"CONFIG={shlex.quote('a b.toml')}"
    files.write_json(path, {"arguments": arguments})
    assert compare.command(there.run) == "make audit CONFIG='a b.toml'"
    path.write_text("[]")
    assert compare.command(there.run) == "make audit"


def test_settings_and_digests_of_files_are_compared_and_words_are_not(
    there: Checkout,
) -> None:
    job = compare.job_of(Path("artifacts/tiny"), "")
    job.stamps["target"]["inputs"]["files"]["checkpoint"] = 64 * "c"
    shown = compare.shown(job, job.settings())
    assert shown["files"] == {
        "target: checkpoint": 12 * "c",
        "attack: the judge": files.sha256(stamps.JUDGE)[:12],
    }
    assert shown["target"]["training"]["epochs"] == 2
    assert "about" not in shown


def test_neither_the_models_nor_mindspore_are_needed(
    there: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("target", "references", "features"):
        shutil.rmtree(there.run / name)
    hidden = there.folder / "hidden" / "mindspore"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('hidden')")
    code = "import stages.compare; stages.compare.main()"
    variables = {"A": "tiny", "B": "tiny", "PYTHONPATH": "hidden:."}
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, check=True
    )
