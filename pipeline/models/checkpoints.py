"""Checkpoints: the weights of a network, on disk."""

import fnmatch
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mindspore as ms
import numpy as np
from mindspore import nn

from pipeline.cache import files
from pipeline.data import weights
from pipeline.data.modules import summary
from pipeline.errors import AuditError

# State that optimizers, loss scaling and callbacks add to a checkpoint; it plays no
# part in inference. An optimizer keeps arrays of each parameter's shape, under its name
# with something before it. MindSpore's own put these there, some with another shape:
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
# What stands before the name of a parameter's average over training. Such averages are
# a model of their own, and no state.
AVERAGES = re.compile(r"(.*[._])?(ema|ewma|swa|(?<!exp_)avg|averaged?)([._].*)?[._]")
NAMES_SHOWN = 3  # of the parameters that do not fit a network

Shapes = Mapping[str, tuple[int, ...]]


def load(network: nn.Cell, path: Path, *, prefix: str | None = None) -> None:
    """Fill a network with the parameters of a checkpoint.

    Args:
        network: to fill.
        path: a .ckpt or .safetensors file, or the index of several of the latter.
            Optimizer state in it is passed over.
        prefix: what stands in the file before the name of each of the network's
            parameters; what does not begin with it is passed over. None is as "", but
            refuses a file that holds averages of the weights besides.

    Raises:
        AuditError: if the file is missing or corrupt, its parameters are not those of
            the network, or one is not finite.
    """
    whole = weights.read(path)
    own = {
        name: tuple(parameter.shape)
        for name, parameter in network.parameters_dict().items()
    }
    shapes = {name: values.shape for name, values in whole.items()}
    _check_names(path, own, shapes, prefix)
    _fill(network, path, {name: whole[f"{prefix or ''}{name}"] for name in own})


def start(network: nn.Cell, path: Path, allow_missing: Sequence[str] = ()) -> None:
    """Fill a network with weights from which a training is to start.

    Args:
        network: to fill.
        path: of a file as `load` reads it.
        allow_missing: names, or patterns such as "fc.*", of parameters of the network
            that stay as they are; what they match in the file is passed over.

    Raises:
        AuditError: if the file is missing or corrupt, its other parameters are not
            those of the network, or one is not finite; or a pattern matches none.
    """
    whole = weights.read(path)
    own = {
        name: tuple(parameter.shape)
        for name, parameter in network.parameters_dict().items()
    }
    new: set[str] = set()
    for pattern in allow_missing:
        if not (matching := fnmatch.filter([*own, *whole], pattern)):
            problem = f"matches no parameter of the network or of {path}"
            fix = f"correct it; parameters are {listed(own)}"
            raise AuditError(f"start_allow_missing ({pattern})", problem, fix)
        new |= {*matching}
    own = {name: shape for name, shape in own.items() if name not in new}
    if not own:
        problem = f"leaves no parameter to take from {path}"
        raise AuditError("start_allow_missing", problem, "name new parameters only")
    shapes = {
        name: values.shape
        for name, values in whole.items()
        # State of an optimizer has the names of its parameters at the end.
        if not any(name == each or name.endswith(f".{each}") for each in new)
    }
    fix = 'name what is new in start_allow_missing, such as ["fc.*"], or give other'
    _check_names(path, own, shapes, "", f"{fix} weights")
    _fill(network, path, {name: whole[name] for name in own})


def _fill(network: nn.Cell, path: Path, saved: weights.Arrays) -> None:
    """Give a network the parameters of a file, which are of its names and shapes."""
    _check_types(path, network, saved)
    _check_finite(path, network, saved)
    ms.load_param_into_net(
        network,
        # MindSpore may go on using the memory that it is handed.
        {
            name: ms.Parameter(ms.Tensor(np.array(values)), name=name)
            for name, values in saved.items()
        },
    )


def _check_names(
    path: Path, own: Shapes, shapes: Shapes, prefix: str | None, fix: str | None = None
) -> None:
    """Refuse a file whose parameters, by name and shape, are not the network's."""
    start = prefix or ""
    saved = {
        name.removeprefix(start): shape
        for name, shape in shapes.items()
        if name.startswith(start)
    }
    others = [name for name in saved if name not in own]
    complete = all(name in saved for name in own)
    before = {name: _before(name, saved, own) for name in others if complete}
    averages = {
        name: words
        for name, words in before.items()
        if words and AVERAGES.fullmatch(words) and not _is_known_state(name, own)
    }
    surplus = [
        name
        for name in others
        if not (
            name in averages
            or before.get(name)
            or _is_known_state(name, own)
            or (complete and _is_scalar_state(name, saved[name], own))
        )
    ]
    # MindSpore itself loads what fits and leaves the rest at its random start.
    differences = {
        "lacks": [name for name in own if name not in saved],
        "has besides": surplus,
        "has in another shape": [
            f"{name} {saved[name]} for {own[name]}"
            for name in own
            if name in saved and saved[name] != own[name]
        ],
    }
    problems = [
        f"{verb} {listed(names)}" for verb, names in differences.items() if names
    ]
    if problems and fix is not None:
        raise AuditError(path, "; ".join(problems), fix)
    if problems:
        fix = "set target.network to the network that this checkpoint was saved from"
        fix = f"{fix}, or give another"
        if fitting := _prefixes(shapes, own) - {start}:
            quoted = " or ".join(json.dumps(each) for each in sorted(fitting))
            fix = f"set target.prefix = {quoted}, which stands before every name there"
        elif prefix:
            fix = f"correct target.prefix, which is {json.dumps(prefix)}"
        raise AuditError(path, "; ".join(problems), fix)
    if averages and prefix is None:
        quoted = " or ".join(json.dumps(each) for each in sorted({*averages.values()}))
        fix = f'set target.prefix = {quoted} to audit the averages, or "" to audit the'
        problem = f"has averages of the weights besides, {listed(averages)}"
        raise AuditError(path, problem, f"{fix} weights themselves")


def listed(names: Iterable[str]) -> str:
    """Return the first of several names, and how many more there are."""
    first, more = [*names][:NAMES_SHOWN], len([*names]) - NAMES_SHOWN
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def _before(name: str, saved: Shapes, own: Shapes) -> str | None:
    """Return what stands before a parameter's name, if one of its shape ends so."""
    for other, shape in own.items():
        words = name.removesuffix(other)
        if words != name and words.endswith((".", "_")) and saved[name] == shape:
            return words
    return None


def _prefixes(shapes: Shapes, own: Shapes) -> set[str]:
    """Return what stands before all of the network's parameters in a file."""
    first = next(iter(own), "")
    starts = {name.removesuffix(first) for name in shapes if name.endswith(first)}
    return {
        start
        for start in starts - {""}
        if all(shapes.get(start + name) == shape for name, shape in own.items())
    }


def _is_known_state(name: str, own: Shapes) -> bool:
    state = any(
        name.startswith(prefix) and name.removeprefix(prefix) in own
        for prefix in TRAINING_STATE
    )
    rate = name.startswith(GROUP_RATE) and name.removeprefix(GROUP_RATE).isdigit()
    return state or rate or name in TRAINING_SCALARS


def _is_scalar_state(name: str, shape: tuple[int, ...], own: Shapes) -> bool:
    """Return whether a parameter is a number outside all layers of the network."""
    layer = name.rpartition(".")[0]
    inside = layer and any(other.startswith(f"{layer}.") for other in own)
    return len(shape) < 2 and math.prod(shape) == 1 and not inside


def _check_types(path: Path, network: nn.Cell, saved: weights.Arrays) -> None:
    # MindSpore converts floats to floats, and whole numbers with a sign to such.
    parameters = network.parameters_dict()
    for name in saved:
        kind = weights.CKPT_TYPES.get(str(parameters[name].dtype), "")
        own, values = "f" if kind == weights.BFLOAT16 else kind[:1], saved[name].dtype
        if values.name != kind and (values.kind != own or own not in "fi"):
            problem = f"has {name} as {values.name}, where the network's is {kind}"
            fix = "set target.network to the network that this checkpoint was saved"
            raise AuditError(path, problem, f"{fix} from")


def _check_finite(path: Path, network: nn.Cell, saved: weights.Arrays) -> None:
    # ReLU on CPU turns NaN into 0, so the logits would not show it.
    parameters = network.parameters_dict()
    for name, values in saved.items():
        bad = ~np.isfinite(values)
        if not bad.any():
            continue
        # A network may hold infinities of its own, as in a mask of attention.
        parameter = parameters[name]
        wide = parameter.dtype == ms.bfloat16  # which NumPy has not
        own = (parameter.astype(ms.float32) if wide else parameter).asnumpy()
        bad &= values != own
        if bad.any():
            kind = "NaN" if np.isnan(values[bad]).any() else "infinite"
            problem = f"has {bad.sum()} of {bad.size} values of {name} that are {kind}"
            fix = "give a checkpoint of before its training diverged, or a whole copy"
            raise AuditError(path, problem, fix)


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
