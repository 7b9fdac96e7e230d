"""Pairing is tested on models of known memory, and on a plain loop."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.findings import pairing

N_MODELS, N = 12, 800


def drawn(
    n_models: int = N_MODELS, inside: float = 0.7, outside: float = 0.41, seed: int = 0
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which records models are right on and trained on, twins by halves."""
    rng = np.random.default_rng(seed)
    member = np.zeros((n_models, N), dtype=bool)
    for pair in range(0, n_models, 2):
        member[pair, rng.permutation(N)[: N // 2]] = True
        member[pair + 1 : pair + 2] = ~member[pair]
    return rng.random((n_models, N)) < np.where(member, inside, outside), member


def mispaired(
    correct: NDArray[np.bool_], member: NDArray[np.bool_]
) -> pairing.Mispaired | None:
    return pairing.pairing(correct, member).mispaired


@pytest.mark.parametrize(
    ("inside", "outside"),
    [(0.7, 0.41), (0.7, 0.66), (0.5, 0.5), (1.0, 1.0), (1.0, 0.1)],
)
@pytest.mark.parametrize("n_models", [1, 2, 3, 12])
def test_a_sound_set_passes_however_little_it_memorises(
    inside: float, outside: float, n_models: int
) -> None:
    for seed in range(20):
        correct, member = drawn(n_models, inside, outside, seed)
        assert mispaired(correct, member) is None


def test_rows_that_are_exchanged_are_found() -> None:
    for seed in range(20):
        correct, member = drawn(seed=seed)
        order = np.arange(N_MODELS)
        order[[2, 7]] = 7, 2
        found = mispaired(correct, member[order])
        assert found in {(2, 7), (7, 2)}


def test_rows_in_the_order_of_strings_are_found() -> None:
    order = sorted(range(N_MODELS), key=str)
    assert order[2:4] == [10, 11]
    for seed in range(20):
        correct, member = drawn(seed=seed)
        found = mispaired(correct[order], member)
        assert found is not None
        assert order[found.model] == found.fits


def test_two_models_with_each_others_rows_are_found() -> None:
    correct, member = drawn(2)
    assert mispaired(correct, member[::-1]) in {(0, 1), (1, 0)}


def test_a_reference_of_other_records_than_all_others_is_found() -> None:
    noticed = 0
    for seed in range(20):
        correct, member = drawn(inside=0.85, seed=seed)
        foreign, _ = drawn(inside=0.85, seed=100 + seed)
        correct[4] = foreign[4]
        found = mispaired(correct, member)
        noticed += found == (4, None)
        assert found in {None, (4, None)}
    assert noticed >= 18


def weak(
    inside: float, outside: float, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return models of which the fourth learns little and the others much."""
    correct, member = drawn(6, inside=0.9, outside=0.4, seed=seed)
    rng = np.random.default_rng(1000 + seed)
    correct[3] = rng.random(N) < np.where(member[3], inside, outside)
    return correct, member


def test_a_reference_that_hardly_memorises_is_noted_and_not_refused() -> None:
    noted = 0
    for seed in range(100):
        correct, member = weak(0.43, 0.4, seed)
        refused, unlearned = pairing.pairing(correct, member)
        assert refused is None
        assert unlearned in {(), (3,)}
        noted += unlearned == (3,)
    assert noted >= 75


def test_a_reference_that_memorises_somewhat_is_mostly_not_even_noted() -> None:
    outcomes = [pairing.pairing(*weak(0.55, 0.4, seed)) for seed in range(100)]
    assert all(refused is None for refused, _ in outcomes)
    assert sum(bool(unlearned) for _, unlearned in outcomes) <= 5


def test_a_whole_set_of_foreign_rows_is_left_to_the_control_of_the_report() -> None:
    for seed in range(10):
        correct, _ = drawn(seed=seed)
        _, member = drawn(seed=100 + seed)
        assert mispaired(correct, member) is None


def test_references_that_memorise_to_different_degrees_pass() -> None:
    rng = np.random.default_rng(3)
    for seed in range(20):
        _, member = drawn(seed=seed)
        inside = np.linspace(0.5, 0.9, N_MODELS)[:, None]
        correct = rng.random(member.shape) < np.where(member, inside, 0.45)
        assert mispaired(correct, member) is None


def test_a_reference_of_hard_records_passes() -> None:
    # On half of the records all are seldom right, and one was trained on just those.
    rng = np.random.default_rng(4)
    hard = np.arange(N) < N // 2
    for seed in range(20):
        _, member = drawn(seed=seed)
        member[3] = hard
        chance = np.where(hard, 0.2, 0.8) + 0.05 * member
        assert mispaired(rng.random(member.shape) < chance, member) is None


def test_a_reference_that_memorises_less_of_records_that_all_know_passes() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        # Half of the records are known to most references, the rest to few.
        known = np.where(np.arange(N) < N // 2, 0.8, 0.2)
        member = rng.random((N_MODELS, N)) < known
        inside = np.full((N_MODELS, 1), 0.9)
        inside[3] = 0.6
        correct = rng.random(member.shape) < np.where(member, inside, 0.4)
        assert mispaired(correct, member) is None


def test_references_trained_on_nothing_or_on_everything_pass() -> None:
    correct, member = drawn(6)
    member[1], member[4] = False, True
    assert mispaired(correct, member) is None


def test_the_comparisons_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "BLOCK_RECORDS", 100)
    correct, member = drawn(4)
    correct.flags.writeable = member.flags.writeable = False
    own, rest, exchanged = pairing._compared(correct, member)

    def expected(
        values: NDArray[np.float64], one: NDArray[np.bool_], other: NDArray[np.bool_]
    ) -> tuple[float, float]:
        a, b = values[one], values[other]
        return a.mean() - b.mean(), np.sqrt(a.var() / len(a) + b.var() / len(b))

    for i in range(4):
        values = np.empty(N)
        for k in range(N):
            others = [j for j in range(4) if j != i]
            out = [j for j in others if not member[j, k]]
            values[k] = correct[i, k] - correct[out or others, k].mean()
        pair = own.difference[i], own.error[i]
        assert pair == pytest.approx(expected(values, member[i], ~member[i]))
        outside = values[~member[i]]
        error = outside.std() / np.sqrt(len(outside))
        assert rest.difference[i] == pytest.approx(outside.mean())
        assert rest.error[i] == pytest.approx(error)
        for j in {*range(4)} - {i}:
            sides = member[j] & ~member[i], member[i] & ~member[j]
            pair = exchanged.difference[i, j], exchanged.error[i, j]
            assert pair == pytest.approx(expected(values, *sides))
