"""Kernels: the arithmetic of attacks on all records at once, beside plain loops."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import lira, rmia, traits
from pipeline.attacks.evidence import evidence
from pipeline.attacks.moments import moments
from pipeline.signals import margins
from pipeline.statistics import intervals
from tests.bench import loops
from tests.bench.pairs import alternated, tell
from tests.bench.workspace import Workspace

CONFIDENCE = 0.95
# Of the slope that fills in a missing side; here every record has both.
SLOPE = 0.5
# Features are kept in single precision.
CLOSE, CLOSE_FEATURES = 1e-9, 1e-4
LEAK, SPREAD = 1.0, 2.0  # nats


class Drawn(NamedTuple):
    """A target and references that know their members a little better."""

    target: NDArray[np.float64]  # (n_records,) margins, nats
    margin: NDArray[np.float64]  # (n_models, n_records)
    in_models: NDArray[np.bool_]  # (n_models, n_records)
    member: NDArray[np.bool_]  # (n_records,)


class Kernel(NamedTuple):
    """Two ways to the same numbers."""

    ours: Callable[[Drawn], Any]
    loop: Callable[[Drawn], Any]
    tolerance: float


def measure(space: Workspace) -> dict[str, Any]:
    """Return the ratio of times of each kernel, whose results are compared first."""
    found: dict[str, Any] = {}
    beds = drawn(space.size.kernel_records, space.size.kernel_references)
    ratios = {}
    for name, kernel in KERNELS.items():
        check(name, kernel, beds)
        runs = alternated(
            space.pairs,
            lambda k=kernel: timed(k.ours, beds),
            lambda k=kernel: timed(k.loop, beds),
        )
        ratios[name] = [loop / ours for ours, loop in runs]
    tell(found, "kernels", ratios)
    return found


def check(name: str, kernel: Kernel, bed: Drawn) -> None:
    """Refuse a kernel that does not give what the loop gives.

    Raises:
        AssertionError: if it does not.
    """
    np.testing.assert_allclose(
        kernel.ours(bed),
        kernel.loop(bed),
        rtol=kernel.tolerance,
        atol=kernel.tolerance,
        err_msg=name,
    )


def timed(way: Callable[[Drawn], Any], bed: Drawn) -> float:
    """Return the seconds of one run."""
    started = time.perf_counter()
    way(bed)
    return time.perf_counter() - started


def drawn(n_records: int, n_models: int, seed: int = 1) -> Drawn:
    """Draw margins; references come in complementary pairs, each side having several.

    Args:
        n_records: how many.
        n_models: references, an even number from 8 on.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    # The first four are two pairs that put two references on either side of a record.
    half = rng.random((n_models // 2, n_records)) < 0.5
    half[1] = ~half[0]
    in_models = np.stack([half, ~half], axis=1).reshape(n_models, n_records)
    easy = rng.normal(0, SPREAD, n_records)
    member = rng.random(n_records) < 0.5
    noise = rng.normal(size=(n_models + 1, n_records))
    margin = easy + LEAK * np.vstack((member, in_models)) + noise
    return Drawn(margin[0], margin[1:], in_models, member)


def _lira(bed: Drawn) -> NDArray[np.float64]:
    views = bed.margin[..., None]
    sides = moments(views, bed.in_models), moments(views, ~bed.in_models)
    return lira.online(bed.target[:, None], *sides, "record")


def _rmia(bed: Drawn) -> NDArray[np.float64]:
    log_p = margins.log_mean_confidence(bed.margin[..., None])
    log_in, log_out = (
        margins.log_mean(log_p, side) for side in (bed.in_models, ~bed.in_models)
    )
    own = margins.log_mean_confidence(bed.target[:, None])
    ratio = rmia.log_ratio(own, rmia.log_prior_online(log_in, log_out, SLOPE))
    return rmia.share(ratio, ratio[~bed.member])


def _prior(bed: Drawn) -> lira.Hierarchy:
    views = bed.margin[..., None]
    sides = moments(views, bed.in_models), moments(views, ~bed.in_models)
    return lira.fitted_hierarchy(bed.target[:, None], *sides)


def _amortised(bed: Drawn) -> NDArray[np.float32]:
    sides = bed.in_models, ~bed.in_models
    of_references = evidence(bed.margin[..., None], *sides)
    return traits.features(bed.target[:, None], of_references, _prior(bed))


KERNELS = {
    "lira": Kernel(
        _lira, lambda bed: loops.lira(bed.target, bed.margin, bed.in_models), CLOSE
    ),
    "rmia": Kernel(
        _rmia,
        lambda bed: loops.rmia(bed.target, bed.margin, bed.in_models, ~bed.member),
        CLOSE,
    ),
    "intervals": Kernel(
        lambda bed: intervals.auc(bed.target, bed.member, CONFIDENCE),
        lambda bed: loops.auc_interval(bed.target, bed.member, CONFIDENCE),
        CLOSE,
    ),
    "amortised": Kernel(
        _amortised,
        lambda bed: loops.amortised_features(
            bed.target, bed.margin, bed.in_models, _prior(bed)
        ),
        CLOSE_FEATURES,
    ),
}
