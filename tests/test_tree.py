import ast
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline import config
from pipeline.cache.stages import STAGES
from pipeline.models import networks

PROJECT = Path(__file__).parents[1]
PIPELINE = sorted((PROJECT / "pipeline").rglob("*.py"))
PROGRAMS = sorted((PROJECT / "stages").glob("*.py"))
SCRIPTS = PROJECT / "membership_audit.py"  # what users' own scripts import
# The rooms, each of which imports only what stands before it.
ROOMS = (
    "errors",
    "texts",
    "draws",
    "record",
    "signals",
    "statistics",
    "attacks",
    "config",
    "data",
    "cache",
    "cli",
    "cluster",
    "models",
    "findings",
    "audit",
    "pages",
    "stages",
    "membership_audit",
)
NUMERIC = ("signals", "statistics", "attacks", "findings")
# What numbers have no need of: files, paths, consoles and clocks.
DOORS = {
    *("os", "pathlib", "shutil", "io", "tempfile", "h5py", "subprocess", "socket"),
    *("logging", "rich", "sys", "time", "datetime"),
}


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of whatever a file imports, here or there in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def room_of(name: str) -> str | None:
    """Return the room of a module of ours by its dotted name; None of any other."""
    top, _, rest = name.partition(".")
    if top in ("stages", "membership_audit"):
        return top
    return rest.partition(".")[0] if top == "pipeline" else None


def rooms_imported(path: Path) -> set[str]:
    """Return the rooms that a file imports from, its own left out."""
    relative = path.relative_to(PROJECT).with_suffix("")
    own = room_of(".".join(relative.parts))
    rooms = {room_of(name) for name in imported(path)} - {None, own}
    return {room for room in rooms if room}


def test_the_tree_is_where_the_tests_look_for_it() -> None:
    assert len(PIPELINE) >= 40
    assert {path.stem for path in PROGRAMS} == {
        *STAGES,
        *("__init__", "check", "clean", "compare", "gate", "import_", "infer", "new"),
        *("plan", "probe", "run", "status", "verify"),
    }
    there = {path.stem for path in (PROJECT / "pipeline").iterdir()}
    assert there - {"__init__", "__pycache__"} == {*ROOMS} - {"stages", SCRIPTS.stem}


@pytest.mark.parametrize("path", [*PIPELINE, *PROGRAMS, SCRIPTS], ids=name_of)
def test_imports_run_one_way_between_rooms(path: Path) -> None:
    if path.name == "__init__.py" and path.parent.name == "pipeline":
        return
    relative = path.relative_to(PROJECT).with_suffix("")
    own = room_of(".".join(relative.parts))
    assert own is not None
    before = ROOMS[: ROOMS.index(own)]
    assert rooms_imported(path) <= {*before}


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_no_stage_imports_another(path: Path) -> None:
    assert "stages" not in packages(path)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_program_that_imports_the_pipeline(stage: str) -> None:
    path = PROJECT / "stages" / f"{stage}.py"
    assert "pipeline" in packages(path)
    assert "cli.stage(compute, __doc__" in path.read_text(encoding="utf-8")


def test_only_models_imports_mindspore() -> None:
    users = [
        path
        for path in (*PIPELINE, *PROGRAMS, SCRIPTS)
        if "mindspore" in packages(path)
    ]
    assert users
    models = PROJECT / "pipeline" / "models"
    assert [path for path in users if models not in path.parents] == []


@pytest.mark.parametrize(
    "path",
    [path for path in PIPELINE if path.parent.name in NUMERIC],
    ids=name_of,
)
def test_numeric_rooms_know_of_no_file_no_path_no_console_and_no_clock(
    path: Path,
) -> None:
    assert packages(path) & DOORS == set()


@pytest.mark.parametrize("path", [*PIPELINE, *PROGRAMS, SCRIPTS], ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    names = set(imported(path))
    assert not packages(path) & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
    assert not names & {"joblib.dump", "joblib.load"}
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"joblib.dump", "joblib.load"}


def test_the_config_is_checked_without_loading_anything_heavy() -> None:
    code = (
        "import sys, pipeline.cli, pipeline.config, pipeline.cache.stamps\n"
        "import pipeline.cache.devices, pipeline.cache.runs, stages.run\n"
        "print(*{'numpy', 'mindspore', 'sklearn', 'h5py', 'scipy', 'joblib'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"


def test_stages_stand_in_the_list_after_those_upstream() -> None:
    names = [*STAGES]
    for name, stage in STAGES.items():
        assert all(names.index(other) < names.index(name) for other in stage.inputs)
    assert all(one != other for one, other in pairwise(names))


def test_make_knows_every_stage_of_the_list_and_what_it_does() -> None:
    command = ["make", "help"]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]]
    told = dict(lines)
    for name, stage in STAGES.items():
        assert told[name] == stage.help


def test_the_networks_of_the_config_are_those_there_are() -> None:
    assert set(config.NETWORKS) == set(networks.NETWORKS)
