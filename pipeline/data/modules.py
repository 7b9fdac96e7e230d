"""Modules: Python files of the user, named in the config as file.py:function."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import AuditError


def is_function(name: str) -> bool:
    """Return whether a config's name means a function of the user's."""
    return ".py:" in name


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


def function(name: str) -> Callable[[], Any]:
    """Import a function of the user's.

    Args:
        name: file.py:function, the file relative to the current folder.

    Raises:
        AuditError: if the file does not import or has no such function.
    """
    path, attribute = path_of(name), name.rpartition(":")[2]
    spec = importlib.util.spec_from_file_location(f"users_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise AuditError(path, "is not a Python file", "name a .py file")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses, among others, look up the module they are made in.
    sys.modules[spec.name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        problem = f"does not import ({summary(error)})"
        raise AuditError(path, problem, f"make `python {path}` run") from error
    named = getattr(module, attribute, None)
    if not callable(named):
        problem = f"has no function {attribute!r}"
        raise AuditError(path, problem, "define it, or name another")
    return named  # type: ignore[no-any-return]


def call(name: str) -> Any:
    """Import and call a function of the user's without arguments.

    Raises:
        AuditError: if it does not import or raises.
    """
    build = function(name)
    try:
        return build()
    except (Exception, SystemExit) as error:
        problem = f"raises {summary(error)}"
        raise AuditError(name, problem, "make it run without arguments") from error


def summary(error: BaseException) -> str:
    """Return an exception in one line of at most 160 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("- \t")]
    first = lines[0].rstrip(".") if lines else ""
    return f"{type(error).__name__}: {first}"[:160] if first else type(error).__name__


def sources(path: Path) -> list[Path]:
    """Return a Python file and those beside and below it that it imports, in any way.

    An audit that noticed only the named file would keep stale results after an edit
    of its neighbour.
    """
    reached: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached[current] = None
            waiting += _imported(current, path.parent)
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
    files: list[Path] = []
    for root, name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            module = root.joinpath(*parts[:depth])
            files += [module.with_name(module.name + ".py"), module / "__init__.py"]
    return [file for file in files if file.is_file()]
