"""A tiny audit in a checkout of its own, run through make as a user would."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cache.stages import STAGES
from tests import interpreter

PROJECT = Path(__file__).parents[1]

TINY = """
[data]
source = "digits"
members = 60
nonmembers = 60
seed = 1

[split]
eval_fraction = 0.25
seed = 1

[target]
network = "cnn_digits"

[target.training]
learning_rate = 0.01
epochs = 2
batch_size = 16

[references]
count = 2
seed = 1

[features]
device = "CPU"
batch_size = 32
shard_rows = 50

[attack]
folds = 3
seed = 1
attacks = ["loss", "lira_online", "rmia_online", "amortised"]

[[attack.methods]]
method = "LR"
params = { C = [0.1, 1.0] }

[[attack.methods]]
method = "rf"
params = { n_estimators = [5], max_depth = [2, 3] }

[report]
threshold = 0.6
min_records = 10
"""


@dataclass(frozen=True)
class Checkout:
    """A folder with the project's code, one config, and the artifacts made of it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "tiny.toml"

    @property
    def run(self) -> Path:
        return self.folder / "artifacts" / "tiny"

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        self.config.write_text(text.replace(old, new))

    def command(self, *words: str, python: str = sys.executable) -> list[str]:
        return ["make", *words, f"PYTHON={python}", "CONFIG=tiny.toml"]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def make(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        # More in the environment may be meant for an interpreter that starts.
        python = sys.executable if more else interpreter.preloaded()
        return run_command(self.command(*words, python=python), self.folder, **more)

    def ran(self, *words: str) -> list[str]:
        """Make, and return the stages that ran, in the order in which they did."""
        done = self.make(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line.split() for line in done.stdout.splitlines() if " -> " in line]
        return [words[0] for words in lines if words[1:3] != ["as", "before"]]

    def copy(self, folder: Path) -> "Checkout":
        # copytree keeps the times, on which make goes.
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)


def run_command(
    command: Sequence[str], folder: Path, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, with more in its environment, and no terminal."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment() | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def environment() -> dict[str, str]:
    """Return the environment without what an outer make leaves in it.

    One job and one rank an audit: tests run on every processor already.
    """
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    variables = ("CONFIG", "DATA", "PYTHON")
    kept = {k: v for k, v in os.environ.items() if k not in (*outer, *variables)}
    return {**kept, "JOBS": "1", "RANKS": "1"}


def new_checkout(folder: Path) -> Checkout:
    folder.mkdir()
    for name in ("pipeline", "stages", "Makefile", "pyproject.toml"):
        (folder / name).symlink_to(PROJECT / name)
    (folder / "tiny.toml").write_text(TINY)
    return Checkout(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Nothing made yet."""
    return new_checkout(tmp_path / "checkout")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Checkout:
    """The tiny audit, finished once for all workers; to be copied, not changed."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    folder, done = base / "finished", base / "finished.done"
    with (base / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            assert new_checkout(folder).ran("audit") == list(STAGES)
            done.touch()
    return Checkout(folder)


@pytest.fixture
def audited(finished: Checkout, tmp_path: Path) -> Checkout:
    """A finished tiny audit of the test's own."""
    return finished.copy(tmp_path / "audited")


Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a Python file of the user's."""

    def written(name: str, code: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        return path

    return written


# Simulations: few draws here, many in `make soak`, which prints the figures.

FEW, MANY = 80, 500
FEW_COSTLY = 20  # of draws that take a good part of a second each


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="simulate at full size")
    parser.addoption("--images", type=Path, help="folder of the binary CIFAR-100")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what is about real images unless there are any; sort the rest.

    What needs the finished audit comes first: so all of it falls to one worker at the
    start, and no other waits while the audit is made.
    """
    if config.getoption("--images") is None:
        left_out = [
            item for item in items if "images" in getattr(item, "fixturenames", ())
        ]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: "finished" not in getattr(item, "fixturenames", ()))


@pytest.fixture
def n_draws(request: pytest.FixtureRequest) -> int:
    """How often to draw an audit."""
    return MANY if request.config.getoption("--soak") else FEW


@pytest.fixture
def n_costly_draws(request: pytest.FixtureRequest) -> int:
    """How often to draw an audit that takes long."""
    return MANY if request.config.getoption("--soak") else FEW_COSTLY


@pytest.fixture
def images(request: pytest.FixtureRequest) -> Path:
    """The folder of real images."""
    return Path(request.config.getoption("--images"))


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Note a figure, for the end of a soak."""

    def note(name: str, figure: Any) -> None:
        shown = figure if isinstance(figure, str) else f"{figure.share:.3f}"
        record_property("figure", f"{name}: {shown}")

    return note


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the figures of a soak, in the order of the tests' names."""
    if not config.getoption("--soak"):
        return
    done = [*terminalreporter.stats.get("passed", [])]
    done += terminalreporter.stats.get("failed", [])
    terminalreporter.section("figures")
    for report in sorted(done, key=lambda report: str(report.nodeid)):
        for name, value in report.user_properties:
            if name == "figure" and report.when == "call":
                terminalreporter.line(value)
