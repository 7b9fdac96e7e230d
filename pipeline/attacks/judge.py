"""Judge: a likelihood ratio learned once, on models of many other beds.

A bed is a set of models of one recipe whose memberships are all known. Features of
records that name no record, class or model mean about the same on every bed, so that
networks trained on some beds judge the records of another: by one reference, or by none
at all. They are shipped in ``judge.npz``; ``judge.md`` beside it says on what they were
trained. Every score is higher for a likelier member.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipeline.attacks.evidence import blocks, view_spread
from pipeline.attacks.traits import RATIO, Prepared, clipped
from pipeline.signals import margins
from pipeline.signals.stored import Stored

WEIGHTS = "judge.npz"
# Records by which the mean of a class is drawn towards that of all.
CLASS_WEIGHT = 3.0
LEAST_ENTROPY = 1e-3  # nats, below which entropies are not told apart
WIDTH = 27  # features of a signal with several views; of one view there are fewer
# Nats, at which a likelihood ratio is clipped, and to which it is scaled.
FARTHEST_RATIO, RATIO_UNIT = 8.0, 3.0
LEAST_POWER = 0.05  # of scaled ratios, below which references say nothing
ROUNDING = 1e-9  # of a feature's largest value: what varies by less is constant


class Network(NamedTuple):
    """Weights and biases of the layers; between layers, what is negative becomes 0."""

    weights: tuple[NDArray[np.float32], ...]  # (n_inputs, n_outputs) each
    biases: tuple[NDArray[np.float32], ...]  # (n_outputs,) each


class Judge(NamedTuple):
    """Networks whose log-odds are averaged."""

    alone: tuple[Network, ...]  # of `outputs`, without any reference
    beside: tuple[Network, ...]  # of `outputs` and what references say


@cache
def shipped() -> Judge:
    """Return the judge that comes with the project."""
    weights = resources.files(__package__) / WEIGHTS
    with weights.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return unpacked(arrays)


def packed(judge: Judge) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a judge by name, as they are shipped."""
    return {
        f"{part}.{place}.{kind}.{layer}": array
        for part, networks in judge._asdict().items()
        for place, network in enumerate(networks)
        for kind, arrays in network._asdict().items()
        for layer, array in enumerate(arrays)
    }


def unpacked(arrays: Mapping[str, NDArray[np.float32]]) -> Judge:
    """Return the judge whose arrays `packed` has named."""

    def listed(start: str) -> list[str]:
        """Return what stands next after a start, in the order of its numbers."""
        own = (name.removeprefix(start) for name in arrays if name.startswith(start))
        return sorted({name.partition(".")[0] for name in own}, key=int)

    def layers(start: str) -> tuple[NDArray[np.float32], ...]:
        return tuple(arrays[start + layer] for layer in listed(start))

    def networks(part: str) -> tuple[Network, ...]:
        return tuple(
            Network(*(layers(f"{part}.{place}.{kind}.") for kind in Network._fields))
            for place in listed(f"{part}.")
        )

    return Judge(*(networks(part) for part in Judge._fields))


def log_odds(
    networks: Sequence[Network], inputs: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return log-odds of membership, averaged over networks.

    Args:
        networks: of the same inputs.
        inputs: (n_records, n_features).
    """
    out = np.zeros(len(inputs))
    for rows in blocks(len(inputs), inputs.shape[1]):
        for network in networks:
            values = np.asarray(inputs[rows], dtype=np.float64)
            for place, (weights, bias) in enumerate(
                zip(network.weights, network.biases, strict=True)
            ):
                values = (np.maximum(values, 0) if place else values) @ weights + bias
            out[rows] += values[:, 0]
    return out / len(networks)


class Standard(NamedTuple):
    """What features are measured against."""

    centre: NDArray[np.float64]  # (n_features,)
    spread: NDArray[np.float64]  # (n_features,) infinite where a feature is constant

    def of(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return (n_rows, n_features) less the centre, by the spread, clipped."""
        wide = np.asarray(features, dtype=np.float64)
        return clipped(wide, self.centre, self.spread)


def standard(
    features: NDArray[np.floating[Any]], audited: NDArray[np.bool_]
) -> Standard:
    """Return mean and standard deviation of features.

    Args:
        features: (n_records, n_features).
        audited: (n_records,) the records of which both are taken.
    """
    centre, spread = np.empty((2, features.shape[1]))
    # One after the other: all together need as much room again as the features.
    for place, column in enumerate(features.T):
        own = column[audited].astype(np.float64)
        centre[place], spread[place] = own.mean(), own.std()
        if spread[place] <= ROUNDING * np.abs(own).max():
            spread[place] = np.inf
    return Standard(centre, spread)


def outputs(
    logits: Stored,
    margin: NDArray[np.floating[Any]],
    recalibrated: NDArray[np.floating[Any]],
    label: NDArray[np.integer[Any]],
    audited: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return features of what a model says of each record, by themselves.

    They are the margin, its log confidence and what is left for the other classes, the
    entropy, the largest logit and its lead, the own logit and their spread, as they are
    and less what is usual in the record's class; and with several views how these
    differ.

    Args:
        logits: (n_records, n_views, n_classes); without classes they tell nothing.
        margin: (n_records, n_views) in nats.
        recalibrated: (n_records, n_views) of the corrected logits.
        label: (n_records,) classes; equal for all where they are unknown.
        audited: (n_records,) the records of which the usual is taken.

    Returns:
        (n_records, n_features), standardised.
    """
    phi, corrected = (
        np.asarray(values, dtype=np.float64).mean(axis=1)
        for values in (margin, recalibrated)
    )
    log_p, log_corrected = map(margins.log_mean_confidence, (margin, recalibrated))
    rest = margins.log_confidence(-np.asarray(margin, dtype=np.float64)).mean(axis=1)
    pattern = _pattern(logits, label)
    place = np.unique(label, return_inverse=True)[1]
    in_class = [phi, log_p, corrected, log_corrected, *pattern[:-1]]
    columns = chain(
        [*in_class, rest, corrected - phi, pattern[-1]],
        (_within_class(values, place, audited) for values in in_class),
        [view_spread(margin), margin[:, 0] - phi, recalibrated[:, 0] - corrected],
    )
    out = np.empty((len(label), 2 * len(in_class) + 6))
    for column, values in enumerate(columns):
        values = values[:, None]
        out[:, column, None] = standard(values, audited).of(values)
    return out


def _pattern(logits: Stored, label: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return (6, n_records) features of the logits, averaged over the views.

    They are the log of the entropy, the largest logit, its lead, their spread, the own
    logit, and whether the own is the largest.
    """
    if not logits.shape[2]:
        return np.zeros((6, len(label)))
    width = logits.shape[1] * logits.shape[2]
    parts = [
        _pattern_of(logits[rows], label[rows]) for rows in blocks(len(label), width)
    ]
    return np.concatenate(parts, axis=1)


def _pattern_of(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.mean(axis=2, keepdims=True)
    log_p = special.log_softmax(z, axis=2)
    entropy = -(np.exp(log_p) * log_p).sum(axis=2)
    second, first = np.moveaxis(np.partition(z, -2, axis=2)[..., -2:], 2, 0)
    own = np.take_along_axis(z, label[:, None, None], axis=2)[..., 0]
    right = z.argmax(axis=2) == label[:, None]
    by_view = (
        np.log(entropy + LEAST_ENTROPY),
        *(first, first - second, z.std(axis=2), own, right),
    )
    return np.stack([values.mean(axis=1) for values in by_view])


def _within_class(
    values: NDArray[np.float64],
    place: NDArray[np.integer[Any]],
    audited: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return values less the mean of their class, which is shrunk to that of all.

    Args:
        values: (n_records,).
        place: (n_records,) of each record's class among those there are.
        audited: (n_records,) the records of which the means are taken.
    """
    usual = values[audited].mean()
    away = np.bincount(place, (values - usual) * audited)
    count = np.bincount(place, audited)
    return np.asarray(values - usual - (away / (count + CLASS_WEIGHT))[place])


class Beside(NamedTuple):
    """What references say of each record."""

    # Of each signal that is there (n_records, n_features) of its traits.
    signals: tuple[tuple[NDArray[np.float32], Standard] | None, ...]
    ratios: NDArray[np.float64]  # (n_records, n_signals) log likelihood ratios, clipped
    power: NDArray[np.float64]  # (n_signals,) how far the ratios vary over the records
    counts: NDArray[np.int64]  # (n_records, 2) IN and OUT references

    def features(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return (n_rows, n_features) of some records for `Judge.beside`."""
        counts = self.counts[rows]
        columns = np.zeros((len(counts), len(self.signals), WIDTH))
        for place, signal in enumerate(self.signals):
            if signal is not None:
                own, usual = signal
                columns[:, place, : own.shape[1]] = usual.of(own[rows])
        return np.hstack(
            [
                columns.reshape(len(counts), -1),
                self.ratios[rows] / RATIO_UNIT,
                np.log1p(counts),
                counts > 0,
                np.broadcast_to(self.power, (len(counts), len(self.power))),
            ]
        )


def beside(
    ready: Sequence[Prepared | None],
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
) -> Beside:
    """Return features of what a model says of each record beside its references.

    They are the traits by each signal, standardised; the likelihood ratios by it, which
    keep their scale, and how far these vary over the records; and how many references
    there are on either side.

    Args:
        ready: kinds of margins in a fixed order; None for one that is not there.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there.
        audited: (n_records,) whether the target may be trained on it.
    """
    ratios = np.zeros((in_models.shape[1], len(ready)))
    for place, signal in enumerate(ready):
        if signal is not None:
            ratios[:, place] = signal.features[:, RATIO]
    ratios = np.clip(ratios, -FARTHEST_RATIO, FARTHEST_RATIO)
    counts = [(side & kept).sum(axis=0) for side in (in_models, ~in_models)]
    return Beside(
        tuple(
            signal and (signal.features, standard(signal.features, audited))
            for signal in ready
        ),
        ratios,
        np.log((ratios[audited] / RATIO_UNIT).std(axis=0) + LEAST_POWER),
        np.stack(counts, axis=1),
    )
