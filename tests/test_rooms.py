"""Users' folders, each a room of its own."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.data import modules, rooms
from pipeline.errors import AuditError
from tests.conftest import Write

# Prints what `build` returns, as a user would try his file.
AS_A_PROGRAM = "if __name__ == '__main__':\n    print(build())\n"


def built(path: Path) -> Any:
    return modules.call(f"{path}:build")


def test_two_folders_may_have_modules_of_one_name(write: Write) -> None:
    paths = []
    for folder in ("net", "data"):
        write(f"{folder}/common.py", f"NAME = {folder!r}\n")
        code = "import common\nfrom common import NAME\n"
        paths.append(
            write(
                f"{folder}/mine.py", f"{code}def build(): return common.NAME + NAME\n"
            )
        )
    assert [*map(built, paths)] == ["netnet", "datadata"]
    assert "common" not in sys.modules


def test_an_import_in_a_function_that_is_called_later_finds_its_own(
    write: Write,
) -> None:
    code = "def build():\n    import common\n    return common.NAME\n"
    functions = []
    for folder in ("net", "data"):
        write(f"{folder}/common.py", f"NAME = {folder!r}\n")
        path = write(f"{folder}/mine.py", code)
        functions.append(modules.function(f"{path}:build"))
    assert [function() for function in functions] == ["net", "data"]


@pytest.mark.parametrize("name", [*rooms.OURS, "random", "numpy", "queue"])
@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py"])
def test_a_neighbour_is_what_python_itself_takes_it_for(
    name: str, file: str, write: Write
) -> None:
    write(file.format(name), "NAME = 'mine'\n")
    path = write(
        "mine.py", f"import {name}\ndef build(): return {name}.NAME\n{AS_A_PROGRAM}"
    )
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert built(path) == done.stdout.strip() == "mine"
    assert not hasattr(random, "NAME")
    assert not hasattr(pipeline, "NAME")


@pytest.mark.parametrize("name", ["sys", "os", "io", "time"])
def test_no_neighbour_is_taken_for_what_python_begins_with(
    name: str, write: Write
) -> None:
    write(f"{name}.py", "NAME = 'mine'\n")
    code = f"import {name}\ndef build(): return hasattr({name}, 'NAME')\n"
    path = write("mine.py", code + AS_A_PROGRAM)
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert str(built(path)) == done.stdout.strip() == "False"


@pytest.mark.parametrize(("name", "mine"), [("stages", True), ("json", False)])
def test_a_folder_that_is_no_package_gives_way_to_a_library(
    name: str, mine: bool, write: Write
) -> None:
    write(f"{name}/parts.py", "")
    code = f"import {name}\ndef build(): return {name}.__path__\n"
    path = write("mine.py", code)
    assert (str(path.parent / name) in built(path)) is mine


def test_a_module_of_a_package_is_found_by_every_form_of_import(write: Write) -> None:
    write("stages/__init__.py", "")
    write("stages/one.py", "from . import two\nfrom .two import SIZE\n")
    write("stages/two.py", "from stages import three\nSIZE = three.SIZE\n")
    write("stages/three.py", "SIZE = 3\n")
    path = write(
        "mine.py",
        "import stages.one\nimport stages.two as two\nfrom stages import one\n"
        "def build():\n"
        "    return [stages.one.SIZE, two.SIZE, one.two.SIZE, stages.one is one]\n",
    )
    assert built(path) == [3, 3, 3, True]


def test_a_module_is_imported_by_its_name_as_text(write: Write) -> None:
    write("pipeline.py", "NAME = 'mine'\n")
    path = write(
        "mine.py",
        "import importlib, importlib.util\nfrom importlib import import_module\n"
        "def build():\n"
        "    names = [importlib.import_module('pipeline').NAME,\n"
        "        import_module('pipeline').NAME, __import__('pipeline').NAME]\n"
        "    return [*names, importlib.import_module('json').__name__,\n"
        "        importlib.util.find_spec('json').name]\n",
    )
    assert built(path) == ["mine", "mine", "mine", "json", "json"]


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_a_neighbour_may_hold_a_dataclass(future: str, write: Write) -> None:
    code = (
        f"{future}from dataclasses import dataclass, field\nimport typing\n"
        "@dataclass\nclass Sizes:\n    width: int = 7\n"
        "    kind: typing.ClassVar[str] = 'a'\n"
    )
    write("sizes.py", code)
    path = write(
        "mine.py",
        f"{code}import sizes, pickle\ndef build():\n"
        "    again = pickle.loads(pickle.dumps([Sizes(), sizes.Sizes()]))\n"
        "    return [each.width for each in again]\n",
    )
    assert built(path) == [7, 7]


def test_a_relative_import_within_the_folder_finds_a_neighbour(write: Write) -> None:
    write("common.py", "NAME = 'mine'\n")
    path = write("mine.py", "from .common import NAME\ndef build(): return NAME\n")
    assert built(path) == "mine"


def test_a_file_runs_anew_and_its_neighbours_do_not(write: Write) -> None:
    write("common.py", "TIMES = []\n")
    path = write(
        "mine.py",
        "import common\ncommon.TIMES.append(1)\nbuild = lambda: common.TIMES\n",
    )
    assert [len(built(path)), len(built(path))] == [1, 2]


def test_what_lies_beside_a_link_is_what_lies_beside_its_file(
    write: Write, tmp_path: Path
) -> None:
    write("net/common.py", "NAME = 'mine'\n")
    path = write("net/mine.py", "import common\ndef build(): return common.NAME\n")
    link = tmp_path / "link.py"
    link.symlink_to(path)
    assert built(link) == "mine"


def test_an_error_names_modules_as_the_user_does(write: Write) -> None:
    write("common.py", "")
    path = write("mine.py", "import common.parts\n")
    with pytest.raises(AuditError) as caught:
        built(path)
    assert str(caught.value) == (
        f"{path}: does not import (ModuleNotFoundError: No module named "
        f"'common.parts'; 'common' is not a package). Fix: make `python {path}` run."
    )


def test_a_file_that_fails_leaves_no_module_behind(write: Write) -> None:
    path = write("mine.py", "1 / 0\n")
    before = {*sys.modules}
    with pytest.raises(AuditError, match="ZeroDivisionError"):
        built(path)
    assert not [name for name in {*sys.modules} - before if name.endswith(".mine")]


def test_other_modules_import_as_ever(write: Write) -> None:
    """A library that a user's file imports does not see the user's neighbours."""
    write("random.py", "NAME = 'mine'\n")
    path = write(
        "mine.py",
        "import sys\nsys.modules.pop('tempfile', None)\nimport tempfile\n"
        "def build(): return tempfile.gettempprefix()\n",
    )
    assert built(path) == "tmp"
