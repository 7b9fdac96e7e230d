import numpy as np
import pytest

from pipeline.statistics import metrics
from tests import bootstrap

RATES = (0.1, 0.02, 0.001)


def audit(seed: int, n_records: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two attacks, the second with ties."""
    rng = np.random.default_rng(seed)
    member = rng.random(n_records) < 0.4
    score = rng.normal(size=(2, n_records)) + member
    score[1] = np.round(score[1])
    decision = score > 0.5
    for array in (score, decision, member):
        array.flags.writeable = False
    return score, decision, member


def test_every_metric_is_that_of_the_records_drawn() -> None:
    score, decision, member = audit(1)
    found = bootstrap.resampled(score, decision, member, RATES, 30, seed=3)
    # The same draws, as records listed one by one.
    drawn = bootstrap._drawn(member, 30, np.random.default_rng(3))
    for place, counts in enumerate(drawn):
        rows = np.repeat(np.arange(len(member)), counts)
        for attack in range(2):
            one = score[attack][rows], member[rows]
            own = decision[attack][rows], member[rows]
            expected = {
                "auc": metrics.auc(*one),
                "accuracy": metrics.accuracy(*own),
                "balanced_accuracy": metrics.balanced_accuracy(*own),
                "advantage": metrics.advantage(*own),
                "precision": metrics.precision(*own),
                "recall": metrics.recall(*own),
                "0.1": metrics.tpr_at_fpr(*one, 0.1),
                "0.02": metrics.tpr_at_fpr(*one, 0.02),
                "0.001": np.nan,
            }
            assert {*found} == {*expected}
            for name, value in expected.items():
                assert found[name][attack, place] == pytest.approx(value, nan_ok=True)


def test_a_draw_has_as_many_of_either_side() -> None:
    _, _, member = audit(2)
    drawn = bootstrap._drawn(member, 50, np.random.default_rng(0))
    assert (drawn[:, member].sum(axis=1) == member.sum()).all()
    assert (drawn[:, ~member].sum(axis=1) == (~member).sum()).all()


def test_each_record_is_drawn_once_on_average() -> None:
    member = np.arange(10) < 4
    drawn = bootstrap._drawn(member, 20_000, np.random.default_rng(0))
    assert drawn.mean(axis=0) == pytest.approx(1, abs=0.03)
    # Of n draws from n a record's count is binomial: variance 1 - 1/n.
    assert drawn[:, member].var(axis=0) == pytest.approx(0.75, abs=0.03)


def test_the_seed_decides_and_blocks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    score, decision, member = audit(3)
    args = (score, decision, member, RATES, 40)
    one, other = (bootstrap.resampled(*args, seed=seed)["auc"] for seed in (1, 2))
    assert not np.array_equal(one, other)
    monkeypatch.setattr(bootstrap, "BLOCK_CELLS", 10 * len(member))
    assert bootstrap.resampled(*args, seed=1)["auc"].shape == one.shape


def test_the_interval_is_between_percentiles() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1001.0))
    assert bootstrap.interval(values, 0.95) == pytest.approx((25, 975))


def test_a_metric_that_is_undefined_at_times_has_no_interval() -> None:
    assert bootstrap.interval(np.array([0.5, np.nan, 0.6]), 0.95) is None
    member = np.arange(40) < 20
    nobody = np.zeros((1, 40), bool)
    found = bootstrap.resampled(np.ones((1, 40)), nobody, member, (), 10, seed=0)
    assert bootstrap.interval(found["precision"][0], 0.95) is None
    assert bootstrap.interval(found["recall"][0], 0.95) == (0.0, 0.0)
