"""Devices: where networks run."""

import os
import sys
from contextlib import suppress
from functools import cache
from tempfile import TemporaryDirectory

import mindspore as ms
import numpy as np
from mindspore.dataset import vision
from numpy.typing import NDArray

from pipeline.errors import AuditError

PREFERENCE = ("Ascend", "GPU", "CPU")
MISSING = {
    "Ascend": "install CANN and source its set_env.sh (libge_runner.so is missing)",
    "GPU": "install CUDA and a MindSpore wheel that is built for it",
    "CPU": "install a MindSpore wheel for this machine",
}

# Where MindSpore's compiler leaves a report if it fails; else in the current folder.
REPORTS = "MS_OM_PATH"


@cache
def scratch() -> "TemporaryDirectory[str]":
    """Return a folder that is removed when the process ends."""
    return TemporaryDirectory(prefix="membership-audit-")


def start(name: str) -> str:
    """Choose the device of this process and compile graphs from now on.

    Args:
        name: "Ascend", "GPU", "CPU", or "auto" for the first of these that is usable.

    Returns:
        The device's name.

    Raises:
        AuditError: if the named device is absent, saying what is missing.
    """
    os.environ.setdefault(REPORTS, scratch().name)
    wanted = PREFERENCE if name == "auto" else (name,)
    for device in wanted:
        if ms.hal.is_available(device):
            ms.set_device(device)
            compile_graphs()
            return device
    problem = f"{name} cannot be used by MindSpore {ms.__version__} here"
    fix = f"{MISSING.get(name, MISSING['CPU'])}, or use auto"
    raise AuditError("device", problem, fix)


def compile_graphs() -> None:
    """Compile graphs from now on."""
    ms.set_context(mode=ms.GRAPH_MODE)


@cache
def repeat_draws() -> None:
    """Have layers that draw, such as dropout, draw the same in every run on a CPU.

    MindSpore 2.10 otherwise tries which number of threads is the fastest, and what is
    drawn depends on it. Training took as long by one thread of this kind as by two.
    """
    # It can be set once in a process, and a user's own module may have done so.
    with suppress(RuntimeError):
        ms.device_context.cpu.op_tuning.threads_num(1)


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images interpolated bilinearly to a square, as the tutorial's pipeline.

    Args:
        images: (n_images, height, width, n_channels).
        size: side of the square, in pixels.
    """
    operation = vision.Resize((size, size))
    out = [operation(image).reshape(size, size, -1) for image in images]
    return np.stack(out)


if __name__ == "__main__":
    sys.stdout.write(start("auto"))
