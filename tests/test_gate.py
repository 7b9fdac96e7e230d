"""The limits of a release: each just below and above, each unmeasurable."""

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import numpy as np
import pytest

from pipeline import config
from pipeline.audit.junit import junit
from pipeline.cache import documents, files, keys, runs, stamps
from pipeline.cache.digests import Digests
from pipeline.cache.stages import STAGES
from pipeline.config import Gate as Limits
from pipeline.errors import AuditError
from pipeline.findings import figures, gate
from pipeline.findings.gate import Gate, Outcome
from pipeline.findings.schema import AttackFigures, Report
from stages import gate as program
from tests import reports
from tests.conftest import Checkout

FREE = {"require_controls": False}
ABOVE = math.nextafter(0.6, 1)


def outcomes(report: Report, **limits: Any) -> dict[str, Outcome]:
    settings = Limits.model_validate(limits)
    return {each.limit: each for each in gate.judged(report, settings)}


def report(*attacks: AttackFigures, **changed: Any) -> Report:
    return reports.report(*(attacks or (reports.attack(),)), **changed)


def graded(grade: str, *reasons: str) -> Report:
    whole = report()
    verdict = whole.verdict.model_copy(update={"grade": grade, "reasons": reasons})
    return whole.model_copy(update={"verdict": verdict})


# The limits


@pytest.mark.parametrize("worst", gate.GRADES)
@pytest.mark.parametrize("grade", gate.GRADES)
def test_a_grade_may_be_no_worse_than_the_limit(grade: str, worst: str) -> None:
    order = ["none found", "low", "moderate", "high"]
    outcome = outcomes(graded(grade), grade=worst, **FREE)["grade"]
    kept = order.index(grade) <= order.index(worst)
    assert outcome.status == ("kept" if kept else "broken")
    assert outcome.text == f"the grade is {grade}"


def test_where_the_verdict_cannot_tell_no_grade_is_kept() -> None:
    unknown = graded("cannot tell", "too few records", "the sides differ")
    outcome = outcomes(unknown, grade="high", **FREE)["grade"]
    assert outcome.status == "not measurable"
    assert outcome.text == "cannot tell: too few records; the sides differ"


def judging(n_nonmembers: int, *attacks: AttackFigures) -> Report:
    """Return a report in which so many of the 2000 judged records are non-members."""
    resolution = reports.controls().resolution.model_copy(
        update={"nonmembers": n_nonmembers}
    )
    return report(*attacks, controls=reports.controls(resolution=resolution))


INTERVALS = {"max_auc": "auc_interval", "max_accuracy": "accuracy_interval"}


@pytest.mark.parametrize("limit", INTERVALS)
@pytest.mark.parametrize(("upper", "status"), [(0.6, "kept"), (ABOVE, "broken")])
def test_the_upper_end_of_the_worst_attack_is_compared(
    limit: str, upper: float, status: str
) -> None:
    mild = reports.attack("loss", **{INTERVALS[limit]: (0.4, 0.5)})
    worst = reports.attack("rf", **{INTERVALS[limit]: (0.45, upper)})
    for attacks in ((mild, worst), (worst, mild)):
        whole = judging(1000, *attacks)
        outcome = outcomes(whole, **{limit: 0.6}, **FREE)[limit]
        assert (outcome.status, outcome.attack, outcome.upper) == (status, "rf", upper)
        assert outcome.value == getattr(worst, limit.removeprefix("max_"))


def test_what_exceeds_a_limit_by_a_hair_is_shown_to_do_so() -> None:
    for upper, shown in ((0.6, "0.6000"), (ABOVE + 1e-9, "0.6001")):
        attack = reports.attack(auc=0.55, auc_interval=(0.5, upper))
        outcome = outcomes(report(attack), max_auc=0.6, **FREE)["max_auc"]
        assert outcome.text == f"lr has an AUC of up to {shown} (measured: 0.5500)"


def test_an_accuracy_that_a_guess_has_cannot_be_limited() -> None:
    """Of 2000 judged records, 1500 are non-members: a guess is right for 75%."""
    whole = judging(1500)
    outcome = outcomes(whole, max_accuracy=0.74, **FREE)["max_accuracy"]
    assert outcome.status == "not measurable"
    assert outcome.text.startswith("a guess is right for 75.0%, as one side has more")
    assert outcomes(whole, max_accuracy=0.75, **FREE)["max_accuracy"].status == "broken"
    outcome = outcomes(judging(500), max_accuracy=0.74, **FREE)["max_accuracy"]
    assert outcome.status == "not measurable"


@pytest.mark.parametrize("rate", ["0.001", "1e-3"])
@pytest.mark.parametrize(
    ("upper", "status"), [(0.005, "kept"), (math.nextafter(0.005, 1), "broken")]
)
def test_a_true_positive_rate_is_compared_by_its_upper_end(
    rate: str, upper: float, status: str
) -> None:
    tpr = {"0.01": reports.rate(0.5, 0.4, 0.6), "0.001": reports.rate(0.002, 0, upper)}
    whole = report(reports.attack(tpr_at_fpr=tpr))
    name = f"max_tpr_at_fpr.{rate}"
    outcome = outcomes(whole, max_tpr_at_fpr={rate: 0.005}, **FREE)[name]
    assert (outcome.status, outcome.value, outcome.upper) == (status, 0.002, upper)


def test_a_rate_that_is_not_measured_is_not_kept() -> None:
    measured = reports.attack("loss", tpr_at_fpr={"0.001": reports.rate(0, 0, 0.001)})
    unmeasured = reports.attack("lr", tpr_at_fpr={"0.001": reports.NONE})
    name, limit = "max_tpr_at_fpr.0.001", {"max_tpr_at_fpr": {"0.001": 0.005}}
    for attacks in ((measured, unmeasured), (unmeasured,)):
        outcome = outcomes(report(*attacks), **limit, **FREE)[name]
        assert outcome.status == "not measurable"
        assert outcome.text == "needs 1000 records of the other side"
    broken = reports.attack("rf", tpr_at_fpr={"0.001": reports.rate(0.1, 0, 0.2)})
    outcome = outcomes(report(broken, unmeasured), **limit, **FREE)[name]
    assert (outcome.status, outcome.attack) == ("broken", "rf")


def test_a_rate_that_no_report_has_is_named() -> None:
    tpr = figures.tpr_at_fpr(
        score=np.arange(20.0),
        member=np.arange(20) >= 10,
        confidence=0.95,
    )
    whole = report(reports.attack(tpr_at_fpr=tpr))
    name = "max_tpr_at_fpr.0.002"
    outcome = outcomes(whole, max_tpr_at_fpr={"0.002": 0.1}, **FREE)[name]
    assert outcome.status == "not measurable"
    expected = "the report has no such rate; use 0.1, 0.01, 0.001, 0.0001"
    assert outcome.text == expected


CONTROLS = ("labels", "sides", "null", "blind", "references", "independence")
MADE = {
    "labels": reports.labels,
    "sides": reports.sides,
    "null": reports.null,
    "blind": reports.blind,
    "references": reports.resemblance,
    "independence": reports.independence,
}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_that_failed_breaks_the_limit(name: str) -> None:
    whole = report(controls=reports.controls(**{name: MADE[name](passed=False)}))
    statuses = {n: each.status for n, each in outcomes(whole, grade="high").items()}
    expected = {f"require_controls.{each}": "kept" for each in CONTROLS}
    assert statuses == {
        "grade": "kept",
        **expected,
        f"require_controls.{name}": "broken",
    }
    assert [*outcomes(whole, grade="high", **FREE)] == ["grade"]


@pytest.mark.parametrize("name", ["labels", "sides", "blind"])
def test_a_control_that_had_nothing_to_compare_is_not_kept(name: str) -> None:
    unknown = MADE[name](passed=None, reason="there are no labels")
    whole = report(controls=reports.controls(**{name: unknown}))
    outcome = outcomes(whole)[f"require_controls.{name}"]
    assert (outcome.status, outcome.text) == ("not measurable", "there are no labels")


def test_references_that_cannot_be_compared_are_not_kept_and_none_are() -> None:
    pair = reports.comparison(0.9, 0.9, passed=None, reason="has too few references")
    unknown = reports.resemblance(passed=None, train_accuracy=None, test_accuracy=pair)
    whole = report(controls=reports.controls(references=unknown))
    outcome = outcomes(whole)["require_controls.references"]
    assert outcome.status == "not measurable"
    assert outcome.text == "has too few references"
    nothing = reports.resemblance(passed=None, train_accuracy=None, test_accuracy=None)
    whole = report(controls=reports.controls(references=nothing))
    assert outcomes(whole)["require_controls.references"].text == "too little to tell"
    none = report(controls=reports.controls(references=None, independence=None))
    for name in ("references", "independence"):
        outcome = outcomes(none)[f"require_controls.{name}"]
        assert (outcome.status, outcome.text) == ("kept", "there are no references")


def test_limits_that_are_not_set_are_not_judged() -> None:
    assert [*outcomes(report(), **FREE)] == ["grade"]
    assert gate.is_passed(gate.judged(graded("low"), Limits()))
    assert not gate.is_passed(gate.judged(graded("moderate"), Limits()))


# The settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            'grade = "cannot tell"',
            "gate.grade: is 'cannot tell'. Fix: use 'none found'",
        ),
        ("max_auc = 1.1", "gate.max_auc: is 1.1. Fix: note that"),
        ("max_accuracy = -0.1", "gate.max_accuracy: is -0.1. Fix: note that"),
        (
            "max_tpr_at_fpr = { 0.001 = 0.005 }",
            "gate.max_tpr_at_fpr: has the rate 0.001 without quotes. Fix: write "
            '{ "0.001" = 0.005 }.',
        ),
        (
            'max_tpr_at_fpr = { "1" = 0.5 }',
            "gate.max_tpr_at_fpr: names '1'. Fix: use a false-positive rate, such as "
            '"0.001".',
        ),
        (
            "max_tpr_at_fpr = { low = 0.5 }",
            "gate.max_tpr_at_fpr: names 'low'. Fix: use",
        ),
        ("max_tpr = 0.5", "gate.max_tpr: is not a setting. Fix: use max_tpr_at_fpr"),
    ],
)
def test_a_wrong_limit_is_refused(setting: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text(f"{CONFIG}[gate]\n{setting}\n")
    with pytest.raises(AuditError) as error:
        config.load(path)
    assert message in str(error.value)


# The result


def result(*outcomes: Outcome) -> Gate:
    return Gate(
        audit="tiny",
        passed=gate.is_passed(outcomes),
        report_sha256=None,
        confidence=0.95,
        unchecked=(),
        outcomes=outcomes,
    )


def test_junit_has_a_case_for_each_limit_with_its_status() -> None:
    statuses = ("kept", "broken", "not measurable")
    text = junit(result(*(gate.on_report(status, status) for status in statuses)))
    root = xml.fromstring(text)
    assert root.attrib == {"tests": "3", "failures": "1", "errors": "1"}
    kept, broken, unmeasured = root.iter("testcase")
    assert [child.tag for child in kept] == ["system-out"]
    (failure,), (error,) = broken, unmeasured
    assert (failure.tag, failure.get("message")) == ("failure", "broken")
    assert (error.tag, error.get("message")) == ("error", "not measurable")
    assert {case.get("name") for case in root.iter("testcase")} == {"report"}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('<script>alert("&")</script>', '<script>alert("&")</script>'),
        ("\x1b[2J a\x00b \ud800 \ufffe", "\ufffd[2J a\ufffdb \ufffd \ufffd"),
        ("\u202eأب 😀", "\u202eأب 😀"),
        ("", ""),
    ],
)
def test_what_users_wrote_stays_text_in_junit(text: str, read: str) -> None:
    written = junit(result(gate.on_report("broken", text)))
    (failure,) = xml.fromstring(written.encode()).iter("failure")
    assert failure.get("message") == read


# From artifacts alone

CONFIG = """
[data]
source = "digits"

[target]
network = "cnn_digits"
checkpoint = "mine.ckpt"

"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of an audit and its stamps, of a machine with another MindSpore."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFIG", "audit.toml")
    monkeypatch.delenv("DATA", raising=False)
    Path("audit.toml").write_text(CONFIG)
    Path("mine.ckpt").write_bytes(b"weights")
    folder = runs.folder(Path("audit.toml"))
    # "auto" was resolved when the audit was made.
    text = f'{CONFIG}[features]\ndevice = "Ascend"\n'
    Path("before.toml").write_text(text)
    monkeypatch.setattr(keys, "installed", lambda name: "another")
    present = stamps.stamps(
        config.load(Path("before.toml")), Digests(runs.digests(folder))
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFIG", "audit.toml")
    runs.claim(folder, Path("audit.toml"))
    # It is held until the program has ended, and here that is the test.
    monkeypatch.setattr(runs, "hold", lambda *_: 0)
    key = keys.digest(present["report"])
    documents.write(folder / STAGES["report"].file, report(), key=key)
    content = {"stamps": present, "siblings": {}}
    files.write_text(stamps.made_path(folder, "report"), keys.canonical(content))
    return folder


def limited(text: str) -> None:
    Path("audit.toml").write_text(f"{CONFIG}[gate]\n{text}\n")


def exit_code() -> int:
    try:
        program.main()
    except SystemExit as ended:
        return int(str(ended.code))
    return 0


def written(run: Path) -> dict[str, Any]:
    return documents.checked(run / "gate" / "gate.json", "")


def test_a_report_is_judged_on_another_machine(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited('grade = "moderate"\nmax_auc = 0.9')
    assert exit_code() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "kept           report = of this config: is of this config",
        "kept           grade = moderate: the grade is moderate",
        "kept           max_auc = 0.9: lr has an AUC of up to 0.9000 "
        "(measured: 0.7512)",
    ]
    assert lines[-1] == "gate passed -> artifacts/audit/gate/gate.json"
    content = written(run)
    assert content["passed"]
    assert content["confidence"] == 0.95
    whole = json.loads((run / "report" / "report.json").read_text())
    assert content["report_sha256"] == whole["sha256"]
    root = xml.parse(run / "gate" / "junit.xml").getroot()
    assert root.get("tests") == str(len(content["outcomes"])) == "9"


def test_a_broken_limit_ends_in_2(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited('max_auc = 0.8\nmax_tpr_at_fpr = { "0.001" = 0.5 }')
    assert exit_code() == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line[:15].strip() for line in lines[1:4]] == [
        "broken",
        "broken",
        "not measurable",
    ]
    assert lines[-1] == "gate not passed -> artifacts/audit/gate/gate.json"
    assert not written(run)["passed"]


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("[report]\nthreshold = 0.7\n", "[report] threshold: 0.6 -> 0.7"),
        ("[features]\nbatch_size = 64\n", "[features] batch_size: 256 -> 64"),
        ('[features]\ndevice = "CPU"\n', '[features] device: "Ascend" -> "CPU"'),
    ],
)
def test_a_report_of_another_config_is_not_judged(
    section: str, why: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("audit.toml").write_text(f'{CONFIG}{section}[gate]\ngrade = "high"\n')
    assert exit_code() == 2
    line, end = capsys.readouterr().out.splitlines()
    assert line == (
        f"broken         report = of this config: is of another config: {why}; "
        "run `make audit CONFIG=audit.toml`"
    )
    assert end.startswith("gate not passed")
    assert [each["limit"] for each in written(run)["outcomes"]] == ["report"]


def test_of_many_changes_the_first_are_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("audit.toml").write_text(
        f"{CONFIG}[report]\nthreshold = 0.7\nprior = 0.1\nseed = 2\ndelta = 1e-6\n"
    )
    assert exit_code() == 2
    out = capsys.readouterr().out
    assert out.count(" -> ") == 3 + 1
    assert "; and 1 more; run" in out


def test_another_model_under_the_old_name_is_not_passed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited('grade = "high"')
    assert exit_code() == 0
    Path("mine.ckpt").write_bytes(b"other weights")
    assert exit_code() == 2
    assert "is of another config: checkpoint changed" in capsys.readouterr().out


def test_where_the_model_is_gone_the_rest_is_judged_and_it_is_said(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited('grade = "high"')
    Path("mine.ckpt").unlink()
    assert exit_code() == 0
    err = capsys.readouterr().err.replace("\n", " ")
    assert "mine.ckpt does not exist: whether it is as in the audit is not known" in err
    (unchecked,) = written(run)["unchecked"]
    assert unchecked.startswith("target.checkpoint ")


def test_a_program_that_computes_otherwise_wants_another_report(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(keys.KINDS, "fit", keys.Kind(999, ()))
    assert exit_code() == 2
    assert "this program computes fit otherwise" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ("no stamps", "report = of this config: is not made yet; run `make audit"),
        ("half stamps", "how it was made is not known; run `make audit"),
        ("no report", "artifacts/audit/report/report.json is missing; run `make"),
        ("edited", "artifacts/audit/report/report.json is corrupt; run `make audit"),
        ("other key", "report.json was made from other inputs (0, not "),
    ],
)
def test_without_a_whole_report_nothing_is_passed(
    broken: str, text: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited('grade = "high"')
    path, made = run / "report" / "report.json", stamps.made_path(run, "report")
    if broken == "no stamps":
        made.unlink()
    elif broken == "half stamps":
        made.write_text('{"stamps": {}}')
    elif broken == "no report":
        path.unlink()
    elif broken == "edited":
        path.write_text(path.read_text().replace("0.7512", "0.5512"))
    else:
        documents.write(path, report(), key="0")
    assert exit_code() == 2
    assert text in capsys.readouterr().out
    (outcome,) = written(run)["outcomes"]
    assert outcome["status"] == "not measurable"


def test_an_edit_of_the_gate_reruns_nothing(run: Path) -> None:
    before = stamps.stamps(config.load(Path("audit.toml")), Digests(Path("none")))
    limited('grade = "high"\nmax_auc = 0.5')
    assert before == stamps.stamps(
        config.load(Path("audit.toml")), Digests(Path("none"))
    )


def test_make_judges_verifies_and_tells_without_a_terminal(audited: Checkout) -> None:
    """In a shell that has no more than make gives it."""
    passing = '[gate]\ngrade = "high"\nrequire_controls = false\n'
    text = audited.config.read_text()
    audited.config.write_text(f"{text}{passing}min_auc = 0\n")
    assert audited.make("gate").returncode == 2
    assert not (audited.run / "gate").exists()
    audited.config.write_text(f"{text}{passing}max_auc = 0.0\n")
    done = audited.make("gate")
    assert done.returncode == 2
    assert "\nbroken         max_auc = 0.0: " in done.stdout
    assert done.stderr.splitlines()[-1].endswith("Error 2")
    report = "REPORT=artifacts/tiny/report/report.json"
    done = audited.make("verify", report)
    assert done.returncode == 0, done.stdout
    done = audited.make("status")
    assert done.returncode == 0
    states = [line.split()[1] for line in done.stdout.splitlines()]
    assert states == ["state", *["fresh"] * len(STAGES)]
    (audited.run / "report" / "report.txt").write_text("no leak\n")
    assert audited.make("verify", report).returncode == 2
    # A shell's own variable is not meant for it.
    done = audited.make("verify", REPORT="artifacts/tiny/report/report.json")
    assert "REPORT: is empty" in done.stderr
