import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

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
    bars = cli.bars(Console(file=io.StringIO()))
    return cli.Trainings(bars, "references", n_models)


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


def test_what_a_step_takes_leaves_out_the_first_of_each_model(
    clock: list[float],
) -> None:
    """The first takes 10 s to compile; then 1 s each, and 5 s to begin a model."""
    progress = trainings(2)
    assert progress.rate(30) is None
    clock.append(10.0)
    progress.advance(None, 3)
    assert progress.rate(30) is None
    for seconds in (11.0, 12.0):
        clock.append(seconds)
        progress.advance(None, 3)
    progress.finished()
    for seconds in (17.0, 18.0):
        clock.append(seconds)
        progress.advance(None, 3)
    assert progress.rate(30) == (10.0, 1.0, 3 / 30)


def test_a_recipe_that_shows_no_total_has_the_steps_of_its_first_model(
    clock: list[float],
) -> None:
    progress = trainings(1)
    for seconds in (1.0, 3.0, 5.0, 7.0):
        clock.append(seconds)
        progress.advance(None, None)
    assert progress.rate(8) == (1.0, 2.0, 4 / 8)


# Bars


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("title", ["features", "references"])
def test_a_bar_is_one_line_that_fits_the_terminal(title: str, width: int) -> None:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system=None
    )
    bars = cli.bars(console)
    task = bars.add_task(title, total=480_000, note="model 12 of 16, loss 0.123")
    bars.update(task, completed=123_456)
    console.print(bars.get_renderable())
    (line,) = console.file.getvalue().rstrip("\n").split("\n")  # type: ignore[attr-defined]
    assert len(line) <= width
    if width >= 80:
        assert line.startswith(f"{title:10} ━")
        assert "123456/480000  26%" in line
        assert line.rstrip().endswith("model 12 of 16, loss 0.123")


def test_a_name_between_colons_stays_what_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.note("mine.py:train: fails")
    assert capsys.readouterr().err == "note: mine.py:train: fails\n"


# Lines where there is no terminal


def test_work_without_a_bar_tells_that_it_goes_on() -> None:
    assert cli.standing("attack", 95.0) == "attack     at work for 2 min"


def test_a_line_tells_how_far_the_innermost_bar_is() -> None:
    with cli.progress() as outer, cli.progress() as inner:
        times = [0.0]
        inner.get_time = lambda: times[-1]
        outer.add_task("features", total=2, note="")
        task = inner.add_task("references", total=None, note="")
        assert cli.standing("references", 3.0) == "references at work for 3 s"
        inner.update(task, total=12, completed=3, note="model 1 of 3")
        times.append(20.0)
        assert cli.standing("references", 60.0) == (
            "references at work for 60 s, 3 of 12 (25%), model 1 of 3, about 60 s left"
        )
    assert cli.SHOWN == []


def test_a_bar_is_no_longer_told_of_when_its_work_fails() -> None:
    with pytest.raises(ZeroDivisionError), cli.progress():
        raise ZeroDivisionError
    assert cli.SHOWN == []


def lines_of(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, bar: bool) -> int:
    """Return how many lines a pulse prints until it has printed two, or a moment."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    monkeypatch.setattr(cli, "ERRORS", console)
    printed: list[str] = []
    two = threading.Event()

    def note(line: str, **_: object) -> None:
        printed.append(line)
        if len(printed) == 2:
            two.set()

    monkeypatch.setattr(console, "print", note)
    shown = [cli.bars(Console(file=io.StringIO()))] if bar else []
    monkeypatch.setattr(cli, "SHOWN", shown)
    with cli.pulse("features", interval=0.001):
        two.wait(0.2 if terminal and bar else 20)
    assert all(line.startswith("features   at work for ") for line in printed)
    return len(printed)


def test_a_pulse_prints_lines_unless_a_bar_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert lines_of(monkeypatch, terminal=False, bar=False) >= 2
    assert lines_of(monkeypatch, terminal=False, bar=True) >= 2
    assert lines_of(monkeypatch, terminal=True, bar=False) >= 2
    assert lines_of(monkeypatch, terminal=True, bar=True) == 0


def test_a_pulse_ends_with_its_work_and_leaves_the_error() -> None:
    before = threading.active_count()
    with cli.pulse("features"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    with pytest.raises(ZeroDivisionError), cli.pulse("features"):
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_a_line_reaches_a_file_at_once(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys, time\n"
        "from pipeline import cli\n"
        "with cli.pulse('features', interval=0.01):\n"
        "    while not pathlib.Path(sys.argv[1]).stat().st_size:\n"
        "        time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "log"
    with path.open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], stderr=log, check=False, timeout=60
        )
    assert done.returncode == -signal.SIGKILL
    assert path.read_text().startswith("features   at work for 1 s\n")
