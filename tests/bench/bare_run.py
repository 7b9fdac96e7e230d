"""Run a network over records that are ready in memory, and nothing else.

    python -m tests.bench.bare_run job.json

The last line printed is what was found, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import mindspore as ms
import numpy as np

from pipeline.models import networks


def main() -> None:
    """Time the loop over all batches but the first, which compiles the graph."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    ms.set_context(mode=ms.GRAPH_MODE)
    network = networks.build(job["network"], job["n_classes"])
    ms.load_param_into_net(network, ms.load_checkpoint(job["checkpoint"]))
    network.set_train(False)
    side, n_records, batch_size = job["image_size"], job["records"], job["batch_size"]
    rng = np.random.default_rng(0)
    shape = n_records, 3, side, side
    images = rng.standard_normal(shape, dtype=np.float32)
    network(ms.Tensor(images[:batch_size])).asnumpy()
    started = time.perf_counter()
    for first in range(0, n_records, batch_size):
        network(ms.Tensor(images[first : first + batch_size])).asnumpy()
    seconds = time.perf_counter() - started
    sys.stdout.write("\n" + json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
