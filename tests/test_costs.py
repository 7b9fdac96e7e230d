"""What stages took is remembered, and what they would take is told from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import cli, config
from pipeline.cache import arrays, costs, devices, files, keys, kinds, runs, stamps
from pipeline.cache.costs import Cost, Pass, Sizes, Step
from pipeline.cache.digests import Digests
from pipeline.cache.stages import STAGES
from pipeline.cache.stamps import Job
from stages import plan, status
from tests.conftest import TINY, Checkout

RUN = Path("artifacts/tiny")
SIZES = Sizes(members=60, nonmembers=60, population=0, n_classes=10)
PASS = Pass(first=2.0, per_record=0.001, n_bytes=1000)
STEP = Step(first=3.0, per_step=0.5, steps_per_record=9.0)
RECIPE_OF_MY_OWN = """
[target.training]
recipe = "recipe.py:train"
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFIG", "tiny.toml")
    monkeypatch.delenv("DATA", raising=False)


def present(*edits: tuple[str, str]) -> dict[str, stamps.Stamp]:
    """Return the stamps of the tiny config after these edits, as they are kept."""
    text = TINY
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    Path("tiny.toml").write_text(text)
    settings = devices.resolved(
        config.load(Path("tiny.toml")), Path("none"), save=False
    )
    made = stamps.stamps(settings, Digests(Path("none")))
    return dict(json.loads(json.dumps(made)))


def job(
    stage: str = "target",
    made: dict[str, stamps.Stamp] | None = None,
    run: Path = RUN,
) -> Job:
    return Job(stage, run, made or present(), {"arguments": "CONFIG=tiny.toml"})


def estimate(
    stage: str, made: dict[str, stamps.Stamp] | None = None, **sizes: Any
) -> Cost:
    numbers = SIZES._replace(**sizes)
    return costs.estimate(stage, made or present(), numbers, costs.Memory(RUN))


def rated() -> None:
    for rate in (PASS, STEP):
        costs.remember_rate(job(), rate)


# From a pass and a step


def test_a_training_is_its_steps_and_a_pass() -> None:
    """60 members fill 3 batches of 16 in each of 2 epochs."""
    rated()
    assert estimate("target") == Cost(2.0 + 3.0 + 6 * 0.5 + 120 * 0.001, 1000)
    few = estimate("target", members=7)  # a batch of all of them
    assert few.seconds == pytest.approx(2.0 + 3.0 + 2 * 0.5 + 67 * 0.001)


def test_references_are_trained_on_halves_and_compile_once() -> None:
    rated()
    assert estimate("references") == Cost(3.0 + 2 * 6 * 0.5, 2000)
    four = present(("count = 2", "count = 4"))
    assert estimate("references", four) == Cost(3.0 + 4 * 6 * 0.5, 4000)
    # Of 127 records a half is at most 64, which fill four batches.
    cost = estimate("references", nonmembers=67)
    assert cost.seconds == 3.0 + 2 * (2 * 4) * 0.5


def test_a_part_of_a_stage_takes_its_share_of_the_whole() -> None:
    assert costs.seconds(job("references"), 0.5) is None
    rated()
    assert costs.seconds(job("references"), 0.5) == (3.0 + 2 * 6 * 0.5) / 2


def test_features_are_passes_of_all_models_and_views() -> None:
    rated()
    made = present(("shard_rows = 50", 'shard_rows = 50\nviews = ["identity", "flip"]'))
    cost = estimate("features", made)
    assert cost.seconds == pytest.approx(2.0 + 120 * 3 * 2 * 0.001)
    of_target = 120 * (8 + 4 + 2 * (10 + 1) * 4)
    of_reference = 120 * (8 + 1 + 2 * (4 + 4))
    # Three shards of at most 50 rows of each of three models.
    assert cost.n_bytes == of_target + 2 * of_reference + 9 * costs.FILE
    assert estimate("features", made, n_classes=None).n_bytes is None
    half = present(
        (
            "shard_rows = 50",
            'shard_rows = 50\nviews = ["identity", "flip"]\nstore = "float16"',
        )
    )
    n_halves = 120 * 2 * 10
    assert estimate("features", half).n_bytes == cost.n_bytes - 2 * n_halves


def test_the_size_of_the_features_is_that_of_the_arrays(tmp_path: Path) -> None:
    n, n_classes = 5000, 10
    shard = kinds.Shard(
        id=np.arange(n),
        label=np.zeros(n, np.int32),
        logits=np.zeros((n, 1, n_classes), np.float32),
        margin=np.zeros((n, 1), np.float32),
    )
    reference = kinds.ReferenceShard(
        id=np.arange(n),
        margin=np.zeros((n, 1), np.float32),
        recalibrated=np.zeros((n, 1), np.float32),
        correct=np.zeros(n, bool),
    )
    arrays.write(tmp_path / "f" / "a", shard, key="0", origin={})
    for name in ("b", "c"):
        arrays.write(tmp_path / "f" / name, reference, key="0", origin={})
    rated()
    one_shard = present(("shard_rows = 50", "shard_rows = 5000"))
    told = estimate("features", one_shard, members=n, nonmembers=0).n_bytes
    assert told == pytest.approx(costs.n_bytes(tmp_path / "f"), rel=0.1)


def test_what_one_number_of_is_not_known_is_taken_from_before() -> None:
    made_in("features", 60.0, n_bytes=700)
    rated()
    cost = estimate("features", n_classes=None)
    assert cost == Cost(pytest.approx(2.0 + 120 * 3 * 0.001), 700.0)


def test_a_recipe_of_ones_own_has_steps_as_it_showed_them() -> None:
    Path("recipe.py").write_text("def train(network, records, seed): ...\n")
    text = TINY[TINY.index("\n[target.training]") : TINY.index("\n[references]")]
    made = present((text, RECIPE_OF_MY_OWN))
    for rate in (PASS, STEP):
        costs.remember_rate(job(made=made), rate)
    seconds = 2.0 + 3.0 + 60 * 9.0 * 0.5 + 120 * 0.001
    assert estimate("target", made).seconds == pytest.approx(seconds)
    Path("recipe.py").write_text("def train(network, records, seed): return 1\n")
    assert estimate("target", present((text, RECIPE_OF_MY_OWN))) == costs.UNKNOWN


@pytest.mark.parametrize(
    ("old", "new", "of_pass", "of_step"),
    [
        ("epochs = 2", "epochs = 20", True, True),
        ("learning_rate = 0.01", "learning_rate = 1.0", True, True),
        ("members = 60\nnon", "members = 61\nnon", True, True),
        ("[target.training]", "[target.training]\nseed = 7", True, True),
        ("batch_size = 32", "batch_size = 64", True, True),
        ("batch_size = 16", "batch_size = 32", True, False),
        ("epochs = 2", 'epochs = 2\noptimizer = "sgd"', True, False),
        ("epochs = 2", 'epochs = 2\naugmentation = "flip"', True, False),
        ("shard_rows", 'precision = "float16"\nshard_rows', False, True),
        ("shard_rows", 'mode = "pynative"\nshard_rows', False, True),
        ('source = "digits"', 'source = "digits"\nimage_size = 16', False, False),
        ('"cnn_digits"', '"cnn"', False, False),
    ],
)
def test_a_rate_holds_for_what_it_was_measured_of(
    old: str, new: str, *, of_pass: bool, of_step: bool
) -> None:
    rated()
    made, memory = present((old, new)), costs.Memory(RUN)
    assert memory.a_pass(costs.pass_key(made)) == (PASS if of_pass else None)
    assert memory.a_step(costs.step_key(made)) == (STEP if of_step else None)
    assert (estimate("features", made) != costs.UNKNOWN) == of_pass
    assert (estimate("references", made) != costs.UNKNOWN) == of_step
    assert (estimate("target", made) != costs.UNKNOWN) == (of_pass and of_step)


def test_a_model_that_is_not_trained_is_only_tried() -> None:
    Path("mine.ckpt").write_bytes(b"weights")
    text = TINY[TINY.index("\n[target.training]") : TINY.index("\n[references]")]
    made = present(
        (
            'network = "cnn_digits"\n',
            'network = "cnn_digits"\ncheckpoint = "mine.ckpt"\n',
        ),
        (text, ""),
        ("count = 2", "count = 0"),
        ('"loss", "lira_online", "rmia_online", "amortised"', '"loss"'),
    )
    assert estimate("target", made) == costs.UNKNOWN
    costs.remember_rate(job(made=made), PASS)
    assert estimate("target", made) == Cost(2.0, None)
    assert estimate("features", made).seconds == pytest.approx(2.0 + 120 * 0.001)


def test_another_audit_of_the_network_knows_the_rates() -> None:
    other = Path("artifacts/other")
    for rate in (PASS, STEP):
        costs.remember_rate(job(run=other), rate)
    assert estimate("target").seconds == pytest.approx(8.12)


# From runs of before


def made_in(stage: str, seconds: float, n_bytes: int = 500) -> None:
    """As if a stage had run."""
    path = RUN / stage / "artifact"
    files.write(path, bytes(n_bytes))
    costs.remember(job(stage), seconds)


def test_a_stage_takes_as_long_as_before_for_its_work() -> None:
    made_in("blind", 6.0)
    assert costs.took(RUN, "blind") == 6.0
    assert estimate("blind") == Cost(6.0, 500.0)
    assert estimate("blind", members=180) == Cost(12.0, 1000.0)
    assert estimate("split") == costs.UNKNOWN


def test_the_work_of_the_attacks_is_their_fits_and_references() -> None:
    """Of 2 + 2 candidates in 3 folds 12 fits, and of 2 methods 3 + 1 more each."""
    assert costs.work("attack", present(), SIZES) == 120 * (12 + 2 * 4 + 1 + 2)
    random = present(("[attack]", '[attack]\nsearch = "random"\nn_iter = 1'))
    assert costs.work("attack", random, SIZES) == 120 * (6 + 2 * 4 + 1 + 2)


def test_a_run_that_found_a_part_cached_does_not_count() -> None:
    made_in("attack", 60.0)
    made_in("attack", 2.0)
    assert costs.took(RUN, "attack") == 2.0
    assert estimate("attack").seconds == 60.0
    made_in("attack", 90.0)
    assert estimate("attack").seconds == 90.0


def test_runs_on_other_records_count_if_these_are_the_same_source() -> None:
    other = Path("artifacts/other")
    costs.remember(job("split", run=other), 4.0)
    assert estimate("split").seconds == 4.0
    memory = costs.Memory(RUN)
    assert memory.longest("split", "digits") is not None
    assert memory.longest("split", "cifar10") is None


def test_datasets_of_ones_own_are_known_from_this_audit_alone() -> None:
    content = {"seconds": 1, "bytes": 1, "work": 1, "source": "data.py:datasets"}
    for run in ("tiny", "other"):
        path = costs.path_of(Path("artifacts") / run, "split")
        files.write_json(path, {"longest": content})
    assert costs.Memory(RUN).longest("split", "data.py:datasets") == (1, 1, 1)
    mine = costs.Memory(Path("artifacts/mine"))
    assert mine.longest("split", "data.py:datasets") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        '{"seconds": "1", "longest": 1, "rates": []}',
        '{"seconds": true, "longest": {"seconds": 1, "bytes": 1, "work": 0}}',
        '{"seconds": Infinity, "longest": {}, "rates": {"KEY": {"first": 1}}}',
    ],
)
def test_what_is_corrupt_is_not_known_and_made_anew(content: str) -> None:
    path = costs.path_of(RUN, "target")
    files.write_text(path, content.replace("KEY", costs.step_key(present())))
    assert costs.took(RUN, "target") is None
    assert estimate("target") == costs.UNKNOWN
    rated()
    costs.remember(job(), 5.0)
    assert costs.took(RUN, "target") == 5.0
    assert estimate("target").seconds == pytest.approx(8.12)


# Numbers of records


def test_numbers_are_those_of_the_config_until_the_records_are_chosen() -> None:
    made = present()
    assert costs.sizes(RUN, made) == SIZES._replace(n_classes=None)
    n = 7
    records = kinds.Records(
        id=np.arange(n),
        label=np.zeros(n, np.int32),
        member=np.arange(n) < 3,
        population=np.arange(n) == 6,
        canary=np.zeros(n, bool),
        content=np.zeros(n, "S32"),
        duplicates_dropped=np.int64(0),
        copies_dropped=np.int64(0),
        copies=np.zeros((0, 2), np.int64),
        n_classes=np.int64(10),
        n_source=np.int64(n),
    )
    path, key = RUN / STAGES["records"].file, keys.digest(made["records"])
    arrays.write(path, records, key=key, origin={})
    assert costs.sizes(RUN, made) == Sizes(3, 3, 1, 10)
    one = present(("nonmembers = 60\n", ""))
    assert costs.sizes(RUN, one) == SIZES._replace(n_classes=None)
    none = present(("members = 60\nnonmembers = 60\n", ""))
    assert costs.sizes(RUN, none) is None
    assert costs.estimate("target", none, None, costs.Memory(RUN)) == costs.UNKNOWN


# What the programs print


def printed(main: Any, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    main()
    lines = capsys.readouterr().out.splitlines()
    return [line.split() for line in lines]


def test_the_plan_says_what_stages_take_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    present()
    runs.claim(RUN, Path("tiny.toml"))
    assert printed(plan.main, capsys)[4][:5] == ["target", "runs", "?", "?", "not"]
    rated()
    made_in("blind", 200.0)
    lines = {line[0]: line[1:] for line in printed(plan.main, capsys)}
    assert lines["target"][:5] == ["runs", "8", "s", "1.0", "kB"]
    assert lines["references"][:5] == ["runs", "9", "s", "2.0", "kB"]
    assert lines["blind"][:5] == ["runs", "3", "min", "500", "B"]
    assert lines["attack"][:3] == ["runs", "?", "?"]
    assert lines["about"][:2] == ["4", "min"]
    assert lines["?"][:5] == ["is", "not", "known", "until", "such"]


def test_of_networks_that_are_not_known_the_plan_names_the_probe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    present()
    plan.main()
    out = capsys.readouterr().out
    assert out.endswith("? is not known yet: `make probe` times a pass and a step\n")


def test_the_status_tells_fresh_from_stale_and_missing(
    audited: Checkout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(audited.folder)
    audited.edit("threshold = 0.6", "threshold = 0.7")
    (audited.run / STAGES["blind"].file).unlink()
    costs.path_of(audited.run, "split").unlink()
    lines = {line[0]: line[1:] for line in printed(status.main, capsys)}
    assert [*lines] == ["stage", *STAGES]
    states = {name: line[0] for name, line in lines.items()}
    assert states == {
        "stage": "state",
        **dict.fromkeys(STAGES, "fresh"),
        "blind": "missing",
        "report": "stale",
        "page": "stale",
    }
    assert lines["blind"] == ["missing", "its", "artifact", "is", "gone"]
    assert lines["report"][-5:] == ["[report]", "threshold:", "0.6", "->", "0.7"]
    assert lines["split"][-1] == "?"
    size, unit = lines["attack"][1:3]
    n_bytes = costs.n_bytes(audited.run / "attack")
    assert f"{size} {unit}" == cli.size(n_bytes)
    assert lines["target"][-1] in ("s", "min")


def test_a_finished_audit_has_measured_what_a_pass_and_a_step_take(
    audited: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(audited.folder)
    made, _ = stamps.kept(Path("artifacts/tiny"), "report")
    memory = costs.Memory(RUN)
    a_pass, a_step = (
        memory.a_pass(costs.pass_key(made)),
        memory.a_step(costs.step_key(made)),
    )
    assert a_pass is not None
    assert a_step is not None
    # 60 members fill three batches of 16, for two epochs.
    assert a_step.steps_per_record == 6 / 60
    size = (audited.run / "target" / "checkpoint.ckpt").stat().st_size
    assert a_pass.n_bytes == pytest.approx(size, rel=0.01)
    sizes = costs.sizes(RUN, made)
    assert sizes == SIZES
    for stage in STAGES:
        cost = costs.estimate(stage, made, sizes, memory)
        assert cost.seconds is not None, stage
        assert cost.seconds > 0
        assert costs.took(RUN, stage) is not None


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (1_500_000, "1.5 MB"),
        (4.1e10, "41 GB"),
    ],
)
def test_sizes_are_told_in_words(n_bytes: float, words: str) -> None:
    assert cli.size(n_bytes) == words
