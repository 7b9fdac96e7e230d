"""Trial: a network that is tried on few records, before anything is trained."""

import time
from pathlib import Path

import numpy as np

from pipeline.cache.costs import Pass
from pipeline.cache.kinds import Records
from pipeline.config import Data, Features, Target
from pipeline.data import preprocessing
from pipeline.models import checkpoints, devices, extraction, inference, networks
from pipeline.models.logits import Logits

N_TRIED, TRIED_BATCH_SIZE = 96, 32


def tried(
    settings: Target,
    data: Data,
    features: Features,
    records: Records,
    device: str | None = None,
) -> Pass:
    """Refuse what would be refused after hours: a network that gives no logits.

    It is tried on a few records as `features` will run it, with the weights of the
    checkpoint or, if it is still to be trained, with those that it is made with.

    Args:
        settings: of the target.
        data: where the records come from.
        features: how the network will be run.
        records: all of them.
        device: to run on; None for that of `features`.

    Returns:
        What a pass takes.

    Raises:
        AuditError: if the network cannot be audited.
    """
    started = time.perf_counter()
    devices.start(device or features.device)
    n_classes = settings.n_classes or int(records.n_classes)
    network = networks.of_target(settings, n_classes)
    is_trained = settings.checkpoint is not None
    if is_trained:
        path = Path(str(settings.checkpoint))
        checkpoints.load(network, path, prefix=settings.prefix)
    extractor = inference.Extractor(
        Logits(network, n_classes, settings.output),
        precision=features.precision,
        batch_size=TRIED_BATCH_SIZE,
        mode=features.mode,
    )
    rows = np.arange(min(N_TRIED, len(records.id)))
    how = preprocessing.member_augmentation(features, records.member)
    batches = list(
        extraction.batches(data, records, [rows], features.views, TRIED_BATCH_SIZE, how)
    )
    outputs = extractor.read(batches, len(rows))
    _, distinct = np.unique(records.content[rows], return_index=True)
    inference.check_scale(
        outputs.logits[distinct],
        settings.checkpoint or "target.network",
        is_trained=is_trained,
    )
    compiled = time.perf_counter()
    extractor.read(batches, len(rows))
    seconds = (time.perf_counter() - compiled) / len(features.views)
    n_bytes = sum(weights.nbytes for weights in network.get_parameters())
    return Pass(compiled - started, seconds / len(rows), n_bytes)
