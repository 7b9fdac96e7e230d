import numpy as np

from pipeline.attacks import actors
from pipeline.data import membership
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


def test_references_that_differ_on_hardly_any_record_cannot_play() -> None:
    given = np.zeros((6, 100), dtype=bool)
    given[::2, :19] = True
    assert not actors.can_play(given, np.ones_like(given))
    given[::2, 19] = True
    assert actors.can_play(given, np.ones_like(given))


def test_a_record_that_all_or_no_references_know_is_not_divided() -> None:
    given = np.array([[True, True, False], [True, False, False]])
    assert actors.divided(given).tolist() == [False, True, False]


def test_levelled_references_stay_level_without_the_actor() -> None:
    rng = np.random.default_rng(0)
    member = rng.random((7, 300)) < 0.5
    kept = membership.level(member, seed=1)
    for actor in range(7):
        inside, outside = actors.helpers(member, kept, actor, rng)
        assert np.array_equal(inside.sum(axis=0), outside.sum(axis=0))
        assert not (inside | outside)[actor].any()
        assert not ((inside | outside) & ~kept).any()


def test_a_twin_is_known_by_the_records_that_someone_learned() -> None:
    given = toy(6, 50)[2] & (np.arange(50) < 40)
    inside, outside = actors.helpers(
        given, np.ones_like(given), 2, np.random.default_rng(0)
    )
    assert not (inside | outside)[2:4].any()
