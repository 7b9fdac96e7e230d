"""Modules: functions of the user's, named in the config.

A name is file.py:function, or package.module:function of an installed package.
"""

import ast
import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.config import is_in_file
from pipeline.data import rooms
from pipeline.errors import AuditError

# Where packages lie whose version says what is in them.
INSTALLED = ("site-packages", "dist-packages")


def is_function(name: str) -> bool:
    """Return whether a config's name means a function in a file of the user's."""
    return is_in_file(name)


def is_packaged(name: str) -> bool:
    """Return whether a config's name means something in an installed package."""
    return ":" in name and not is_function(name)


def path_of(name: str) -> Path:
    """Return the file of a name such as file.py:function."""
    return Path(name.rpartition(":")[0])


def portable(name: str) -> str:
    """Return a name such as folder/file.py:function without the folder.

    Where a file lies decides no number; any other name is returned as it is.
    """
    if not is_function(name):
        return name
    return f"{path_of(name).name}:{name.rpartition(':')[2]}"


def function(name: str) -> Callable[..., Any]:
    """Import a function of the user's.

    Args:
        name: file.py:function, or package.module:function.

    Raises:
        AuditError: if the module does not import or has no such function.
    """
    before, _, attribute = name.rpartition(":")
    try:
        if is_function(name):
            module = rooms.run(path_of(name))
        else:
            module = importlib.import_module(before)
    except (Exception, SystemExit) as error:
        problem = f"does not import ({summary(error)})"
        fix = f"make `python {before}` run"
        if is_packaged(name):
            fix = f"make `{sys.executable} -c 'import {before}'` run"
        raise AuditError(before, problem, fix) from error
    named = getattr(module, attribute, None)
    if not callable(named):
        problem = f"has no function {attribute!r}"
        raise AuditError(before, problem, "define it, or name another")
    return named  # type: ignore[no-any-return]


def call(name: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Import and call a function of the user's.

    Args:
        name: as of `function`.
        arguments: by keyword; none if None.

    Raises:
        AuditError: if it does not import or raises.
    """
    build = function(name)
    try:
        return build(**(arguments or {}))
    except (Exception, SystemExit) as error:
        problem = f"raises {summary(error)}"
        fix = "make it run without arguments"
        if arguments:
            fix = f"make it run with the arguments {', '.join(arguments)}"
        raise AuditError(name, problem, fix) from error


def summary(error: BaseException) -> str:
    """Return an exception in one line of at most 160 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("- \t")]
    first = rooms.unnamed(lines[0].rstrip(".")) if lines else ""
    return f"{type(error).__name__}: {first}"[:160] if first else type(error).__name__


def sources(path: Path) -> list[Path]:
    """Return a Python file and those beside and below it that it imports, in any way.

    An audit that noticed only the named file would keep stale results after an edit
    of its neighbour.
    """
    return _reached([path], path.parent)


def package(name: str) -> str:
    """Return the package in a name such as package.module:function."""
    return name.partition(":")[0].partition(".")[0]


def package_version(name: str) -> str | None:
    """Return the version of the package in a name such as package.module:function.

    None if the version does not say what is in it, as it is not installed but read
    where it is written.

    Raises:
        AuditError: if there is no such package.
    """
    top = package(name)
    folder = _package_folder(top)
    if not set(INSTALLED) & {*folder.parts}:
        return None
    for distribution in (top, *metadata.packages_distributions().get(top, ())):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def package_sources(name: str) -> dict[str, Path]:
    """Return the files of a package that package.module:function imports, by name.

    Raises:
        AuditError: if there is no such package.
    """
    folder = _package_folder(package(name))
    first = _files_of(folder, name.rpartition(":")[0])
    return {
        file.relative_to(folder).as_posix(): file for file in _reached(first, folder)
    }


def _package_folder(top: str) -> Path:
    """Return the folder that a package lies in."""
    spec = find_spec(top)
    if spec is None:
        fix = f"install it for {sys.executable}, or write {top}.py if it is a file"
        raise AuditError(top, "is not installed", fix)
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(spec.origin or ".").parent


def _reached(first: list[Path], top: Path) -> list[Path]:
    """Return Python files and those under `top` that they import, in any way."""
    reached: dict[Path, None] = {}
    waiting = [*first]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached[current] = None
            waiting += _imported(current, top)
    return sorted(reached)


def code_digest(path: Path) -> str:
    """Return the SHA-256 of what a Python file does.

    It is that of the syntax tree without comments, formatting and docstrings, so that
    new words cost no training. Docstrings count in a file that reads ``__doc__``. A
    file that is no Python has the digest of its bytes.
    """
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).hexdigest()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if "__doc__" not in names:
        for node in ast.walk(tree):
            _drop_docstring(node)
    return hashlib.sha256(_spelt(tree).encode()).hexdigest()


def _drop_docstring(node: ast.AST) -> None:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
        del node.body[0]


def _spelt(node: Any) -> str:
    """Return a syntax tree as text; what is empty is left out.

    Fields that only later versions of Python know are empty in files that earlier ones
    can read.
    """
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_spelt(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        ]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_spelt, node))}]"
    return repr(node)


def _imported(path: Path, top: Path) -> list[Path]:
    """Return the files that a module may import, of those that exist under `top`."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        # The stage that imports the file will say so.
        return []
    names: list[tuple[Path, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(top, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # One dot means the module's own package, each further dot the one above.
            root = path.parents[node.level - 1] if node.level else top
            base = f"{node.module}." if node.module else ""
            names += [(root, base + alias.name) for alias in node.names]
    return [file for root, name in names for file in _files_of(root, name)]


def _files_of(root: Path, name: str) -> list[Path]:
    """Return the files under `root` that the import of package.module runs."""
    parts = name.split(".")
    files: list[Path] = []
    for depth in range(1, len(parts) + 1):
        module = root.joinpath(*parts[:depth])
        files += [module.with_name(module.name + ".py"), module / "__init__.py"]
    return [file for file in files if file.is_file()]
