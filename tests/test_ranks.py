"""The work of a stage shared out among processes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.errors import AuditError
from pipeline.models import launch, ranks
from tests import interpreter, jobs
from tests.conftest import PROJECT, Checkout, environment
from tests.test_make import bytes_of

VARIABLES = ("JOBS", "RANKS", "NODES", "NODE_RANK", "MASTER", "SCHEDULER")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


# What the environment says


def test_without_a_word_the_stages_choose() -> None:
    assert cli.workers() == (None, None, 1, 0, "", "")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ("JOBS=two", "JOBS: is 'two'. Fix: give a whole number >= 1."),
        ("RANKS=0", "RANKS: is '0'. Fix: give a whole number >= 1."),
        ("RANKS=-1", "RANKS: is '-1'. Fix: give a whole number >= 1."),
        ("NODE_RANK=½", "NODE_RANK: is '½'. Fix: give a whole number >= 0."),
        (
            "NODES=2 NODE_RANK=2",
            "NODE_RANK: is 2, but NODES is 2. Fix: count the hosts from 0.",
        ),
        (
            "NODES=2 RANKS=2",
            "MASTER: is missing, but NODES is more than 1. Fix: pass the address of "
            "the host that has NODE_RANK=0.",
        ),
        (
            "NODES=2 MASTER=10.0.0.1",
            "RANKS: is missing, but NODES is more than 1. Fix: pass how many processes "
            "each host starts, the same on all.",
        ),
        (
            "SCHEDULER=host",
            "SCHEDULER: is 'host'. Fix: give the address that `dask scheduler` prints, "
            "as tcp://host:8786.",
        ),
        (
            "SCHEDULER=tcp://host:1 RANKS=2",
            "SCHEDULER: is given beside RANKS or NODES. Fix: leave one of them out.",
        ),
    ],
)
def test_a_variable_without_sense_is_refused(
    variables: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in variables.split():
        monkeypatch.setenv(*variable.split("="))
    with pytest.raises(AuditError) as caught:
        cli.workers()
    assert str(caught.value) == message


def test_a_wrong_number_of_ranks_is_refused_before_anything_is_made(
    checkout: Checkout,
) -> None:
    done = checkout.make("audit", "RANKS=many")
    assert done.returncode != 0
    line = "error: RANKS: is 'many'. Fix: give a whole number >= 1."
    assert done.stderr.splitlines()[0] == line
    assert not checkout.run.exists()


# How many there are


def test_there_are_no_more_ranks_than_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKS", "4")
    assert [ranks.number("CPU", n, None) for n in (1, 3, 9)] == [1, 3, 4]


@pytest.mark.parametrize(
    ("seconds", "free", "expected"),
    [
        (None, 64, 1),
        (ranks.LONG - 1, 64, 1),
        (ranks.LONG, 64, 8),
        (ranks.LONG, 7, 3),
        (ranks.LONG, 1, 1),
    ],
)
def test_on_a_cpu_long_work_has_a_rank_for_each_processor_with_memory_for_it(
    seconds: float | None, free: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "processors", lambda: list(range(8)))
    monkeypatch.setattr(ranks, "memory", lambda: free * 10**9)
    assert ranks.number("CPU", 16, seconds) == expected


def test_there_is_a_rank_for_each_npu(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Path("/dev/davinci0"), Path("/dev/davinci1"), Path("/dev/davinci2")]
    monkeypatch.setattr(ranks, "nodes", lambda pattern: found)
    monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
    assert ranks.number("Ascend", 16, None) == 3
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "0,2")
    assert ranks.number("Ascend", 16, None) == 2
    assert ranks.number("GPU", 16, 1e6) == 1


def test_free_memory_is_that_which_the_system_tells() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if "MemTotal" in line)
    assert 0 < ranks.memory() <= total * 1024


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_every_item_is_one_ranks(size: int) -> None:
    shares = [ranks.Rank(n, size).of(range(7)) for n in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


# Whole stages


def test_the_number_of_ranks_changes_no_byte(audited: Checkout, tmp_path: Path) -> None:
    """Of four references: by one process, by three, and by three and then by two."""
    audited.edit("count = 2", "count = 4")
    others = [audited.copy(tmp_path / name) for name in ("three", "two")]
    done = audited.make("features")
    assert "2 of 4 trained" in done.stdout, done.stderr
    for audit in others:
        for stage in ("references", "features"):
            shutil.rmtree(audit.run / stage)
    three, two = others
    done = three.make("features", "RANKS=3")
    assert "4 of 4 trained" in done.stdout, done.stderr
    assert "15 of 15 shards of 5 models extracted" in done.stdout
    assert made_by(three) == made_by(audited)

    shutil.copytree(three.run / "references", two.run / "references")
    for name in ("reference-001.ckpt", "reference-002.json", "references.h5"):
        (two.run / "references" / name).unlink()
    done = two.make("references", "RANKS=2")
    assert "2 of 4 trained" in done.stdout, done.stderr
    assert made_by(two, "references") == made_by(audited, "references")


def made_by(audit: Checkout, *stages: str) -> dict[str, bytes]:
    """Return what these stages have made; without any, both that ranks share in."""
    folders = tuple(f"{stage}/" for stage in stages or ("references", "features"))
    made = bytes_of(audit).items()
    return {name: content for name, content in made if name.startswith(folders)}


RECIPE = """
import mindspore as ms
from pathlib import Path

def train(network, records, seed):
    for weight in network.trainable_params():
        weight.set_data(weight.value() * 1.01)
    if len(list(Path("artifacts/tiny/references").glob("*.json"))) >= 2:
        raise ValueError("no more")
"""


def test_a_rank_that_fails_fails_the_stage_with_its_error(checkout: Checkout) -> None:
    (checkout.folder / "mine.py").write_text(RECIPE)
    checkout.edit(
        "learning_rate = 0.01\nepochs = 2\nbatch_size = 16",
        'recipe = "mine.py:train"',
    )
    checkout.edit("count = 2", "count = 6")
    done = checkout.make("references", "RANKS=2")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert line.startswith("error: references (rank ")
    assert line.endswith(
        " of 2): mine.py:train: fails (mine.py, line 9: ValueError: no more). Fix: "
        "correct the recipe."
    )
    # Two ranks may each have been at work on another one when the second was done.
    assert 2 <= len(list((checkout.run / "references").glob("*.ckpt"))) < 6


# Several hosts, played by this one


def test_two_hosts_share_a_folder(audited: Checkout, finished: Checkout) -> None:
    shutil.rmtree(audited.run / "references")
    words = ["references", "RANKS=1", "NODES=2", "MASTER=127.0.0.1"]
    other = subprocess.Popen(
        audited.command(*words, "NODE_RANK=1", python=interpreter.preloaded()),
        cwd=audited.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    done = audited.make(*words, "NODE_RANK=0")
    said, _ = other.communicate()
    assert done.returncode == 0, done.stderr
    assert other.returncode == 0
    assert said == "references the share of this host is done by 1 ranks\n"
    assert made_by(audited) == made_by(finished)
    logs = audited.run / "ranks" / "references"
    for number in range(2):
        said = (logs / f"worker_{number}.log").read_text()
        assert [line for line in said.splitlines() if "at work" not in line] == [
            f"done: {number}",
            "ended",
        ]


def test_the_first_host_does_not_wait_for_a_rank_that_has_failed_or_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.job("references", tmp_path)
    paths = {n: tmp_path / f"worker_{n}.log" for n in range(3)}
    ours, began = [paths[0]], time.time() - 1
    paths[0].write_text("error: ours is told by the launcher\n")
    paths[1].write_text("done: 1\nended\n")
    paths[2].write_text("done: 2\n")
    launch.check_others(job, paths, ours, began)

    monkeypatch.setattr(launch, "SILENCE", 0.0)
    with pytest.raises(AuditError) as caught:
        launch.check_others(job, paths, ours, began)
    assert str(caught.value) == (
        f"references (rank 2 of 3): has said nothing for 1 s in {paths[2]}. Fix: start "
        "its host anew; what it has done is kept."
    )
    paths[2].write_text("done: 2\nerror: mine.py:train: fails. Fix: correct it.\n")
    with pytest.raises(AuditError) as caught:
        launch.check_others(job, paths, ours, began)
    assert str(caught.value) == (
        "references (rank 2 of 3): mine.py:train: fails. Fix: correct it."
    )
    # What an earlier run has said is of no interest.
    monkeypatch.setattr(launch, "SILENCE", 600.0)
    launch.check_others(job, paths, ours, time.time() + 60)


# A rank, and what became of it


def test_a_rank_is_a_process_on_its_own_to_mindspore(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        **{"RANK_ID": "1", "RANK_SIZE": "3", "MS_ROLE": "MS_WORKER", "MS_NODE_ID": "1"},
        **{"MS_WORKER_NUM": "3", "MS_SCHED_HOST": "::1", "MS_SCHED_PORT": "8118"},
        "MS_TOPO_TIMEOUT": "600",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with ranks.sharing() as rank:
        assert rank == ranks.Rank(1, 3)
        assert not {*told} & {*os.environ}
        ranks.finished(7)
    assert capsys.readouterr().out == "done: 7\nended\n"


def test_a_rank_ends_with_the_process_that_started_it() -> None:
    # Its parent may be gone as soon as the child has said a word.
    child = "import os; from pipeline.models import ranks; parent = os.getppid()"
    child += "; print('there', flush=True); ranks.end_with(parent)"
    code = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', sys.argv[1]])"
    parent = subprocess.Popen(
        [sys.executable, "-c", code, child], stdout=subprocess.PIPE, cwd=PROJECT
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"there\n"
    parent.kill()
    # Nothing more comes when the last of both has closed it.
    assert parent.stdout.read() == b""
    parent.wait()


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        (
            {"worker_0": "done: 0\nended\n", "worker_1": "note: hm\ndone: 1\nKilled\n"},
            "rank 1 said last: note: hm / done: 1 / Killed",
        ),
        (
            {"worker_0": "done: 0\n", "worker_1": "Traceback\n\n  line 3\nKeyError\n"},
            "rank 1 said last: Traceback / line 3 / KeyError",
        ),
        (
            {"worker_0": "", "launcher_0": "No module named 'mindspore'\n"},
            "the launcher said last: No module named 'mindspore'",
        ),
        ({"worker_0": "", "launcher_0": ""}, "the launcher said last: nothing"),
    ],
)
def test_a_rank_that_told_no_error_is_known_by_its_last_lines(
    logs: dict[str, str], said: str, tmp_path: Path
) -> None:
    for name, text in logs.items():
        (tmp_path / f"{name}.log").write_text(text)
    paths = {n: tmp_path / f"worker_{n}.log" for n in range(2)}
    job = jobs.job("features", tmp_path)
    error = launch.error_of(job, paths, [*paths.values()], tmp_path)
    assert str(error) == (
        f"features: a rank ended before its work was done; {said}. Fix: see "
        f"{tmp_path}; make goes on from what is done."
    )
