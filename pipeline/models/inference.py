"""Inference: what a network says of records, in one compiled graph."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from numpy.typing import NDArray

from pipeline import cli
from pipeline.data import sources
from pipeline.data.modules import summary
from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from pipeline.signals import outputs as scale

# How far a record's outputs may differ between two batches, in units of the largest of
# all: many times what the order of summation explains, a small part of what dropout or
# batch statistics do.
COMPANY_TOLERANCE = {"float32": 1e-3, "float16": 2e-2}
# The way out of each fault of a network's outputs.
FAULT_FIXES: dict[scale.Fault, str] = {
    "constant": "check that its weights are trained and the records are its own inputs",
    "decisions": "return the logits from which they are decided",
    "probabilities": "remove the softmax at its end, or return its logarithm "
    "(log_softmax)",
    "negated": "return log-probabilities or logits, of the opposite sign",
}
# What MindSpore raises where a network does not run.
FAILURES = (ValueError, TypeError, RuntimeError, IndexError, AttributeError)


class Outputs(NamedTuple):
    """What the target says of a batch of records."""

    logits: NDArray[np.float32]  # (n_records, [n_views,] n_classes)
    margin: NDArray[np.float32]  # (n_records, [n_views]) nats


class Extraction(nn.Cell):  # type: ignore[misc]
    """A network that also returns the margin of each record, in one compiled graph."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, *inputs_and_label: Any) -> Any:
        """Return (n, n_classes) logits and (n,) margins of records; labels come last.

        Source: the margin of Carlini et al. 2022, arXiv:2112.03570, section IV-C.
        """
        logits = self.network(*inputs_and_label[:-1]).astype(ms.float32)
        label = inputs_and_label[-1]
        own = ops.arange(logits.shape[1]).reshape(1, -1) == label.reshape(-1, 1)
        of_own = ops.where(own, logits, ops.zeros_like(logits)).sum(1)
        least = ops.full_like(logits, float(np.finfo(np.float32).min))
        others = ops.where(own, least, logits)
        largest = others.max(axis=1, keepdims=True)
        spread = ops.log(ops.exp(others - largest).sum(1))
        return logits, of_own - largest[:, 0] - spread


def extractor(
    network: nn.Cell, *, precision: str, batch_size: int
) -> Callable[[Inputs, NDArray[np.int32]], Outputs]:
    """Return a function from records to what the network says of them.

    The function cuts its records into batches of one size, the last one filled up with
    other records, so that the graph is compiled once and no record is dropped. At its
    first call it reads some records again in other batches.

    Args:
        network: in whatever mode; it is put into evaluation mode.
        precision: "float32" or "float16", of the network's own arithmetic.
        batch_size: in records.

    The function raises:
        AuditError: if the network does not run, does not give finite logits, or what it
            gives is not a function of the record alone.
    """
    if precision == "float16":
        network.to_float(ms.float16)
    cell = Extraction(network)
    cell.set_train(False)
    is_first = True

    def outputs(inputs: Inputs, label: NDArray[np.int32]) -> Outputs:
        nonlocal is_first
        said = read(inputs, label)
        if is_first:
            for rows in other_company(len(label), batch_size):
                again = read(sources.at(inputs, rows), label[rows])
                tolerance = COMPANY_TOLERANCE[precision]
                _check_company(said.logits[rows], again.logits, tolerance)
            is_first = False
        return said

    def read(inputs: Inputs, label: NDArray[np.int32]) -> Outputs:
        parts = zip(*batches(inputs, label), strict=True)
        return Outputs(*map(np.concatenate, parts))

    def batches(inputs: Inputs, label: NDArray[np.int32]) -> Iterator[Outputs]:
        for first in range(0, len(label), batch_size):
            n_own = min(batch_size, len(label) - first)
            # Past the end it goes on with the first records.
            rows = np.arange(first, first + batch_size) % len(label)
            batch = (*sources.at(inputs, rows), label[rows])
            outputs = run(cell, *map(ms.Tensor, batch))
            logits, margin = (tensor.asnumpy()[:n_own] for tensor in outputs)
            _check_logits(logits, label[rows][:n_own])
            yield Outputs(logits, margin)

    return outputs


def other_company(n_records: int, batch_size: int) -> Sequence[NDArray[np.int64]]:
    """Return records in batches of another composition and order than in sequence.

    Args:
        n_records: that were read in batches in sequence, the last one filled up.
        batch_size: in records.

    Returns:
        The rows of one batch, spread over the others; of two where there are too few.
    """
    rows = np.arange(n_records)[::-1]
    if n_records >= 2 * batch_size:
        return [rows[np.arange(batch_size) * n_records // batch_size]]
    # Each half alone: the outermost record is missing in one of them.
    return [half for half in (rows[::2], rows[1::2]) if len(half)]


def check_scale(logits: NDArray[np.floating[Any]], where: object) -> None:
    """Refuse a model's outputs that cannot be logits.

    Args:
        logits: (n_records, ..., n_classes) of one model on distinct records.
        where: what the error names.

    Raises:
        AuditError: if they are constant, decisions or probabilities.
    """
    if (fault := scale.fault(logits)) is not None:
        raise AuditError(where, scale.WORDS[fault], FAULT_FIXES[fault])


def _check_company(
    before: NDArray[np.float32], again: NDArray[np.float32], tolerance: float
) -> None:
    difference = float(np.abs(before - again).max())
    largest = float(np.abs(before).max())
    if difference > tolerance * largest:
        problem = (
            f"gives outputs that differ by up to {difference:.2g} (of {largest:.2g}) "
            "when the same records are read again in other batches"
        )
        fix = (
            "make its outputs a function of the record alone: no dropout or batch "
            "statistics in evaluation (training=True), no sampling or state in "
            "construct, no sum over the batch"
        )
        raise AuditError("target.network", problem, fix)


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
    """Call a cell; if it cannot be compiled, in PyNative mode from now on.

    Raises:
        AuditError: if it runs in neither mode, as where it cannot take its input.
    """
    try:
        return cell(*inputs)
    except FAILURES as error:
        if ms.get_context("mode") != ms.GRAPH_MODE:
            raise _does_not_run(error, inputs) from error
        in_graph_mode = error
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        outputs = cell(*inputs)
        # Here it would wait until the values are asked for.
        for tensor in outputs if isinstance(outputs, tuple) else (outputs,):
            tensor.asnumpy()
    except FAILURES as error:
        ms.set_context(mode=ms.GRAPH_MODE)
        # This is Python's own error, where the compiler's may blame something else.
        raise _does_not_run(error, inputs) from in_graph_mode
    cli.note(
        "target.network cannot be compiled in graph mode and runs in PyNative mode, "
        f"which may be slower ({summary(in_graph_mode)})"
    )
    return outputs


def _does_not_run(error: Exception, inputs: Sequence[ms.Tensor]) -> AuditError:
    problem = f"fails on inputs of shape {inputs[0].shape} ({summary(error)})"
    fix = (
        "return (n, n_classes) logits of inputs of this shape, or give others "
        "(data.image_size, or your own datasets)"
    )
    return AuditError("target.network", problem, fix)
