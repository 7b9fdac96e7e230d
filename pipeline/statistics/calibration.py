"""Calibration: whether a model is right as often as it is sure.

A model's confidence in a record is the probability that it gives to the class it puts
the record into.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of confidence, as in Guo et al. 2017


class Bins(NamedTuple):
    """Records in bins of equal width, by the model's confidence in them."""

    edges: NDArray[np.float64]  # (n_bins + 1,) from 0 to 1; a bin holds its upper edge
    records: NDArray[np.int64]  # (n_bins,) their number
    confidence: NDArray[np.float64]  # (n_bins,) mean; NaN where there is no record
    accuracy: NDArray[np.float64]  # (n_bins,) share that is right; NaN likewise


def reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], n_bins: int = BINS
) -> Bins:
    """Return how often a model is right where it is so sure.

    Args:
        confidence: (n_records,) probability of the class it puts a record into.
        correct: (n_records,) whether that is the record's class.
        n_bins: number of bins.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2, reliability diagrams.
    """
    edges = np.arange(n_bins + 1) / n_bins
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    sure, right = (
        np.bincount(place, weights=values, minlength=n_bins)
        for values in (confidence, correct)
    )
    some = np.where(count > 0, count, np.nan)
    return Bins(edges, count, sure / some, right / some)


def expected_error(bins: Bins) -> float:
    """Return the expected calibration error, in [0, 1].

    It is the difference of accuracy and mean confidence of each bin without its sign,
    averaged over the records. By chance alone it exceeds 0, the more so the fewer
    records there are.

    Args:
        bins: of one record or more.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    some = bins.records > 0
    gaps = np.abs(bins.accuracy[some] - bins.confidence[some])
    return float(np.average(gaps, weights=bins.records[some]))
