"""Checkpoints: the weights of a network, on disk."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from pipeline.cache import files
from pipeline.data.modules import summary
from pipeline.errors import AuditError

# State that MindSpore's optimizers, loss scaling and callbacks add to a checkpoint; it
# plays no part in inference. Of each parameter, what stands before its name:
TRAINING_STATE = (
    *("moments.", "accum.", "stat."),  # Momentum, SGD, Adagrad, LARS
    *("moment1.", "moment2.", "vhat."),  # Adam, AdaMax
    *("adam_m.", "adam_v.", "lamb_m.", "lamb_v."),  # AdamWeightDecay, Lamb
    *("mean_grad.", "mean_square.", "moment."),  # RMSProp
    *("linear.", "accum_update."),  # FTRL, Adadelta
    *("mu_", "eta_", "ax_.", "prev.", "step_size."),  # ASGD, Rprop
    *("exp_avg.", "exp_avg_sq.", "exp_avg_sq_"),  # AdaFactor and mindspore.mint.optim
    *("exp_avg_sq_row_", "exp_avg_sq_col_", "max_exp_avg_sq.", "momentum_buf."),
)
TRAINING_SCALARS = (
    "learning_rate",
    "momentum",
    "global_step",
    "step_num",
    "epoch_num",
    "loss_scale",
    "scale_sense",
    "weight_decay",
    "beta1_power",
    "beta2_power",
    "current_iterator_step",
    "last_overflow_iterator_step",
    "fake_lr",
    "fake_param",
    "afactor_step",
    "state_step",
    "step_t",
)
# Each group of parameters has a learning rate of its own.
GROUP_RATE = "learning_rate_group_"
NAMES_SHOWN = 3  # of the parameters that do not fit a network


def load(network: nn.Cell, path: Path) -> None:
    """Fill a network with the parameters of a checkpoint.

    Args:
        network: to fill.
        path: a .ckpt or .safetensors file. Optimizer state in it is passed over.

    Raises:
        AuditError: if the file is missing or corrupt, its parameters are not those of
            the network, or one is not finite.
    """
    form = "safetensors" if path.suffix == ".safetensors" else "ckpt"
    if not path.is_file():
        raise AuditError(path, "does not exist", "correct target.checkpoint")
    try:
        parameters = ms.load_checkpoint(str(path), format=form)
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        problem = "is truncated or not a checkpoint"
        fix = (
            f"give a .ckpt or .safetensors file that MindSpore saved ({form} expected)"
        )
        raise AuditError(path, problem, fix) from error
    own = {name: tensor.shape for name, tensor in network.parameters_dict().items()}
    saved = {
        name: tuple(getattr(tensor, "shape", ()))
        for name, tensor in parameters.items()
        if not _is_training_state(name, own)
    }
    _check_parameters(path, own, saved)
    _check_finite(path, network, parameters)
    ms.load_param_into_net(network, {name: parameters[name] for name in own})


def _is_training_state(name: str, own: Mapping[str, Any]) -> bool:
    if name in own:
        return False
    state = any(
        name.startswith(prefix) and name.removeprefix(prefix) in own
        for prefix in TRAINING_STATE
    )
    rate = name.startswith(GROUP_RATE) and name.removeprefix(GROUP_RATE).isdigit()
    return state or rate or name in TRAINING_SCALARS


def _check_parameters(
    path: Path, own: Mapping[str, tuple[int, ...]], saved: Mapping[str, tuple[int, ...]]
) -> None:
    # MindSpore itself loads what fits and leaves the rest at its random start.
    differences = {
        "lacks": [name for name in own if name not in saved],
        "has besides": [name for name in saved if name not in own],
        "has in another shape": [
            f"{name} {saved[name]} for {own[name]}"
            for name in own
            if name in saved and saved[name] != own[name]
        ],
    }
    problems = [
        f"{verb} {', '.join(names[:NAMES_SHOWN])}"
        + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
        for verb, names in differences.items()
        if names
    ]
    if problems:
        fix = "set target.network to the network that this checkpoint was saved from"
        raise AuditError(path, "; ".join(problems), f"{fix}, or give another")


def _check_finite(path: Path, network: nn.Cell, saved: Mapping[str, Any]) -> None:
    # ReLU on CPU turns NaN into 0, so the logits would not show it.
    for name, parameter in network.parameters_dict().items():
        values = _values(saved[name])
        bad = ~np.isfinite(values)
        if not bad.any():
            continue
        # A network may hold infinities of its own, as in a mask of attention.
        bad &= values != _values(parameter)
        if bad.any():
            kind = "NaN" if np.isnan(values[bad]).any() else "infinite"
            problem = f"has {bad.sum()} of {bad.size} values of {name} that are {kind}"
            fix = "give a checkpoint of before its training diverged, or a whole copy"
            raise AuditError(path, problem, fix)


def _values(parameter: Any) -> NDArray[Any]:
    # NumPy has no bfloat16.
    wide = parameter.dtype == ms.bfloat16
    return np.asarray((parameter.astype(ms.float32) if wide else parameter).asnumpy())


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
