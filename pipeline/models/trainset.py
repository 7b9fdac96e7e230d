"""Trainset: the records that one model may learn, as a recipe is given them."""

from collections.abc import Callable
from typing import Any, Literal

import mindspore as ms
import numpy as np
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data import preprocessing, sources
from pipeline.data.sources import Inputs
from pipeline.models import devices

# Records that are made ready at once where a dataset is read one by one.
READ_ROWS = 256


class TrainingSet:
    """The records that one model may learn, in the order of the source.

    Attributes:
        ids: (n_records,) the records' positions in the source, ascending.
        label: (n_records,) int32, the class that the model is to learn of each. It
            differs from the source's where the audit gave a canary a wrong label.
        rng: the model's own generator, for the order of records and for augmentation.

    Args:
        data: where the records come from.
        stored: inputs as `spool.stored` returns them, of more records than these.
        rows: (n_records,) of `stored`, ascending.
        ids: as above.
        label: as above.
        rng: as above.
        progress: told of each `advance`.
    """

    def __init__(
        self,
        data: Data,
        stored: Inputs,
        rows: NDArray[np.int64],
        *,
        ids: NDArray[np.int64],
        label: NDArray[np.int32],
        rng: np.random.Generator,
        progress: Callable[[float | None, int | None], None],
    ) -> None:
        self.ids, self.label, self.rng = ids, label, rng
        self._data, self._stored, self._rows = data, stored, rows
        self._progress = progress

    def __len__(self) -> int:
        return len(self.ids)

    def batch(
        self,
        rows: NDArray[np.int64],
        augmentation: Literal["none", "flip", "tutorial"] = "none",
    ) -> Inputs:
        """Return some of the records as arrays.

        Args:
            rows: (n_rows,) places among these records, from 0.
            augmentation: of the images among their inputs, drawn by `rng`: "flip"
                mirrors with probability ½, "tutorial" also crops at random from the
                image padded with four zeros on each side.

        Returns:
            (n_rows, ...) of each input of the network, as the network takes it, and
            (n_rows,) int32 labels.

        Raises:
            AuditError: if a value is not finite, or there is no image to augment.
        """
        draws = []
        if augmentation != "none":
            draws.append(preprocessing.draw(len(rows), augmentation, self.rng))
        stored = sources.at(self._stored, self._rows[rows])
        inputs = preprocessing.inputs(stored, self._data, devices.resize, draws)
        return *inputs, self.label[rows]

    def dataset(self) -> Any:
        """Return a new `mindspore.dataset` of these records.

        It has the columns of `data.inputs`, as the network takes them, and `label`; in
        the order of the source, unshuffled and unbatched.
        """
        return ms.dataset.GeneratorDataset(
            _OneByOne(self),
            [*self._data.inputs, "label"],
            shuffle=False,
            num_parallel_workers=1,
        )

    def advance(self, loss: float | None = None, total: int | None = None) -> None:
        """Show that a step is made, or an epoch; a recipe need not.

        Args:
            loss: to be shown beside it.
            total: how often this will be called for each model, if known.
        """
        self._progress(None if loss is None else float(loss), total)


class _OneByOne:
    """Records by their place, of which a block at a time is made ready."""

    def __init__(self, records: TrainingSet) -> None:
        self._records = records
        self._block: tuple[int, Inputs] = (-1, ())

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> Inputs:
        wanted, place = divmod(int(row), READ_ROWS)
        number, block = self._block
        if number != wanted:
            first = wanted * READ_ROWS
            rows = np.arange(first, min(first + READ_ROWS, len(self)))
            block = self._records.batch(rows)
            self._block = wanted, block
        return tuple(column[place] for column in block)
