import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.findings.drivers import drivers
from pipeline.findings.schema import Drivers
from pipeline.statistics import calibration, intervals

MEMBER = np.arange(300) < 200


def driven(**changed: object) -> Drivers:
    rng = np.random.default_rng(0)
    arrays = {
        "correct": rng.random(300) < np.where(MEMBER, 0.9, 0.6),
        "loss": rng.exponential(np.where(MEMBER, 0.1, 1.5)),
        "sureness": rng.uniform(0.4, 1.0, 300),
        "member": MEMBER,
    }
    return drivers(**{**arrays, **changed}, confidence=0.95)  # type: ignore[arg-type]


def test_the_gaps_are_those_between_the_means_of_the_sides() -> None:
    loss = np.where(MEMBER, 0.5, 2.0) + np.arange(300) % 2
    correct = np.where(MEMBER, np.arange(300) % 10 > 0, np.arange(300) % 2 > 0)
    gaps = driven(loss=loss, correct=correct)
    assert (gaps.accuracy.members, gaps.accuracy.nonmembers) == (0.9, 0.5)
    assert gaps.accuracy.difference == pytest.approx(0.4)
    assert gaps.accuracy.interval == intervals.advantage(correct, MEMBER, 0.95)
    assert (gaps.loss.members, gaps.loss.nonmembers) == (1.0, 2.5)
    assert gaps.loss.difference == pytest.approx(1.5)
    assert gaps.loss.interval == intervals.mean_difference(loss, MEMBER, 0.95)


def test_records_of_units_are_counted_as_units() -> None:
    unit = np.arange(300) // 5
    rng = np.random.default_rng(2)
    loss, correct = rng.exponential(size=60)[unit], (rng.random(60) < 0.6)[unit]
    gaps = driven(loss=loss, correct=correct, unit=unit)
    assert gaps.loss.interval == intervals.mean_difference(loss, MEMBER, 0.95, unit)
    assert gaps.accuracy.interval == intervals.advantage(correct, MEMBER, 0.95, unit)
    plain = driven(loss=loss, correct=correct)
    assert gaps.loss.interval != plain.loss.interval
    assert gaps.accuracy.interval != plain.accuracy.interval


def test_margins_alone_show_gaps_but_no_calibration() -> None:
    gaps = driven(sureness=np.full(300, np.nan))
    assert gaps.calibration is None
    assert gaps == driven().model_copy(update={"calibration": None})


def test_the_calibration_of_a_side_is_that_of_its_records() -> None:
    rng = np.random.default_rng(1)
    sureness, correct = rng.uniform(0.5, 1.0, 300), rng.random(300) < 0.5
    gaps = driven(sureness=sureness, correct=correct).calibration
    assert gaps is not None
    for side, chosen in ((gaps.members, MEMBER), (gaps.nonmembers, ~MEMBER)):
        bins = calibration.reliability(sureness[chosen], correct[chosen])
        assert side.expected_error == calibration.expected_error(bins)
        assert side.confidence == sureness[chosen].mean()
        assert side.accuracy == correct[chosen].mean()
        # None is below a half, so half of the bins are left out.
        assert sum(part.records for part in side.bins) == chosen.sum()
        assert len(side.bins) == 8
        for part in side.bins:
            assert part.low < part.confidence <= part.high


@pytest.mark.parametrize("unit", [None, np.arange(300) // 5])
def test_of_a_single_unit_of_a_side_there_is_no_interval_of_the_loss(
    unit: NDArray[np.int64] | None,
) -> None:
    n_members = 1 if unit is None else 5
    gaps = driven(member=np.arange(300) < n_members, unit=unit)
    assert gaps.loss.interval is None
    assert gaps.accuracy.interval[0] < gaps.accuracy.interval[1]
