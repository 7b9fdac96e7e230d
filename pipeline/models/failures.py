"""Failures: what went wrong in a network, and at which line of whose file."""

import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from traceback import extract_tb
from typing import Any

import mindspore as ms
import numpy as np

from pipeline.data.modules import summary
from pipeline.errors import AuditError
from pipeline.models import networks

# What MindSpore raises where a network does not run.
FAILURES = (ValueError, TypeError, RuntimeError, IndexError, KeyError, AttributeError)
OURS = Path(__file__).resolve().parents[1]
BUILT_IN = Path(str(networks.__file__)).resolve().parent
# Lines of these, and of Python's own library, are not blamed where there is one of the
# user's.
LIBRARIES = (
    *(Path(str(each.__file__)).resolve().parent for each in (ms, np)),
    Path(sysconfig.get_path("stdlib")).resolve(),
)
# How MindSpore's compiler names a line, in the text of its errors.
COMPILED_LINE = re.compile(r"In file (.+?):([0-9]+)")


def does_not_run(error: Exception, network: Any, inputs: Iterable[Any]) -> AuditError:
    """Return the error of a network that fails on its inputs.

    Args:
        error: what it raised.
        network: that raised it.
        inputs: tensors or arrays that it was called with.
    """
    forms = " and ".join(form(each) for each in inputs)
    problem = f"fails on inputs {forms} ({reason(error)})"
    fix = (
        "have its construct take these inputs, in this order, and return logits; "
        "docs/own-data.md tells what it is called with"
    )
    if BUILT_IN in _folders(type(network)):
        fix = "set data.image_size to the size of image that this network takes"
    return AuditError("target.network", problem, fix)


def reason(error: BaseException) -> str:
    """Return an error in one line, after the line of the user's file if it is known."""
    where = place(error)
    return f"{where}: {summary(error)}" if where else summary(error)


def place(error: BaseException) -> str | None:
    """Return the innermost line of the user's own, as file and number."""
    lines = [
        (frame.filename, frame.lineno or 0) for frame in extract_tb(error.__traceback__)
    ]
    lines += [(file, int(line)) for file, line in COMPILED_LINE.findall(str(error))]
    for file, line in reversed(lines):
        path = Path(file)
        if path.is_file() and not _is_ours_or_a_librarys(path.resolve()):
            return f"{path.name}, line {line}"
    return None


def form(value: Any) -> str:
    """Return shape and type of a tensor or array as text."""
    return f"{tuple(value.shape)} {str(value.dtype).lower().removeprefix('mindspore.')}"


def _is_ours_or_a_librarys(path: Path) -> bool:
    return any(folder in path.parents for folder in (OURS, *LIBRARIES))


def _folders(kind: type) -> Iterable[Path]:
    """Return the folders that hold the file of a class, the nearest first."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return Path(file).resolve().parents if file else ()
