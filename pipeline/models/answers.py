"""Answers: what a script's model says of a script's dataset."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from pipeline.data import sources
from pipeline.errors import AuditError
from pipeline.models import inference
from pipeline.models.logits import Logits

BATCH = 256  # records per inference step


class Answers(NamedTuple):
    """Of all records of a dataset, in its order."""

    logits: NDArray[np.float32]  # (n_records, n_classes)
    label: NDArray[np.int32]  # (n_records,)


def network_of(model: Any) -> nn.Cell:
    """Return the network of a `mindspore.train.Model`, or a network as it is.

    Raises:
        AuditError: if it is neither.
    """
    network = model.predict_network if isinstance(model, ms.train.Model) else model
    if not isinstance(network, nn.Cell):
        problem = f"is a {type(model).__name__}"
        raise AuditError("model", problem, "give a mindspore.train.Model or an nn.Cell")
    return network


def answers(network: nn.Cell, name: str, dataset: Any) -> Answers:
    """Read a dataset once, and return what a network says of its records.

    Args:
        network: as it was trained; it is put into evaluation mode.
        name: of the dataset, for errors.
        dataset: a `mindspore.dataset` with the column label; all others are inputs of
            the network, in its order.

    Raises:
        AuditError: if the dataset has no records or is not as it should be, or the
            network's outputs are no logits.
    """
    extract: inference.Extractor | None = None
    parts = []
    for inputs, label in _blocks(sources.batches(name, dataset)):
        if extract is None:
            logits = Logits(network, n_classes=int(label.max()) + 1)
            extract = inference.Extractor(logits, precision="float32", batch_size=BATCH)
        parts.append(Answers(extract(inputs, label).logits, label))
    if not parts:
        raise AuditError(name, "has no records", "give a dataset that is not empty")
    whole = Answers(*map(np.concatenate, zip(*parts, strict=True)))
    inference.check_scale(whole.logits, "model")
    return whole


Batch = tuple[sources.Inputs, NDArray[np.int32]]


def _blocks(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Join small batches, as the last of a block is filled up with other records."""
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(label) for _, label in waiting) >= 4 * BATCH:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[Batch]) -> Batch:
    inputs, label = zip(*batches, strict=True)
    return sources.together(inputs), np.concatenate(label)
