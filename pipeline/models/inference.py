"""Inference: what a network says of records, in one compiled graph."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from numpy.typing import NDArray

from pipeline import cli
from pipeline.config import Mode
from pipeline.data import sources
from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from pipeline.models import failures
from pipeline.models.logits import Logits
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
    "sigmoids": "remove the sigmoid at its end",
    "negated": "return log-probabilities or logits, of the opposite sign",
}
# Of a network that is not trained yet, nothing is wrong with these.
UNTRAINED: tuple[scale.Fault, ...] = ("constant", "sigmoids")


class Outputs(NamedTuple):
    """What a network says of records."""

    logits: NDArray[np.float32]  # (n_records, [n_views,] n_classes)
    margin: NDArray[np.float32]  # (n_records, [n_views]) nats


class Batch(NamedTuple):
    """Records that are read at once."""

    shown: tuple[Inputs, ...]  # of each view, as the network takes it
    label: NDArray[np.int32]  # (batch_size,)
    n_own: int  # the others come last, and fill it up


class Extraction(nn.Cell):  # type: ignore[misc]
    """Logits and the margin of each record, in one compiled graph."""

    def __init__(self, logits: Logits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits

    def construct(self, *inputs_and_label: Any) -> Any:
        """Return (n, n_classes) logits and (n,) margins of records; labels come last.

        Source: the margin of Carlini et al. 2022, arXiv:2112.03570, section IV-C.
        """
        logits = self.logits(*inputs_and_label[:-1]).astype(ms.float32)
        label = inputs_and_label[-1]
        own = ops.arange(logits.shape[1]).reshape(1, -1) == label.reshape(-1, 1)
        of_own = ops.where(own, logits, ops.zeros_like(logits)).sum(1)
        least = ops.full_like(logits, float(np.finfo(np.float32).min))
        others = ops.where(own, least, logits)
        largest = others.max(axis=1, keepdims=True)
        spread = ops.log(ops.exp(others - largest).sum(1))
        return logits, of_own - largest[:, 0] - spread


class Extractor:
    """Reads records in batches of one size, so that the graph is compiled once.

    At its first reading it reads some records again in other batches.

    Args:
        logits: of the network, which is put into evaluation mode.
        precision: "float32" or "float16", of the network's own arithmetic.
        batch_size: in records.
        mode: "graph", "pynative", or "auto": graph mode, and PyNative mode where the
            network cannot be compiled.
    """

    def __init__(
        self, logits: Logits, *, precision: str, batch_size: int, mode: Mode = "auto"
    ) -> None:
        if precision == "float16":
            logits.network.to_float(ms.float16)
        self.batch_size = batch_size
        self._logits, self._mode = logits, mode
        self._tolerance = COMPANY_TOLERANCE[precision]
        self._cell = Extraction(logits)
        self._cell.set_train(False)
        self._is_tried = False

    def __call__(self, inputs: Inputs, label: NDArray[np.int32]) -> Outputs:
        """Return what the network says of one view of records; see `read`.

        Args:
            inputs: (n_records, ...) of each input of the network.
            label: (n_records,) classes.
        """

        def batches() -> Iterator[Batch]:
            for first in range(0, len(label), self.batch_size):
                # Past the end it goes on with the first records.
                rows = np.arange(first, first + self.batch_size) % len(label)
                n_own = min(self.batch_size, len(label) - first)
                yield Batch((sources.at(inputs, rows),), label[rows], n_own)

        outputs = self.read(batches(), len(label))
        return Outputs(outputs.logits[:, 0], outputs.margin[:, 0])

    def read(self, batches: Iterable[Batch], n_records: int) -> Outputs:
        """Return what the network says of every view of records.

        Args:
            batches: of `batch_size` records, the last one filled up with others.
            n_records: in all of them.

        Raises:
            AuditError: if the network does not run, does not give finite logits, or
                what it gives is not a function of the record alone.
        """
        company = None if self._is_tried else Company(n_records, self.batch_size)
        outputs: Outputs | None = None
        first = 0
        for batch in batches:
            said = [self._run(shown, batch.label) for shown in batch.shown]
            if outputs is None:
                shape = n_records, len(said)
                n_classes = said[0].logits.shape[1]
                outputs = Outputs(
                    np.empty((*shape, n_classes), np.float32),
                    np.empty(shape, np.float32),
                )
            rows = slice(first, first + batch.n_own)
            for view, (logits, margin) in enumerate(said):
                outputs.logits[rows, view] = logits[: batch.n_own]
                outputs.margin[rows, view] = margin[: batch.n_own]
            if company is not None:
                company.keep(batch)
            first += batch.n_own
        assert outputs is not None  # nobody reads nothing
        if company is not None:
            self._is_tried = True
            for rows_again, inputs, label in company.groups():
                again = self(inputs, label).logits
                _check_company(outputs.logits[rows_again, 0], again, self._tolerance)
        return outputs

    def _run(self, inputs: Inputs, label: NDArray[np.int32]) -> Outputs:
        """Return what the network says of one batch."""
        if not self._logits.is_known:
            if self._mode == "pynative":
                ms.set_context(mode=ms.PYNATIVE_MODE)
            self._logits.find(inputs)
        tensors = map(ms.Tensor, (*inputs, label))
        outputs = run(
            self._cell,
            *tensors,
            network=self._logits.network,
            only_graph=self._mode == "graph",
        )
        said = Outputs(*(tensor.asnumpy() for tensor in outputs))
        _check_logits(said.logits, label)
        return said


class Company:
    """Records that are kept of batches, to be read again in other batches.

    Args:
        n_records: that are read in all.
        batch_size: in records.
    """

    def __init__(self, n_records: int, batch_size: int) -> None:
        self._groups = other_company(n_records, batch_size)
        self._wanted = np.unique(np.concatenate(self._groups))
        self._kept: list[Inputs] = []
        self._labels: list[NDArray[np.int32]] = []
        self._first = 0

    def keep(self, batch: Batch) -> None:
        """Keep what is wanted of the next batch, by its first view."""
        places = self._wanted - self._first
        own = places[(places >= 0) & (places < batch.n_own)]
        self._kept.append(sources.at(batch.shown[0], own))
        self._labels.append(batch.label[own])
        self._first += batch.n_own

    def groups(self) -> Iterator[tuple[NDArray[np.int64], Inputs, NDArray[np.int32]]]:
        """Yield the rows, inputs and labels of each batch to be read again."""
        inputs, label = sources.together(self._kept), np.concatenate(self._labels)
        for rows in self._groups:
            places = np.searchsorted(self._wanted, rows)
            yield rows, sources.at(inputs, places), label[places]


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


def check_scale(
    logits: NDArray[np.floating[Any]], where: object, *, is_trained: bool = True
) -> None:
    """Refuse a model's outputs that cannot be logits.

    Args:
        logits: (n_records, ..., n_classes) of one model on distinct records.
        where: what the error names.
        is_trained: whether the model is; else it may know nothing of the records yet.

    Raises:
        AuditError: if they are constant, decisions or probabilities.
    """
    fault = scale.fault(logits)
    if fault is None or (fault in UNTRAINED and not is_trained):
        return
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
    n_classes = logits.shape[1]
    if label.max() >= n_classes:
        problem = f"has {n_classes} outputs, but a record has the label {label.max()}"
        fix = "use the network that the target was trained with"
        raise AuditError("target.network", problem, fix)
    if not np.isfinite(logits).all():
        problem = "gives logits that are not finite"
        fix = 'check the checkpoint, or set features.precision = "float32"'
        raise AuditError("target.network", problem, fix)


def run(
    cell: nn.Cell, *inputs: ms.Tensor, network: nn.Cell, only_graph: bool = False
) -> Any:
    """Call a cell; if it cannot be compiled, in PyNative mode from now on.

    Args:
        cell: around a network.
        inputs: of the network, and the labels.
        network: in the cell.
        only_graph: whether a cell that cannot be compiled is refused.

    Raises:
        AuditError: if it runs in neither mode, as where it cannot take its input, or
            not in the mode that it must run in.
    """
    try:
        return cell(*inputs)
    except failures.FAILURES as error:
        if ms.get_context("mode") != ms.GRAPH_MODE:
            raise failures.does_not_run(error, network, inputs[:-1]) from error
        in_graph_mode = _own_error(network, inputs[:-1], error)
    if only_graph:
        problem = f"cannot be compiled ({failures.reason(in_graph_mode)})"
        fix = 'set features.mode = "auto", or have construct keep to what graphs allow'
        raise AuditError("target.network", problem, fix) from in_graph_mode
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        outputs = cell(*inputs)
        # Here it would wait until the values are asked for.
        for tensor in outputs if isinstance(outputs, tuple) else (outputs,):
            tensor.asnumpy()
    except failures.FAILURES as error:
        ms.set_context(mode=ms.GRAPH_MODE)
        # This is Python's own error, where the compiler's may blame something else.
        raise failures.does_not_run(error, network, inputs[:-1]) from in_graph_mode
    cli.note(
        "target.network cannot be compiled in graph mode and runs in PyNative mode, "
        f"which may be slower ({failures.reason(in_graph_mode)})"
    )
    return outputs


def _own_error(
    network: nn.Cell, inputs: Sequence[ms.Tensor], error: Exception
) -> Exception:
    """Return why a network cannot be compiled, by an error that names its line if any.

    What cannot be parsed deep within a cell is told without its place.
    """
    if failures.place(error) is None:
        try:
            network(*inputs)
        except failures.FAILURES as own:
            return error if failures.place(own) is None else own
    return error
