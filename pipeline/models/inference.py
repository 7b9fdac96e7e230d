"""Inference: what a network says of records, in one compiled graph."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from numpy.typing import NDArray

from pipeline.data.modules import summary
from pipeline.errors import AuditError


class Outputs(NamedTuple):
    """What the target says of a batch of records."""

    logits: NDArray[np.float32]  # (n_records, [n_views,] n_classes)
    margin: NDArray[np.float32]  # (n_records, [n_views]) nats


class Extraction(nn.Cell):  # type: ignore[misc]
    """A network that also returns the margin of each record, in one compiled graph."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images: Any, label: Any) -> Any:
        """Return (n, n_classes) logits and (n,) margins of images with these labels.

        Source: the margin of Carlini et al. 2022, arXiv:2112.03570, section IV-C.
        """
        logits = self.network(images).astype(ms.float32)
        own = ops.arange(logits.shape[1]).reshape(1, -1) == label.reshape(-1, 1)
        of_own = ops.where(own, logits, ops.zeros_like(logits)).sum(1)
        least = ops.full_like(logits, float(np.finfo(np.float32).min))
        others = ops.where(own, least, logits)
        largest = others.max(axis=1, keepdims=True)
        spread = ops.log(ops.exp(others - largest).sum(1))
        return logits, of_own - largest[:, 0] - spread


def extractor(
    network: nn.Cell, *, precision: str, batch_size: int
) -> Callable[[NDArray[np.float32], NDArray[np.int32]], Outputs]:
    """Return a function from records to what the network says of them.

    The function cuts its records into batches of one size, the last one filled up with
    repeats, so that the graph is compiled once and no record is dropped.

    Args:
        network: in whatever mode; it is put into evaluation mode.
        precision: "float32" or "float16", of the network's own arithmetic.
        batch_size: in records.
    """
    if precision == "float16":
        network.to_float(ms.float16)
    cell = Extraction(network)
    cell.set_train(False)

    def outputs(images: NDArray[np.float32], label: NDArray[np.int32]) -> Outputs:
        return Outputs(
            *(
                np.concatenate(parts)
                for parts in zip(*batches(images, label), strict=True)
            )
        )

    def batches(
        images: NDArray[np.float32], label: NDArray[np.int32]
    ) -> Iterator[Outputs]:
        for first in range(0, len(label), batch_size):
            rows = np.arange(first, first + batch_size)
            n_own = min(batch_size, len(label) - first)
            # Past the end the last record repeats.
            rows = np.minimum(rows, len(label) - 1)
            outputs = run(cell, ms.Tensor(images[rows]), ms.Tensor(label[rows]))
            logits, margin = (tensor.asnumpy()[:n_own] for tensor in outputs)
            _check_logits(logits, label[rows][:n_own])
            yield Outputs(logits, margin)

    return outputs


def _check_logits(logits: NDArray[np.float32], label: NDArray[np.int32]) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2:
        problem = f"gives outputs of shape {logits.shape} for {len(label)} records"
        fix = "return (n, n_classes) logits of two classes or more"
        raise AuditError("target.network", problem, fix)
    n_classes = logits.shape[1]
    if label.max() >= n_classes:
        problem = f"has {n_classes} outputs, but a record has the label {label.max()}"
        fix = "use the network that the target was trained with"
        raise AuditError("target.network", problem, fix)
    if not np.isfinite(logits).all():
        problem = "gives logits that are not finite"
        fix = 'check the checkpoint, or set features.precision = "float32"'
        raise AuditError("target.network", problem, fix)


def run(cell: nn.Cell, *inputs: ms.Tensor) -> Any:
    """Call a cell; an input that the network cannot take is the user's error."""
    try:
        return cell(*inputs)
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        shape = inputs[0].shape
        problem = f"fails on inputs of shape {shape} ({summary(error)})"
        fix = "return (n, n_classes) logits, and match data.image_size"
        raise AuditError("target.network", problem, fix) from error
