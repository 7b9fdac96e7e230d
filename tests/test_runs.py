import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.cache import runs
from pipeline.errors import AuditError

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()


def config(name: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("configs/digits.toml", "digits"),
        ("a folder; touch x/my-net_2.v1.toml", "my-net_2.v1"),
        ("/tmp/$(x)/'\"/A.toml", "A"),
        ("_.toml", "_"),
    ],
)
def test_a_run_has_the_name_of_its_config_wherever_that_lies(
    path: str, name: str
) -> None:
    assert runs.folder(Path(path)) == Path("artifacts") / name


@pytest.mark.parametrize(
    "name",
    [
        "my tests.toml",
        "...toml",
        "..toml",
        ".toml",
        ".hidden.toml",
        "-rf.toml",
        "a;b.toml",
        "a$b.toml",
        "a`b`.toml",
        "a'b.toml",
        'a"b.toml',
        "a%b.toml",
        "a:b.toml",
        "a#b.toml",
        "a\nb.toml",
        "ä.toml",
        "a|b.toml",
        "a*.toml",
        "digits",
        "digits.toml.bak",
    ],
)
def test_a_name_that_cannot_be_a_folder_of_ours_is_refused(name: str) -> None:
    with pytest.raises(AuditError) as caught:
        runs.folder(Path("configs") / name)
    assert str(caught.value) == (
        f"CONFIG: the name {name!r} is not that of an audit. Fix: name the config "
        "NAME.toml, NAME of letters, digits, '.', '_' and '-', the first a letter or "
        "a digit."
    )


def test_a_claimed_folder_knows_its_config() -> None:
    path = config("configs/k.toml")
    runs.claim(Path("artifacts/k"), path)
    mark = json.loads(Path("artifacts/k/audit.json").read_text())
    assert mark == {"format": "membership-audit/run", "config": "configs/k.toml"}
    runs.claim(Path("artifacts/k"), path)


def test_another_config_of_the_same_name_is_refused() -> None:
    run = Path("artifacts/k")
    runs.claim(run, config("configs/k.toml"))
    other = config("others/k.toml")
    for action in (runs.check, runs.claim, runs.remove):
        with pytest.raises(AuditError) as caught:
            action(run, other)
        assert str(caught.value) == (
            "artifacts/k: holds the artifacts of configs/k.toml, not of others/k.toml. "
            "Fix: give one of the two configs another name."
        )
    assert run.exists()


def test_one_config_may_be_named_in_two_ways() -> None:
    path = config("configs/k.toml")
    runs.claim(Path("artifacts/k"), path)
    runs.claim(Path("artifacts/k"), path.absolute())
    runs.check(Path("artifacts/k"), Path("configs/../configs/k.toml"))


def test_a_config_that_was_moved_keeps_its_folder() -> None:
    path = config("configs/k.toml")
    runs.claim(Path("artifacts/k"), path)
    Path("others").mkdir()
    moved = path.rename("others/k.toml")
    runs.claim(Path("artifacts/k"), moved)
    assert json.loads(Path("artifacts/k/audit.json").read_text())["config"] == (
        "others/k.toml"
    )


def test_a_folder_of_a_version_without_marks_is_known_by_its_stamps() -> None:
    path = config("configs/k.toml")
    stamps = Path("artifacts/k/stamps")
    stamps.mkdir(parents=True)
    arguments = "CONFIG=configs/k.toml DATA=there"
    (stamps / "paths.json").write_text(json.dumps({"arguments": arguments}))
    with pytest.raises(AuditError, match="holds the artifacts of configs"):
        runs.check(Path("artifacts/k"), config("others/k.toml"))
    runs.claim(Path("artifacts/k"), path)
    mark = json.loads(Path("artifacts/k/audit.json").read_text())
    assert mark["config"] == "configs/k.toml"
    assert runs.remove(Path("artifacts/k"), path)


def foreign(kind: str) -> Path:
    """Make something at the place of a run that is none."""
    run = Path("artifacts/k")
    run.parent.mkdir()
    if kind == "a folder of the user's":
        run.mkdir()
        (run / "thesis.txt").write_text("precious")
    elif kind == "a file":
        run.write_text("precious")
    elif kind == "stamps of another program":
        (run / "stamps").mkdir(parents=True)
        (run / "stamps" / "paths.json").write_text('{"arguments": ["CONFIG=k"]}')
    elif kind == "another mark":
        run.mkdir()
        (run / "audit.json").write_text('{"format": "other", "config": "k.toml"}')
    else:
        elsewhere = Path("elsewhere")
        elsewhere.mkdir()
        (elsewhere / "thesis.txt").write_text("precious")
        run.symlink_to(elsewhere.absolute())
    return run


@pytest.mark.parametrize(
    "kind",
    [
        "a folder of the user's",
        "a file",
        "another mark",
        "stamps of another program",
        "a link",
    ],
)
def test_what_the_project_did_not_make_is_neither_used_nor_removed(kind: str) -> None:
    run = foreign(kind)
    path = config("configs/k.toml")
    before = sorted(map(str, Path().rglob("*")))
    for action in (runs.claim, runs.remove):
        with pytest.raises(AuditError) as caught:
            action(run, path)
        assert str(caught.value) == (
            "artifacts/k: was not made by this project (it has no audit.json). Fix: "
            "move it away, or give the config another name."
        )
    assert sorted(map(str, Path().rglob("*"))) == before


def test_removing_takes_the_run_and_nothing_beside_it() -> None:
    path = config("configs/k.toml")
    runs.claim(Path("artifacts/k"), path)
    runs.claim(Path("artifacts/k2"), config("configs/k2.toml"))
    assert runs.remove(Path("artifacts/k"), path)
    assert not Path("artifacts/k").exists()
    assert Path("artifacts/k2").exists()
    assert not runs.remove(Path("artifacts/k"), path)


def test_a_run_can_be_removed_when_its_config_is_gone() -> None:
    path = config("configs/k.toml")
    runs.claim(Path("artifacts/k"), path)
    path.unlink()
    assert runs.remove(Path("artifacts/k"), path)


HOLD = """
import sys, time
from pathlib import Path
from pipeline.cache import runs
runs.hold(Path("artifacts/k"), lambda: print("waiting", flush=True))
print("held", flush=True)
time.sleep(float(sys.argv[1]))
"""


def holder(seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )


def test_a_second_process_waits_until_the_first_has_ended() -> None:
    runs.claim(Path("artifacts/k"), config("configs/k.toml"))
    first = holder(60)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    second = holder(0)
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    assert second.poll() is None
    first.kill()
    first.wait()
    assert second.stdout.readline() == "held\n"
    assert second.wait(timeout=60) == 0


def test_two_runs_do_not_wait_for_one_another() -> None:
    waited: list[str] = []
    for name in ("k", "k2"):
        runs.claim(Path("artifacts") / name, config(f"configs/{name}.toml"))
        descriptor = runs.hold(
            Path("artifacts") / name, lambda name=name: waited.append(name)
        )
        assert os.get_inheritable(descriptor)
    assert waited == []
