"""Devices: what "auto" means on this machine, found out before anything is made.

Which device computed a number is part of its key, so it must be known when the stamps
are written. MindSpore takes seconds to import, so it is asked only where there is an
accelerator to ask about, and its answer is remembered as long as the accelerators, the
environment and MindSpore stay the same.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.cache import files, keys
from pipeline.config import Config

# The nodes without which MindSpore can use neither Ascend nor a GPU.
NODES = ("davinci*", "nvidia[0-9]*", "dxg")
# Tells a rank how many share its host, each with a device of its own.
N_LOCAL = "LOCAL_RANKS"
# Variables that decide which devices a process sees, and which libraries it finds.
VARIABLES = (
    "ASCEND_HOME_PATH",
    "ASCEND_RT_VISIBLE_DEVICES",
    "ASCEND_VISIBLE_DEVICES",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
)


def resolved(config: Config, memory: Path, *, save: bool) -> Config:
    """Return a config in which every device that is used has a name.

    Args:
        config: with "auto" for the first usable one.
        memory: file of the last answer.
        save: whether to write the answer there.
    """
    if config.target.network is None:
        return config
    sections = {
        "target": config.target.training,
        "references": config.references.training,
    }
    asked = [recipe.device for recipe in sections.values() if recipe]
    if "auto" not in (*asked, config.features.device):
        return config
    device = usable(memory, save=save)

    def named(name: str) -> str:
        return device if name == "auto" else name

    changes: dict[str, Any] = {
        name: getattr(config, name).model_copy(
            update={
                "training": recipe.model_copy(update={"device": named(recipe.device)})
            }
        )
        for name, recipe in sections.items()
        if recipe
    }
    changes["features"] = config.features.model_copy(
        update={"device": named(config.features.device)}
    )
    return config.model_copy(update=changes)


def usable(memory: Path, *, save: bool) -> str:
    """Return the first of Ascend, GPU and CPU that MindSpore can use here.

    Args:
        memory: file of the last answer.
        save: whether to write the answer there.
    """
    accelerators = sorted(str(n) for pattern in NODES for n in nodes(pattern))
    if not accelerators:
        return "CPU"
    asked = {
        "accelerators": accelerators,
        "mindspore": keys.installed("mindspore"),
        "python": sys.executable,
        **{name: os.environ.get(name) for name in VARIABLES},
    }
    try:
        last = json.loads(memory.read_text(encoding="utf-8"))
        if last["asked"] == asked:
            return str(last["device"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it is asked anew
    device = _asked_of_mindspore()
    if save:
        files.write_json(memory, {"asked": asked, "device": device})
    return device


def nodes(pattern: str) -> Iterable[Path]:
    """Return the device nodes of that name."""
    return Path("/dev").glob(pattern)


def _asked_of_mindspore() -> str:
    """Return the answer of MindSpore, in a process of its own.

    Without one, as where MindSpore is not installed, the stage that needs it says so.
    """
    command = [sys.executable, "-m", "pipeline.models.devices"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return words[-1] if done.returncode == 0 and words else "CPU"
