"""What is typed at make reaches the programs as it is, and nothing else reads it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import interpreter
from tests.conftest import Checkout, environment, run_command
from tests.test_make import MACHINE, arrays, error_of

HOSTILE = [
    "/x; touch y",
    "/x && touch y",
    "`touch y`",
    "$(touch y)",
    "$$(touch y)",
    "$(shell touch y)",
    "${shell touch y}",
    "$(error broken)",
    "a | touch y",
    "a > y",
    "a\ntouch y",
    "it's",
    'a "quoted" word',
    "a\\ b",
    "#a",
    "a = b",
    "$HOME$x",
    "*",
]


def make(folder: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    # More in the environment may be meant for an interpreter that starts.
    python = sys.executable if more else interpreter.preloaded()
    return run_command(["make", *words, f"PYTHON={python}"], folder, **more)


def one_error(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_shell_reads_where_the_data_lie(text: str, checkout: Checkout) -> None:
    checkout.edit('"digits"', '"cifar100"')
    before = sorted(checkout.folder.rglob("*"))
    typed, inherited = (
        checkout.make("plan", f"DATA={text}"),
        checkout.make("records", DATA=text),
    )
    for done in (typed, inherited):
        assert done.returncode != 0
        assert f"data.path: {checkout.folder / text} does not exist" in done.stderr
    assert sorted(checkout.folder.rglob("*")) == before


def test_data_may_lie_under_any_name(checkout: Checkout) -> None:
    path = arrays(checkout)
    checkout.edit('path = "signals.npz"\n', "")
    for text in HOSTILE:
        place = checkout.folder / "data" / text.replace("/", "_") / "my signals.npz"
        place.parent.mkdir(parents=True)
        shutil.copy(path, place)
        data = f"DATA={place.relative_to(checkout.folder)}"
        done = checkout.make("plan", data)
        assert done.returncode == 0, done.stderr
    assert checkout.ran("split", data) == ["records", "split"]
    assert not (checkout.folder / "y").exists()


@pytest.mark.parametrize(
    "name",
    ["my tests.toml", "...toml", "a;touch y.toml", "$(shell touch y).toml", "a%"],
)
@pytest.mark.parametrize("goal", ["plan", "records", "clean"])
def test_no_shell_reads_the_name_of_a_config(
    goal: str, name: str, checkout: Checkout
) -> None:
    (checkout.folder / "tests").mkdir()
    (checkout.folder / name).write_text(checkout.config.read_text())
    before = sorted(checkout.folder.rglob("*"))
    error = one_error(make(checkout.folder, goal, f"CONFIG={name}"))
    assert error.startswith(f"error: CONFIG: the name {name!r} is not that of an audit")
    assert sorted(checkout.folder.rglob("*")) == before


@pytest.mark.parametrize("goal", ["plan", "records", "clean", "audit"])
def test_an_empty_config_is_refused(goal: str, audited: Checkout) -> None:
    error = one_error(make(audited.folder, goal, "CONFIG="))
    assert error == "error: CONFIG: is empty. Fix: pass CONFIG=configs/NAME.toml."
    assert audited.run.exists()


def test_a_config_may_lie_in_a_folder_of_any_name(checkout: Checkout) -> None:
    folder = checkout.folder / "it's $(touch y); `my` audits"
    folder.mkdir()
    path = shutil.copy(checkout.config, folder / "mine.toml")
    done = make(checkout.folder, "split", f"CONFIG={path}")
    assert done.returncode == 0, done.stderr
    assert (checkout.folder / "artifacts" / "mine" / "split" / "split.h5").exists()
    error = one_error(make(checkout.folder, "plan", "CONFIG=mine.toml"))
    assert "mine.toml: does not exist" in error
    done = make(checkout.folder, "clean", f"CONFIG={path}")
    assert done.stdout == "removed artifacts/mine/\n"
    assert [*(checkout.folder / "artifacts").iterdir()] == []


def test_cleaning_removes_this_run_and_nothing_else(audited: Checkout) -> None:
    other = audited.folder / "artifacts" / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    done = audited.make("clean")
    assert done.stdout == "removed artifacts/tiny/\n"
    assert not audited.run.exists()
    assert (other / "thesis.txt").exists()
    assert audited.make("clean").stdout == "artifacts/tiny/ is not there\n"
    error = one_error(make(audited.folder, "clean", "CONFIG=other.toml"))
    assert "artifacts/other: was not made by this project" in error
    assert (other / "thesis.txt").exists()


def test_two_configs_of_one_name_do_not_share_a_folder(audited: Checkout) -> None:
    (audited.folder / "others").mkdir()
    shutil.copy(audited.config, audited.folder / "others" / "tiny.toml")
    for goal in ("plan", "records", "clean"):
        error = one_error(make(audited.folder, goal, "CONFIG=others/tiny.toml"))
        assert error == (
            "error: artifacts/tiny: holds the artifacts of tiny.toml, not of "
            "others/tiny.toml. Fix: give one of the two configs another name."
        )
    assert audited.ran("audit") == []


def test_a_goal_that_does_not_exist_is_makes_own_error(checkout: Checkout) -> None:
    done = checkout.make("featurse")
    assert done.returncode != 0
    assert "No rule to make target 'featurse'" in done.stderr


def test_a_python_with_a_space_in_its_path_can_be_used(
    checkout: Checkout, tmp_path: Path
) -> None:
    folder = tmp_path / "my python"
    folder.mkdir()
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    command = ["make", "split", f"PYTHON={program}", "CONFIG=tiny.toml"]
    made = run_command(command, checkout.folder)
    assert made.returncode == 0, made.stderr


def test_an_empty_python_means_that_of_the_virtual_environment(
    checkout: Checkout,
) -> None:
    folder = checkout.folder / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(interpreter.preloaded())
    (folder.parent / "ready").touch()
    made = run_command(["make", "plan", "PYTHON=", "CONFIG=tiny.toml"], checkout.folder)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[1].startswith("records ")


# Two at once


def test_two_audits_at_once_follow_one_another(
    audited: Checkout, tmp_path: Path
) -> None:
    """The second waits, and then finds everything made."""
    alone = audited.copy(tmp_path / "alone")
    for audit in (audited, alone):
        audit.edit("folds = 3\nseed = 1", "folds = 3\nseed = 2")
    alone.ran("audit")
    both = [
        subprocess.Popen(
            audited.command("audit"),
            cwd=audited.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    waited = [
        "another make is at work in artifacts/tiny; waiting" in err for _, err in told
    ]
    assert sorted(waited) == [False, True]
    ran = ["attack    " in out for out, _ in told]
    assert sorted(ran) == [False, True]
    for path in alone.run.rglob("*"):
        if path.is_file() and path.name not in MACHINE:
            twin = audited.run / path.relative_to(alone.run)
            assert twin.read_bytes() == path.read_bytes(), path


# What is on disk


# Of a document: what is edited and made so that it is read.
READERS = {
    "blind/blind.json": ("threshold = 0.6", "threshold = 0.7", "report"),
    "target/target.json": ("batch_size = 32", "batch_size = 64", "features"),
    "features/complete.json": ("C = [0.1, 1.0]", "C = [0.1, 2.0]", "attack"),
    "a fit": ("C = [0.1, 1.0]", "C = [0.1, 1.0, 2.0]", "attack"),
}


def test_a_document_that_holds_its_key_alone_is_refused_with_the_mend(
    audited: Checkout,
) -> None:
    fit = next(iter(sorted((audited.run / "attack" / "fits").rglob("*.json"))))
    for name, (old, new, goal) in READERS.items():
        path = fit if name == "a fit" else audited.run / name
        whole = path.read_bytes()
        path.write_text(json.dumps({"key": json.loads(whole)["key"]}))
        audited.edit(old, new)
        error = error_of(audited, goal)
        expected = f"{path.relative_to(audited.folder)}: is corrupt. Fix: run `rm"
        assert expected in error
        audited.edit(new, old)
        path.write_bytes(whole)


@pytest.mark.parametrize("how", ["its key alone", "one digit"])
def test_a_document_beside_an_artifact_is_made_again(
    how: str, audited: Checkout
) -> None:
    names = {"references": "references.json", "attack": "search.json"}
    before = {s: (audited.run / s / name).read_bytes() for s, name in names.items()}
    for stage, name in names.items():
        path = audited.run / stage / name
        key = json.loads(before[stage])["key"]
        if how == "its key alone":
            path.write_text(json.dumps({"key": key}))
        else:
            digit = b"1" if b"0.5" in before[stage] else b"2"
            path.write_bytes(before[stage].replace(b"0.", digit + b".", 1) + b" ")
    assert audited.ran("audit") == ["references", "attack"]
    for stage, name in names.items():
        assert (audited.run / stage / name).read_bytes() == before[stage]


def test_a_reference_whose_document_was_changed_is_trained_again(
    audited: Checkout,
) -> None:
    path = audited.run / "references" / "reference-000.json"
    before = path.read_bytes()
    path.write_text(json.dumps({"key": json.loads(before)["key"]}))
    (audited.run / "references" / "references.h5").unlink()
    done = audited.make("references")
    assert "1 of 2 trained" in done.stdout, done.stderr
    assert path.read_bytes() == before


def test_a_summary_that_is_gone_comes_back_as_it_was(audited: Checkout) -> None:
    names = ("features/complete.json", "report/report.json")
    before = {name: (audited.run / name).read_bytes() for name in names}
    path = audited.run / "features" / "complete.json"
    assert json.loads(path.read_text())["origin"]["device"] == "CPU"
    path.unlink()
    assert audited.ran("audit") == ["features"]
    assert {name: (audited.run / name).read_bytes() for name in names} == before
    audited.edit("count = 2", "count = 4")
    assert audited.ran("features") == ["references", "features"]
    audited.edit("count = 4", "count = 2")
    assert audited.ran("audit") == ["references", "features"]
    assert {name: (audited.run / name).read_bytes() for name in names} == before


@pytest.mark.parametrize("name", ["report.txt", "records.csv", "records.parquet"])
def test_a_sibling_of_the_report_that_is_gone_or_changed_is_made_again(
    name: str, audited: Checkout
) -> None:
    path = audited.run / "report" / name
    before = path.read_bytes()
    path.unlink()
    assert f"{name} is gone" in audited.make("plan").stdout
    assert audited.ran("report") == ["report"]
    assert path.read_bytes() == before
    path.write_bytes(before + b"x")
    assert f"{name} is changed" in audited.make("plan").stdout
    assert audited.ran("audit") == ["report"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, "", '{"seconds": '])
def test_lost_timings_do_not_stop_the_report(
    content: str | None, audited: Checkout
) -> None:
    path = audited.run / "attack" / "timings.json"
    path.unlink() if content is None else path.write_text(content)
    audited.edit("threshold = 0.6", "threshold = 0.7")
    done = audited.make("audit")
    assert done.returncode == 0, done.stderr
    assert "attack/timings.json" in done.stderr
    assert "how long the attacks took is not known" in done.stderr.replace("\n", " ")


def test_shards_of_two_devices_are_never_one_audit(audited: Checkout) -> None:
    """As if the shards had been copied from another machine."""
    path = audited.run / "features" / "reference-001" / "00001.h5"
    from pipeline.cache import arrays as store
    from pipeline.cache import kinds

    folders = json.loads((audited.run / "features" / "complete.json").read_text())
    key = folders["folders"]["reference-001"]
    shard, origin = store.read_with_origin(path, kinds.ReferenceShard, key=key, fix="")
    store.write(path, shard, key=key, origin={**origin, "device": "Ascend"})
    (audited.run / "features" / "complete.json").unlink()
    error = error_of(audited, "features")
    assert "features/reference-001/00001.h5: ran on device Ascend" in error
    assert "target/00000.h5 on device CPU" in error
    command = error.partition("Fix: run `")[2].partition("`")[0]
    assert os.path.normpath(command.split()[-1]).endswith("features/reference-001")


def test_arrays_are_audited_alike_wherever_make_is_told_they_lie(
    checkout: Checkout,
) -> None:
    path = arrays(checkout)
    assert checkout.make("split").returncode == 0
    moved = path.rename(checkout.folder / "moved here.npz")
    assert checkout.ran("split", f"DATA={moved}") == []
    with np.load(moved) as file:
        assert {*file} == {"logits", "label", "member"}
