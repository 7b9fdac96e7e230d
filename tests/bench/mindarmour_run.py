"""Run MindArmour's membership inference; its own interpreter runs this script.

    python -m tests.bench.mindarmour_run job.json

The last line printed is what was found, as JSON. Its search is held to candidates and
folds that are given: it would draw seven forests, and folds of its own.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

N_TRAIN = 50_000  # images of the training file come first in the numbering
RESCALED = 1.0 / 255.0


def main() -> None:
    """Do the job, and print what was found."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # It waits a second to have its warning read about MindSpore's version.
    sleep, time.sleep = time.sleep, lambda _: None
    import mindarmour.privacy.evaluation  # noqa: F401

    time.sleep = sleep
    sys.stdout.write("\n" + json.dumps(TASKS[job["task"]](job)) + "\n")


def extract(job: dict[str, Any]) -> dict[str, float]:
    """Time its extraction of all records, after a batch that compiles the graph."""
    inference = _inference(job)
    first = job["members"][: job["batch_size"]]
    inference._generate(_dataset(job, first), 1)
    started = time.perf_counter()
    for side, label in ((job["members"], 1), (job["nonmembers"], 0)):
        inference._generate(_dataset(job, side), label)
    return {"seconds": time.perf_counter() - started}


def search(job: dict[str, Any]) -> dict[str, Any]:
    """Time its search of each method on given logits, and judge the chosen."""
    from mindarmour.privacy.evaluation import attacker, membership_inference

    with np.load(job["features"]) as arrays:
        logits, label = arrays["logits"], arrays["label"]
        train, member = arrays["train"], arrays["member"].astype(np.int32)
    loss = membership_inference._softmax_cross_entropy(logits, label)
    features = np.hstack((loss.reshape(-1, 1), logits))
    _hold(attacker, job["folds"])
    n_jobs = job["n_jobs"]
    seconds, accuracy = {}, {}
    for config in _grids(job):
        started = time.perf_counter()
        model = attacker._get_attack_model(
            features[train], member[train], config, n_jobs
        )
        seconds[config["method"]] = time.perf_counter() - started
        right = model.predict(features[~train]) == member[~train]
        accuracy[config["method"]] = float(right.mean())
    return {"seconds": seconds, "accuracy": accuracy}


def whole(job: dict[str, Any]) -> dict[str, Any]:
    """Run its tutorial: from the checkpoint to the metrics."""
    from mindarmour.privacy.evaluation import attacker

    _hold(attacker, job["n_folds"])
    inference = _inference(job)
    known, judged = (
        [_dataset(job, job[side][part]) for side in ("members", "nonmembers")]
        for part in ("train", "eval")
    )
    inference.train(*known, _grids(job))
    rates = inference.eval(*judged, ["precision", "accuracy", "recall"])
    accuracy = {
        config["method"]: float(each["accuracy"])
        for config, each in zip(job["grids"], rates, strict=True)
    }
    return {"accuracy": accuracy}


def _inference(job: dict[str, Any]) -> Any:
    import mindspore as ms
    from mindarmour.privacy.evaluation import MembershipInference
    from mindspore.train import Model

    from pipeline.models import networks

    ms.set_context(mode=ms.GRAPH_MODE)
    network = networks.build(job["network"], job["n_classes"])
    ms.load_param_into_net(network, ms.load_checkpoint(job["checkpoint"]))
    return MembershipInference(Model(network), job.get("n_jobs", -1))


def _dataset(job: dict[str, Any], ids: list[int]) -> Any:
    """Return records of one side by the steps of the tutorial, without augmentation."""
    import mindspore as ms
    from mindspore import dataset as ds
    from mindspore.dataset import transforms, vision

    usage = "train" if ids[0] < N_TRAIN else "test"
    places = [number if usage == "train" else number - N_TRAIN for number in ids]
    data = ds.Cifar100Dataset(
        job["images"], usage=usage, sampler=ds.SubsetSampler(places)
    )
    data = data.rename("fine_label", "label").project(["image", "label"])
    mean, std = job["mean"], job["std"]
    steps = [
        vision.Resize((job["image_size"], job["image_size"])),
        vision.Rescale(RESCALED, 0.0),
        vision.Normalize(mean, std, is_hwc=True),
        vision.HWC2CHW(),
    ]
    data = data.map(transforms.TypeCast(ms.int32), "label").map(steps, "image")
    return data.batch(job["batch_size"])


def _grids(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return its own form of the grids: tuples of layers, as it wants them."""
    return [
        {
            "method": grid["method"],
            "params": {
                name: [tuple(v) if isinstance(v, list) else v for v in values]
                for name, values in grid["params"].items()
            },
        }
        for grid in job["grids"]
    ]


def _hold(attacker: Any, folds: Any) -> None:
    """Hold both of its searches to every candidate, and to given folds."""
    from sklearn.model_selection import GridSearchCV

    if isinstance(folds, list):
        folds = [tuple(map(np.array, fold)) for fold in folds]

    def every(model: Any, **settings: Any) -> Any:
        grid = settings.get("param_grid") or settings["param_distributions"]
        return GridSearchCV(model, grid, cv=folds, n_jobs=settings["n_jobs"])

    attacker.GridSearchCV = attacker.RandomizedSearchCV = every


TASKS = {"extract": extract, "search": search, "whole": whole}

if __name__ == "__main__":
    main()
