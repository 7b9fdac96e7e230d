"""The numbers of every kind are those that its version stands for.

Where a number has changed and the version of its kind has not, cached numbers would
outlive the code that made them.
"""

import json
from typing import Any

import numpy as np
import pytest

from pipeline.cache import keys
from tests import golden

NOTED: dict[str, dict[str, Any]] = json.loads(golden.NOTED.read_text(encoding="utf-8"))


def test_every_kind_has_a_golden_run() -> None:
    assert {*golden.RUNS} == {*keys.KINDS} == {*NOTED}


@pytest.mark.parametrize("kind", golden.RUNS)
def test_a_kinds_numbers_are_those_of_its_version(kind: str) -> None:
    version, noted = keys.KINDS[kind].version, NOTED[kind]
    assert version == noted["version"], (
        f"the version of {kind} was raised: note its numbers by "
        "`python -m tests.golden`"
    )
    numbers, tolerance = golden.RUNS[kind]()
    before = np.array(noted["numbers"])
    assert tolerance == noted["tolerance"]
    assert len(numbers) == len(before), f"raise the version of {kind} in keys.KINDS"
    # Relative to each number, and to the run's typical one where that is near 0.
    allowed = tolerance * (np.abs(before) + np.median(np.abs(before)))
    off = np.abs(np.array(numbers) - before) > allowed + 1e-12 * np.abs(before)
    origin = keys.origin(kind)
    libraries = "" if origin == noted["origin"] else f" (or {noted['origin']} did)"
    assert not off.any(), (
        f"{int(off.sum())} of {len(off)} numbers of {kind} have changed{libraries}, "
        f"the first from {before[off][0]} to {np.array(numbers)[off][0]}: raise the "
        f"version of {kind} in keys.KINDS, so that what is cached is made anew, then "
        "note the numbers by `python -m tests.golden`"
    )
