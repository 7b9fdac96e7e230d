import io

import pytest
from rich.console import Console

from pipeline import cli


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that shows the last of these numbers."""
    times = [0.0]
    monkeypatch.setattr(cli.time, "perf_counter", lambda: times[-1])
    return times


def shown(trainings: cli.Trainings) -> tuple[float | None, float, str]:
    (task,) = trainings._bar.tasks
    return task.total, task.completed, task.fields["note"]


def trainings(n_models: int) -> cli.Trainings:
    bar = cli.progress()
    bar.live.console = Console(file=io.StringIO())
    return cli.Trainings(bar, "references", n_models)


def test_progress_is_over_all_models_where_their_steps_are_known() -> None:
    progress = trainings(3)
    progress.advance(0.5, 4)
    assert shown(progress) == (12, 1, "model 1 of 3, loss 0.500")
    for _ in range(3):
        progress.advance(None, 4)
    progress.finished()
    progress.advance(0.25, 4)
    assert shown(progress) == (12, 5, "model 2 of 3, loss 0.250")


def test_steps_that_are_not_known_are_taken_from_the_first_model() -> None:
    progress = trainings(2)
    progress.advance(None, None)
    assert shown(progress) == (None, 1, "model 1 of 2")
    progress.advance(None, None)
    progress.finished()
    progress.advance(1.0, None)
    assert shown(progress) == (4, 3, "model 2 of 2, loss 1.000")


def test_models_are_counted_where_no_steps_are_told() -> None:
    progress = trainings(4)
    progress.finished()
    assert shown(progress) == (4, 1, "")
    progress.finished()
    assert shown(progress) == (4, 2, "")


def test_a_single_model_is_not_numbered() -> None:
    progress = trainings(1)
    progress.advance(1.0, 2)
    assert shown(progress) == (2, 1, "loss 1.000")


def test_the_time_of_the_first_model_is_told_and_multiplied_out(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = trainings(16)
    for seconds in (12.0, 30.0):
        clock.append(seconds)
        progress.finished()
    assert capsys.readouterr().err == (
        "note: references: 12 s each, about 3 min in all\n"
    )


def test_of_a_single_model_no_time_is_told(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = trainings(1)
    clock.append(100.0)
    progress.finished()
    assert capsys.readouterr().err == ""
