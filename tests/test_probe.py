"""A pass and a step are timed before anything is trained."""

import re

import pytest

from pipeline import cli
from pipeline.cache.stages import STAGES
from stages import probe
from tests.conftest import Checkout


def test_the_probe_tells_what_a_run_takes_and_trains_nothing(
    checkout: Checkout,
) -> None:
    before = {line.split()[0]: line for line in plan(checkout)}
    assert before["target"].split()[1:4] == ["runs", "?", "?"]
    done = checkout.make("probe")
    assert done.returncode == 0, done.stderr
    records, a_pass, a_step = done.stdout.splitlines()
    assert records.startswith("records ")
    number = r"\d[\d.e-]*"
    assert re.fullmatch(
        rf"a pass: {number} s to compile, then {number} ms a record", a_pass
    )
    assert re.fullmatch(rf"a step: {number} s to compile, then {number} ms", a_step)
    made = {
        name for name, stage in STAGES.items() if (checkout.run / stage.file).exists()
    }
    assert made == {"records"}
    after = {line.split()[0]: line for line in plan(checkout)}
    for stage in ("target", "references", "features"):
        assert "?" not in after[stage].split()[1:6], after[stage]
    assert after["attack"].split()[1:4] == ["runs", "?", "?"]


def plan(checkout: Checkout) -> list[str]:
    done = checkout.make("plan")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class Clock:
    """Shows a second more at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize(
    ("limits", "steps"),
    [((20, 1e9), 20), ((20, 5.0), 6), ((20, 0.0), 3), ((2, 0.0), 2)],
)
def test_a_training_is_broken_off_after_enough_steps_or_seconds(
    limits: tuple[int, float], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "STEPS", limits[0])
    monkeypatch.setattr(probe, "SECONDS", limits[1])
    monkeypatch.setattr(probe, "time", Clock())
    trainings = cli.Trainings(cli.bars(), "probe", 1)
    end = probe.Countdown(trainings)
    with pytest.raises(probe.Enough):  # noqa: PT012
        for step in range(100):
            end.advance(None, 40)
            assert step < steps - 1
    rate = trainings.rate(10)
    assert rate is not None
    assert rate.steps_per_record == 4.0


def test_a_recipe_that_catches_errors_cannot_go_on() -> None:
    assert not issubclass(probe.Enough, Exception)
