"""Trains the judge that comes with the project.

``make judge DATA=FOLDER``, or ``python -m tests.judge FOLDER``, makes the beds of
`bed_recipes` in the folder, attacks every model of each, and fits the networks of
`pipeline.attacks.judge` to what comes out. It goes on where it was stopped. Beds of
images are made where the folder holds `cifar-100-binary`.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from pipeline.attacks import amortised, judge
from pipeline.attacks.judge import Judge, Network
from tests import bed_recipes, beds
from tests.beds import Bed, Figures

COUNTS = (1, 2, 4, 8)  # of references
BESIDE, ALONE = (40, 20), (24, 12)  # hidden units
EPOCHS, NETWORKS = 6, 3
# Of the rows, seen as in an audit of margins alone.
WITHOUT_LOGITS = 0.25


class Rows(NamedTuple):
    """Features of records of many targets."""

    outputs: NDArray[np.float32]  # (n_rows, n_features) of `judge.outputs`
    margins: NDArray[np.float32]  # (n_rows, n_features) the same by margins alone
    beside: NDArray[np.float32]  # (n_rows, n_features) of `judge.beside`
    count: NDArray[np.int64]  # (n_rows,) references
    member: NDArray[np.bool_]  # (n_rows,)


def of_target(
    bed: Bed, target: int, count: int, n_rows: int, rng: np.random.Generator
) -> Rows:
    """Return rows of some records of a target with references drawn from its bed."""
    models = beds.drawn(bed.member, target, count, rng)
    if models is None:
        return joined([])
    view = beds.view_of(bed, target, models, seed=0)
    chosen = rng.permutation(len(bed.label))[:n_rows]
    own = view.logits, view.margin, view.recalibrated, view.label, view.audited
    no_logits = view.logits[:, :, :0], view.margin, view.margin, *own[3:]
    ready = amortised.prepared(view)
    beside = judge.beside(ready, view.in_models, view.kept, view.audited)
    return Rows(
        judge.outputs(*own)[chosen].astype(np.float32),
        judge.outputs(*no_logits)[chosen].astype(np.float32),
        beside.features(chosen).astype(np.float32),
        np.full(len(chosen), count),
        bed.member[target][chosen],
    )


def of_bed(bed: Bed, n_rows: int) -> Rows:
    """Return rows of every model as the target, with every count of references."""
    rng = np.random.default_rng([*bed.name.encode()])
    return joined(
        [
            of_target(bed, target, count, n_rows, rng)
            for target in range(len(bed.member))
            for count in COUNTS
        ]
    )


def joined(parts: Sequence[Rows]) -> Rows:
    """Return rows one after the other; those without any count for nothing."""
    full = [part for part in parts if len(part.member)]
    if not full:
        return Rows(*(np.empty(0) for _ in Rows._fields))
    return Rows(*(np.concatenate(arrays) for arrays in zip(*full, strict=True)))


def by_margins(beside: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features without those of the second signal, the recalibrated margins."""
    left = beside.copy()
    n_signals = 3
    ratios = n_signals * judge.WIDTH
    left[:, judge.WIDTH : 2 * judge.WIDTH] = 0
    left[:, ratios + 1] = 0
    left[:, -n_signals + 1] = np.log(judge.LEAST_POWER)
    return left


def fitted(rows: Rows, seed: int) -> Judge:
    """Fit the networks, some rows of which are seen as by margins alone."""
    rng = np.random.default_rng(seed)
    hidden = rng.random(len(rows.member)) < WITHOUT_LOGITS
    outputs = np.where(hidden[:, None], rows.margins, rows.outputs)
    beside = np.where(hidden[:, None], by_margins(rows.beside), rows.beside)
    once = rows.count == COUNTS[0]
    states = range(seed, seed + NETWORKS)
    return Judge(
        tuple(_network(ALONE, outputs[once], rows.member[once], s) for s in states),
        tuple(
            _network(BESIDE, np.hstack((beside, outputs)), rows.member, s)
            for s in states
        ),
    )


def _network(
    hidden: tuple[int, ...],
    inputs: NDArray[np.float32],
    member: NDArray[np.bool_],
    state: int,
) -> Network:
    network = MLPClassifier(
        hidden,
        alpha=1e-3,
        batch_size=min(512, len(inputs)),
        learning_rate_init=2e-3,
        max_iter=EPOCHS,
        random_state=state,
    )
    with threadpool_limits(1), warnings.catch_warnings():
        # It is meant to stop after EPOCHS.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(inputs, member)
    # Rounded as it is shipped.
    return Network(
        *(
            tuple(array.astype(np.float16).astype(np.float32) for array in arrays)
            for arrays in (network.coefs_, network.intercepts_)
        )
    )


def write(made: Judge, path: Path) -> None:
    """Write a judge as it is shipped."""
    small = {k: v.astype(np.float16) for k, v in judge.packed(made).items()}
    np.savez_compressed(path, **small)


def prepared(folder: Path, jobs: int = 1) -> Iterator[tuple[str, Rows]]:
    """Make the beds and rows that are missing, and yield the rows of each bed.

    Args:
        folder: of beds and rows.
        jobs: processes that make them; what they make does not depend on it.
    """
    names = [*bed_recipes.possible(folder)]
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        joblib.Parallel(jobs)(joblib.delayed(_prepare)(folder, name) for name in names)
    for name in names:
        with np.load(_path(folder, name)) as arrays:
            yield name, Rows(**arrays)


def _path(folder: Path, name: str) -> Path:
    return folder / "rows" / f"{name}.npz"


def _prepare(folder: Path, name: str) -> None:
    path = _path(folder, name)
    if path.exists():
        return
    bed = bed_recipes.made(folder, name)
    beds.save(path, **of_bed(bed, bed_recipes.PLANS[name].rows)._asdict())
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()


def figures(networks: Sequence[Network], rows: Rows, *, beside: bool) -> Figures:
    """Return how well networks judge rows."""
    inputs = np.hstack((rows.beside, rows.outputs)) if beside else rows.outputs
    return beds.figures(judge.log_odds(networks, inputs), rows.member)


def main() -> None:
    """Make what is missing, and write the judge, or judge each family by the others."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="where the judge is written")
    parser.add_argument("--leave-out", action="store_true", help="a family at a time")
    options = parser.parse_args()
    rows = dict(prepared(options.folder, options.jobs))
    if options.out:
        write(fitted(joined([*rows.values()]), seed=0), options.out)
    families = sorted({name.partition("-")[0] for name in rows})
    for family in families if options.leave_out else ():
        others = [r for name, r in rows.items() if name.partition("-")[0] != family]
        made = fitted(joined(others), seed=0)
        for name, own in rows.items():
            if name.partition("-")[0] != family:
                continue
            for count in (0, *COUNTS):
                part = Rows(*(array[own.count == max(count, 1)] for array in own))
                networks = made.beside if count else made.alone
                shown = figures(networks, part, beside=count > 0)
                sys.stdout.write(
                    f"{name} {count} {beds.shown((shown.auc, *shown.tpr))}\n"
                )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
