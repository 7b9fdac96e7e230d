import ast
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline import draws
from pipeline.data import selection

PROJECT = Path(__file__).parents[1]
FOLDERS = [PROJECT / "pipeline", PROJECT / "stages"]
PRODUCT = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))


def first_words(purpose: str, seed: int = 1, *index: int) -> bytes:
    return draws.rng(seed, purpose, *index).bytes(32)


def test_no_two_purposes_have_one_stream_though_their_seeds_are_equal() -> None:
    for seed in (0, 1, 2**40):
        words = [first_words(purpose, seed) for purpose in draws.PURPOSES]
        assert len({*words}) == len(draws.PURPOSES)


def test_no_two_purposes_have_one_stream_as_a_seed_of_a_library() -> None:
    seeds = [draws.integer(1, purpose) for purpose in draws.PURPOSES]
    assert len({*seeds}) == len(draws.PURPOSES)


def test_streams_of_two_purposes_are_not_correlated() -> None:
    uniform = {p: draws.rng(1, p).random(2000) for p in draws.PURPOSES}
    for one, other in combinations(draws.PURPOSES, 2):
        correlation = np.corrcoef(uniform[one], uniform[other])[0, 1]
        # Of some four hundred pairs, none is this far from 0 by accident.
        assert abs(correlation) < 5 / np.sqrt(2000), (one, other)


def test_a_stream_is_decided_by_seed_purpose_and_index() -> None:
    assert first_words("data.members") == first_words("data.members")
    assert first_words("data.members", 1) != first_words("data.members", 2)
    pairs = [first_words("references.halves", 1, pair) for pair in range(20)]
    assert len({*pairs}) == 20
    assert first_words("references.halves", 1) not in pairs


def test_a_larger_seed_is_another_seed() -> None:
    # Seeds of several words: none of them is lost.
    seeds = (1, 2**32 + 1, 2**64 + 1, 2**32, 2**64)
    assert len({first_words("data.members", seed) for seed in seeds}) == len(seeds)


def test_a_purpose_that_is_not_listed_is_refused() -> None:
    with pytest.raises(KeyError, match=r"data\.typo"):
        draws.rng(1, "data.typo")


def test_seeds_of_libraries_fit_into_31_bits() -> None:
    seeds = [draws.integer(seed, "attack.fit") for seed in range(200)]
    assert 0 <= min(seeds) < max(seeds) < 2**31
    assert max(seeds) > 2**30


@pytest.mark.parametrize(
    "path", PRODUCT, ids=lambda path: path.relative_to(PROJECT).as_posix()
)
def test_no_other_module_makes_a_generator(path: Path) -> None:
    if path.name == "draws.py":
        return
    made = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    makers = ("default_rng", "SeedSequence", "RandomState", "seed", "spawn", "Random")
    assert {name for name in made if name.rpartition(".")[2] in makers} == set()


def test_every_purpose_is_drawn_for_and_every_draw_has_a_purpose() -> None:
    used = {
        node.value
        for path in PRODUCT
        if path.name != "draws.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {*draws.PURPOSES} - used == set()


# What went wrong when two draws had one stream


def memberships(seed: int, n_records: int, n_members: int) -> np.ndarray:
    """Return the target's memberships as the stage `records` draws them."""
    order = selection.ordered(np.arange(n_records), "sample", seed, "data.members")
    return np.isin(np.arange(n_records), order[:n_members])


@pytest.mark.parametrize("n_records", [1000, 1796, 1797])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 12345])
def test_the_targets_memberships_are_independent_of_every_half(
    seed: int, n_records: int
) -> None:
    """Both seeds of a config are 1 unless it says otherwise."""
    member = memberships(seed, n_records, n_records // 2)
    halves = selection.halves(n_records, 16, seed)
    agreement = (halves == member).mean(axis=1)
    # Hypergeometric: five standard deviations of a share of matches.
    assert np.abs(agreement - 0.5).max() < 5 * 0.5 / np.sqrt(n_records)


def test_what_others_draw_from_is_seeded() -> None:
    drawn = []
    for seed in (5, 5, 6):
        draws.seed_globally(seed)
        drawn.append((random.random(), np.random.rand()))  # noqa: NPY002
    assert drawn[0] == drawn[1]
    assert not {*drawn[0]} & {*drawn[2]}
