"""The beds on which the judge learns, and the fit to them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.attacks import judge as attack_judge
from pipeline.config import Training
from tests import bed_networks, bed_recipes, beds, judge
from tests.bed_networks import Recipe


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_slopes_are_those_of_the_mean_cross_entropy(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    recipe = Recipe((5,), 1, smoothing=smoothing)
    x, label = rng.normal(size=(2, 8, 4)), rng.integers(0, 3, (2, 8))
    state = [
        rng.normal(size=shape) for shape in ((2, 4, 5), (2, 1, 5), (2, 5, 3), (2, 1, 3))
    ]

    def loss() -> float:
        odds = np.maximum(x @ state[0] + state[1], 0) @ state[2] + state[3]
        log_p = odds - np.log(np.exp(odds).sum(axis=-1, keepdims=True))
        wanted = (1 - smoothing) * np.eye(3)[label] + smoothing / 3
        return float(-(wanted * log_p).sum(axis=-1).mean(axis=1).sum())

    slopes = bed_networks._slopes(state, x, label, recipe, rng)
    step = 1e-6
    for weights, slope in zip(state, slopes, strict=True):
        place = tuple(rng.integers(size) for size in weights.shape)
        weights[place] += step
        above = loss()
        weights[place] -= 2 * step
        below = loss()
        weights[place] += step
        expected = (above - below) / (2 * step)
        assert slope[place] == pytest.approx(expected, abs=1e-5)


def test_models_learn_their_own_records_and_repeat() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1, 60, 10)).astype(np.float32)
    label = rng.integers(0, 3, 60)
    member = bed_recipes.memberships(60, 4, rng)
    assert (member[1] == ~member[0]).all()
    assert (member.sum(axis=1) == 30).all()

    def models() -> np.ndarray:
        fresh = np.random.default_rng(1)
        recipe = Recipe((32,), 60, rate=1e-2, batch=10)
        return bed_networks.trained(inputs, label, member, 3, recipe, fresh)

    logits = models()
    right = logits[:, :, 0].argmax(axis=-1) == label
    assert right[member].mean() > 0.95
    assert right[~member].mean() < 0.6
    assert np.array_equal(models(), logits)


def test_convolutions_learn_their_own_images_and_repeat() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(1, 40, 3, 8, 8)).astype(np.float32)
    inputs = np.concatenate([images, images[..., ::-1]])
    label = rng.integers(0, 3, 40)
    member = bed_recipes.memberships(40, 2, rng)
    training = Training(learning_rate=1e-2, epochs=30, batch_size=10)
    recipe = bed_recipes.Convolutional((8,), training)

    def models() -> np.ndarray:
        fresh = np.random.default_rng(1)
        return bed_recipes.trained(inputs, label, member, 3, recipe, fresh)

    logits = models()
    assert logits.shape == (2, 40, 2, 3)
    right = logits.argmax(axis=-1) == label[:, None]
    assert right[..., 0][member].mean() > 0.95
    assert right[..., 0][~member].mean() < 0.6
    # The mirror image is a view that it has not seen.
    assert right[..., 1][member].mean() < 0.95
    assert np.array_equal(models(), logits)


@pytest.mark.parametrize("name", [*bed_recipes.PLANS])
def test_every_source_gives_records_of_every_class(name: str, tmp_path: Path) -> None:
    if name not in [*bed_recipes.possible(tmp_path)]:
        assert name.startswith(("im-", "rate-", "conv-"))
        return
    plan = bed_recipes.PLANS[name]
    inputs, label = plan.source(tmp_path, np.random.default_rng(0))
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()
    assert inputs.shape[1] == len(label)
    assert {*label} == {*range(label.max() + 1)}
    assert plan.models % 2 == 0


def test_rows_of_a_bed_train_a_judge_that_is_shipped_as_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bed_recipes.Plan(bed_recipes.blobs(80, 10, 3, 0.3), Recipe((32,), 40), 6)
    monkeypatch.setattr(bed_recipes, "PLANS", {"tiny": plan})
    monkeypatch.setattr(judge, "EPOCHS", 20)
    monkeypatch.setattr(judge, "NETWORKS", 1)
    ((name, rows),) = judge.prepared(tmp_path)
    assert name == "tiny"
    # Of six models no target has eight references, and each row is one record's.
    assert {*rows.count} == {1, 2, 4}
    assert len(rows.member) == 6 * 3 * 80
    made = judge.fitted(rows, seed=0)
    judge.write(made, tmp_path / "judge.npz")
    with np.load(tmp_path / "judge.npz") as arrays:
        again = attack_judge.unpacked(arrays)
    for beside, parts in ((False, ("alone",)), (True, ("beside",))):
        (part,) = parts
        shown = judge.figures(getattr(made, part), rows, beside=beside)
        assert shown == judge.figures(getattr(again, part), rows, beside=beside)
        assert shown.auc > 0.6
    # What is there is not made again.
    monkeypatch.setattr(beds, "load", None)
    ((_, kept),) = judge.prepared(tmp_path)
    assert np.array_equal(kept.beside, rows.beside)
