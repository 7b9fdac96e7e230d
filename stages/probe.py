"""Time a pass and a step of the audited network, for `make plan` to say what is ahead.

Nothing is trained: after a few steps, or seconds, the training is broken off, and what
it made of the network is dropped.
"""

import time
from contextlib import suppress

import numpy as np

from pipeline import cli, draws
from pipeline.cache import arrays, costs, kinds, runs, stamps
from pipeline.cache.stamps import Job
from pipeline.config import Data, Features, OwnTraining, References, Target, Training
from pipeline.data import sources

STEPS, SECONDS = 20, 4.0  # after which a training is broken off, whichever is first
LEAST_STEPS = 3
RECORDS = 512  # that it is tried on, unless it wants larger batches


class Enough(BaseException):
    """The steps are timed; a recipe that catches errors does not catch this."""


def main() -> None:
    """Print what a pass and a step take, and remember it."""
    path, _ = cli.audit()
    run = runs.folder(path)
    runs.check(run, path)
    runs.hold(run, lambda: cli.note(f"another make is at work in {run}; waiting"))
    job = stamps.read(stamps.stamp_path(run, "target"))
    settings = job.section(Target)
    if settings.network is None:
        print("nothing to time: the signals were made elsewhere")
        return
    # Signals made elsewhere need no MindSpore at all.
    from pipeline.models import trial

    records = arrays.upstream(job, "records", kinds.Records)
    recipe = settings.training or job.section(References, "references").training
    features = job.section(Features, "features")
    device = None if recipe is None else recipe.device
    rate = trial.tried(settings, job.section(Data), features, records, device)
    costs.remember_rate(job, rate)
    print(
        f"a pass: {rate.first:.1f} s to compile, then {rate.per_record * 1e3:.3g} ms a "
        "record"
    )
    if recipe is None:
        return
    step = timed(job, settings, recipe, records)
    if step is None:
        print("a step: the recipe shows none, so what a training takes is not known")
        return
    costs.remember_rate(job, step)
    print(f"a step: {step.first:.1f} s to compile, then {step.per_step * 1e3:.3g} ms")


def timed(
    job: Job, settings: Target, recipe: Training | OwnTraining, records: kinds.Records
) -> costs.Step | None:
    """Return what the steps of a recipe take; None if it shows too few of them."""
    from pipeline.models import recipes
    from pipeline.models.trainset import TrainingSet

    data = job.section(Data)
    n_classes = settings.n_classes or int(records.n_classes)
    trainer = recipes.trainer(settings, recipe, n_classes)
    batch_size = recipe.batch_size if isinstance(recipe, Training) else 0
    rows = np.arange(min(len(records.id), max(RECORDS, 4 * batch_size)))
    ids = records.id[rows]
    stored = next(sources.blocks(data, [ids], [records.content[rows]]))
    seed = draws.integer(recipe.seed, "target.recipe")
    with cli.progress() as bars:
        trainings = cli.Trainings(bars, "probe", 1)
        end = Countdown(trainings)
        training_set = TrainingSet(
            data,
            stored,
            rows,
            ids=ids,
            label=records.label[rows],
            rng=draws.rng(recipe.seed, "target.order"),
            progress=end.advance,
        )
        with suppress(Enough):
            trainer.train(training_set, weights=seed, seed=seed)
    return trainings.rate(len(rows))


class Countdown:
    """Breaks a training off when enough of its steps are timed.

    Args:
        trainings: that times them.
    """

    def __init__(self, trainings: cli.Trainings) -> None:
        self._trainings = trainings
        self._start = time.perf_counter()
        self._steps = 0

    def advance(self, loss: float | None, total: int | None) -> None:
        """Time a step; see `cli.Trainings.advance`."""
        self._trainings.advance(loss, total)
        self._steps += 1
        late = time.perf_counter() - self._start > SECONDS
        if self._steps >= STEPS or (late and self._steps >= LEAST_STEPS):
            raise Enough


if __name__ == "__main__":
    cli.run(main)
