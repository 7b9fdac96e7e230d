"""Rooms: a namespace for each folder of users' modules.

A file imports what lies beside it, as `python file.py` would. But two folders may have
modules of one name, and a user's module the name of one of ours or of a library's, so
each folder's modules are kept under the name of its room, and only its own files see
them by their short names, whenever they ask.
"""

import builtins
import importlib
import re
import sys
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

# In sys.modules, a room is called by this and a digest of its folder.
PREFIX = "users_"
NAME = re.compile(rf"{PREFIX}[0-9a-f]{{16}}\.")
# Ours, which lie in the current folder. A folder without an __init__.py gives way to a
# package of its name elsewhere, but not to these.
OURS = ("pipeline", "stages", "tests")
# What Python has imported before it runs a file, so that no neighbour is taken for it.
AT_START = ("abc", "codecs", "encodings", "io", "os", "site", "stat")


def run(path: Path) -> ModuleType:
    """Run a Python file as a module of its folder's room, and return the module.

    The file runs anew each time; what it imports from beside it runs once.
    """
    whole = path.resolve()
    name = f"{_room(whole.parent)}.{whole.stem}"
    spec = spec_from_file_location(name, whole, loader=_Loader(name, str(whole)))
    assert spec is not None  # as a loader was given
    assert spec.loader is not None
    # Files may have been written since folders were last listed.
    importlib.invalidate_caches()
    module = module_from_spec(spec)
    # Where dataclasses, among others, look up the module they are made in.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def unnamed(text: str) -> str:
    """Return a text in which the modules of rooms have their short names."""
    return NAME.sub("", text)


def _room(folder: Path) -> str:
    """Return the name of a folder's room, which is made if there is none."""
    name = PREFIX + blake2b(bytes(folder), digest_size=8).hexdigest()
    if name not in sys.modules:
        room = ModuleType(name)
        room.__path__ = [str(folder)]
        sys.modules[name] = room
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    return name


class _Loader(SourceFileLoader):
    """Loads a module whose import statements look into its room first."""

    def exec_module(self, module: ModuleType) -> None:
        room = module.__name__.partition(".")[0]
        own = {"__import__": partial(_import, room)}
        # Python takes the import of a statement from its module's built-ins.
        module.__dict__["__builtins__"] = {**vars(builtins), **own}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules of rooms, to be loaded as such."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(PREFIX) or path is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


FINDER = _Finder()


def _import(
    room: str,
    name: str,
    globals: Any = None,
    locals: Any = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Do what `__import__` does, for a file of a room."""
    if level or not _is_beside(room, name):
        module = builtins.__import__(name, globals, locals, fromlist or (), level)
        return _importlib(room) if module is importlib else module
    module = builtins.__import__(f"{room}.{name}", fromlist=fromlist or ())
    return module if fromlist else sys.modules[f"{room}.{name.partition('.')[0]}"]


def _importlib(room: str) -> ModuleType:
    """Return importlib as a file of a room is to see it."""

    def import_module(name: str, package: str | None = None) -> ModuleType:
        beside = not name.startswith(".") and _is_beside(room, name)
        return importlib.import_module(f"{room}.{name}" if beside else name, package)

    seen = ModuleType("importlib")
    seen.__dict__.update({**vars(importlib), "import_module": import_module})
    return seen


def _is_beside(room: str, name: str) -> bool:
    """Return whether a name means a module in the folder of a room."""
    top = name.partition(".")[0]
    if top in AT_START or top in sys.builtin_module_names:
        return False
    if f"{room}.{top}" in sys.modules:
        return True
    spec = PathFinder.find_spec(top, sys.modules[room].__path__)
    if spec is None or spec.origin is not None or top in OURS:
        return spec is not None
    elsewhere = find_spec(top)
    return elsewhere is None or elsewhere.origin is None
