"""Save a network with fresh weights: where only speed matters, they are all the same.

    python -m tests.bench.fresh_run job.json

The last line printed is empty JSON.
"""

import json
import sys
from pathlib import Path

import mindspore as ms

from pipeline.models import networks


def main() -> None:
    """Build the network, and save it."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    ms.set_seed(1)
    network = networks.build(job["network"], job["n_classes"])
    ms.save_checkpoint(network, job["checkpoint"])
    sys.stdout.write("\n{}\n")


if __name__ == "__main__":
    main()
