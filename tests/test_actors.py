import numpy as np

from pipeline.attacks import actors, coverage
from tests.test_amortised import toy


def test_a_complementary_twin_is_left_out_with_the_actor() -> None:
    in_models = toy(6, 50).in_models
    actor_in, actor_out = actors.helpers(
        in_models, np.ones_like(in_models), 2, np.random.default_rng(0)
    )
    assert not actor_in[2:4].any()
    assert not actor_out[2:4].any()
    assert (actor_in.sum(axis=0) == 2).all()
    assert (actor_out.sum(axis=0) == 2).all()


def test_without_a_twin_the_counts_do_not_tell_the_actors_side() -> None:
    rng = np.random.default_rng(0)
    in_models = rng.permuted(np.arange(8)[:, None] % 2 * np.ones((8, 200)), axis=0) > 0
    actor_in, actor_out = actors.helpers(in_models, np.ones_like(in_models), 3, rng)
    assert (actor_in.sum(axis=0) == 3).all()
    assert (actor_out.sum(axis=0) == 3).all()
    assert not actor_in[3].any()


def test_unbalanced_references_lose_the_actor_alone() -> None:
    in_models = np.random.default_rng(0).random((5, 100)) < 0.5
    actor_in, actor_out = actors.helpers(
        in_models, np.ones_like(in_models), 1, np.random.default_rng(0)
    )
    others = np.arange(5) != 1
    assert np.array_equal(actor_in[others], in_models[others])
    assert np.array_equal(actor_out[others], ~in_models[others])


def test_four_references_can_play() -> None:
    assert actors.can_play(toy(4, 100).in_models, np.ones((4, 100), dtype=bool))


def test_references_that_differ_on_hardly_any_record_cannot_play() -> None:
    in_models = np.zeros((6, 100), dtype=bool)
    in_models[::2, :19] = True
    assert not actors.can_play(in_models, np.ones_like(in_models))
    in_models[::2, 19] = True
    assert actors.can_play(in_models, np.ones_like(in_models))


def test_a_record_that_all_or_no_references_know_is_not_divided() -> None:
    in_models = np.array([[True, True, False], [True, False, False]])
    assert actors.divided(in_models).tolist() == [False, True, False]


def test_levelled_references_stay_level_without_the_actor() -> None:
    rng = np.random.default_rng(0)
    in_models = rng.random((7, 300)) < 0.5
    kept = coverage.balanced(in_models, seed=1)
    for actor in range(7):
        actor_in, actor_out = actors.helpers(in_models, kept, actor, rng)
        assert np.array_equal(actor_in.sum(axis=0), actor_out.sum(axis=0))
        assert not (actor_in | actor_out)[actor].any()
        assert not ((actor_in | actor_out) & ~kept).any()


def test_a_twin_is_known_by_the_records_that_someone_learned() -> None:
    in_models = toy(6, 50).in_models & (np.arange(50) < 40)
    actor_in, actor_out = actors.helpers(
        in_models, np.ones_like(in_models), 2, np.random.default_rng(0)
    )
    assert not (actor_in | actor_out)[2:4].any()
