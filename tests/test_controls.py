import numpy as np
import pytest

from pipeline.findings import controls


def test_shuffled_memberships_keep_the_numbers_of_each_side() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(300) < 0.4
    place = rng.permutation(300)
    train, judged = place < 150, (place >= 150) & (place < 250)
    found = controls.shuffled(member, (train, judged), seed=1)
    for side in (train, judged):
        assert found[side].sum() == member[side].sum()
        assert (found[side] != member[side]).any()
    rest = ~train & ~judged
    assert np.array_equal(found[rest], member[rest])
    again, other = (controls.shuffled(member, (train, judged), s) for s in (1, 2))
    assert np.array_equal(found, again)
    assert not np.array_equal(found, other)


def test_the_null_control_passes_on_noise_at_its_level() -> None:
    rng = np.random.default_rng(1)
    member = np.arange(200) < 100
    failed = 0
    for _ in range(400):
        # Ten attacks that are much alike, as attacks on one model are.
        common = rng.normal(size=200)
        scores = {str(i): common + rng.normal(size=200) for i in range(10)}
        failed += not controls.null(scores, rng.permutation(member), ())["passed"]
    # At most 1 % of 400, and three standard deviations.
    assert failed <= 10


def test_the_null_control_fails_where_scores_know_the_memberships() -> None:
    rng = np.random.default_rng(2)
    member = np.arange(200) < 100
    scores = {"fair": rng.normal(size=200), "knows": rng.normal(size=200) + 2 * member}
    for sign in (1, -1):
        found = controls.null({k: sign * v for k, v in scores.items()}, member, ["a"])
        assert not found["passed"]
        assert found["p_value"] == pytest.approx(
            2 * found["attacks"]["knows"]["p_value"]
        )
        assert found["refitted"] == ["a"]


COUNTS = {"train_accuracy": 1000, "test_accuracy": 1000}


def references(
    *pairs: tuple[float | None, float | None],
) -> list[dict[str, float | None]]:
    return [{"train_accuracy": a, "test_accuracy": b} for a, b in pairs]


def test_references_like_the_target_pass() -> None:
    found = controls.resemblance(
        {"train_accuracy": 0.98, "test_accuracy": 0.60},
        references((0.97, 0.61), (0.99, 0.58), (0.98, 0.59)),
        COUNTS,
    )
    assert found is not None
    assert found["passed"]
    assert found["train_accuracy"]["references"] == 0.98


@pytest.mark.parametrize(("train", "test"), [(0.98, 0.8), (0.7, 0.6)])
def test_references_that_fit_otherwise_are_told(train: float, test: float) -> None:
    found = controls.resemblance(
        {"train_accuracy": train, "test_accuracy": test},
        references((0.97, 0.61), (0.99, 0.58), (0.98, 0.59)),
        COUNTS,
    )
    assert found is not None
    assert not found["passed"]
    odd = "test_accuracy" if train == 0.98 else "train_accuracy"
    assert [name for name in COUNTS if not found[name]["passed"]] == [odd]


def test_what_chance_and_the_references_spread_allow_is_added_to_the_slack() -> None:
    found = controls.resemblance(
        {"train_accuracy": 1.0, "test_accuracy": 0.5},
        references((1.0, 0.4), (1.0, 0.6)),
        {"train_accuracy": 100, "test_accuracy": 25},
    )
    assert found is not None
    assert found["train_accuracy"]["allowed"] == pytest.approx(0.05)
    # A spread of sqrt(.02), and sqrt(.5 * .5 / 25) by chance.
    expected = 0.05 + 3 * (0.02 + 0.01) ** 0.5
    assert found["test_accuracy"]["allowed"] == pytest.approx(expected)


def test_no_references_are_not_compared() -> None:
    target = {"train_accuracy": 1.0, "test_accuracy": 0.5}
    assert controls.resemblance(target, [], COUNTS) is None
    nothing = controls.resemblance(target, references((None, None)), COUNTS)
    assert nothing == {"passed": None}
    found = controls.resemblance(target, references((1.0, None)), COUNTS)
    assert found is not None
    assert found["passed"]
    assert "test_accuracy" not in found


def test_the_resolution_is_one_non_member() -> None:
    found = controls.resolution(440, (0.1, 0.01, 0.001))
    assert found["smallest_fpr"] == 1 / 440
    assert found["unmeasured"] == [0.001]
    assert controls.resolution(1000, (0.001,))["unmeasured"] == []
