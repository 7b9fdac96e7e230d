"""Signals taken over from the folder that the code of LiRA leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data import experiments, selection
from pipeline.errors import AuditError
from pipeline.signals import margins
from stages import import_
from tests.conftest import Checkout
from tests.test_shell import make

N, VIEWS, CLASSES = 240, 2, 4
MODELS = 7


def folder_of_lira(
    folder: Path, kinds: tuple[str, ...] = ("logits", "scores"), labels: bool = True
) -> dict[str, NDArray[Any]]:
    """Write what seven models of the LiRA code leave, and return it."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, N)
    first = rng.permutation(N) < N // 2
    member = np.vstack((first[None], selection.halves(N, MODELS - 1, 1)))
    own = np.arange(CLASSES) == label[:, None, None]
    logits = rng.normal(size=(MODELS, N, VIEWS, CLASSES)) + own * (
        1 + 3 * member[..., None, None]
    )
    score = np.stack(
        [
            [margins.margin(model[:, view], label) for view in range(VIEWS)]
            for model in logits
        ]
    ).transpose(0, 2, 1)
    # In the order of strings, model 10 would come before model 4.
    for model, number in enumerate((0, 1, 2, 3, 4, 10, 11)):
        inside = folder / f"experiment-{number}_16"
        for kind, arrays in (("logits", logits[:, :, None]), ("scores", score)):
            if kind in kinds:
                (inside / kind).mkdir(parents=True)
                np.save(inside / kind / "0000000009.npy", arrays[model] * 0)
                last = arrays[model].astype(np.float32)
                np.save(inside / kind / "0000000100.npy", last)
        inside.mkdir(exist_ok=True)
        # The data set may be larger than what the models were asked.
        np.save(inside / "keep.npy", np.append(member[model], [True, False]))
    (folder / "notes").mkdir()
    if labels:
        np.save(folder / "y_train.npy", np.append(label, [0, 0]))
    return {"label": label, "member": member, "logits": logits, "margin": score}


def taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **variables: str
) -> dict[str, NDArray[Any]]:
    """Take a folder over, and return the arrays."""
    monkeypatch.chdir(tmp_path)
    values = {"FROM": "exp", "KIND": "lira", "NAME": "mine", "TARGET": "", **variables}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    import_.main()
    with h5py.File("mine/signals.h5") as file:
        return {name: file[name][()] for name in file}


def test_logits_are_taken_where_there_are_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = folder_of_lira(tmp_path / "exp")
    arrays = taken(tmp_path, monkeypatch)
    assert {*arrays} == {"logits", "label", "member"}
    for name in arrays:
        expected = whole[name].astype(arrays[name].dtype)
        assert np.array_equal(arrays[name], expected), name
    assert capsys.readouterr().out.splitlines() == [
        "mine/ is made: the target experiment-0_16, 6 references, logits of 240 "
        "records in 2 views.",
        "Audit it: make audit CONFIG=mine/mine.toml",
    ]


def test_without_labels_scores_are_taken_as_margins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = folder_of_lira(tmp_path / "exp", labels=False)
    arrays = taken(tmp_path, monkeypatch, TARGET="experiment-10_16")
    assert {*arrays} == {"margin", "member"}
    places = [5, 0, 1, 2, 3, 4, 6]
    # Its twin would reveal its members.
    places.remove(6)
    assert np.array_equal(arrays["member"], whole["member"][places])
    expected = whole["margin"][places].astype(np.float32)
    assert np.array_equal(arrays["margin"], expected)


def test_a_twin_of_the_target_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of_lira(tmp_path / "exp", kinds=("scores",))
    arrays = taken(tmp_path, monkeypatch, TARGET="1")
    assert len(arrays["margin"]) == MODELS - 1
    assert capsys.readouterr().err == (
        "note: experiment-2_16 was trained on just what experiment-1_16 was not: it "
        "would reveal who is a member, and is left out\n"
    )


def test_scores_that_are_taken_over_run_to_a_verdict(checkout: Checkout) -> None:
    folder_of_lira(checkout.folder / "exp", kinds=("scores",), labels=False)
    done = make(checkout.folder, "import", "FROM=exp", "NAME=mine")
    assert done.returncode == 0, done.stderr
    config = checkout.folder / "mine" / "mine.toml"
    text = config.read_text()
    config.write_text(text + "[report]\nmin_records = 50\n")
    done = make(checkout.folder, "audit", "CONFIG=mine/mine.toml")
    assert done.returncode == 0, done.stderr
    report = (checkout.folder / "artifacts/mine/report/full.txt").read_text()
    assert "Verdict: leaks" in report
    assert "nothing was compared: there are no labels" in report
    words = "left out (needs logits, and there are margins alone): "
    assert f"note: {words}lr, knn, mlp, rf; with features" in done.stderr
    assert f"note: {words}entropy, modified_entropy, correctness" in done.stderr
    assert "note: left out (needs labels, and there are none): " in done.stderr
    header = (checkout.folder / "artifacts/mine/report/records.csv").read_text()
    assert "label" not in header.splitlines()[0]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"KIND": "lyra"},
            "KIND: is 'lyra'. Fix: use lira.",
        ),
        (
            {"FROM": ""},
            "FROM: is missing. Fix: pass FROM=the folder of the models.",
        ),
        (
            {"FROM": "nowhere"},
            "FROM: nowhere is not a folder. Fix: name that of the models.",
        ),
        (
            {"FROM": "exp/notes"},
            "FROM: exp/notes has no folder with a keep.npy. "
            "Fix: name the folder that holds the models'.",
        ),
        (
            {"TARGET": "7"},
            "TARGET: is '7', but there are 7 models. "
            "Fix: give a number from 0 to 6, or a name such as experiment-0_16.",
        ),
        (
            {"TARGET": "-1"},
            "TARGET: is '-1', but there are 7 models. "
            "Fix: give a number from 0 to 6, or a name such as experiment-0_16.",
        ),
    ],
)
def test_what_cannot_be_taken_over_is_refused(
    variables: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder_of_lira(tmp_path / "exp", kinds=("scores",))
    with pytest.raises(AuditError) as caught:
        taken(tmp_path, monkeypatch, **variables)
    assert str(caught.value) == message
    assert not (tmp_path / "mine").exists()


def unfinished(folder: Path) -> None:
    for path in (folder / "experiment-3_16" / "scores").iterdir():
        path.unlink()


def stopped_early(folder: Path) -> None:
    (folder / "experiment-3_16" / "scores" / "0000000100.npy").unlink()


def of_integers(folder: Path) -> None:
    path = folder / "experiment-0_16" / "scores" / "0000000100.npy"
    np.save(path, np.ones((N, 2), dtype=int))


def of_other_records(folder: Path) -> None:
    path = folder / "experiment-3_16" / "scores" / "0000000100.npy"
    np.save(path, np.ones((N - 1, 2)))


def short_keep(folder: Path) -> None:
    np.save(folder / "experiment-3_16" / "keep.npy", np.ones(N - 1, dtype=bool))


def few_labels(folder: Path) -> None:
    np.save(folder / "y_train.npy", np.ones(N - 1, dtype=int))


def pickled(folder: Path) -> None:
    path = folder / "experiment-3_16" / "keep.npy"
    np.save(path, np.array([None, 1]), allow_pickle=True)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            unfinished,
            "exp/experiment-3_16: has no scores/EPOCH.npy. "
            "Fix: finish this model, or move its folder away.",
        ),
        (
            stopped_early,
            "exp/experiment-3_16/scores/0000000009.npy: is the last epoch there, "
            "0000000100.npy that of experiment-0_16. "
            "Fix: finish this model, or move its folder away.",
        ),
        (
            of_integers,
            "exp/experiment-0_16/scores/0000000100.npy: has scores of type int64 and "
            "shape (240, 2). Fix: give floats (n_records, n_views).",
        ),
        (
            of_other_records,
            "exp/experiment-3_16/scores/0000000100.npy: has outputs of shape (239, 2), "
            "others (240, 2). Fix: give models of one data set.",
        ),
        (
            short_keep,
            "exp/experiment-3_16/keep.npy: has bool of shape (239,). "
            "Fix: give bools (240,).",
        ),
        (
            few_labels,
            "exp/y_train.npy: has labels of type int64 and shape (239,). "
            "Fix: give integers (240,).",
        ),
        (pickled, "exp/experiment-3_16/keep.npy: cannot be read (Array can't be mem"),
    ],
)
def test_a_damaged_folder_is_refused(
    harm: Callable[[Path], None],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder_of_lira(tmp_path / "exp", kinds=("scores",))
    harm(tmp_path / "exp")
    with pytest.raises(AuditError) as caught:
        taken(tmp_path, monkeypatch)
    assert str(caught.value).startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["exp"]


def test_logits_without_labels_or_of_some_models_are_no_use(tmp_path: Path) -> None:
    folder_of_lira(tmp_path / "exp", kinds=("logits",), labels=False)
    with pytest.raises(AuditError) as caught:
        experiments.read(tmp_path / "exp")
    assert str(caught.value) == (
        f"{tmp_path}/exp/experiment-0_16: has no scores/EPOCH.npy, and logits need "
        "y_train.npy beside the models and every model's own. "
        "Fix: finish this model, or move its folder away."
    )
