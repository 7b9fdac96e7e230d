"""Costs: what the stages took on this machine, and what they would take.

A stage remembers beside its stamp how long it took and how large its artifacts are.
What a pass and a step of a network take is remembered by all that decides it, so audits
of the same network share it. All of this describes the machine and decides nothing:
where it is lost or corrupt, it is not known.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.attacks import grids
from pipeline.cache import files, keys, stamps
from pipeline.cache.stages import STAGES
from pipeline.cache.stamps import Job, Stamp
from pipeline.config import is_in_file
from pipeline.data import own
from pipeline.errors import AuditError

Stamps = Mapping[str, Stamp]
# Settings of the built-in recipe that do not decide how long a step takes.
NOT_OF_A_STEP = (
    *("seed", "epochs", "learning_rate", "schedule", "warmup_epochs", "momentum"),
    *("weight_decay", "label_smoothing", "start_allow_missing"),
)
TRAINED = ("target", "references")  # sections that may have a recipe
FLOAT, HALF_FLOAT = 4, 2  # bytes
FILE = 30_000  # bytes of a shard without its arrays


class Sizes(NamedTuple):
    """Numbers of records, and of classes if they are known."""

    members: int
    nonmembers: int
    population: int
    n_classes: int | None

    @property
    def records(self) -> int:
        """All of them."""
        return sum(self[:3])


class Pass(NamedTuple):
    """What it takes to run a network."""

    first: float  # seconds until it has run once, compilation included
    per_record: float  # seconds, once it is compiled
    n_bytes: int  # of its weights


class Step(NamedTuple):
    """What it takes to train a network."""

    first: float  # seconds until the first step is made, compilation included
    per_step: float  # seconds of each other one
    steps_per_record: float  # of the whole training, for each record that is learned


class Cost(NamedTuple):
    """What a stage takes; None: that is not known."""

    seconds: float | None
    n_bytes: float | None


UNKNOWN = Cost(None, None)


# What is remembered


def path_of(run: Path, stage: str) -> Path:
    """Return the file in which a stage remembers what it took."""
    return run / "stamps" / f"{stage}.cost.json"


def took(run: Path, stage: str) -> float | None:
    """Return how many seconds a stage took when it ran last; None if not known."""
    return _number(_read(path_of(run, stage)).get("seconds"))


def n_bytes(folder: Path) -> int:
    """Return the size of the files in a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def remember(job: Job, seconds: float) -> None:
    """Remember what a stage took that has just made its artifact.

    The longest run for its work is kept as well: others found a part of theirs cached.

    Args:
        job: of the stage.
        seconds: that it took.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    numbers = sizes(job.run, job.stamps)
    amount = None if numbers is None else work(job.stage, job.stamps, numbers)
    content = _read(path_of(job.run, job.stage))
    content["seconds"] = seconds
    longest = _longest(content)
    if amount and (longest is None or seconds / amount >= longest[0] / longest[2]):
        content["longest"] = {
            "seconds": seconds,
            "bytes": n_bytes(job.folder(job.stage)),
            "work": amount,
            "source": _source(job.stamps),
        }
    files.write_json(path_of(job.run, job.stage), content)


def remember_rate(job: Job, rate: Pass | Step) -> None:
    """Remember what a pass or a step of the audited network takes.

    Args:
        job: of a stage that has measured it.
        rate: that it measured.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    content = _read(path_of(job.run, job.stage))
    key = pass_key(job.stamps) if isinstance(rate, Pass) else step_key(job.stamps)
    rates = content.get("rates")
    rates = rates if isinstance(rates, dict) else {}
    content["rates"] = {**rates, key: rate._asdict()}
    files.write_json(path_of(job.run, job.stage), content)


def pass_key(present: Stamps) -> str:
    """Return the digest of all that decides how long a pass of the network takes."""
    features = _settings(present, "features")
    names = ("device", "precision", "mode")
    return keys.digest(
        {
            "rate": "pass",
            **_of_network(present),
            "features": [features.get(name) for name in names],
        }
    )


def step_key(present: Stamps) -> str:
    """Return the digest of all that decides how long a step of training takes."""
    recipe = _recipe(present)
    # Of a target that is a checkpoint the references are the first to read a recipe.
    files_read = present["references"]["inputs"]["files"]
    return keys.digest(
        {
            "rate": "step",
            **_of_network(present),
            "recipe": {k: v for k, v in recipe.items() if k not in NOT_OF_A_STEP},
            "of references": {
                name: digest
                for name, digest in files_read.items()
                if name.startswith(stamps.RECIPE)
            },
        }
    )


class Memory:
    """What is remembered of the runs of this machine.

    Args:
        run: the folder of the audit's artifacts; others beside it are looked into too.
    """

    def __init__(self, run: Path) -> None:
        others = [
            path for path in sorted(run.parent.glob("*")) if path.name != run.name
        ]
        self._runs = [run, *others]

    def a_pass(self, key: str) -> Pass | None:
        """Return what a pass takes, as `pass_key` names it."""
        return next((Pass(**rate) for rate in self._rates(key, Pass)), None)

    def a_step(self, key: str) -> Step | None:
        """Return what a step takes, as `step_key` names it."""
        return next((Step(**rate) for rate in self._rates(key, Step)), None)

    def _rates(self, key: str, kind: type[Pass] | type[Step]) -> Iterator[Any]:
        for run in self._runs:
            for stage in STAGES:
                rates = _read(path_of(run, stage)).get("rates")
                rate = rates.get(key) if isinstance(rates, dict) else None
                if not isinstance(rate, dict) or {*rate} != {*kind._fields}:
                    continue
                if all(_number(value) is not None for value in rate.values()):
                    yield rate

    def longest(self, stage: str, source: str) -> tuple[float, float, float] | None:
        """Return seconds, bytes and work of a run of a stage; None if not known.

        Args:
            stage: its name.
            source: of the records: those of other audits are of the same one.
        """
        for run in self._runs:
            content = _read(path_of(run, stage))
            longest = _longest(content)
            if longest is None or content["longest"].get("source") != source:
                continue
            if run == self._runs[0] or not is_in_file(source):
                return longest
        return None


# What stages would take


def estimate(
    stage: str, present: Stamps, numbers: Sizes | None, memory: Memory
) -> Cost:
    """Return what a stage takes if nothing of it is cached.

    Args:
        stage: its name.
        present: the stamps as they are now.
        numbers: of the records; None if they are not known.
        memory: of this machine.
    """
    if numbers is None:
        return UNKNOWN
    cost = UNKNOWN
    if _settings(present, "target")["network"] is not None:
        a_pass = memory.a_pass(pass_key(present))
        a_step = memory.a_step(step_key(present))
        if stage == "target":
            cost = _of_target(present, numbers, a_pass, a_step)
        elif stage == "references":
            cost = _of_references(present, numbers, a_pass, a_step)
        elif stage == "features":
            cost = _of_features(present, numbers, a_pass)
    longest = memory.longest(stage, _source(present))
    if longest is None or None not in cost:
        return cost
    seconds, size, before = longest
    ratio = work(stage, present, numbers) / before
    return Cost(
        seconds * ratio if cost.seconds is None else cost.seconds,
        size * ratio if cost.n_bytes is None else cost.n_bytes,
    )


def seconds(job: Job, share: float) -> float | None:
    """Return what a part of a running stage's work takes; None if it is not known.

    Args:
        job: of the stage.
        share: of the whole work, in [0, 1].
    """
    numbers, memory = sizes(job.run, job.stamps), Memory(job.run)
    whole = estimate(job.stage, job.stamps, numbers, memory).seconds
    return None if whole is None else share * whole


def sizes(run: Path, present: Stamps) -> Sizes | None:
    """Return the numbers of records as the config has them, or else the artifact.

    Returns:
        None if neither has them. Of a side without a number, that of the other.
    """
    data, n_classes = (
        _settings(present, "data"),
        _settings(present, "target")["n_classes"],
    )
    sides = [data[name] for name in ("members", "nonmembers") if data[name] is not None]
    made = _sizes_made(run, present)
    if made is not None:
        return made if n_classes is None else made._replace(n_classes=n_classes)
    if not sides:
        return None
    return Sizes(sides[0], sides[-1], data["population"], n_classes)


def work(stage: str, present: Stamps, numbers: Sizes) -> float:
    """Return how much a stage has to do, in units of its own."""
    n = float(numbers.records)
    if stage == "target":
        return float(numbers.members)
    if stage == "references":
        return n * _n_references(present)
    if stage == "features":
        return n * (1 + _n_references(present)) * _n_views(present)
    if stage == "attack":
        audited = numbers.members + numbers.nonmembers
        return float(audited * (_n_fits(present) + 1 + _n_references(present)))
    return n


def _of_target(
    present: Stamps, numbers: Sizes, a_pass: Pass | None, a_step: Step | None
) -> Cost:
    if a_pass is None:
        return UNKNOWN
    if _settings(present, "target").get("training") is None:
        return Cost(a_pass.first, None)  # it is only tried
    if a_step is None:
        return UNKNOWN
    seconds = a_pass.first + _training(present, numbers.members, 1, a_step)
    seconds += a_pass.per_record * numbers.records
    return Cost(seconds, a_pass.n_bytes)


def _of_references(
    present: Stamps, numbers: Sizes, a_pass: Pass | None, a_step: Step | None
) -> Cost:
    count = _settings(present, "references")["count"]
    if not count or a_step is None:
        return UNKNOWN
    seconds = _training(present, math.ceil(numbers.records / 2), count, a_step)
    return Cost(seconds, None if a_pass is None else count * a_pass.n_bytes)


def _training(present: Stamps, n: int, n_models: int, a_step: Step) -> float:
    """Return the seconds of the training of several models on n records each."""
    recipe = _recipe(present)
    if "epochs" in recipe:
        # It drops what does not fill a batch.
        steps = float(recipe["epochs"] * (n // min(recipe["batch_size"], n)))
    else:
        steps = a_step.steps_per_record * n
    return a_step.first + n_models * steps * a_step.per_step


def _of_features(present: Stamps, numbers: Sizes, a_pass: Pass | None) -> Cost:
    if a_pass is None:
        return UNKNOWN
    n, n_views, n_references = (
        numbers.records,
        _n_views(present),
        _n_references(present),
    )
    n_passes = n * n_views * (1 + n_references)
    seconds = a_pass.first + a_pass.per_record * n_passes
    if numbers.n_classes is None:
        return Cost(seconds, None)
    # As artifacts/README.md has the shards: of the target with all logits.
    half = _settings(present, "features")["store"] == "float16"
    of_logits = numbers.n_classes * (HALF_FLOAT if half else FLOAT)
    of_target = n * (8 + FLOAT + n_views * (of_logits + FLOAT))
    of_reference = n * (8 + 1 + 2 * n_views * FLOAT)
    n_shards = math.ceil(n / _settings(present, "features")["shard_rows"])
    n_files = n_shards * (1 + n_references)
    return Cost(seconds, of_target + n_references * of_reference + n_files * FILE)


def _n_views(present: Stamps) -> int:
    return len(_settings(present, "features")["views"])


def _n_references(present: Stamps) -> int:
    """Return how many references there are; of your own their files are counted."""
    files_read = present["references"]["inputs"]["files"]
    checkpoints = [name for name in files_read if Path(name).suffix in own.CHECKPOINTS]
    return int(_settings(present, "references")["count"]) or len(checkpoints)


def _n_fits(present: Stamps) -> int:
    settings = _settings(present, "attack")
    fits = 0
    for method in settings["methods"]:
        candidates, _ = grids.candidates(method["method"], method["params"])
        n = len(candidates)
        n = min(n, settings["n_iter"]) if settings["search"] == "random" else n
        fits += (n + 1) * settings["folds"] + 1
    return fits


def _sizes_made(run: Path, present: Stamps) -> Sizes | None:
    # Arrays take a part of a second to import, which not all that costs need.
    from pipeline.cache import arrays, kinds

    path, key = run / STAGES["records"].file, keys.digest(present["records"])
    try:
        records = arrays.read(path, kinds.Records, key=key, fix="")
    except AuditError:
        return None
    return Sizes(
        members=int(records.member.sum()),
        nonmembers=int(records.nonmember.sum()),
        population=int(records.population.sum()),
        n_classes=int(records.n_classes) or None,
    )


def _of_network(present: Stamps) -> dict[str, Any]:
    """Return what decides how fast a network is, whatever it is used for."""
    target, data = _settings(present, "target"), _settings(present, "data")
    code = present["target"]["inputs"]["files"]
    of_target = ("network", "network_args", "n_classes")
    return {
        "processors": os.cpu_count(),
        "network": [target.get(name) for name in of_target],
        "files": {k: v for k, v in code.items() if k != stamps.CHECKPOINT},
        "data": [data.get(name) for name in ("source", "inputs", "image_size")],
    }


def _recipe(present: Stamps) -> dict[str, Any]:
    """Return the settings of the recipe; none if nothing is trained here."""
    recipes = [_settings(present, name).get("training") for name in TRAINED]
    return next((dict(recipe) for recipe in recipes if recipe), {})


def _source(present: Stamps) -> str:
    return str(_settings(present, "data")["source"])


def _settings(present: Stamps, section: str) -> dict[str, Any]:
    """Return the settings of a section, which the stage reads whose own it is."""
    stage = next(name for name in STAGES if STAGES[name].sections[0] == section)
    return dict(present[stage]["settings"].get(section, {}))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _refused(constant: str) -> None:
    msg = f"{constant} is not finite"
    raise ValueError(msg)


def _longest(content: Mapping[str, Any]) -> tuple[float, float, float] | None:
    longest = content.get("longest")
    if not isinstance(longest, dict):
        return None
    seconds, size, amount = (
        _number(longest.get(name)) for name in ("seconds", "bytes", "work")
    )
    if seconds is None or size is None or not amount:
        return None
    return seconds, size, amount


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None
