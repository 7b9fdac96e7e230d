"""Run the bench: `python -m tests.bench`, or `make bench`.

Options are read from the environment, where the Makefile puts them:

SIZE=full|tiny   how much of everything
ONLY=a,b         these parts alone
ANEW=1           measure parts again that are done
PAIRS=n          runs of either side
DATA=folder      CIFAR-100's binary files, in place of drawn images
MINDARMOUR=path  an interpreter that has MindArmour, or "none"
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.bench import (
    extraction,
    growth,
    images,
    kernels,
    memory,
    mindarmour,
    plot,
    references,
    search,
    targets,
    whole,
)
from tests.bench.pairs import merged
from tests.bench.sizes import SIZES
from tests.bench.workspace import Workspace

FOLDER = Path("artifacts") / "bench"
RESULT, PICTURE = "bench.json", "bench.svg"
OPTIONS = ("SIZE", "ONLY", "ANEW", "PAIRS", "DATA", "MINDARMOUR")
PARTS: dict[str, Callable[[Workspace], dict[str, Any]]] = {
    "kernels": kernels.measure,
    "references": references.measure,
    "extraction": extraction.measure,
    "whole": whole.measure,
    "search": search.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "large": growth.large,
}
WITHOUT_RIVAL = "ratios over MindArmour are left out: {}"
LIBRARIES = ("mindspore", "numpy", "scikit-learn", "scikit-learn-intelex", "scipy")


def main(python: str = sys.executable) -> None:
    """Measure the parts that are wanted and not done, and write what was found.

    Args:
        python: the interpreter that runs the audits.
    """
    option = {name: os.environ.get(name, "") for name in OPTIONS}
    size = _choice("SIZE", option["SIZE"] or "full", SIZES)
    wanted = [
        _choice("ONLY", name, PARTS) for name in option["ONLY"].split(",") if name
    ]
    pairs = option["PAIRS"] or str(SIZES[size].pairs)
    if not pairs.isdigit() or int(pairs) < 1:
        sys.exit(f"bench: PAIRS is {pairs!r}. Fix: give a whole number >= 1.")
    base = FOLDER.resolve()
    rival, reason = mindarmour.interpreter(base / "mindarmour", option["MINDARMOUR"])
    if rival is None:
        _say(WITHOUT_RIVAL.format(reason))
    data = Path(option["DATA"]).resolve() if option["DATA"] else base / f"images-{size}"
    space = Workspace(base / size, SIZES[size], int(pairs), data, rival, python)
    space.open()
    if not option["DATA"]:
        drawn = max(
            SIZES[size].members,
            *(e.shards * e.shard_rows for e in space.size.extraction),
        )
        images.write(data, drawn, whole=rival is not None)

    for name in wanted or PARTS:
        path = space.folder / f"part-{name}.json"
        if path.exists() and not option["ANEW"]:
            _say(f"{name} is done (ANEW=1 measures it again)")
            continue
        _say(f"{name} …")
        found = PARTS[name](space)
        found = {"parts": {name: conditions(space, option["DATA"])}, **found}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        _write(space, base, reason)
    for row in _write(space, base, reason):
        verdict = {True: "met", False: "missed", None: "not measured"}[row["met"]]
        value = "" if row["value"] is None else f" ({row['value']:.4g})"
        _say(f"{row['target']}: {verdict}{value}")


def conditions(space: Workspace, data: str) -> dict[str, Any]:
    """Return under what a part was measured."""
    return {
        "pairs": space.pairs,
        "mindarmour": space.rival is not None,
        "images": "of DATA" if data else "drawn",
        "load": os.getloadavg()[0],
    }


def _write(space: Workspace, base: Path, reason: str) -> list[dict[str, Any]]:
    """Write what has been found so far, and the picture of it; return the targets."""
    found: dict[str, Any] = {}
    for name in PARTS:
        path = space.folder / f"part-{name}.json"
        if path.exists():
            found = merged(found, json.loads(path.read_text(encoding="utf-8")))
    ordered = {
        "size": space.folder.name,
        "machine": machine(),
        "versions": versions(),
        "left_out": WITHOUT_RIVAL.format(reason) if reason else None,
        "targets": targets.judged(found),
        **found,
    }
    (base / RESULT).write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    plot.draw(found, base / PICTURE)
    return ordered["targets"]


def machine() -> dict[str, Any]:
    """Return what it runs on."""
    return {
        "processors": os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what is compared."""
    found = {"python": platform.python_version(), "mindarmour": mindarmour.VERSION}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor()


def _choice(where: str, name: str, known: Mapping[str, Any]) -> str:
    if name not in known:
        words = ", ".join(known)
        sys.exit(f"bench: {where} has {name!r}. Fix: use one of {words}.")
    return name


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
