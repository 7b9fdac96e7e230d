"""Say which packages an interpreter lacks or has in a wrong version.

With the word "check" it says too what was tried with its version of MindSpore, and
with names of goals that need few packages it asks for these alone. It runs before
anything is known to be installed, so it needs nothing but Python.
"""

import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r'^  "([\w-]+)(>=[^,]+),(<[^" ;]+)( ; [^"]*)?",')


# What passed with each version of MindSpore, on CPU (x86-64).
MOST = "the tests of networks, checkpoints, training, inference and users' data"
TRIED = {"2.7.2": MOST, "2.8.0": MOST, "2.9.0": MOST, "2.10.0": "every test"}


# What goals need that read reports and compute nothing.
CONFIG = ("pydantic", "rich", "tomli")
LIGHT = {
    "gate": CONFIG,
    "verify": (*CONFIG, "numpy", "h5py"),
    "compare": (*CONFIG, "numpy", "h5py", "scipy", "matplotlib", "jinja2"),
}


def needed(
    listed: list[tuple[str, str, str]], goals: list[str]
) -> list[tuple[str, str, str]]:
    """Return those of all requirements that some goals have; without goals, all."""
    if not goals or not {*goals} <= {*LIGHT}:
        return listed
    names = {name for goal in goals for name in LIGHT[goal]}
    return [requirement for requirement in listed if requirement[0] in names]


def requirements(text: str) -> list[tuple[str, str, str]]:
    """Return (name, ">=lowest", "<limit") of each package that running needs."""
    section = text.partition("\ndependencies = [\n")[2].partition("\n]\n")[0]
    matches = [REQUIREMENT.match(line) for line in section.splitlines()]
    old = sys.version_info < (3, 11)
    # What only some machines have is done without where it is missing.
    return [
        (m[1], m[2], m[3])
        for m in matches
        if m and (not m[4] or (old and "python_version" in m[4]))
    ]


def problems(
    needed: list[tuple[str, str, str]], installed: Callable[[str], str]
) -> list[str]:
    """Return a phrase for each package that is missing or outside its range."""
    phrases = []
    for name, lowest, limit in needed:
        try:
            present = installed(name)
        except PackageNotFoundError:
            phrases.append(f"{name}{lowest},{limit} is missing")
            continue
        if not numbers(lowest[2:]) <= numbers(present) < numbers(limit[1:]):
            phrases.append(f"{name} is {present}, not {lowest},{limit}")
    return phrases


def numbers(release: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, enough to compare it to a range."""
    leading = re.match(r"\d+(\.\d+)*", release)
    return tuple(map(int, leading[0].split("."))) if leading else ()


def tried(release: str) -> str:
    """Return a sentence about what was tried with a version of MindSpore."""
    known = {numbers(name): passed for name, passed in TRIED.items()}
    where = "on CPU (x86-64); nothing was tried on Ascend or GPU"
    if passed := known.get(numbers(release)):
        return f"MindSpore {release}: {passed} passed with it, {where}"
    others = f"{', '.join(TRIED)} were, {where}"
    return f"MindSpore {release} was not tried; {others}"


def main() -> None:
    """Exit with 1 and one line if anything is amiss."""
    listed = requirements(PROJECT.read_text(encoding="utf-8"))
    phrases = problems(needed(listed, sys.argv[1:]), version)
    if not (3, 10) <= sys.version_info < (3, 13):
        phrases.insert(0, f"Python is {sys.version.split()[0]}, not 3.10 to 3.12")
    if phrases:
        fix = "install them there, or leave PYTHON out to have .venv set up"
        problem = "; ".join(phrases)
        print(f"error: {sys.executable}: {problem}. Fix: {fix}.", file=sys.stderr)
        sys.exit(1)
    if "check" in sys.argv[1:]:
        print(tried(version("mindspore")))


if __name__ == "__main__":
    main()
