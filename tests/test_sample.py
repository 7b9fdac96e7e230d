import numpy as np
import pytest

from pipeline.attacks import sample

RNG = np.random.default_rng(4)
MEMBER = RNG.random(400) < 0.3
KNOWN = np.arange(400) < 300
SIDES = KNOWN & MEMBER, KNOWN & ~MEMBER


def drawn(most: int, seed: int = 1, unit: np.ndarray | None = None) -> np.ndarray:
    return sample.drawn(SIDES, most, seed, "attack.fitted", unit)


@pytest.mark.parametrize("most", [300, 1000])
def test_of_no_more_records_than_asked_for_all_are_taken(most: int) -> None:
    assert np.array_equal(drawn(most), KNOWN)


def test_each_side_is_drawn_in_its_share() -> None:
    chosen = drawn(100)
    assert not chosen[~KNOWN].any()
    for side in SIDES:
        assert chosen[side].sum() == side.sum() * 100 // 300


def test_a_rare_side_is_drawn_whole() -> None:
    rare = np.arange(400) % 50 == 0
    chosen = sample.drawn((rare, KNOWN & ~rare), 100, 1, "attack.fitted")
    assert chosen[rare].all()
    assert chosen.sum() == 100


def test_the_seed_decides_the_draw() -> None:
    assert np.array_equal(drawn(100), drawn(100))
    assert not np.array_equal(drawn(100), drawn(100, seed=2))


def test_units_are_drawn_whole_and_those_of_both_sides_too() -> None:
    unit = np.arange(400) // 4  # some of four members, of none, and mixed ones
    member = np.where(unit % 3 == 0, True, np.where(unit % 3 == 1, False, MEMBER))
    sides = KNOWN & member, KNOWN & ~member
    chosen = sample.drawn(sides, 120, 1, "attack.fitted", unit)
    assert 100 < chosen.sum() <= 120
    for number in np.unique(unit[KNOWN]):
        assert chosen[unit == number].sum() in (0, 4)
    for kind in range(3):
        assert chosen[unit % 3 == kind].any()


def test_every_record_is_as_likely_to_be_drawn() -> None:
    times = sum(drawn(100, seed).astype(int) for seed in range(300))
    # A hundred draws each are expected, with a deviation of eight.
    assert np.abs(times[KNOWN] - 100).max() < 5 * 8.2
