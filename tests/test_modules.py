import hashlib
from pathlib import Path

import pytest

from pipeline.data import modules
from pipeline.errors import AuditError
from tests.conftest import Write


@pytest.mark.parametrize(
    ("name", "expected"),
    [("my_net.py:build", True), ("a/b.py:c", True), ("cnn", False), ("cnn.py", False)],
)
def test_a_function_is_named_by_its_file(name: str, expected: bool) -> None:
    assert modules.is_function(name) is expected


def test_the_file_of_a_name_is_what_stands_before_the_colon() -> None:
    assert modules.path_of("a/my_net.py:build") == Path("a/my_net.py")


def test_a_function_is_called_without_arguments(write: Write) -> None:
    path = write("mine.py", "def build():\n    return 7\n")
    assert modules.call(f"{path}:build") == 7


def test_a_module_may_import_its_neighbours(write: Write) -> None:
    write("beside_mine.py", "SEVEN = 7\n")
    path = write("mine.py", "import beside_mine\nbuild = lambda: beside_mine.SEVEN\n")
    assert modules.call(f"{path}:build") == 7


def test_a_module_that_does_not_import_is_refused(write: Write) -> None:
    path = write("mine.py", "import no_such_module\n")
    with pytest.raises(AuditError) as caught:
        modules.function(f"{path}:build")
    assert str(caught.value) == (
        f"{path}: does not import (ModuleNotFoundError: No module named "
        f"'no_such_module'). Fix: make `python {path}` run."
    )


def test_a_module_that_is_not_python_is_refused_in_one_line(write: Write) -> None:
    path = write("mine.py", "def build(:\n")
    with pytest.raises(AuditError) as caught:
        modules.function(f"{path}:build")
    assert str(caught.value).startswith(f"{path}: does not import (SyntaxError: ")
    assert "\n" not in str(caught.value)


def test_a_module_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    with pytest.raises(AuditError, match=r"mine\.py: does not import \(FileNotFound"):
        modules.function(f"{path}:build")


@pytest.mark.parametrize("code", ["", "build = 3\n"])
def test_a_module_without_the_function_is_refused(code: str, write: Write) -> None:
    path = write("mine.py", code)
    with pytest.raises(AuditError) as caught:
        modules.function(f"{path}:build")
    assert str(caught.value) == (
        f"{path}: has no function 'build'. Fix: define it, or name another."
    )


def test_a_function_that_raises_is_refused_with_its_reason(write: Write) -> None:
    path = write("mine.py", "def build():\n    raise ValueError('first\\nsecond')\n")
    with pytest.raises(AuditError) as caught:
        modules.call(f"{path}:build")
    assert str(caught.value) == (
        f"{path}:build: raises ValueError: first. Fix: make it run without arguments."
    )


def test_a_function_that_wants_arguments_is_refused(write: Write) -> None:
    path = write("mine.py", "def build(n):\n    return n\n")
    with pytest.raises(AuditError, match=r"raises TypeError: build\(\) missing 1 "):
        modules.call(f"{path}:build")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("wrong"), "ValueError: wrong"),
        (ValueError("wrong."), "ValueError: wrong"),
        (ValueError(), "ValueError"),
        (
            ValueError("\n-----\n\n  the first words \nmore"),
            "ValueError: the first words",
        ),
        (KeyError("name"), "KeyError: 'name'"),
    ],
)
def test_a_summary_is_the_kind_and_the_first_line(
    error: Exception, expected: str
) -> None:
    assert modules.summary(error) == expected


def test_a_summary_is_short() -> None:
    found = modules.summary(RuntimeError("long " * 100))
    assert len(found) == 160
    assert found.startswith("RuntimeError: long long ")


def test_the_sources_of_a_lone_module_are_itself(write: Write) -> None:
    path = write("mine.py", "import os\nimport numpy as np\nfrom json import dumps\n")
    write("other.py", "")
    assert modules.sources(path) == [path]


@pytest.mark.parametrize(
    "code",
    [
        "import beside",
        "import beside as b",
        "import os, beside",
        "from beside import something",
        "from . import beside",
        "from .beside import something",
        "def build():\n    import beside",
        "try:\n    import beside\nexcept ImportError:\n    pass",
    ],
)
def test_the_sources_hold_a_neighbour_however_it_is_imported(
    code: str, write: Write
) -> None:
    path = write("mine.py", code + "\n")
    beside = write("beside.py", "")
    assert modules.sources(path) == [beside, path]


@pytest.mark.parametrize("code", ["import parts", "from parts import something"])
def test_the_sources_hold_a_package(code: str, write: Write) -> None:
    path = write("mine.py", code + "\n")
    package = write("parts/__init__.py", "")
    assert modules.sources(path) == [path, package]


@pytest.mark.parametrize(
    "code",
    ["import parts.layers", "from parts import layers", "from parts.layers import a"],
)
def test_the_sources_hold_a_module_of_a_package(code: str, write: Write) -> None:
    path = write("mine.py", code + "\n")
    layers = write("parts/layers.py", "")
    assert layers in modules.sources(path)


def test_the_sources_hold_what_a_package_imports_of_its_own(write: Write) -> None:
    path = write("mine.py", "import parts\n")
    package = write("parts/__init__.py", "from .layers import a\n")
    layers = write("parts/layers.py", "from . import sizes\n")
    sizes = write("parts/sizes.py", "")
    assert modules.sources(path) == [path, package, layers, sizes]


def test_the_sources_hold_neighbours_of_neighbours(write: Write) -> None:
    path = write("mine.py", "import one\n")
    others = [write("one.py", "from two import a\n"), write("two.py", "")]
    assert modules.sources(path) == [path, *others]


def test_the_sources_of_modules_that_import_each_other_are_both(write: Write) -> None:
    path = write("mine.py", "import one\n")
    one = write("one.py", "import mine\n")
    assert modules.sources(path) == [path, one]


def test_the_sources_of_a_file_that_is_not_python_are_itself(write: Write) -> None:
    path = write("mine.py", "import (\n")
    write("beside.py", "")
    assert modules.sources(path) == [path]


@pytest.mark.parametrize("code", ["import parts.layers", "from parts.layers import a"])
def test_the_sources_hold_the_package_of_a_module(code: str, write: Write) -> None:
    path = write("mine.py", code + "\n")
    package, layers = write("parts/__init__.py", ""), write("parts/layers.py", "")
    assert modules.sources(path) == [path, package, layers]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import beside", "beside.py"),
        ("from parts import sizes", "parts/sizes.py"),
        ("from ..parts import sizes", "parts/sizes.py"),
    ],
)
def test_the_sources_hold_what_a_module_of_a_package_imports_from_above(
    code: str, name: str, write: Write
) -> None:
    path = write("mine.py", "import parts.layers\n")
    write("parts/layers.py", code + "\n")
    assert write(name, "") in modules.sources(path)


def test_a_module_may_hold_a_dataclass_and_postponed_annotations(write: Write) -> None:
    path = write(
        "mine.py",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Sizes:\n    width: int = 7\n"
        "def build():\n    return Sizes().width\n",
    )
    assert modules.call(f"{path}:build") == 7


def test_a_module_that_exits_is_refused(write: Write) -> None:
    path = write("mine.py", "import sys\nsys.exit(0)\n")
    with pytest.raises(AuditError, match="does not import"):
        modules.function(f"{path}:build")
    path = write("mine.py", "import sys\ndef build():\n    sys.exit(0)\n")
    with pytest.raises(AuditError, match="raises SystemExit"):
        modules.call(f"{path}:build")


# What a file does


CODE = '''
"""A module."""
import numpy as np

# Units of the layer.
HIDDEN = 16

class Net:
    """A class."""

    size = [1, 2]

def build(n: int = 3, *, name: str = "a") -> None:
    """Build it."""
    return np.zeros(HIDDEN * n)
'''


def code_digest(write: Write, code: str) -> str:
    return modules.code_digest(write("mine.py", code))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Units of the layer.\n", ""),
        ('"""A module."""', '"""Another."""'),
        ('"""A module."""\n', ""),
        ('    """A class."""\n\n', ""),
        ('    """Build it."""\n', "    # It is built.\n"),
        ("HIDDEN * n", "(HIDDEN\n        * n)"),
        ("[1, 2]", "[\n        1,\n        2,\n    ]"),
        ('"a"', "'a'"),
        ("16", "0x10"),
        ("\n\n", "\n\n\n\n"),
    ],
)
def test_new_words_and_another_form_leave_the_digest_of_code(
    old: str, new: str, write: Write
) -> None:
    assert old in CODE
    changed = CODE.replace(old, new)
    assert code_digest(write, changed) == code_digest(write, CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("16", "17"),
        ("16", "16.0"),
        ('"a"', '"b"'),
        ("[1, 2]", "[2, 1]"),
        ("[1, 2]", "(1, 2)"),
        ("HIDDEN * n", "HIDDEN + n"),
        ("*, name", "name"),
        ("import numpy as np", "import numpy as np, os"),
        ("return ", ""),
        ("    size = [1, 2]\n", '    size = [1, 2]\n    """No docstring."""\n'),
    ],
)
def test_another_statement_changes_the_digest_of_code(
    old: str, new: str, write: Write
) -> None:
    assert old in CODE
    changed = CODE.replace(old, new)
    assert code_digest(write, changed) != code_digest(write, CODE)


def test_the_docstrings_of_code_that_reads_them_count(write: Write) -> None:
    for reader in ("print(__doc__)", "print(Net.__doc__)"):
        code = f"{CODE}\n{reader}\n"
        other = code.replace("A class.", "A structure.")
        assert code_digest(write, other) != code_digest(write, code)


def test_a_function_without_a_body_but_its_docstring_can_be_digested(
    write: Write,
) -> None:
    code = 'def build():\n    """Nothing yet."""\n'
    assert code_digest(write, code) == code_digest(write, code.replace("yet", "now"))


@pytest.mark.parametrize("code", ["import (\n", "a\x00b", "def f(:\n"])
def test_what_is_no_python_is_digested_by_its_bytes(code: str, write: Write) -> None:
    path = write("mine.py", code)
    assert modules.code_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("my_net.py:build", "my_net.py:build"),
        ("/a/b c/my_net.py:build", "my_net.py:build"),
        ("../my_net.py:build", "my_net.py:build"),
        ("cnn_digits", "cnn_digits"),
    ],
)
def test_a_portable_name_has_no_folder(name: str, portable: str) -> None:
    assert modules.portable(name) == portable
