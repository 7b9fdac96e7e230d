"""The bench: a tiny run of it, and the sums that it does."""

import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from pipeline.config import tomllib
from tests import interpreter
from tests.bench import (
    __main__ as bench,
)
from tests.bench import (
    configs,
    kernels,
    memory,
    mindarmour,
    mindarmour_run,
    pairs,
    peaks,
    references,
    target,
    targets,
)
from tests.bench.sizes import SIZES, TUTORIAL
from tests.bench.workspace import Workspace


@pytest.fixture
def option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A folder of its own, and no option but the size and no other tool."""
    monkeypatch.chdir(tmp_path)
    for name in bench.OPTIONS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIZE", "tiny")
    monkeypatch.setenv("MINDARMOUR", "none")
    monkeypatch.setenv("JOBS", "1")
    return monkeypatch


# Two parts train networks, or run every stage, once more; they are tested below.
QUICK = [name for name in bench.PARTS if name not in ("references", "memory")]


def test_a_tiny_run_writes_every_ratio_that_needs_no_other_tool(
    option: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option.setenv("ONLY", ",".join(QUICK))
    bench.main(interpreter.preloaded())
    found = json.loads((tmp_path / "artifacts/bench/bench.json").read_text())
    assert [*found["parts"]] == QUICK
    assert pairs.at(found, "extraction.of_bare.cnn") > 0
    assert found["noop_s"] > 0
    assert {*found["kernels"]} == {"lira", "rmia", "intervals", "amortised"}
    (point,) = found["growth"]["records"]
    assert point["records"] == 200
    assert min(point["attack"]["seconds"], point["report"]["bytes"]) > 0
    assert {*found["search"]["accuracy"]["ours"]} == {"lr"}
    for name in ("extraction", "search", "rerun", "end_to_end"):
        assert "over_mindarmour" not in found.get(name, {})
    assert found["left_out"].endswith("asked to be left out (MINDARMOUR=none)")
    verdicts = {row["target"]: row["met"] for row in found["targets"]}
    assert verdicts["rerun.over_mindarmour: 50 or more"] is None
    assert isinstance(verdicts["noop_s: below 1"], bool)
    printed = capsys.readouterr().out
    assert "ratios over MindArmour are left out" in printed
    assert "rerun.over_mindarmour: 50 or more: not measured" in printed
    picture = (tmp_path / "artifacts/bench/bench.svg").read_text()
    assert "extraction.of_bare.cnn" in picture


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace in which nothing is made."""
    return Workspace(tmp_path, SIZES["tiny"], 2, tmp_path, None)


def test_references_are_trained_anew_by_either_side_in_turn(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, str, bool]] = []
    left = space.run("digits") / "references" / "references.h5"

    def make(self: Workspace, audit: str, goal: str, RANKS: str = "") -> float:
        made.append((goal, RANKS, left.exists()))
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
        return {"2": 5.0, "1": 9.0}.get(RANKS, 0.0)

    monkeypatch.setattr(Workspace, "make", make)
    found = references.measure(replace(space, size=replace(space.size, ranks=2)))
    runs = [("references", ranks, False) for ranks in ("2", "1")]
    assert made == [("target", "", False), *runs, *runs]
    assert found["references"]["over_serial"] == 9 / 5
    settings = tomllib.loads((space.folder / "digits.toml").read_text())
    assert settings["references"]["count"] == 4


def test_the_memory_of_a_whole_audit_is_told_by_stages(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def of(command: list[str], *_: Any) -> dict[str, peaks.Peak]:
        commands.append(command[:2])
        return {"attack": peaks.Peak(1.0, 30), "page": peaks.Peak(1.0, 20)}

    monkeypatch.setattr(target, "trained", lambda _: Path("checkpoint.ckpt"))
    monkeypatch.setattr(peaks, "of", of)
    assert memory.measure(space) == {"memory": {"attack": 30, "page": 20}}
    assert commands == [["make", "audit"]]


def test_a_part_that_is_done_is_measured_again_only_if_asked(
    option: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    option.setenv("ONLY", "kernels")
    bench.main()
    bench.main()
    assert capsys.readouterr().out.count("kernels is done (ANEW=1") == 1
    option.setenv("ANEW", "1")
    bench.main()
    assert "kernels is done" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SIZE", "huge", "SIZE has 'huge'. Fix: use one of tiny, full"),
        ("ONLY", "kernels,all", "ONLY has 'all'. Fix: use one of kernels, "),
        ("PAIRS", "0", "PAIRS is '0'. Fix: give a whole number >= 1"),
    ],
)
def test_an_option_that_is_not_known_is_refused(
    name: str, value: str, words: str, option: pytest.MonkeyPatch
) -> None:
    option.setenv(name, value)
    with pytest.raises(SystemExit, match=words):
        bench.main()


def test_without_a_network_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages = ("--no-index", *mindarmour.PACKAGES)
    monkeypatch.setattr(mindarmour, "PACKAGES", packages)
    python, reason = mindarmour.interpreter(tmp_path / "mindarmour", "")
    assert python is None
    assert "MindArmour 2.0.0 could not be installed (ERROR: No matching" in reason
    assert not (tmp_path / "mindarmour" / "ready").exists()


def test_a_ratio_is_the_median_of_its_pairs() -> None:
    found: dict[str, Any] = {}
    pairs.tell(found, "one.two", [3.0, 1.0, 8.0])
    pairs.tell(found, "one.three", {"a": [2.0], "b": [5.0, 4.0]})
    assert found["one"] == {"two": 3.0, "three": {"a": 2.0, "b": 4.5}}
    assert found["spread"]["one.two"] == [1.0, 8.0]
    assert found["spread"]["one.three"] == {"a": [2.0, 2.0], "b": [4.0, 5.0]}
    assert pairs.at(found, "one.three.b") == statistics.median([5.0, 4.0])
    assert pairs.at(found, "one.two.more") is None


def test_sides_run_in_alternation() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    runs = pairs.alternated(2, lambda: side("a"), lambda: side("b"))
    assert order == ["a", "b", "a", "b"]
    assert runs == [(1.0, 2.0), (3.0, 4.0)]


def test_parts_are_put_together() -> None:
    one = {"a": {"b": 1}, "spread": {"a.b": [1, 1]}}
    other = {"a": {"c": 2}, "spread": {"a.c": [2, 2]}}
    both = pairs.merged(one, other)
    assert both == {"a": {"b": 1, "c": 2}, "spread": {"a.b": [1, 1], "a.c": [2, 2]}}


def test_a_kernel_that_differs_from_its_loop_is_refused() -> None:
    bed = kernels.drawn(20, 8)
    wrong = kernels.KERNELS["lira"]._replace(ours=lambda bed: bed.target)
    with pytest.raises(AssertionError, match="lira"):
        kernels.check("lira", wrong, bed)


def test_every_record_has_several_references_on_either_side() -> None:
    bed = kernels.drawn(500, 8)
    assert bed.in_models.sum(axis=0).min() >= 2
    assert (~bed.in_models).sum(axis=0).min() >= 2


def test_targets_are_met_at_their_limits_and_by_the_worst_of_a_map() -> None:
    found: dict[str, Any] = {
        "extraction": {"of_bare": {"cnn": 1.2, "vgg16": 0.94}},
        "search": {
            "over_mindarmour": {"all": 10.0},
            "accuracy": {"ours": {"lr": 0.7}, "mindarmour": {"lr": 0.706}},
        },
        "noop_s": 1.0,
        "large": [
            {
                **{"records": 1_000_000, "classes": 10, "references": 8},
                "attack": {"seconds": 200.0, "bytes": 1},
                "report": {"seconds": 99.0, "bytes": 1},
            },
            {
                **{"records": 1_000_000, "classes": 100, "references": 64},
                "attack": {"seconds": 1.0, "bytes": targets.GIB},
                "report": {"seconds": 1.0, "bytes": 2 * targets.GIB},
            },
        ],
    }
    rows = targets.judged(found)
    assert [row["met"] for row in rows] == [
        *(False, None, True, False, None, None, False, None, False, True)
    ]
    assert rows[0]["value"] == 0.94
    assert rows[-1]["value"] == 299.0


def test_a_setting_is_replaced_at_its_first_place() -> None:
    text = "members = 880\n[a]\nmembers = 3\n"
    expected = "members = 6\n[a]\nmembers = 3\n"
    assert configs.replaced(text, {"members": 6}) == expected
    with pytest.raises(ValueError, match="epochs is not set"):
        configs.replaced(text, {"epochs": 6})


def test_the_full_bench_has_the_grids_of_the_tutorial_and_adds_one_value() -> None:
    (lr, knn, mlp, rf) = configs.plain(TUTORIAL)
    assert len(lr["params"]["C"]) == 10
    assert knn["params"] == {"n_neighbors": [3, 5, 7]}
    assert mlp["params"]["hidden_layer_sizes"] == [[64], [32, 32]]
    assert rf["params"]["max_depth"] == [5, 10, 20, None]
    for size in SIZES.values():
        method, name, values = size.added
        (before,) = configs.plain({method: {name: size.grids[method][name]}})
        (after,) = configs.plain({method: {name: values}})
        n_before, n_after = (len(each["params"][name]) for each in (before, after))
        assert n_after == n_before + 1
        assert {*before["params"][name]} <= {*after["params"][name]}


def test_the_memory_of_a_stage_counts_all_its_processes_and_no_other(
    tmp_path: Path,
) -> None:
    # What the bench itself holds is not the stage's.
    own = bytearray(200_000_000)
    hold = "import time; b = bytes([1]) * 30_000_000; time.sleep(0.5)"
    both = f"import subprocess as s, sys; s.Popen([sys.executable, '-c', {hold!r}]); "
    (tmp_path / "stages").mkdir()
    for name in ("one", "two"):
        (tmp_path / "stages" / f"{name}.py").write_text(f"{both}{hold}")
        both = ""
    each = [f"{sys.executable} -m stages.{name} --stamp a" for name in ("one", "two")]
    found = peaks.of(["sh", "-c", "; ".join(each)], tmp_path, {})
    assert [*found] == ["one", "two"]
    assert 30_000_000 < found["two"].bytes < 60_000_000
    assert 60_000_000 < found["one"].bytes < len(own)
    assert min(peak.seconds for peak in found.values()) > 0.3


def test_a_command_that_fails_or_is_not_seen_ends_the_bench(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        peaks.of([sys.executable, "-c", "1 / 0"], tmp_path, {})
    with pytest.raises(SystemExit, match=r"no stage was seen .* Fix: have ONLY leave"):
        peaks.of(["true"], tmp_path, {})


def test_the_other_tools_search_is_held_to_our_folds_and_every_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in of its module, which searches at random as it does."""
    attacker = SimpleNamespace(
        GridSearchCV=GridSearchCV, RandomizedSearchCV=RandomizedSearchCV
    )
    searches: list[Any] = []

    def model_of(features: Any, labels: Any, config: Any, n_jobs: int) -> Any:
        found = attacker.RandomizedSearchCV(
            LogisticRegression(),
            param_distributions=config["params"],
            n_iter=1,
            cv=3,
            n_jobs=n_jobs,
            verbose=0,
        )
        searches.append(found)
        return found.fit(features, labels)

    attacker._get_attack_model = model_of
    loss = SimpleNamespace(_softmax_cross_entropy=lambda logits, _: logits[:, 0])
    package = ModuleType("mindarmour.privacy.evaluation")
    vars(package).update(attacker=attacker, membership_inference=loss)
    for name in ("mindarmour", "mindarmour.privacy", package.__name__):
        monkeypatch.setitem(sys.modules, name, package)
    rng = np.random.default_rng(0)
    member = np.arange(60) % 2 == 0
    np.savez(
        tmp_path / "features.npz",
        logits=rng.normal(size=(60, 3)) + 3 * member[:, None],
        label=np.zeros(60, int),
        train=np.arange(60) < 40,
        member=member,
    )
    folds = [[[*range(20)], [*range(20, 40)]], [[*range(20, 40)], [*range(20)]]]
    job = {
        "features": str(tmp_path / "features.npz"),
        "folds": folds,
        "n_jobs": 1,
        "grids": [{"method": "lr", "params": {"C": [0.1, 1.0, 10.0]}}],
    }
    done = mindarmour_run.search(job)
    (found,) = searches
    assert len(found.cv_results_["params"]) == 3
    assert [[*map(list, fold)] for fold in found.cv] == folds
    assert done["accuracy"]["lr"] > 0.9
    assert done["seconds"]["lr"] > 0
