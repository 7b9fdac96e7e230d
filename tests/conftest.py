"""A tiny audit in a checkout of its own, run through make as a user would."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
STAGES = (
    "records",
    "split",
    "target",
    "references",
    "features",
    "blind",
    "attack",
    "report",
)

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

    def command(self, *words: str) -> list[str]:
        return ["make", *words, f"PYTHON={sys.executable}", "CONFIG=tiny.toml"]

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
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=environment() | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

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


def environment() -> dict[str, str]:
    """Return the environment without what an outer make leaves in it."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CONFIG", "DATA")
    return {k: v for k, v in os.environ.items() if k not in (*outer, "JOBS")}


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
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The tiny audit, finished; to be copied, not changed."""
    made = new_checkout(tmp_path_factory.mktemp("finished") / "checkout")
    assert sorted(made.ran("audit")) == sorted(STAGES)
    return made


@pytest.fixture
def audited(finished: Checkout, tmp_path: Path) -> Checkout:
    """A finished tiny audit of the test's own."""
    return finished.copy(tmp_path / "audited")
