"""Plan: the stages, what each depends on, and the stamps that say so.

A stamp is the JSON of everything that decides a stage's artifact: its settings, the
digests of the user's files it reads, and the digests of the stamps upstream. The
digest of a stamp is the key of the artifact. Where files lie decides nothing, so paths
stand in ``paths.json`` beside the stamps.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.cache import files
from pipeline.config import CIFAR_FILES, Config, Data, Section
from pipeline.data import modules
from pipeline.errors import AuditError


@dataclass(frozen=True)
class Stage:
    """A program that makes one artifact."""

    # Of the config: the first is its own, the others those of stages upstream. Or
    # "section.setting", of a section that is another's.
    sections: tuple[str, ...]
    inputs: tuple[str, ...]  # stages upstream
    artifact: str  # within the run's folder
    version: int = 1  # raised by hand when the stage's numbers change


STAGES = {
    "records": Stage(("data",), (), "records/records.h5", version=2),
    "blind": Stage(
        (
            "blind",
            "data",
            "features.member_augmentation",
            "features.augmentation_seed",
        ),
        ("records",),
        "blind/blind.json",
    ),
    "split": Stage(("split", "data"), ("records",), "split/split.h5", version=2),
    "target": Stage(("target", "data"), ("records",), "target/target.json"),
    "references": Stage(
        ("references", "target", "data"),
        ("records", "target"),
        "references/references.h5",
    ),
    "features": Stage(
        ("features", "target", "data"),
        ("records", "target", "references"),
        "features/complete.json",
        version=3,
    ),
    "attack": Stage(
        ("attack",),
        ("records", "split", "references", "features"),
        "attack/scores.h5",
        version=4,
    ),
    "report": Stage(
        ("report",),
        ("records", "target", "references", "features", "blind", "attack"),
        "report/report.json",
        version=3,
    ),
}

# Beside target.json, if the target is trained here.
CHECKPOINT = "checkpoint.ckpt"
# Beside references.h5: the file of each reference's checkpoint, and its digest.
REFERENCES = "references.json"
# Beside a user's own references: which records of the source each was trained on.
MEMBERSHIP = "membership.npy"
CHECKPOINTS = (".ckpt", ".safetensors")
# Beside scores.h5: every candidate, its folds and the best.
SEARCH = "search.json"
# Beside scores.h5 and report.json: how long the attacks took.
TIMINGS = "timings.json"
# Beside report.json: the same for people.
TEXT = "report.txt"
# A file whose time is this near to the moment of its hashing may change once more
# within the same tick of the clock, so its digest is not remembered. Seconds.
RACY = 2.0

AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True)
class Job:
    """All that a running stage knows: its settings, its key, where things lie."""

    stage: str
    key: str
    run: Path
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    paths: Mapping[str, str]

    def section(self, kind: type[AnySection]) -> AnySection:
        """Return a section of the settings, paths included."""
        name = kind.__name__.lower()
        names = {"path", "checkpoint", "folder", "groups"} & set(kind.model_fields)
        own = {k: self.paths[k] for k in names if k in self.paths}
        return kind.model_validate({**self.settings[name], **own})

    def artifact(self, stage: str) -> Path:
        """Return where the artifact of a stage lies."""
        return self.run / STAGES[stage].artifact

    def folder(self, stage: str) -> Path:
        """Return the folder of a stage's artifact."""
        return self.artifact(stage).parent

    def key_of(self, stage: str) -> str:
        """Return the key that the artifact of this stage or one upstream must have."""
        return self.key if stage == self.stage else self.inputs[stage]

    def remake(self, stage: str) -> str:
        """Return the command that makes the artifact of a stage anew."""
        artifact = self.artifact(stage)
        return f"run `rm -f {artifact} && make {stage} {self.paths['arguments']}`"


def artifacts_of(config: Path) -> Path:
    """Return the folder in which the stages of a config leave their artifacts."""
    return Path("artifacts") / config.stem


def stamps(config: Config, run: Path) -> dict[str, dict[str, Any]]:
    """Return the stamp of every stage, those upstream first.

    Args:
        config: the settings.
        run: the folder of the artifacts, which remembers digests of large files.

    Raises:
        AuditError: if a file that the config names is missing.
    """
    memory = _Digests(run / "stamps" / "digests.json")
    made: dict[str, dict[str, Any]] = {}
    for name, stage in STAGES.items():
        made[name] = {
            "stage": name,
            "version": stage.version,
            "settings": _settings(stage, config),
            "files": {
                role: memory.digest(path) for role, path in _files(name, config).items()
            },
            "inputs": {upstream: digest(made[upstream]) for upstream in stage.inputs},
        }
    memory.save()
    return made


def digest(content: Mapping[str, Any]) -> str:
    """Return the digest of JSON; of a stamp, it is the key of the artifact."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """Return JSON that is the same text for the same content."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def stamp_path(run: Path, stage: str) -> Path:
    """Return where the stamp of a stage lies."""
    return run / "stamps" / f"{stage}.json"


def made_path(run: Path, stage: str) -> Path:
    """Return where the stamp that a stage's artifact was made from lies."""
    return run / "stamps" / f"{stage}.made.json"


def paths(config: Config, config_path: Path, data: str | None) -> dict[str, str]:
    """Return where the files of a config lie, and the arguments of make for it."""
    found = {"arguments": f"CONFIG={config_path}" + (f" DATA={data}" if data else "")}
    if config.data.path is not None:
        found["path"] = config.data.path
    if config.target.checkpoint is not None:
        found["checkpoint"] = config.target.checkpoint
    if config.references.folder is not None:
        found["folder"] = config.references.folder
    if config.report.groups is not None:
        found["groups"] = config.report.groups
    return found


def own_references(folder: Path) -> list[Path]:
    """Return the checkpoints of a user's own references, in order of file name.

    Raises:
        AuditError: if there are none, or nothing tells what they were trained on.
    """
    where = "references.folder"
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise AuditError(where, f"{folder} {problem}", "correct it")
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in CHECKPOINTS and path.is_file() and path.name[0] != "."
    ]
    if not found:
        problem = f"{folder} has no {' or '.join(CHECKPOINTS)} file"
        raise AuditError(where, problem, "put the checkpoints of your references there")
    if not (folder / MEMBERSHIP).is_file():
        fix = "save there which records of the source each model was trained on"
        raise AuditError(where, f"{folder} has no {MEMBERSHIP}", fix)
    return found


def read(stamp: Path) -> Job:
    """Read the stamp of a stage that is about to run.

    Raises:
        AuditError: if the stamp is missing.
    """
    try:
        content = json.loads(stamp.read_text(encoding="utf-8"))
        found = json.loads((stamp.parent / "paths.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        fix = f"run `make {stamp.stem}`, which writes it"
        raise AuditError(stamp, "is missing", fix) from None
    return Job(
        stage=content["stage"],
        key=digest(content),
        run=stamp.parent.parent,
        settings=content["settings"],
        inputs=content["inputs"],
        paths=found,
    )


def is_made(job: Job) -> bool:
    """Return whether the artifact of a stage was made from this very stamp."""
    return job.artifact(job.stage).exists() and _text(
        made_path(job.run, job.stage)
    ) == _text(stamp_path(job.run, job.stage))


def reasons(stage: str, stamp: Mapping[str, Any], run: Path) -> list[str]:
    """Say why a stage would run, apart from the stages before it.

    Args:
        stage: its name.
        stamp: what decides its artifact now.
        run: the folder of the artifacts.

    Returns:
        A reason for each change; none if the artifact is as it would be made now.
    """
    try:
        made = json.loads(_text(made_path(run, stage)) or "")
    except ValueError:
        return ["not made yet"]
    if not (run / STAGES[stage].artifact).exists():
        return ["its artifact is gone"]
    # Sections of stages upstream are those stages' reasons.
    theirs = {STAGES[upstream].sections[0] for upstream in STAGES[stage].inputs}
    changed = [
        f"[{section}] {name}: {before} -> {after}"
        for section in made["settings"]
        if section not in theirs
        for name, before, after in _changes(
            made["settings"][section], stamp["settings"][section]
        )
    ]
    changed += [
        f"{name} changed" for name, _, _ in _changes(made["files"], stamp["files"])
    ]
    if made["version"] != stamp["version"]:
        changed.append("this version of the program computes it otherwise")
    return changed


def _settings(stage: Stage, config: Config) -> dict[str, dict[str, Any]]:
    """Return the settings that a stage reads, by section."""
    found: dict[str, dict[str, Any]] = {}
    for wanted in stage.sections:
        section, _, name = wanted.partition(".")
        settings = getattr(config, section).model_dump(mode="json")
        if name:
            found.setdefault(section, {})[name] = settings[name]
        else:
            found[section] = settings
    return found


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, str, str]]:
    """Return (name, old value, new value) of every difference, nested ones too."""
    found: list[tuple[str, str, str]] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, "-"), after.get(name, "-")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _changes(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append((f"{prefix}{name}", _short(old), _short(new)))
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else "(edited)"


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _files(stage: str, config: Config) -> dict[str, Path]:
    """Return the user's files that a stage is the first to read, by name."""
    data, target = config.data, config.target
    found: dict[str, Path] = {}
    if stage == "records":
        found |= _data_files(data) | _module_files("data.source", data.source)
    if stage == "target" and target.network is not None:
        found |= _module_files("target.network", target.network)
        if target.checkpoint is not None:
            path = Path(target.checkpoint)
            found["checkpoint"] = _existing("target.checkpoint", path)
    if stage == "references" and config.references.folder is not None:
        folder = Path(config.references.folder)
        found |= {path.name: path for path in own_references(folder)}
        found[MEMBERSHIP] = folder / MEMBERSHIP
    if stage == "report" and config.report.groups is not None:
        path = Path(config.report.groups)
        found["groups"] = _existing("report.groups", path)
    return found


def _module_files(where: str, name: str) -> dict[str, Path]:
    if not modules.is_function(name):
        return {}
    path = _existing(where, modules.path_of(name))
    return {os.path.relpath(p, path.parent): p for p in modules.sources(path)}


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
        raise AuditError(where, f"{path} does not exist", fix)
    return path


class _Digests:
    """Digests of files, remembered while a file's size and times stay the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, list[Any]] = json.loads(_text(path) or "{}")
        except ValueError:
            fix = f"run `rm {path}`; only time is lost"
            raise AuditError(path, "is corrupt", fix) from None
        self._before = dict(self._known)

    def digest(self, path: Path) -> str:
        state = path.stat()
        mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        name = str(path.resolve())
        if name in self._known and self._known[name][1:] == mark:
            return str(self._known[name][0])
        found = files.sha256(path)
        newest = max(state.st_mtime, state.st_ctime)
        if time.time() - newest > RACY:
            self._known[name] = [found, *mark]
        return found

    def save(self) -> None:
        if self._known != self._before:
            files.write_json(self._path, self._known)
