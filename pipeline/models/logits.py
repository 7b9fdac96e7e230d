"""Logits: where they stand in what a network returns, and in which form.

A network may return them alone, in a tuple, in a dict or as an attribute of an object;
and a network of two classes may return a single logit z, which is read as (0, z).
"""

from collections.abc import Mapping
from typing import Any

import mindspore as ms
from mindspore import nn, ops

from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from pipeline.models import failures

TRIED = 8  # records by which it is found out where the logits stand
PARTS_SHOWN = 6
FLOATS = (ms.float16, ms.bfloat16, ms.float32, ms.float64)

Part = int | str


class Logits(nn.Cell):  # type: ignore[misc]
    """A network that returns its logits and nothing else, one a class.

    Args:
        network: of any inputs.
        n_classes: of the labels.
        output: position, key or attribute of the logits in what the network returns;
            None to find it.
    """

    def __init__(
        self, network: nn.Cell, n_classes: int, output: Part | None = None
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.n_classes = n_classes
        self.output = output
        self.is_known = False
        self.part: Any = None
        self.is_attribute = False

    def construct(self, *inputs: Any) -> Any:
        """Return (n_records, n_classes) logits; `find` must have been called."""
        returned = self.network(*inputs)
        if self.part is not None:
            if self.is_attribute:
                returned = getattr(returned, self.part)
            else:
                returned = returned[self.part]
        if returned.ndim == 1:
            returned = returned.reshape(-1, 1)
        if returned.shape[1] == 1:
            returned = ops.concat((ops.zeros_like(returned), returned), 1)
        return returned

    def find(self, inputs: Inputs) -> None:
        """Find out where the logits stand, by a few records, if it is not known yet.

        The network is run once in PyNative mode, where it returns Python's own objects
        and its errors name its own lines.

        Args:
            inputs: of any number of records.

        Raises:
            AuditError: if the network does not run, or returns no logits, or it is not
                clear which of several arrays they are.
        """
        if self.is_known:
            return
        tried = [ms.Tensor(column[:TRIED]) for column in inputs]
        mode, is_training = ms.get_context("mode"), self.network.training
        ms.set_context(mode=ms.PYNATIVE_MODE)
        self.network.set_train(False)
        try:
            returned = self.network(*tried)
            self._settle(returned, len(inputs[0][:TRIED]))
        except failures.FAILURES as error:
            raise failures.does_not_run(error, self.network, tried) from error
        finally:
            ms.set_context(mode=mode)
            self.network.set_train(is_training)
        self.is_known = True

    def _settle(self, returned: Any, n_records: int) -> None:
        if isinstance(returned, ms.Tensor):
            if self.output is not None:
                problem = f"is {self.output!r}, but the network returns a single tensor"
                raise AuditError("target.output", problem, "leave it out")
            _check(returned, n_records)
            return
        parts = _parts(returned)
        self.part = self._chosen(parts, n_records)
        self.is_attribute = not isinstance(returned, Mapping | tuple | list)
        _check(parts[self.part], n_records)

    def _chosen(self, parts: Mapping[Part, ms.Tensor], n_records: int) -> Part:
        if self.output is not None:
            if self.output in parts:
                return self.output
            problem = f"is {self.output!r}, but the network returns {_listed(parts)}"
            raise AuditError("target.output", problem, "name one of these")
        widths = {
            name: part.shape[1] if part.ndim == 2 else 1
            for name, part in parts.items()
            if part.dtype in FLOATS and part.shape[:1] == (n_records,) and part.ndim < 3
        }
        fitting = [name for name, width in widths.items() if width == self.n_classes]
        if not fitting:
            narrowest = 1 if self.n_classes == 2 else 2  # one logit tells two classes
            fitting = [name for name, width in widths.items() if width >= narrowest]
        if len(fitting) == 1:
            return fitting[0]
        problem = f"returns {_listed(parts)} for {n_records} records"
        if fitting:
            fix = f"say by target.output which are the logits, such as {fitting[0]!r}"
            raise AuditError("target.network", problem, fix)
        fix = f"return logits of shape (n, n_classes), of {self.n_classes} classes"
        raise AuditError("target.network", problem, fix)


def _parts(returned: Any) -> dict[Part, ms.Tensor]:
    """Return the tensors in what a network returns, by position, key or attribute."""
    if isinstance(returned, Mapping):
        named = dict(returned)
    elif isinstance(returned, tuple | list):
        named = dict(enumerate(returned))
    else:
        named = getattr(returned, "__dict__", {})
    return {name: part for name, part in named.items() if isinstance(part, ms.Tensor)}


def _listed(parts: Mapping[Part, ms.Tensor]) -> str:
    """Return the names and forms of parts as a phrase."""
    shown = [f"{name!r} {failures.form(part)}" for name, part in parts.items()]
    if len(shown) > PARTS_SHOWN:
        shown[PARTS_SHOWN:] = [f"{len(shown) - PARTS_SHOWN} more"]
    return ", ".join(shown) or "no tensor"


def _check(part: ms.Tensor, n_records: int) -> None:
    if part.ndim not in (1, 2) or part.shape[0] != n_records or 0 in part.shape:
        problem = f"gives outputs of shape {part.shape} for {n_records} records"
        fix = "return (n, n_classes) logits, or (n, 1) of two classes"
        raise AuditError("target.network", problem, fix)
    if part.dtype not in FLOATS:
        problem = f"gives outputs of type {str(part.dtype).lower()}"
        fix = "return the logits, not the classes that are decided from them"
        raise AuditError("target.network", problem, fix)
