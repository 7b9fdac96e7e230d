"""Convolutions: small convolutional networks of one recipe, trained by MindSpore.

They are trained as the project trains references, one after the other, on a CPU.
"""

from typing import Any

import mindspore as ms
import numpy as np
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.models import devices, inference, recipes
from pipeline.models.logits import Logits
from pipeline.models.networks.cnn import Cnn
from pipeline.models.trainset import TrainingSet
from tests.bed_recipes import Convolutional

HIDDEN = 64  # units of the first dense layer
READ = 250  # records at once, of those that a model is asked about


def trained(
    inputs: NDArray[np.float32],
    label: NDArray[np.integer[Any]],
    member: NDArray[np.bool_],
    n_classes: int,
    recipe: Convolutional,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Train a model on each row of memberships, and return what all say of all records.

    Args:
        inputs: (n_views, n_records, n_channels, side, side), trained on the first view.
        label: (n_records,) classes to learn.
        member: (n_models, n_records).
        n_classes: how many outputs.
        recipe: of all models.
        rng: of weights, order and augmentation.

    Returns:
        (n_models, n_records, n_views, n_classes) logits.
    """
    devices.start("CPU")
    devices.by_one_thread()
    n_views, n_records, n_channels, side, _ = inputs.shape
    classes = np.asarray(label, dtype=np.int32)

    def fresh() -> Cnn:
        return Cnn(recipe.widths, HIDDEN, (n_channels, side), n_classes)

    trainer = recipes.Trainer(
        recipe.training, fresh, "target.training", n_classes=n_classes
    )
    asked = fresh()
    extract = inference.Extractor(
        Logits(asked, n_classes), precision="float32", batch_size=READ
    )
    out = np.empty((len(member), n_records, n_views, n_classes), np.float32)
    for model, own in enumerate(member):
        rows = np.flatnonzero(own)
        records = TrainingSet(
            Data(source="my_data.py:datasets"),
            (inputs[0],),
            rows,
            ids=rows,
            label=classes[rows],
            rng=np.random.default_rng(rng.integers(1 << 32)),
            progress=lambda *_: None,
        )
        weights, seed = (int(number) for number in rng.integers(1, 1 << 31, 2))
        network = trainer.train(records, weights=weights, seed=seed)
        for kept, learned in zip(
            asked.get_parameters(), network.get_parameters(), strict=True
        ):
            kept.set_data(ms.Tensor(learned.asnumpy()))
        for view, images in enumerate(inputs):
            out[model, :, view] = extract((images,), classes).logits
    return out
