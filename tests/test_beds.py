from pathlib import Path

import numpy as np
import pytest

from pipeline.data import selection
from pipeline.statistics import metrics
from tests import beds


@pytest.fixture
def bed(tmp_path: Path) -> beds.Bed:
    """A target without a twin and three pairs, that know their members by 2 nats."""
    rng = np.random.default_rng(0)
    pairs = selection.halves(300, 6, seed=1)
    member = np.vstack((rng.random((1, 300)) < 0.5, pairs))
    label = rng.integers(0, 3, 300).astype(np.int32)
    own = np.arange(3) == label[:, None]
    logits = rng.normal(size=(7, 300, 3)) + 2 * own * member[..., None]
    path = tmp_path / "tiny.npz"
    np.savez(path, logits=logits, label=label, member=member)
    return beds.load(path)


@pytest.mark.parametrize("target", range(7))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_references_come_in_pairs_without_the_target_and_its_twin(
    bed: beds.Bed, target: int, count: int
) -> None:
    rng = np.random.default_rng(target)
    models = beds.drawn(bed.member, target, count, rng)
    assert models is not None
    assert len({*models}) == count
    assert not (bed.member[models] != bed.member[target]).all(axis=1).any()
    assert target not in models
    if count > 1:
        assert (bed.member[models].sum(axis=0) == count // 2).all()


def test_a_count_that_cannot_be_drawn_is_left_out(bed: beds.Bed) -> None:
    assert beds.drawn(bed.member, 1, 6, np.random.default_rng(0)) is None
    assert [*beds.trials(bed, ["loss"], 6, [1, 2], seed=0)] == []


def test_attacks_that_lack_references_are_left_out_and_others_judged(
    bed: beds.Bed,
) -> None:
    names = ["margin", "lira_online_bayes"]
    (trial,) = beds.trials(bed, names, 1, [0], seed=0)
    assert [*trial] == ["margin"]
    expected = metrics.auc(bed.margin[0, :, 0], bed.member[0])
    assert trial["margin"].auc == expected
    # 150 non-members measure a rate of 1 %, but not of 0.1 %.
    assert np.isnan(trial["margin"].tpr).tolist() == [False, True]


def test_lines_compare_attacks_target_by_target() -> None:
    figures = beds.Figures
    ran = [
        {"ours": figures(0.8, (0.2, 0.1)), "other": figures(0.7, (0.1, 0.1))},
        {"ours": figures(0.6, (0.1, 0.0)), "other": figures(0.4, (0.1, 0.2))},
    ]
    ours, other = beds.lines(ran, "ours")
    np.testing.assert_allclose(ours.mean, [0.7, 0.15, 0.05])
    assert (ours.behind == 0).all()
    np.testing.assert_allclose(other.behind, [-0.15, -0.05, 0.1])
    # Of two values it is half their distance.
    np.testing.assert_allclose(other.error, [0.15, 0.0, 0.05])
    np.testing.assert_allclose(other.behind_error, [0.05, 0.05, 0.1])
