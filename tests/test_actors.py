import numpy as np

from pipeline.attacks import actors
from tests.test_amortised import toy


def test_a_complementary_twin_is_left_out_with_the_actor() -> None:
    _, _, given, _, _ = toy(6, 50)
    inside, outside = actors.helpers(
        given, np.ones_like(given), 2, np.random.default_rng(0)
    )
    assert not inside[2:4].any()
    assert not outside[2:4].any()
    assert (inside.sum(axis=0) == 2).all()
    assert (outside.sum(axis=0) == 2).all()


def test_without_a_twin_the_counts_do_not_tell_the_actors_side() -> None:
    rng = np.random.default_rng(0)
    given = rng.permuted(np.arange(8)[:, None] % 2 * np.ones((8, 200)), axis=0) > 0
    inside, outside = actors.helpers(given, np.ones_like(given), 3, rng)
    assert (inside.sum(axis=0) == 3).all()
    assert (outside.sum(axis=0) == 3).all()
    assert not inside[3].any()


def test_unbalanced_references_lose_the_actor_alone() -> None:
    given = np.random.default_rng(0).random((5, 100)) < 0.5
    inside, outside = actors.helpers(
        given, np.ones_like(given), 1, np.random.default_rng(0)
    )
    others = np.arange(5) != 1
    assert np.array_equal(inside[others], given[others])
    assert np.array_equal(outside[others], ~given[others])


def test_four_references_can_play() -> None:
    assert actors.can_play(toy(4, 100)[2], np.ones((4, 100), dtype=bool))
