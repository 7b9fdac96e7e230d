import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.cache import arrays as store
from pipeline.cache import kinds
from pipeline.cache.stages import STAGES
from tests import interpreter
from tests.conftest import Checkout, run_command

# What reruns from a stage on: records are compared blind, whatever the models are.
FROM = {
    stage: [
        after
        for after in [*STAGES][index:]
        if after != "blind" or stage not in ("target", "references")
    ]
    for index, stage in enumerate(STAGES)
}

REFERENCES = "[references]\ncount = 2\nseed = 1\n"
NEED_REFERENCES = '"lira_online", "rmia_online", "amortised"'

EDITS = {
    "report threshold": ("threshold = 0.6", "threshold = 0.7", ["report", "page"]),
    "attack grid": ("C = [0.1, 1.0]", "C = [0.1, 2.0]", ["attack", "report", "page"]),
    "attack seed": ("folds = 3\nseed = 1", "folds = 3\nseed = 2", FROM["attack"]),
    "split fraction": (
        "eval_fraction = 0.25",
        "eval_fraction = 0.3",
        ["split", "attack", "report", "page"],
    ),
    "batch size": ("batch_size = 32", "batch_size = 64", FROM["features"]),
    "precision": ("shard_rows", 'precision = "float16"\nshard_rows', FROM["features"]),
    "augmentation": (
        "shard_rows",
        'member_augmentation = "tutorial"\nshard_rows',
        ["blind", *FROM["features"]],
    ),
    "blind seed": (
        "[split]",
        "[blind]\nseed = 2\n\n[split]",
        ["blind", "report", "page"],
    ),
    "epochs": ("epochs = 2", "epochs = 1", FROM["target"]),
    "references": ("count = 2", "count = 4", FROM["references"]),
    "records": ("members = 60\nnon", "members = 61\nnon", list(STAGES)),
}


# Edits that need no training: these are also run.
QUICK = ("report threshold", "attack grid", "split fraction", "blind seed")


def would_run(audit: Checkout, goal: str = "audit") -> list[str]:
    """Return the stages whose programs make would start, from a dry run."""
    done = audit.make("-n", goal)
    assert done.returncode == 0, done.stderr
    return re.findall(r"-m stages\.(\w+) --stamp", done.stdout)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_its_stage_and_those_after(name: str, audited: Checkout) -> None:
    old, new, expected = EDITS[name]
    assert would_run(audited) == []
    audited.edit(old, new)
    planned = audited.make("plan").stdout.splitlines()
    assert [line.split()[0] for line in planned if " runs " in line] == expected
    assert would_run(audited) == expected
    if name in QUICK:
        assert audited.ran("audit") == expected
        assert audited.ran("audit") == []
        assert would_run(audited) == []


def test_plan_names_the_setting_its_old_and_its_new_value(audited: Checkout) -> None:
    audited.edit("batch_size = 32", "batch_size = 64")
    assert "[features] batch_size: 32 -> 64" in audited.make("plan").stdout


def test_plan_names_a_setting_of_another_stage_that_blind_reads(
    audited: Checkout,
) -> None:
    audited.edit("shard_rows", 'member_augmentation = "tutorial"\nshard_rows')
    lines = audited.make("plan").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("blind ")]
    assert '[features] member_augmentation: "none" -> "tutorial"' in line


def test_plan_changes_nothing(audited: Checkout) -> None:
    audited.edit("threshold = 0.6", "threshold = 0.7")
    before = {path: path.stat().st_mtime_ns for path in audited.run.rglob("*")}
    audited.make("plan")
    after = {path: path.stat().st_mtime_ns for path in audited.run.rglob("*")}
    assert after == before


def test_comments_order_and_times_rerun_nothing(audited: Checkout) -> None:
    audited.edit("epochs = 2\nbatch_size = 16", "batch_size = 16 # few\nepochs = 2")
    audited.config.touch()
    assert audited.ran("audit") == []


def test_an_edit_taken_back_costs_nothing(audited: Checkout) -> None:
    audited.edit("epochs = 2", "epochs = 3")
    assert audited.ran("records") == []
    audited.edit("epochs = 3", "epochs = 2")
    assert audited.ran("audit") == []


def test_one_stage_makes_what_it_needs_and_no_more(checkout: Checkout) -> None:
    assert checkout.ran("split") == ["records", "split"]
    assert would_run(checkout, "features") == ["target", "references", "features"]


def test_parallel_make_gives_the_same_report(
    audited: Checkout, finished: Checkout
) -> None:
    # Of the stages that may run beside others, all are made anew.
    anew = ["blind", "split", "attack", "report"]
    for stage in anew:
        shutil.rmtree(audited.run / stage)
    assert sorted(audited.ran("-j4", "audit")) == sorted(anew)
    assert bytes_of(audited) == bytes_of(finished)


# Files that tell of this machine and decide nothing.
MACHINE = (
    *("digests.json", "devices.json", "timings.json", "lock"),
    # The page tells how long the attacks took, and its digests are noted.
    *("report.html", "page.json", "page.made.json"),
    *(f"{stage}.cost.json" for stage in STAGES),
)


def bytes_of(audit: Checkout) -> dict[str, bytes]:
    """Return every artifact but those that hold times."""
    return {
        str(path.relative_to(audit.run)): path.read_bytes()
        for path in sorted(audit.run.rglob("*"))
        if path.is_file() and path.name not in MACHINE
    }


def test_the_number_of_jobs_changes_no_byte(audited: Checkout, tmp_path: Path) -> None:
    other = audited.copy(tmp_path / "other")
    for audit, jobs in ((audited, "1"), (other, "2")):
        subprocess.run(["rm", "-r", audit.run / "attack"], check=True)
        assert audit.make("attack", f"JOBS={jobs}").returncode == 0
    assert bytes_of(audited) == bytes_of(other)


def test_a_value_added_to_a_grid_costs_only_its_own_fits(audited: Checkout) -> None:
    fits = audited.run / "attack" / "fits"
    before = {path: path.stat().st_mtime_ns for path in fits.rglob("*.json")}
    audited.edit("C = [0.1, 1.0]", "C = [0.1, 1.0, 7.0]")
    audited.ran("audit")
    after = {path: path.stat().st_mtime_ns for path in fits.rglob("*.json")}
    assert {path: after[path] for path in before} == before
    new = [json.loads(path.read_text()) for path in set(after) - set(before)]
    # Each of three folds ranks it; if it is the best, it also predicts.
    assert sum("auc" in fit for fit in new) == 3
    assert sum("score" in fit for fit in new) in (0, 4)


def killed_while(audit: Checkout, goal: str, files: Callable[[], int]) -> None:
    """Kill make and all its children once `files` counts three."""
    process = audit.start(goal)
    limit = time.monotonic() + 600  # of a machine that is busy
    while files() < 3 and time.monotonic() < limit:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert files() >= 3


def test_features_killed_go_on_to_the_same_bytes(
    audited: Checkout, tmp_path: Path
) -> None:
    audited.edit("shard_rows = 50", "shard_rows = 4")
    assert audited.make("features").returncode == 0
    for place, written in enumerate(("target", "reference-001/outputs")):
        audit = audited.copy(tmp_path / str(place))
        folder = audit.run / "features" / written
        model = audit.run / "features" / written.split("/")[0]
        shutil.rmtree(model)
        (audit.run / "features" / "complete.json").unlink()

        def shards(folder: Path = folder) -> int:
            return len(list(folder.glob("[0-9]*.h5")))

        killed_while(audit, "features", shards)
        n_kept = shards()
        assert n_kept < 30
        done = audit.make("features")
        extracted = re.search(r"(\d+) of 90 shards of 3 models extracted", done.stdout)
        assert extracted is not None
        assert int(extracted[1]) == 30 - n_kept
        for leftover in folder.glob(".*"):
            leftover.unlink()
        assert not (model / "outputs").exists()
        assert bytes_of(audit) == bytes_of(audited)


def test_an_attack_killed_goes_on_to_the_same_bytes(
    audited: Checkout, tmp_path: Path
) -> None:
    audited.edit("n_estimators = [5]", "n_estimators = [150, 151, 152]")
    whole = audited.copy(tmp_path / "whole")
    assert whole.make("attack").returncode == 0
    fits, scores = audited.run / "attack" / "fits", audited.run / "attack" / "scores.h5"
    scores.unlink()
    before = set(fits.rglob("*.json"))

    def fitted() -> int:
        return len(set(fits.rglob("*.json")) - before)

    killed_while(audited, "attack", fitted)
    assert not scores.exists()
    kept = {path: path.stat().st_mtime_ns for path in fits.rglob("*.json")}
    assert audited.make("attack").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for leftover in fits.rglob(".*.json*"):
        leftover.unlink()
    assert bytes_of(audited) == bytes_of(whole)


def test_the_report_has_its_schema(finished: Checkout) -> None:
    report = json.loads((finished.run / "report" / "report.json").read_text())
    assert report["schema"] == 5
    assert [*report] == [
        "key",
        "origin",
        "schema",
        "audit",
        "about",
        "controls",
        "target",
        "records",
        "references",
        "confidence",
        "intervals",
        "tail",
        "attacks",
        "epsilon",
        "slices",
        "risk",
        "units",
        "repeats",
        "growth",
        "outlook",
        "drivers",
        "choices",
        "verdict",
        "provenance",
        "sha256",
    ]
    assert report["audit"] == "tiny"
    assert set(report["target"]) == {
        "train_accuracy",
        "test_accuracy",
        "checkpoint_sha256",
        "accuracy_by",
    }
    assert report["records"] == {
        "members": 60,
        "nonmembers": 60,
        "population": 0,
        "attack_train": 90,
        "attack_eval": 30,
        "fitted": 90,
        "duplicates_dropped": 0,
        "copies_dropped": 0,
        "canaries": 0,
    }
    found = {attack["method"]: attack for attack in report["attacks"]}
    families = {name: attack["family"] for name, attack in found.items()}
    chosen = found["strongest"]["chosen"]
    assert families == {
        "loss": "threshold",
        "lira_online": "reference",
        "rmia_online": "reference",
        "amortised": "amortised",
        "lr": "learned",
        "rf": "learned",
        "strongest": families[chosen],
    }
    assert found["strongest"]["auc"] == found[chosen]["auc"]
    assert found["lr"]["n_candidates"] == found["rf"]["n_candidates"] == 2
    assert report["references"]["count"] == 2
    assert len(report["references"]["models"]) == 2
    # Fifteen non-members and as many members can measure no more than a tenth.
    for rates in (report["tail"], *(one["tpr_at_fpr"] for one in report["attacks"])):
        assert [*rates] == ["0.1", "0.01", "0.001", "0.0001"]
        low, high = rates["0.1"]["interval"]
        assert 0 <= low <= rates["0.1"]["value"] <= high <= 1
        assert rates["0.01"] == {
            "value": None,
            "interval": None,
            "reason": "needs 100 records of the other side, and there are 15",
        }
    for attack in report["attacks"]:
        for name in ("accuracy", "balanced_accuracy", "recall", "auc", "precision"):
            if name == "precision" and attack[name] is None:
                continue  # no record is taken for a member
            low, high = attack[f"{name}_interval"]
            assert 0 <= low <= attack[name] <= high <= 1
        assert 0 <= attack["p_value"] <= attack["p_value_corrected"] <= 1
    assert set(report["verdict"]) == {
        "leaks",
        "exceeds",
        "grade",
        "rule",
        "attack",
        "methods",
        "reasons",
        "caveats",
        "sentence",
    }
    assert len(report["key"]) == 64
    assert {*report["provenance"]["stages"]} == {"blind", "features", "attack"}
    assert "mindspore" in report["provenance"]["versions"]


def test_the_terminal_shows_the_report(checkout: Checkout, finished: Checkout) -> None:
    text = (finished.run / "report" / "report.txt").read_text()
    report = json.loads((finished.run / "report" / "report.json").read_text())
    (lr,) = [one for one in report["attacks"] if one["method"] == "lr"]
    line = (
        f"Method: lr, {{'recall': {lr['recall']:.4f}, "
        f"'precision': {lr['precision']:.4f}, 'accuracy': {lr['accuracy']:.4f}}}"
    )
    assert line in text.splitlines()
    assert len(text.splitlines()) <= 24
    assert text.endswith(
        "Page: artifacts/tiny/page/report.html\n"
        "In full: artifacts/tiny/report/full.txt, or VERBOSE=1\n"
    )
    full = (finished.run / "report" / "full.txt").read_text()
    assert line in full.splitlines()
    for goal in ("report", "audit"):
        assert full in finished.make(goal, "VERBOSE=1").stdout
    assert full not in finished.make("report").stdout


# A user's own checkpoint, modules and data

NETWORK = """
from mindspore import nn
from sizes import HIDDEN

def build():
    return nn.SequentialCell(nn.Flatten(), nn.Dense(64, HIDDEN), nn.ReLU(),
                             nn.Dense(HIDDEN, 10))
"""
DATASETS = """
import numpy as np
import mindspore.dataset as ds

def datasets():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(80, 1, 8, 8)).astype(np.float32)
    label = np.arange(80, dtype=np.int32) % 10
    def side(rows):
        columns = {"image": images[rows], "label": label[rows]}
        return ds.NumpySlicesDataset(columns, shuffle=SHUFFLE)
    return side(slice(0, 40)).batch(16), side(slice(40, 80))
"""


def test_a_users_network_and_what_it_imports_are_watched(checkout: Checkout) -> None:
    (checkout.folder / "my_net.py").write_text(NETWORK)
    (checkout.folder / "sizes.py").write_text("HIDDEN = 16\n")
    checkout.edit('"cnn_digits"', '"my_net.py:build"')
    checkout.edit("count = 2", "count = 0")
    checkout.edit('"lira_online", "rmia_online", "amortised"', '"margin"')
    assert checkout.ran("features") == ["records", "target", "references", "features"]
    (checkout.folder / "sizes.py").write_text("# Units.\nHIDDEN = 16\n")
    assert checkout.ran("features") == []
    (checkout.folder / "sizes.py").write_text("HIDDEN = 8\n")
    assert "sizes.py changed" in checkout.make("plan").stdout
    assert would_run(checkout, "features") == ["target", "references", "features"]


def users_data(checkout: Checkout, shuffle: str) -> None:
    (checkout.folder / "my_net.py").write_text(NETWORK)
    (checkout.folder / "sizes.py").write_text("HIDDEN = 16\n")
    text = DATASETS.replace("SHUFFLE", shuffle)
    (checkout.folder / "my_data.py").write_text(text)
    checkout.edit('"digits"\nmembers = 60\nnonmembers = 60', '"my_data.py:datasets"')
    checkout.edit('"cnn_digits"', '"my_net.py:build"')


def test_a_users_datasets_are_audited(checkout: Checkout) -> None:
    users_data(checkout, "False")
    done = checkout.make("features")
    assert done.returncode == 0, done.stderr
    assert "40 members, 40 non-members" in done.stdout


def test_a_folder_anywhere_holds_a_whole_audit(
    checkout: Checkout, tmp_path: Path
) -> None:
    """Its modules collide with one another and with ours, and it can be moved."""
    import mindspore as ms

    from pipeline.data import modules

    folder = tmp_path / "my audits"
    for name, text in WHOLE_AUDIT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    network = modules.call(f"{folder / 'net' / 'my_net.py'}:build", {"width": 5})
    weights = network.parameters_dict().items()
    tensors = [{"name": f"ema.{name}", "data": tensor} for name, tensor in weights]
    ms.save_checkpoint(tensors, str(folder / "mine.ckpt"))

    def make(goal: str, config: Path) -> list[str]:
        *command, _ = checkout.command(goal, python=interpreter.preloaded())
        made = run_command([*command, f"CONFIG={config}"], checkout.folder)
        assert made.returncode == 0, made.stderr
        return made.stdout.splitlines()

    lines = make("features", folder / "mine.toml")
    assert [line.split()[0] for line in lines if " -> " in line] == [
        *("records", "target", "references", "features")
    ]
    moved = folder.rename(tmp_path / "moved")
    plan = [line.split() for line in make("plan", moved / "mine.toml")]
    unmade = ("blind", "split", "attack", "report", "page")
    assert {words[0] for words in plan if words[1] == "runs"} == {*unmade}


WHOLE_AUDIT = {
    "mine.toml": """
[data]
source = "data/my_data.py:datasets"
[target]
network = "net/my_net.py:build"
network_args = { width = 5 }
checkpoint = "mine.ckpt"
prefix = "ema."
[features]
device = "CPU"
[attack]
attacks = ["loss"]
""",
    "data/common.py": "def scale(x): return x / 16\n",
    "data/pipeline.py": """
from mindspore.dataset import NumpySlicesDataset
def dataset(image, label):
    columns = {"image": image, "label": label}
    return NumpySlicesDataset(columns, shuffle=False).batch(16)
""",
    "data/my_data.py": """
import numpy as np
from pipeline import dataset
def datasets():
    from common import scale
    rng = np.random.default_rng(0)
    image = scale(rng.random((60, 64))).astype("float32")
    label = rng.integers(0, 4, 60).astype("int32")
    return dataset(image[:30], label[:30]), dataset(image[30:], label[30:])
""",
    "net/common.py": "def scale(x): return x * 2\n",
    "net/stages/__init__.py": "",
    "net/stages/layers.py": "from mindspore.nn import Dense\n",
    "net/my_net.py": """
from mindspore import nn
from common import scale
from stages import layers
class Net(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.hidden, self.last = layers.Dense(64, width), layers.Dense(width, 4)
    def construct(self, x):
        return scale(self.last(self.hidden(x)))
def build(width):
    return Net(width)
""",
}


def test_a_file_that_is_not_beside_the_config_but_here_is_told(
    checkout: Checkout,
) -> None:
    (checkout.folder / "my_data.py").write_text("def datasets(): return 7\n")
    (checkout.folder / "mine").mkdir()
    text = checkout.config.read_text().replace('"digits"', '"my_data.py:datasets"')
    (checkout.folder / "mine" / "tiny.toml").write_text(text)
    *command, _ = checkout.command("records", python=interpreter.preloaded())
    made = run_command([*command, "CONFIG=mine/tiny.toml"], checkout.folder)
    assert made.stderr.splitlines()[0] == (
        "note: files of data.source are read from the current folder, as they are not "
        "beside the config"
    )


def test_a_users_shuffled_dataset_is_refused(checkout: Checkout) -> None:
    users_data(checkout, "True")
    assert error_of(checkout, "records") == (
        "error: my_data.py:datasets: gives other records, or another order, at each "
        "reading. Fix: leave out shuffling (shuffle=False) and random augmentation."
    )


def test_a_changed_checkpoint_reruns_what_reads_it(audited: Checkout) -> None:
    report = audited.run / "report" / "report.txt"
    audited.edit("count = 2", "count = 0")
    audited.edit("attacks = [", "attacks = [] # [")
    assert audited.ran("audit") == FROM["references"]
    before = report.read_text()
    trained = audited.run / "target" / "checkpoint.ckpt"
    mine = audited.folder / "mine.ckpt"
    mine.write_bytes(trained.read_bytes())
    audited.edit('"cnn_digits"', '"cnn_digits"\ncheckpoint = "mine.ckpt"')
    assert audited.ran("audit") == FROM["target"]
    # The same weights give the same findings, whatever recipe is not used.
    assert report.read_text() == before
    audited.edit("epochs = 2", "epochs = 3")
    assert audited.ran("audit") == []
    other = mine.read_bytes()
    mine.write_bytes(other[:-1] + bytes([other[-1] ^ 1]))
    assert "checkpoint changed" in audited.make("plan").stdout


def arrays(checkout: Checkout, n_records: int = 120) -> Path:
    rng = np.random.default_rng(0)
    member = np.arange(n_records) % 2 == 0
    label = rng.integers(0, 5, n_records).astype(np.int32)
    logits = rng.normal(size=(n_records, 5)).astype(np.float32)
    logits[np.arange(n_records), label] += np.where(member, 3, 0)
    path = checkout.folder / "signals.npz"
    np.savez(path, logits=logits, label=label, member=member)
    text = checkout.config.read_text()
    start, end = text.index("[target]"), text.index("[features]")
    text = text[:start] + text[end:]
    checkout.config.write_text(
        text.replace('"digits"', '"arrays"\npath = "signals.npz"')
        .replace(REFERENCES, "")
        .replace(f", {NEED_REFERENCES}", "")
    )
    return path


def test_arrays_need_no_mindspore_and_a_change_of_theirs_reruns_everything(
    checkout: Checkout,
) -> None:
    path = arrays(checkout)
    blocked = checkout.folder / "blocked"
    blocked.mkdir()
    (blocked / "mindspore.py").write_text("raise ImportError('blocked by the test')")
    done = checkout.make("report", PYTHONPATH=str(blocked))
    assert done.returncode == 0, done.stderr
    assert "This model leaks" in done.stdout.replace("\n", " ")
    with np.load(path) as file:
        changed = dict(file)
    changed["logits"][0, 0] += 1
    np.savez(path, **changed)
    assert would_run(checkout) == [*STAGES]


def test_arrays_may_say_which_side_a_record_is_on(checkout: Checkout) -> None:
    path = arrays(checkout)
    with np.load(path) as file:
        given = dict(file)
    np.savez(path, train=np.arange(120) < 70, **given)
    checkout.ran("split")
    with h5py.File(checkout.run / "split" / "split.h5") as file:
        ids, (evaluation,) = file["id"][()], file["evaluation"][()]
    assert np.array_equal(evaluation, ids >= 70)
    assert len(ids) == 120


def test_a_division_that_is_given_cannot_be_repeated(checkout: Checkout) -> None:
    path = arrays(checkout)
    with np.load(path) as file:
        given = dict(file)
    np.savez(path, train=np.arange(120) < 70, **given)
    checkout.edit("eval_fraction = 0.25", "repeats = 2")
    assert error_of(checkout, "split") == (
        "error: split.repeats: is 2, but the array 'train' gives one division. Fix: "
        "leave one of the two out."
    )


def test_the_tutorials_augmentation_changes_members_only(checkout: Checkout) -> None:
    rng = np.random.default_rng(0)
    for name in ("train.bin", "test.bin"):
        rows = rng.integers(0, 256, (60, 3074)).astype(np.uint8)
        rows[:, :2] %= 5
        (checkout.folder / name).write_bytes(rows.tobytes())
    network = NETWORK.replace("64, HIDDEN", "3072, HIDDEN").replace("10)", "100)")
    (checkout.folder / "my_net.py").write_text(network)
    (checkout.folder / "sizes.py").write_text("HIDDEN = 8\n")
    checkout.edit('"cnn_digits"', '"my_net.py:build"')
    checkout.edit('"digits"', '"cifar100"\npath = "."')
    checkout.edit("count = 2", "count = 0")
    checkout.edit(NEED_REFERENCES, '"margin"')
    logits = []
    more = 'member_augmentation = "tutorial"\nshard_rows'
    for how in ("shard_rows", more):
        checkout.edit("shard_rows", how)
        checkout.ran("features")
        shards = []
        for path in sorted((checkout.run / "features" / "target").glob("*.h5")):
            with h5py.File(path) as file:
                shards.append(file["logits"][()])
        logits.append(np.concatenate(shards))
    with h5py.File(checkout.run / "records" / "records.h5") as file:
        member = file["member"][()]
    changed = (logits[0] != logits[1]).any(axis=1)
    # One draw in 162 leaves an image where it is.
    assert changed[member].mean() > 0.9
    assert not changed[~member].any()
    # So the two sides differ, whatever the model knows.
    checkout.ran("report")
    verdict = json.loads((checkout.run / "report" / "report.json").read_text())[
        "verdict"
    ]
    assert verdict["grade"] == "cannot tell"
    assert verdict["leaks"] is None
    assert "the two sides differ without the model" in verdict["sentence"]


def test_blind_attack_and_report_need_no_mindspore(audited: Checkout) -> None:
    blocked = audited.folder / "blocked"
    blocked.mkdir()
    (blocked / "mindspore.py").write_text("raise ImportError('blocked by the test')")
    audited.edit("[report]", "[blind]\nseed = 2\n\n[report]")
    audited.edit("folds = 3", "folds = 4")
    done = audited.make("report", PYTHONPATH=str(blocked))
    assert done.returncode == 0, done.stderr


# Errors end in one line and lose nothing


def error_of(audit: Checkout, *words: str, **more: str) -> str:
    """Make something that fails; return its one line of error."""
    done = audit.make(*words, **more)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    others = [
        line
        for line in done.stderr.splitlines()
        if not line.startswith(("error: ", "note: ", "make: ***", "make[1]: ***"))
    ]
    assert [line for line in others if "Waiting for unfinished" not in line] == []
    return lines[0]


def test_a_misspelt_setting_is_named_with_the_nearest(audited: Checkout) -> None:
    before = bytes_of(audited)
    audited.edit("epochs = 2", "epocs = 2")
    error = error_of(audited, "audit")
    assert error == (
        "error: tiny.toml: target.training.epocs: is not a setting. Fix: use epochs."
    )
    assert bytes_of(audited) == before


def test_missing_data_are_named(checkout: Checkout) -> None:
    checkout.edit('"digits"', '"cifar100"')
    assert error_of(checkout, "audit") == (
        "error: data.path: is missing. Fix: pass DATA=where they lie, or set data.path."
    )
    error = error_of(checkout, "audit", "DATA=nowhere")
    place = checkout.folder / "nowhere"
    assert f"data.path: {place} does not exist" in error


def test_shards_of_another_model_or_corrupt_are_refused_with_the_mend(
    audited: Checkout,
) -> None:
    folder = audited.run / "features" / "target"
    complete = json.loads((audited.run / "features" / "complete.json").read_text())
    shard, origin = store.read_with_origin(
        folder / "00001.h5", kinds.Shard, key=complete["folders"]["target"], fix=""
    )
    store.write(folder / "00001.h5", shard, key="0" * 64, origin=origin)
    audited.edit("folds = 3", "folds = 4")
    error = error_of(audited, "audit")
    assert "features/target/00001.h5: was made from other inputs" in error
    path = folder / "00000.h5"
    path.write_bytes(path.read_bytes()[:1000])
    error = error_of(audited, "audit")
    assert "features/target/00000.h5: is corrupt" in error
    mended(audited, error)


def mended(audit: Checkout, error: str) -> None:
    """Run the command that the error names, and see that it helps."""
    command = error.partition("Fix: run `")[2].partition("`")[0]
    command = command.replace("make ", f"make PYTHON={sys.executable} ")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MA")}
    subprocess.run(command, shell=True, cwd=audit.folder, env=environment, check=True)
    assert audit.ran("audit") == ["attack", "report", "page"]


def test_a_candidate_that_fails_is_named(audited: Checkout) -> None:
    audited.edit("max_depth = [2, 3]", "max_depth = [2], min_samples_split = [1]")
    error = error_of(audited, "attack")
    assert "attack.methods.rf" in error
    assert '"min_samples_split": 1' in error
    assert "cannot be fitted" in error


def test_a_wrong_number_of_jobs_is_refused(audited: Checkout) -> None:
    audited.edit("folds = 3", "folds = 4")
    error = error_of(audited, "attack", "JOBS=two")
    assert error == "error: JOBS: is 'two'. Fix: give a whole number >= 1."


def test_too_few_records_for_the_folds_are_refused(checkout: Checkout) -> None:
    arrays(checkout)
    checkout.edit("nonmembers = 60", "nonmembers = 3")
    error = error_of(checkout, "attack")
    assert "attack.folds: is 3, but the smaller side of attack-train has 2" in error


def test_one_class_only_is_refused(checkout: Checkout) -> None:
    path = arrays(checkout)
    with np.load(path) as file:
        changed = dict(file)
    changed["label"][:] = 0
    np.savez(path, **changed)
    assert "has records of one class only" in error_of(checkout, "audit")


def test_infinite_logits_are_refused(checkout: Checkout) -> None:
    path = arrays(checkout)
    with np.load(path) as file:
        changed = dict(file)
    changed["logits"][3, 1] = np.inf
    np.savez(path, **changed)
    assert "has logits that are NaN or infinite" in error_of(checkout, "audit")


def test_an_absent_device_is_refused(checkout: Checkout) -> None:
    checkout.edit("batch_size = 16", 'batch_size = 16\ndevice = "Ascend"')
    error = error_of(checkout, "target")
    assert "Ascend cannot be used by MindSpore" in error
    assert "install CANN" in error


def test_an_interpreter_without_the_packages_is_refused(checkout: Checkout) -> None:
    bare = checkout.folder / "bare"
    venv.create(bare, with_pip=False)
    done = subprocess.run(
        ["make", "audit", f"PYTHON={bare}/bin/python", "CONFIG=tiny.toml"],
        cwd=checkout.folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("MA")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "mindspore>=2.7,<2.11 is missing" in done.stderr.splitlines()[0]
    assert not (checkout.folder / "artifacts").exists()


def test_help_is_the_default_goal_and_lists_every_command(checkout: Checkout) -> None:
    listed = checkout.make().stdout
    assert listed == checkout.make("help").stdout
    for goal in ("audit", "test", "setup", "plan", "lint", *STAGES):
        assert re.search(rf"^  {goal} ", listed, re.MULTILINE)
