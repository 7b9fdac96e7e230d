"""The class of MindArmour's tutorial for scripts that have it, on this project's audit.

    from membership_audit import MembershipInference

in place of `from mindarmour import MembershipInference` is the one line to change; see
docs/mindarmour.md.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import grids
from pipeline.attacks.division import Division
from pipeline.attacks.evidence import evidence
from pipeline.attacks.view import View
from pipeline.audit import experiment, search
from pipeline.config import Attack
from pipeline.errors import AuditError
from pipeline.signals import margins
from pipeline.statistics import metrics

__all__ = ["AuditError", "MembershipInference"]

METHODS = ("knn", "lr", "mlp", "rf")
# What `eval` can measure, in the order in which the tutorial prints it.
METRICS = {
    "recall": metrics.recall,
    "precision": metrics.precision,
    "accuracy": metrics.accuracy,
}
DECIMALS = 4
AUDIT = "script"  # the name of the audit that `report` runs
PROJECT = Path(__file__).resolve().parent


class Sides(NamedTuple):
    """Members and non-members, and what the model says of them."""

    logits: NDArray[np.float32]  # (n_records, n_classes)
    label: NDArray[np.int32]  # (n_records,)
    member: NDArray[np.bool_]  # (n_records,)


class MembershipInference:
    """Tell members from non-members by attacks that learn from known ones."""

    def __init__(
        self,
        model: Any,
        n_jobs: int = -1,
        *,
        cache_dir: str | Path | None = None,
        seed: int = 1,
    ) -> None:
        """Take a model to attack.

        Args:
            model: a `mindspore.train.Model`, or its network.
            n_jobs: worker processes; -1 means one for each processor.
            cache_dir: folder in which fits and the report are kept, so that a script
                that runs again fits only what is new; a temporary one by default.
            seed: of folds and fits, >= 0.

        Raises:
            AuditError: if an argument is not as it should be.
        """
        from pipeline.models import answers

        whole = isinstance(n_jobs, int) and not isinstance(n_jobs, bool)
        if not whole or (n_jobs != -1 and n_jobs < 1):
            problem = f"is {n_jobs!r}"
            raise AuditError("n_jobs", problem, "give -1, or a whole number >= 1")
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise AuditError("seed", f"is {seed!r}", "give a whole number >= 0")
        self._network = answers.network_of(model)
        self._jobs = joblib.cpu_count() if n_jobs == -1 else n_jobs
        self._seed = seed
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if cache_dir is None:
            self._scratch = tempfile.TemporaryDirectory()
            cache_dir = self._scratch.name
        self._folder = Path(cache_dir).resolve()
        self._settings: Attack | None = None
        self._known: Sides | None = None
        self._judged: Sides | None = None
        self._outcome: experiment.Outcome | None = None

    def train(
        self,
        dataset_train: Any,
        dataset_test: Any,
        attack_config: Sequence[Mapping[str, Any]],
    ) -> None:
        """Search the attacks' parameters on records whose membership is known.

        Args:
            dataset_train: members, a `mindspore.dataset`, batched or not: the column
                label, and what the model is given in others, in its order.
            dataset_test: non-members, alike.
            attack_config: of each attack, its `method` ("knn", "lr", "mlp" or "rf") and
                its `params`, from names to lists of values.

        Raises:
            AuditError: if an argument is not as it should be, or a candidate fails.
        """
        settings = _settings(attack_config, self._seed)
        known = self._side(dataset_train, dataset_test)
        search.fold_sides(known.member, settings.folds, settings.seed)
        view = _view(known, np.ones(len(known.label), dtype=bool), self._jobs)
        outcome = experiment.run(settings, view, self._folder / "fits")
        self._settings, self._known, self._outcome = settings, known, outcome
        self._judged = None

    def eval(
        self, dataset_train: Any, dataset_test: Any, metrics: Sequence[str]
    ) -> list[dict[str, float]]:
        """Judge the attacks on other records.

        Args:
            dataset_train: members.
            dataset_test: non-members.
            metrics: of "accuracy", "precision" and "recall", some.

        Returns:
            Of each attack, in the order of its config, the metrics in [0, 1], rounded
            to four decimals. The precision of an attack that takes no record for a
            member is 0.

        Raises:
            AuditError: if an argument is not as it should be, or nothing was trained.
        """
        _check_metrics(metrics)
        settings, known, outcome = self._trained("eval")
        judged = self._side(dataset_train, dataset_test)
        both = _joined(known, judged)
        attack_train = np.arange(len(both.label)) < len(known.label)
        view = _view(both, attack_train, self._jobs)
        decisions = experiment.decisions(settings, view, outcome, self._folder / "fits")
        self._judged = judged
        return [
            {
                name: round(measure(decision, judged.member) or 0.0, DECIMALS)
                for name, measure in METRICS.items()
                if name in metrics
            }
            for decision in decisions.values()
        ]

    def report(self) -> dict[str, Any]:
        """Run every attack and every control on the same signals, and print the report.

        Attacks learn from the records of `train` and are judged on those of `eval`.

        Returns:
            What report.json holds, as artifacts/README.md tells.

        Raises:
            AuditError: if nothing was trained or judged, or the audit fails.
        """
        settings, known, _ = self._trained("report")
        if self._judged is None:
            problem = "has no records to judge the attacks on"
            raise AuditError("report", problem, "call eval first")
        make = shutil.which("make")
        if make is None:
            raise AuditError("report", "needs GNU make", "install it")
        self._folder.mkdir(parents=True, exist_ok=True)
        both = _joined(known, self._judged)
        np.savez(
            self._folder / "signals.npz",
            logits=both.logits,
            label=both.label,
            member=both.member,
            train=np.arange(len(both.label)) < len(known.label),
        )
        config = self._folder / f"{AUDIT}.toml"
        config.write_text(_config(settings, both.member), encoding="utf-8")
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "CONFIG": config.name,
            "DATA": "",
            "JOBS": str(self._jobs),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        done = subprocess.run(
            [sys.executable, "-m", "stages.run", "audit", make],
            cwd=self._folder,
            env=environment,
            check=False,
        )
        if done.returncode:
            raise AuditError("report", "was not made", "see the error above")
        text = (self._folder / "artifacts" / AUDIT / "report/report.json").read_text(
            encoding="utf-8"
        )
        report: dict[str, Any] = json.loads(text)
        return report

    def _side(self, members: Any, others: Any) -> Sides:
        from pipeline.models import answers

        of_members = answers.answers(self._network, "dataset_train", members)
        of_others = answers.answers(self._network, "dataset_test", others)
        n_members = len(of_members.label)
        return Sides(
            np.concatenate((of_members.logits, of_others.logits)),
            np.concatenate((of_members.label, of_others.label)),
            np.arange(n_members + len(of_others.label)) < n_members,
        )

    def _trained(self, where: str) -> tuple[Attack, Sides, experiment.Outcome]:
        if self._settings is None or self._known is None or self._outcome is None:
            raise AuditError(where, "has no trained attacks", "call train first")
        return self._settings, self._known, self._outcome


def _joined(first: Sides, second: Sides) -> Sides:
    return Sides(
        np.concatenate((first.logits, second.logits)),
        np.concatenate((first.label, second.label)),
        np.concatenate((first.member, second.member)),
    )


def _settings(attack_config: Sequence[Mapping[str, Any]], seed: int) -> Attack:
    """Return the attacks of a script as settings.

    Raises:
        AuditError: if a method, a parameter or a value is not known.
    """
    if not isinstance(attack_config, list | tuple) or not attack_config:
        problem = f"is {attack_config!r}"
        fix = "give a list of dicts, each with a method and its params"
        raise AuditError("attack_config", problem, fix)
    methods: list[dict[str, Any]] = []
    for place, attack in enumerate(attack_config):
        where = f"attack_config[{place}]"
        if not isinstance(attack, dict) or {*attack} != {"method", "params"}:
            names = sorted(attack) if isinstance(attack, dict) else attack
            fix = "give a dict with a method and its params"
            raise AuditError(where, f"has {names!r}", fix)
        method, params = str(attack["method"]).lower(), attack["params"]
        if method not in METHODS:
            problem = f"has the method {attack['method']!r}"
            raise AuditError(where, problem, grids.nearest(method, METHODS))
        if not isinstance(params, dict):
            problem = f"has params of type {type(params).__name__}"
            raise AuditError(where, problem, "give a dict of lists")
        values = {name: _values(f"{where}.{name}", params[name]) for name in params}
        try:
            grids.check(method, values)
        except AuditError as error:
            inside, problem, fix = error.args
            name = inside.removeprefix(f"attack.methods.{method}.")
            raise AuditError(f"{where}.{name}", problem, fix) from None
        # A name of its own lets a method stand twice.
        is_first = all(method != other["method"] for other in methods)
        name = method if is_first else f"{method}_{place}"
        methods.append({"method": method, "name": name, "params": values})
    return Attack.model_validate({"attacks": (), "methods": methods, "seed": seed})


def _values(where: str, values: Any) -> list[Any]:
    """Return the values of a parameter as plain Python."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        problem = f"is {values!r}"
        raise AuditError(where, problem, "give a list of values to try")
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


def _check_metrics(names: Sequence[str]) -> None:
    if not isinstance(names, list | tuple) or not names:
        fix = f"give a list of {', '.join(METRICS)}"
        raise AuditError("metrics", f"is {names!r}", fix)
    for name in names:
        if name not in METRICS:
            problem = f"has {name!r}"
            raise AuditError("metrics", problem, grids.nearest(str(name), METRICS))


def _view(sides: Sides, attack_train: NDArray[np.bool_], jobs: int) -> View:
    """Return all that attacks may look at, which is what the model says alone."""
    n_records = len(sides.label)
    margin = margins.margin(sides.logits, sides.label)[:, None]
    nobody = np.empty((0, n_records), dtype=bool)
    audited = np.ones(n_records, dtype=bool)
    references = np.empty((0, n_records, 1))
    return View(
        logits=sides.logits[:, None],
        margin=margin,
        recalibrated=margin,
        label=sides.label,
        audited=audited,
        division=Division(audited, attack_train, sides.member & attack_train),
        references=references,
        references_recalibrated=references,
        in_models=nobody,
        kept=nobody,
        evidence=evidence(references, nobody, nobody),
        seed=0,
        jobs=jobs,
    )


def _config(settings: Attack, member: NDArray[np.bool_]) -> str:
    """Return the config of an audit of all records by all attacks."""
    n_members = int(member.sum())
    # One number holds for the other side as far as that has so many records.
    uneven = n_members > len(member) - n_members
    counts = f"members = {n_members}\n" if uneven else ""
    data = f'[data]\nsource = "arrays"\npath = "signals.npz"\n{counts}'
    attack = f"[attack]\nseed = {settings.seed}\n"
    methods = [
        f'[[attack.methods]]\nmethod = "{each.method}"\nname = "{each.name}"\n'
        f"[attack.methods.params]\n"
        + "".join(f"{name} = {_toml(each.params[name])}\n" for name in each.params)
        for each in settings.methods
    ]
    return "\n".join((data, attack, *methods))


def _toml(values: Any) -> str:
    """Return the values of a parameter in TOML, which has no null."""
    return json.dumps(["None" if value is None else value for value in values])
