"""Experiments: models as the code of LiRA leaves them, in a folder each.

A model's folder holds `keep.npy`, bools of shape (n_records), and for some epochs
`logits/EPOCH.npy`, (n_records, 1, n_views, n_classes), and `scores/EPOCH.npy`,
(n_records, n_views): its log(p / (1 - p)). Beside the folders stands `y_train.npy`, the
labels.

Source: the folders written by research/mi_lira_2021 of TensorFlow Privacy, the code of
Carlini et al. 2022, arXiv:2112.03570.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data.own import by_number
from pipeline.errors import AuditError

KEEP, LABELS = "keep.npy", "y_train.npy"


@dataclass(frozen=True)
class Experiments:
    """Models of one folder, and what they were asked."""

    names: tuple[str, ...]  # (n_models,)
    kind: Literal["logits", "scores"]
    paths: tuple[Path, ...]  # (n_models,) of the outputs of the last epoch
    member: NDArray[np.bool_]  # (n_models, n_records)
    label: NDArray[np.int64] | None  # (n_records,)
    shape: tuple[int, ...]  # (n_records, n_views[, n_classes]) of a model's outputs

    def outputs(self, model: int) -> NDArray[np.floating[Any]]:
        """Return (n_records, n_views, n_classes) logits or (n_records, n_views) scores.

        Raises:
            AuditError: if they have another shape or type than those of the first.
        """
        path = self.paths[model]
        array = _shaped(path, self.kind)
        if array.shape != self.shape:
            problem = f"has outputs of shape {array.shape}, others {self.shape}"
            raise AuditError(path, problem, "give models of one data set")
        return array


def read(folder: Path) -> Experiments:
    """Read which models a folder holds, and who was trained on what.

    Logits are taken where every model has them and there are labels; else scores.

    Raises:
        AuditError: if there are no models, or one of them is not as the others are.
    """
    if not folder.is_dir():
        raise AuditError("FROM", f"{folder} is not a folder", "name that of the models")
    models = sorted(
        (path.parent for path in folder.glob(f"*/{KEEP}")),
        key=lambda p: by_number(p.name),
    )
    if not models:
        problem = f"{folder} has no folder with a {KEEP}"
        raise AuditError("FROM", problem, "name the folder that holds the models'")
    labels = folder / LABELS
    label = _array(labels) if labels.exists() else None
    kind = _kind(models, has_labels=label is not None)
    paths = _of_one_epoch(models, kind)
    shape = _shaped(paths[0], kind).shape
    n_records = shape[0]
    keeps = [_keep(model / KEEP, n_records) for model in models]
    if label is not None:
        if not np.issubdtype(label.dtype, np.integer) or len(label) < n_records:
            problem = f"has labels of type {label.dtype} and shape {label.shape}"
            raise AuditError(labels, problem, f"give integers ({n_records},)")
        # The data set may be larger than what the models were asked.
        label = label.reshape(len(label), -1)[:n_records, 0].astype(np.int64)
    names = tuple(model.name for model in models)
    return Experiments(names, kind, paths, np.stack(keeps), label, shape)


def _kind(models: Sequence[Path], *, has_labels: bool) -> Literal["logits", "scores"]:
    def having(kind: str) -> list[Path]:
        return [model for model in models if any((model / kind).glob("*.npy"))]

    if has_labels and len(having("logits")) == len(models):
        return "logits"
    with_scores = having("scores")
    if len(with_scores) == len(models):
        return "scores"
    lacking = next(model for model in models if model not in with_scores)
    problem = "has no scores/EPOCH.npy"
    if having("logits"):
        problem += f", and logits need {LABELS} beside the models and every model's own"
    raise AuditError(lacking, problem, "finish this model, or move its folder away")


def _of_one_epoch(models: Sequence[Path], kind: str) -> tuple[Path, ...]:
    """Return the outputs of the last epoch, which must be the same of all models."""
    last = [
        max((model / kind).glob("*.npy"), key=lambda path: by_number(path.stem))
        for model in models
    ]
    for path in last:
        if path.name != last[0].name:
            problem = (
                f"is the last epoch there, {last[0].name} that of {models[0].name}"
            )
            fix = "finish this model, or move its folder away"
            raise AuditError(path, problem, fix)
    return tuple(last)


def _shaped(path: Path, kind: str) -> NDArray[np.floating[Any]]:
    """Return a model's outputs with one axis for the views."""
    array = _array(path)
    n_last = 1 if kind == "logits" else 0  # the classes
    if not np.issubdtype(array.dtype, np.floating) or not n_last < array.ndim <= 4:
        problem = f"has {kind} of type {array.dtype} and shape {array.shape}"
        classes = ", n_classes" * n_last
        raise AuditError(path, problem, f"give floats (n_records, n_views{classes})")
    last = array.shape[array.ndim - n_last :]
    return array.reshape(len(array), -1, *last)


def _keep(path: Path, n_records: int) -> NDArray[np.bool_]:
    keep = _array(path)
    if keep.dtype != np.bool_ or keep.ndim != 1 or len(keep) < n_records:
        problem = f"has {keep.dtype} of shape {keep.shape}"
        raise AuditError(path, problem, f"give bools ({n_records},)")
    return keep[:n_records]


def _array(path: Path) -> NDArray[Any]:
    try:
        # Not into memory: one model of many views may have a gigabyte of logits.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        problem = f"cannot be read ({error})"
        raise AuditError(path, problem, "give a .npy file of numbers") from error
