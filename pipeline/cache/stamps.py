"""Stamps: all that decides the artifact of each stage, and whether it still holds.

A stamp is the JSON of everything that decides a stage's artifact: versions of its kind
and of the parts that it caches, its settings, the digests of the user's files that it
is the first to read, the keys of the stages upstream, and what it runs on. The digest
of a stamp is the key of the artifact. Where files lie decides nothing, so paths stand
in ``paths.json`` beside the stamps.

When a stage has made its artifact, it keeps the stamps of that moment, its own and all
those upstream. Make, `make plan` and the stage itself compare these with the present
ones by one function, `reasons`, so they cannot disagree.
"""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline.cache import devices, files, keys, runs
from pipeline.cache.digests import Digests
from pipeline.cache.stages import STAGES, Stage
from pipeline.config import (
    CIFAR_FILES,
    Config,
    Data,
    OwnTraining,
    Section,
    Training,
)
from pipeline.data import modules, own
from pipeline.errors import AuditError

Stamp = dict[str, Any]
AnySection = TypeVar("AnySection", bound=Section)
# Names among the user's files: of a target's checkpoint, of the weights that training
# starts from, and what stands before the name of a file of a recipe.
CHECKPOINT = "checkpoint"
START = "start"
RECIPE = "recipe: "
# What the judge of the amortised attack is made of: it comes with the program.
JUDGE = Path(__file__).parents[1] / "attacks" / "judge.npz"
# Of a setting in a reason, the longest text that is shown.
LONGEST = 32


@dataclass(frozen=True)
class Job:
    """All that a running stage knows: its settings, its key, where things lie."""

    stage: str
    run: Path
    stamps: Mapping[str, Stamp]  # of every stage
    paths: Mapping[str, str]

    @property
    def key(self) -> str:
        """The key of the stage's artifact."""
        return self.key_of(self.stage)

    @property
    def origin(self) -> dict[str, str]:
        """What the stage's own numbers run on: names of device and libraries."""
        return dict(self.stamps[self.stage]["origin"])

    def key_of(self, stage: str) -> str:
        """Return the key that the artifact of a stage must have."""
        return keys.digest(self.stamps[stage])

    def section(self, kind: type[AnySection], stage: str | None = None) -> AnySection:
        """Return a section of the settings, paths included.

        Args:
            kind: of section.
            stage: that reads it; None for the one that runs. Of a later stage it must
                decide nothing in this one's artifact.
        """
        name = kind.__name__.lower()
        settings = dict(self.stamps[stage or self.stage]["settings"][name])
        settings |= {k: v for k, v in self.paths.items() if k in kind.model_fields}
        if settings.get("training"):
            places = {k: v for k, v in self.paths.items() if k in ("start", "recipe")}
            settings["training"] = settings["training"] | places
        return kind.model_validate(settings)

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the settings by section, as the stage and those upstream read them."""
        settings: dict[str, dict[str, Any]] = {}
        for stage in chain(self.stage):
            for section, values in self.stamps[stage]["settings"].items():
                settings.setdefault(section, {}).update(values)
        return settings

    def network_files(self) -> dict[str, str]:
        """Return the digests of the user's files that build the network, by name."""
        digests = self.stamps["target"]["inputs"]["files"]
        return {
            name: value
            for name, value in digests.items()
            if name != CHECKPOINT and not _is_of_training(name)
        }

    def training_files(self) -> dict[str, str]:
        """Return the digests of the user's files that decide a training, by name."""
        return {
            name: value
            for stage in ("target", "references")
            for name, value in self.stamps[stage]["inputs"]["files"].items()
            if _is_of_training(name)
        }

    def artifact(self, stage: str) -> Path:
        """Return where the artifact of a stage lies."""
        return self.run / STAGES[stage].file

    def folder(self, stage: str) -> Path:
        """Return the folder of a stage's artifact."""
        return self.artifact(stage).parent

    def remake(self, stage: str) -> str:
        """Return the command that makes the artifact of a stage anew."""
        path = shlex.quote(str(self.artifact(stage)))
        return f"run `rm -f {path} && make {stage} {self.paths['arguments']}`"


def _is_of_training(name: str) -> bool:
    return name == START or name.startswith(RECIPE)


# What decides an artifact


def present(config: Config, run: Path) -> tuple[dict[str, Stamp], Digests]:
    """Return the stamps of an audit as it is now, and the digests; nothing is kept.

    Args:
        config: the settings.
        run: the folder of its artifacts.

    Raises:
        AuditError: as `stamps`, or if a device is not there.
    """
    digests = Digests(runs.digests(run))
    settings = devices.resolved(config, runs.devices(run), save=False)
    return stamps(settings, digests), digests


def stamps(config: Config, digests: Digests) -> dict[str, Stamp]:
    """Return the stamp of every stage, those upstream first.

    Args:
        config: the settings, devices resolved.
        digests: of files.

    Raises:
        AuditError: if a file that the config names is missing.
    """
    made: dict[str, Stamp] = {}
    for name, stage in STAGES.items():
        inputs: dict[str, Any] = {
            "stages": {other: keys.digest(made[other]) for other in stage.inputs},
            "files": dict(_file_digests(name, config, digests)),
            "parts": _parts(stage),
        }
        made[name] = keys.content(
            name,
            settings=_settings(stage, config),
            inputs=inputs,
            device=_device(name, config),
        )
        if name in ("records", "blind"):
            for library in _libraries(config.data.source):
                made[name]["origin"][library] = keys.installed(library)
    return made


def paths(config: Config, config_path: Path, data: str | None) -> dict[str, str]:
    """Return where the files of a config lie, and the arguments of make for it."""
    arguments = f"CONFIG={shlex.quote(str(config_path))}"
    if data:
        arguments += f" DATA={shlex.quote(data)}"
    recipe = config.recipe
    named = {
        "path": config.data.path,
        "checkpoint": config.target.checkpoint,
        "folder": config.references.folder,
        "groups": config.report.groups,
        "units": config.data.units,
        "source": config.data.source,
        "network": config.target.network,
        "start": recipe.start if recipe else None,
        "recipe": recipe.recipe if isinstance(recipe, OwnTraining) else None,
    }
    return {
        "arguments": arguments,
        **{name: path for name, path in named.items() if path is not None},
    }


def _settings(stage: Stage, config: Config) -> dict[str, dict[str, Any]]:
    """Return the settings that a stage reads, by section."""
    sections: dict[str, dict[str, Any]] = {}
    for wanted in stage.sections:
        section, _, name = wanted.partition(".")
        settings = getattr(config, section).model_dump(mode="json")
        for part in (settings, settings.get("training") or {}):
            for place in ("source", "network", "recipe"):
                if part.get(place) is not None:
                    part[place] = modules.portable(part[place])
        if name:
            sections.setdefault(section, {})[name] = settings[name]
        else:
            sections[section] = settings
    return sections


def _parts(stage: Stage) -> dict[str, int]:
    """Return the versions of the kinds that a stage caches one by one."""
    return {part: keys.KINDS[part].version for part in stage.parts}


def _libraries(source: str) -> tuple[str, ...]:
    """Return the libraries that the records of a source come from, or pass through."""
    if modules.is_function(source):
        return (keys.ON_DEVICE,)
    return ("scikit-learn",) if source == "digits" else ()


def _device(stage: str, config: Config) -> str | None:
    """Return the device that a stage's networks run on; None if it has none."""
    if config.target.network is None:
        return None
    recipe = config.target.training
    if stage == "references":
        recipe = config.recipe if config.references.count else None
    if stage in ("target", "references"):
        return None if recipe is None else recipe.device
    return config.features.device if stage == "features" else None


def _file_digests(
    stage: str, config: Config, digests: Digests
) -> Iterator[tuple[str, str]]:
    """Yield the files that a stage is the first to read: name and digest.

    They are the user's, but for the judge.
    """
    data, target = config.data, config.target
    if stage == "records":
        for name, path in _data_files(data).items():
            yield name, digests.content(path)
        yield from _module_digests("data.source", data.source, digests)
        if data.units is not None:
            yield "units", digests.content(_existing("data.units", Path(data.units)))
    if stage == "target" and target.network is not None:
        yield from _module_digests("target.network", target.network, digests)
        if target.checkpoint is not None:
            path = _existing("target.checkpoint", Path(target.checkpoint))
            yield CHECKPOINT, digests.checkpoint(path)
    trains = "target" if target.training else "references"
    if stage == trains and config.recipe is not None:
        yield from _training_digests(config.recipe, f"{stage}.training", digests)
    if stage == "references" and config.references.folder is not None:
        folder = Path(config.references.folder)
        for path in (*own.checkpoints(folder), own.table(folder)):
            yield path.name, digests.content(path)
    if stage == "attack":
        yield "the judge", digests.content(JUDGE)
    if stage == "report" and config.report.groups is not None:
        path = _existing("report.groups", Path(config.report.groups))
        yield "groups", digests.content(path)


def _training_digests(
    recipe: Training | OwnTraining, where: str, digests: Digests
) -> Iterator[tuple[str, str]]:
    if isinstance(recipe, OwnTraining):
        of_recipe = _module_digests(f"{where}.recipe", recipe.recipe, digests)
        yield from ((RECIPE + name, digest) for name, digest in of_recipe)
    if recipe.start is not None:
        yield START, digests.checkpoint(_existing(f"{where}.start", Path(recipe.start)))


def _module_digests(
    where: str, name: str, digests: Digests
) -> Iterator[tuple[str, str]]:
    if modules.is_packaged(name):
        version = modules.package_version(name)
        if version is not None:
            yield f"version of {modules.package(name)}", version
            return
        for file, path in modules.package_sources(name).items():
            yield file, digests.code(path)
    if modules.is_function(name):
        # Beside a link lies what lies beside the file that it leads to.
        path = _existing(where, modules.path_of(name)).resolve()
        for source in modules.sources(path):
            yield os.path.relpath(source, path.parent), digests.code(source)


def _data_files(data: Data) -> dict[str, Path]:
    """Return the files of the data that decide the audit."""
    if data.source == "digits":
        return {}
    if data.path is None:
        if modules.is_function(data.source):
            return {}
        fix = "pass DATA=where they lie, or set data.path"
        raise AuditError("data.path", "is missing", fix)
    path = _existing("data.path", Path(data.path))
    if data.source in CIFAR_FILES:
        names = [name for part in CIFAR_FILES[data.source] for name in part]
        return {name: _existing("data.path", path / name) for name in names}
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        return {f"data/{p.relative_to(path)}": p for p in inside}
    return {"data": path}


def _existing(where: str, path: Path) -> Path:
    if path.is_dir() and where != "data.path":
        raise AuditError(where, f"{path} is a folder", "name a file")
    if not path.exists():
        fix = (
            "correct the path, or pass DATA=" if where == "data.path" else "correct it"
        )
        raise AuditError(where, f"{path.absolute()} does not exist", fix)
    return path


# Their files


def stamp_path(run: Path, stage: str) -> Path:
    """Return where the stamp of a stage lies."""
    return run / "stamps" / f"{stage}.json"


def made_path(run: Path, stage: str) -> Path:
    """Return where the stamps lie that a stage's artifact was made by."""
    return run / "stamps" / f"{stage}.made.json"


def write(run: Path, present: Mapping[str, Stamp], where: Mapping[str, str]) -> None:
    """Write the stamps and paths that have changed, for the stages to read.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    texts = {
        stamp_path(run, name): keys.canonical(stamp) for name, stamp in present.items()
    }
    texts[run / "stamps" / "paths.json"] = keys.canonical(where)
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            files.write_text(path, text)


def read(stamp: Path) -> Job:
    """Read the stamps for a stage that is about to run.

    Args:
        stamp: its own.

    Raises:
        AuditError: if one is missing or corrupt.
    """
    run, fix = stamp.parent.parent, f"run `make {stamp.stem}`, which writes it"
    contents = {}
    for name in (*STAGES, "paths"):
        path = stamp_path(run, name)
        try:
            contents[name] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise AuditError(path, "is missing", fix) from None
        except ValueError:
            raise AuditError(path, "is corrupt", fix) from None
    where = contents.pop("paths")
    return Job(stamp.stem, run, contents, where)


def keep(job: Job) -> None:
    """Keep by which stamps the stage of a job has made its artifact, and its siblings.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    folder, stage = job.folder(job.stage), STAGES[job.stage]
    content = {
        "stamps": {name: job.stamps[name] for name in chain(job.stage)},
        "siblings": {
            name: files.sha256(folder / name)
            for name in stage.siblings + stage.optional
            if name in stage.siblings or (folder / name).exists()
        },
    }
    files.write_text(made_path(job.run, job.stage), keys.canonical(content))


def kept(run: Path, stage: str) -> tuple[dict[str, Stamp], dict[str, str]]:
    """Return the stamps that a stage's artifact was made by, as `keep` kept them.

    Returns:
        The stamps of the stage and of all upstream, and the digests of the files beside
        the artifact, by name.

    Raises:
        FileNotFoundError: if the stage has made nothing.
        ValueError: if they cannot be read.
    """
    content = json.loads(made_path(run, stage).read_text(encoding="utf-8"))
    try:
        before, siblings = dict(content["stamps"]), dict(content["siblings"])
        before[stage]
    except (KeyError, TypeError) as error:
        msg = f"{made_path(run, stage)} holds no stamps"
        raise ValueError(msg) from error
    return before, siblings


def chain(stage: str) -> list[str]:
    """Return a stage and all those upstream of it, in the order of the list."""
    wanted = {stage}
    for name in reversed(STAGES):
        if name in wanted:
            wanted |= {*STAGES[name].inputs}
    return [name for name in STAGES if name in wanted]


# Whether an artifact still holds


class Reason(NamedTuple):
    """Why a stage must run."""

    stage: str  # whose change it is: its own, or that of one upstream
    text: str


def reasons(
    run: Path, stage: str, present: Mapping[str, Stamp], digests: Digests
) -> list[Reason]:
    """Say why a stage must run.

    Args:
        run: the folder of the artifacts.
        stage: its name.
        present: the stamps as they are now.
        digests: of files.

    Returns:
        A reason for each change, of its own or upstream; none if the artifact is as it
        would be made now.
    """
    try:
        before, siblings = kept(run, stage)
    except FileNotFoundError:
        return [Reason(stage, "not made yet")]
    except ValueError:
        return [Reason(stage, "how it was made is not known")]
    if not (run / STAGES[stage].file).exists():
        return [Reason(stage, "its artifact is gone")]
    if before[stage] != present[stage]:
        return [
            Reason(name, text)
            for name in chain(stage)
            for text in _changes(name, before.get(name, {}), present[name])
        ] or [Reason(stage, "the stages before it have changed")]
    folder = (run / STAGES[stage].file).parent
    return [
        Reason(stage, f"{name} is {'changed' if (folder / name).exists() else 'gone'}")
        for name, digest in siblings.items()
        if not (folder / name).exists() or digests.content(folder / name) != digest
    ]


def departures(
    before: Mapping[str, Stamp], stage: str, config: Config, digests: Digests
) -> tuple[list[Reason], list[str]]:
    """Say in what a config departs from the one that an artifact was made by.

    Unlike `reasons`, this asks nothing of this machine: devices and libraries may be
    others, and files of the user's may be elsewhere.

    Args:
        before: the stamps that the artifact was made by, as `kept` returns them.
        stage: that made it.
        config: the settings.
        digests: of files.

    Returns:
        A reason for each change, and each file that could not be compared, with why.
    """
    changes: list[Reason] = []
    unchecked: list[str] = []
    for name in chain(stage):
        old = before.get(name, {})
        content = {
            "settings": _on_device(
                _settings(STAGES[name], config), old.get("settings", {})
            ),
            "version": keys.KINDS[name].version,
            "inputs": {"files": {}, "parts": _parts(STAGES[name])},
            "origin": old.get("origin", {}),
        }
        digests_before = old.get("inputs", {}).get("files", {})
        try:
            content["inputs"]["files"] = dict(_file_digests(name, config, digests))
        except AuditError as error:
            where, problem, _ = error.args
            unchecked.append(f"{where} {problem}")
            content["inputs"]["files"] = digests_before
        changes += [Reason(name, text) for text in _changes(name, old, content)]
    return changes, unchecked


def _on_device(settings: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """Return settings in which "auto" is the device that it was before."""
    old = before if isinstance(before, Mapping) else {}
    return {
        name: old.get(name, value)
        if name == keys.DEVICE and value == "auto"
        else _on_device(value, old.get(name))
        if isinstance(value, Mapping)
        else value
        for name, value in settings.items()
    }


def _changes(stage: str, before: Stamp, now: Stamp) -> Iterator[str]:
    """Yield a sentence for each difference between two stamps of a stage."""
    # Sections of stages upstream are those stages' reasons.
    theirs = {STAGES[upstream].sections[0] for upstream in STAGES[stage].inputs}
    own = {k: v for k, v in now["settings"].items() if k not in theirs}
    for section in own:
        old = before.get("settings", {}).get(section, {})
        for name, was, has in _differences(old, own[section]):
            yield f"[{section}] {name}: {was} -> {has}"
    was_read = before.get("inputs", {})
    for name, _, _ in _differences(was_read.get("files", {}), now["inputs"]["files"]):
        yield f"{name} changed"
    old_origin = before.get("origin", {})
    for name, was, has in _differences(old_origin, now["origin"]):
        # The settings above tell of a device.
        if name != keys.DEVICE:
            yield f"{name} {was} -> {has}".replace('"', "")
    versions = {"": now["version"], **now["inputs"]["parts"]}
    old_versions = {"": before.get("version"), **was_read.get("parts", {})}
    for part, version in versions.items():
        if old_versions.get(part) != version:
            yield f"this program computes {part or stage} otherwise"


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield (name, old value, new value) of every difference, nested ones too."""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", *_shown(old, new)


def _shown(old: Any, new: Any) -> tuple[str, str]:
    """Return two values as texts, of long ones the part where they differ."""
    texts = [json.dumps(value) if value is not None else "-" for value in (old, new)]
    if max(map(len, texts)) <= LONGEST:
        return texts[0], texts[1]
    same = [a == b for a, b in zip(*texts, strict=False)]
    first = same.index(False) if False in same else len(same)
    start = max(first - LONGEST // 4, 0)
    shown = []
    for text in texts:
        part = text[start : start + LONGEST]
        before = "…" if start else ""
        after = "…" if start + LONGEST < len(text) else ""
        shown.append(f"{before}{part}{after}")
    return shown[0], shown[1]
