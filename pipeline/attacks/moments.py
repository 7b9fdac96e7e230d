"""Moments: count, mean and scatter of the references' signals, per record and side."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import LacksError


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of a signal over the references on one side of a record.

    A side holds the references that were trained on the record (IN), or those that were
    not (OUT). Moments are small, so the signals of a million records can be streamed.
    """

    count: NDArray[np.int64]  # (n_records,) references on this side
    mean: NDArray[np.float64]  # (n_records, n_axes); 0 where there are none
    scatter: NDArray[np.float64]  # (n_records, n_axes, n_axes) about the mean


def moments(signal: NDArray[np.floating[Any]], chosen: NDArray[np.bool_]) -> Moments:
    """Return the moments over the chosen models of each record.

    Args:
        signal: (n_models, n_records, n_axes).
        chosen: (n_models, n_records) whether a model is on the side in question.
    """
    count = chosen.sum(axis=0)
    wide = np.where(chosen[:, :, None], signal, 0.0).astype(np.float64, copy=False)
    mean = wide.sum(axis=0) / np.maximum(count, 1)[:, None]
    wide -= mean
    # This has shifted the zeros of models that are not chosen: back to zero.
    wide *= chosen[:, :, None]
    scatter = np.einsum("mra,mrb->rab", wide, wide)
    return Moments(count, mean, scatter)


def along(side: Moments, basis: NDArray[np.float64]) -> Moments:
    """Return the moments of the signal's linear combinations.

    Args:
        side: with n_axes axes.
        basis: (n_axes, n_new) coefficients of each combination.
    """
    scatter = np.einsum("ap,rab,bq->rpq", basis, side.scatter, basis)
    return Moments(side.count, side.mean @ basis, scatter)


def joined(blocks: list[Moments]) -> Moments:
    """Return the moments of successive blocks of records as a whole."""
    return Moments(
        np.concatenate([block.count for block in blocks]),
        np.concatenate([block.mean for block in blocks]),
        np.concatenate([block.scatter for block in blocks]),
    )


def part(side: Moments, rows: slice) -> Moments:
    """Return the moments of a block of records."""
    return Moments(side.count[rows], side.mean[rows], side.scatter[rows])


def mean_axis(n_axes: int) -> NDArray[np.float64]:
    """Return the (n_axes, 1) basis that averages the views."""
    return np.full((n_axes, 1), 1.0 / n_axes)


def principal_axes(in_side: Moments, out_side: Moments) -> NDArray[np.float64]:
    """Return the (n_axes, n_axes) basis in which residuals are uncorrelated.

    The views of a record are modelled jointly by a Gaussian whose covariance has the
    principal axes of all residuals pooled; along these it is a product of univariate
    ones.
    """
    pooled = in_side.scatter.sum(axis=0) + out_side.scatter.sum(axis=0)
    return np.asarray(np.linalg.eigh(pooled)[1])


def with_both_sides(in_side: Moments, out_side: Moments) -> tuple[Moments, Moments]:
    """Fill in the mean of a side on which a record has no reference.

    It is the mean of the other side, shifted by the mean difference of the sides: over
    the records that have both or, if there are none, between the sides' own records.

    Raises:
        LacksError: if a side has no reference on any record, or a record none at all.
    """
    has_in, has_out = in_side.count > 0, out_side.count > 0
    if not (has_in | has_out).all():
        msg = "a record has no reference at all"
        raise LacksError(msg)
    if (has_in & has_out).all():
        return in_side, out_side
    if not has_in.any() or not has_out.any():
        missing = "OUT" if has_in.any() else "IN"
        msg = f"no record has a reference that it is {missing} of"
        raise LacksError(msg)
    both = has_in & has_out
    of_in, of_out = (both, both) if both.any() else (has_in, has_out)
    gap = in_side.mean[of_in].mean(axis=0) - out_side.mean[of_out].mean(axis=0)
    mean_in = np.where(has_in[:, None], in_side.mean, out_side.mean + gap)
    mean_out = np.where(has_out[:, None], out_side.mean, in_side.mean - gap)
    return (
        Moments(in_side.count, mean_in, in_side.scatter),
        Moments(out_side.count, mean_out, out_side.scatter),
    )
