"""Devices: where networks run."""

import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.dataset import vision
from numpy.typing import NDArray

from pipeline.cache.devices import N_LOCAL
from pipeline.errors import AuditError

PREFERENCE = ("Ascend", "GPU", "CPU")
MISSING = {
    "Ascend": "install CANN and source its set_env.sh (libge_runner.so is missing)",
    "GPU": "install CUDA and a MindSpore wheel that is built for it",
    "CPU": "install a MindSpore wheel for this machine",
}

FEW_PROCESSORS = 2  # more have not been measured

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
            ms.set_device(device, place() if device != "CPU" else None)
            compile_graphs()
            return device
    problem = f"{name} cannot be used by MindSpore {ms.__version__} here"
    fix = f"{MISSING.get(name, MISSING['CPU'])}, or use auto"
    raise AuditError("device", problem, fix)


def place() -> int | None:
    """Return which device of this host is that of this rank; None if it is no rank."""
    return int(os.environ["DEVICE_ID"]) if N_LOCAL in os.environ else None


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


def by_one_thread() -> None:
    """Have networks on a CPU trained by one thread, whatever there are processors.

    How MindSpore divides a sum among threads depends on the processors that it sees
    when it first computes something, and so do the last bits of what is trained. With
    one thread they are the same on any number of processors, and in any number of
    processes that share them.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    square = ms.Tensor(np.ones((2, 2), dtype=np.float32))
    _Product()(square).asnumpy()
    for thread in Path("/proc/self/task").iterdir():
        # One that has ended meanwhile needs none.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), before)


class _Product(nn.Cell):  # type: ignore[misc]
    def construct(self, square: ms.Tensor) -> ms.Tensor:
        return ops.matmul(square, square)


def batches_ahead() -> int:
    """Return how many batches may wait for the device while it runs another one.

    None where the device is a CPU of few processors: a network shares out its work
    among all of them in equal parts, so that a thread which takes a part of one keeps
    the others waiting for longer than it works. On two it took 8 % more time than to
    read batches in between.
    """
    is_cpu = ms.get_context("device_target") == "CPU"
    return 0 if is_cpu and (os.cpu_count() or 1) <= FEW_PROCESSORS else 1


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
