import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import config
from pipeline.cache import plan
from pipeline.models import networks

PROJECT = Path(__file__).parents[1]
PIPELINE = sorted((PROJECT / "pipeline").rglob("*.py"))
STAGES = sorted((PROJECT / "stages").glob("*.py"))
NUMERICAL = [
    PROJECT / "pipeline" / f"{name}.py"
    for name in (
        "signals",
        "metrics",
        "intervals",
        "bootstrap",
        "estimates",
        "slices",
        "verdict",
        "controls",
        "corrections",
        "risk",
        "epsilon",
        "blind",
        "selection",
        "preprocessing",
    )
]
NUMERICAL += sorted((PROJECT / "pipeline" / "attacks").glob("*.py"))


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


def test_the_tree_is_where_the_tests_look_for_it() -> None:
    assert len(PIPELINE) >= 20
    assert {path.stem for path in STAGES} >= {*plan.STAGES, "check", "plan", "stamp"}
    assert all(path.is_file() for path in NUMERICAL)


@pytest.mark.parametrize("path", STAGES, ids=name_of)
def test_no_stage_imports_another(path: Path) -> None:
    assert "stages" not in packages(path)


@pytest.mark.parametrize("path", PIPELINE, ids=name_of)
def test_the_pipeline_does_not_import_the_stages(path: Path) -> None:
    assert "stages" not in packages(path)


@pytest.mark.parametrize("stage", plan.STAGES)
def test_every_stage_is_a_program_that_imports_the_pipeline(stage: str) -> None:
    path = PROJECT / "stages" / f"{stage}.py"
    assert "pipeline" in packages(path)
    assert "cli.stage(compute, __doc__)" in path.read_text(encoding="utf-8")


def test_only_the_device_and_the_networks_import_mindspore() -> None:
    found = [path for path in (*PIPELINE, *STAGES) if "mindspore" in packages(path)]
    networks_ = set((PROJECT / "pipeline" / "networks").glob("*.py"))
    assert PROJECT / "pipeline" / "device.py" in found
    assert set(found) - networks_ == {PROJECT / "pipeline" / "device.py"}


@pytest.mark.parametrize("path", NUMERICAL, ids=name_of)
def test_numerical_modules_know_of_no_files_and_no_log(path: Path) -> None:
    assert not packages(path) & {"os", "pathlib", "shutil", "io", "h5py", "logging"}


@pytest.mark.parametrize("path", [*PIPELINE, *STAGES], ids=name_of)
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
        "import sys, pipeline.config, pipeline.plan\n"
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


@pytest.mark.parametrize("stage", plan.STAGES)
def test_the_makefile_makes_every_artifact_of_the_plan(stage: str) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    target = f"$(RUN)/{plan.STAGES[stage].artifact}: $(RUN)/stamps/{stage}.json"
    rules = [line for line in makefile.splitlines() if line.startswith(target)]
    assert len(rules) == 1


def test_the_makefile_stamps_the_stages_of_the_plan_in_their_order() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert f"\nSTAGES := {' '.join(plan.STAGES)}\n" in makefile


def test_the_networks_of_the_config_are_those_there_are() -> None:
    assert set(config.NETWORKS) == set(networks.NETWORKS)
