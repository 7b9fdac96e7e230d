"""Say which packages an interpreter lacks or has in a wrong version.

It runs before anything is known to be installed, so it needs nothing but Python.
"""

import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r'^  "([\w-]+)(>=[^,]+),(<[^" ;]+)( ; [^"]*)?",')


def requirements(text: str) -> list[tuple[str, str, str]]:
    """Return (name, ">=lowest", "<limit") of each package that running needs."""
    section = text.partition("\ndependencies = [\n")[2].partition("\n]\n")[0]
    found = [REQUIREMENT.match(line) for line in section.splitlines()]
    old = sys.version_info < (3, 11)
    return [(m[1], m[2], m[3]) for m in found if m and (old or not m[4])]


def problems(
    needed: list[tuple[str, str, str]], installed: Callable[[str], str]
) -> list[str]:
    """Return a phrase for each package that is missing or outside its range."""
    found = []
    for name, lowest, limit in needed:
        try:
            present = installed(name)
        except PackageNotFoundError:
            found.append(f"{name}{lowest},{limit} is missing")
            continue
        if not numbers(lowest[2:]) <= numbers(present) < numbers(limit[1:]):
            found.append(f"{name} is {present}, not {lowest},{limit}")
    return found


def numbers(release: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, enough to compare it to a range."""
    leading = re.match(r"\d+(\.\d+)*", release)
    return tuple(map(int, leading[0].split("."))) if leading else ()


def main() -> None:
    """Exit with 1 and one line if anything is amiss."""
    found = problems(requirements(PROJECT.read_text(encoding="utf-8")), version)
    if not (3, 10) <= sys.version_info < (3, 13):
        found.insert(0, f"Python is {sys.version.split()[0]}, not 3.10 to 3.12")
    if found:
        fix = "install them there, or leave PYTHON out to have .venv set up"
        print(
            f"error: {sys.executable}: {'; '.join(found)}. Fix: {fix}.", file=sys.stderr
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
