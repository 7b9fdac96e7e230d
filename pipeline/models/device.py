"""Device: the only door to MindSpore, for training, checkpoints and inference."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.dataset import vision
from numpy.typing import NDArray

from pipeline.cache import files
from pipeline.config import Training
from pipeline.data.modules import summary
from pipeline.errors import AuditError

PREFERENCE = ("Ascend", "GPU", "CPU")
MISSING = {
    "Ascend": "install CANN and source its set_env.sh (libge_runner.so is missing)",
    "GPU": "install CUDA and a MindSpore wheel that is built for it",
    "CPU": "install a MindSpore wheel for this machine",
}
# Scalars and per-parameter state that MindSpore's optimizers and callbacks add to a
# checkpoint; they play no part in inference.
TRAINING_STATE = ("moments.", "moment1.", "moment2.", "accum.", "stat.", "vhat.")
TRAINING_SCALARS = (
    "learning_rate",
    "momentum",
    "global_step",
    "step_num",
    "epoch_num",
    "loss_scale",
    "weight_decay",
    "beta1_power",
    "beta2_power",
    "current_iterator_step",
    "last_overflow_iterator_step",
)
NAMES_SHOWN = 3  # of the parameters that do not fit a network


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


def start(name: str) -> str:
    """Choose the device of this process and compile graphs from now on.

    Args:
        name: "Ascend", "GPU", "CPU", or "auto" for the first of these that is usable.

    Returns:
        The device's name.

    Raises:
        AuditError: if the named device is absent, saying what is missing.
    """
    wanted = PREFERENCE if name == "auto" else (name,)
    for device in wanted:
        if ms.hal.is_available(device):
            ms.set_device(device)
            ms.set_context(mode=ms.GRAPH_MODE)
            return device
    problem = f"{name} cannot be used by MindSpore {ms.__version__} here"
    fix = f"{MISSING.get(name, MISSING['CPU'])}, or use auto"
    raise AuditError("device", problem, fix)


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images interpolated bilinearly to a square, as the tutorial's pipeline.

    Args:
        images: (n_images, height, width, n_channels).
        size: side of the square, in pixels.
    """
    operation = vision.Resize((size, size))
    out = [operation(image).reshape(size, size, -1) for image in images]
    return np.stack(out)


# Checkpoints


def load(network: nn.Cell, path: Path) -> None:
    """Fill a network with the parameters of a checkpoint.

    Args:
        network: to fill.
        path: a .ckpt or .safetensors file. Optimizer state in it is passed over.

    Raises:
        AuditError: if the file is missing or corrupt, or its parameters are not those
            of the network.
    """
    form = "safetensors" if path.suffix == ".safetensors" else "ckpt"
    if not path.is_file():
        raise AuditError(path, "does not exist", "correct target.checkpoint")
    try:
        found = ms.load_checkpoint(str(path), format=form)
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        problem = "is truncated or not a checkpoint"
        fix = (
            f"give a .ckpt or .safetensors file that MindSpore saved ({form} expected)"
        )
        raise AuditError(path, problem, fix) from error
    own = {name: tensor.shape for name, tensor in network.parameters_dict().items()}
    given = {
        name: tuple(getattr(tensor, "shape", ()))
        for name, tensor in found.items()
        if not _is_training_state(name, own)
    }
    _check_parameters(path, own, given)
    ms.load_param_into_net(network, {name: found[name] for name in own})


def _is_training_state(name: str, own: Mapping[str, Any]) -> bool:
    if name in own:
        return False
    state = any(
        name.startswith(prefix) and name.removeprefix(prefix) in own
        for prefix in TRAINING_STATE
    )
    return state or name in TRAINING_SCALARS


def _check_parameters(
    path: Path, own: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> None:
    # MindSpore itself loads what fits and leaves the rest at its random start.
    differences = {
        "lacks": [name for name in own if name not in given],
        "has besides": [name for name in given if name not in own],
        "has in another shape": [
            f"{name} {given[name]} for {own[name]}"
            for name in own
            if name in given and given[name] != own[name]
        ],
    }
    told = [
        f"{verb} {', '.join(names[:NAMES_SHOWN])}"
        + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
        for verb, names in differences.items()
        if names
    ]
    if told:
        fix = "set target.network to the network that this checkpoint was saved from"
        raise AuditError(path, "; ".join(told), f"{fix}, or give another")


def save(network: nn.Cell, path: Path) -> None:
    """Write the parameters of a network to a .ckpt file, complete or absent.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    # MindSpore leaves scraps beside a file that it fails to write.
    with files.replacing(path) as temporary, TemporaryDirectory(dir=path.parent) as own:
        whole = Path(own) / "checkpoint.ckpt"
        try:
            ms.save_checkpoint(network, str(whole))
        except RuntimeError as error:
            raise OSError(summary(error)) from error
        whole.replace(temporary)


# Training


class Trainer:
    """One compiled training step, for one model after the other.

    A model is the same whether it is the first or the last that a trainer trains.

    Args:
        network: builds the network with fresh weights.
        settings: the recipe.
        n_records: that every model is trained on.
        section: of the config that holds the recipe, for errors.
    """

    def __init__(
        self,
        network: Callable[[], nn.Cell],
        settings: Training,
        n_records: int,
        section: str = "target.training",
    ) -> None:
        self._fresh = network
        self._settings = settings
        self._section = section
        self._size = min(settings.batch_size, n_records)
        self.n_steps = n_records // self._size  # in an epoch
        self._network = network()
        rates = learning_rates(settings, self.n_steps)
        self._step = nn.TrainOneStepCell(
            nn.WithLossCell(self._network, nn.CrossEntropyLoss()),
            _optimizer(self._network, rates, settings),
        )
        own = {id(parameter) for parameter in self._network.get_parameters()}
        self._state = [
            (parameter, parameter.asnumpy().copy())
            for parameter in self._step.get_parameters()
            if id(parameter) not in own
        ]

    def train(
        self,
        batch: Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.float32]],
        label: NDArray[np.int32],
        seed: int,
        *,
        advance: Callable[[int, float], None],
    ) -> nn.Cell:
        """Train a model on all records.

        Args:
            batch: returns the inputs of the rows asked for, freshly augmented.
            label: (n_records,) classes.
            seed: of the first weights, the order of records and the augmentation.
            advance: told the number of steps made and the mean loss of the epoch.

        Returns:
            The network, which the next training will overwrite.

        Raises:
            AuditError: if the loss is not finite, or the network does not accept its
                input.
        """
        self._reset(seed)
        rng = np.random.default_rng(seed)
        used = self.n_steps * self._size
        self._step.set_train()
        for _ in range(self._settings.epochs):
            order = rng.permutation(len(label))
            losses = []
            for rows in order[:used].reshape(self.n_steps, self._size):
                images, classes = ms.Tensor(batch(rows, rng)), ms.Tensor(label[rows])
                losses.append(float(_run(self._step, images, classes).asnumpy()))
                advance(1, float(np.mean(losses)))
            if not math.isfinite(losses[-1]):
                problem = f"gives a loss of {losses[-1]} in training"
                fix = f"lower {self._section}.learning_rate"
                raise AuditError(self._section, problem, fix)
        self._step.set_train(False)
        return self._network

    def _reset(self, seed: int) -> None:
        """Give the network the weights of a fresh one, and the optimizer its start."""
        ms.set_seed(seed)
        fresh = self._fresh().parameters_dict()
        for name, parameter in self._network.parameters_dict().items():
            parameter.set_data(ms.Tensor(fresh[name].asnumpy()))
        for parameter, start in self._state:
            parameter.set_data(ms.Tensor(start))


def learning_rates(settings: Training, n_steps: int) -> list[float]:
    """Return the learning rate of every step.

    "cosine" falls from the first rate to 0 along half a wave (Loshchilov and Hutter
    2017, arXiv:1608.03983); "step" divides by ten after half and after three quarters.

    Args:
        settings: the recipe.
        n_steps: in an epoch.
    """
    total = settings.epochs * n_steps
    done = np.arange(total) / total
    factor = {
        "constant": np.ones(total),
        "cosine": (1 + np.cos(np.pi * done)) / 2,
        "step": 0.1 ** ((done >= 0.5).astype(float) + (done >= 0.75)),
    }[settings.schedule]
    return [float(rate) for rate in settings.learning_rate * factor]


def _optimizer(network: nn.Cell, rates: list[float], settings: Training) -> nn.Cell:
    weights = network.trainable_params()
    decay = settings.weight_decay
    if settings.optimizer == "adam":
        return nn.Adam(weights, learning_rate=rates, weight_decay=decay)
    if settings.optimizer == "sgd":
        return nn.SGD(weights, learning_rate=rates, weight_decay=decay)
    return nn.Momentum(weights, rates, settings.momentum, weight_decay=decay)


# Inference


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
            found = _run(cell, ms.Tensor(images[rows]), ms.Tensor(label[rows]))
            logits, margin = (tensor.asnumpy()[:n_own] for tensor in found)
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


def _run(cell: nn.Cell, *inputs: ms.Tensor) -> Any:
    """Call a cell; an input that the network cannot take is the user's error."""
    try:
        return cell(*inputs)
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        shape = inputs[0].shape
        problem = f"fails on inputs of shape {shape} ({summary(error)})"
        fix = "return (n, n_classes) logits, and match data.image_size"
        raise AuditError("target.network", problem, fix) from error
