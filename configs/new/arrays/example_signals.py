"""Write signals.npz: what a target and eight references say of 600 records.

REPLACE this file by what asks your own models; only the arrays at its end matter.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

N_RECORDS, N_CLASSES, N_PAIRS = 600, 10, 4


def halves(rng: np.random.Generator) -> np.ndarray:
    """Return which records each model is trained on, the target first.

    References come in pairs: one on a random half, its twin on the rest.
    """
    target, *firsts = rng.random((1 + N_PAIRS, N_RECORDS)).argsort(axis=1) % 2 == 0
    pairs = [half for first in firsts for half in (first, ~first)]
    return np.stack([target, *pairs])


def main() -> None:
    """Train models on digits, a quarter of them with a wrong label."""
    rng = np.random.default_rng(1)
    digits = load_digits()
    chosen = rng.permutation(len(digits.target))[:N_RECORDS]
    image, label = digits.data[chosen] / 16, digits.target[chosen]
    wrong = rng.random(N_RECORDS) < 0.25
    label[wrong] = (label[wrong] + rng.integers(1, N_CLASSES, wrong.sum())) % N_CLASSES

    member = halves(rng)
    logits = []
    for seed, half in enumerate(member):
        model = MLPClassifier((64,), max_iter=150, tol=0, random_state=seed)
        model.fit(image[half], label[half])
        # Log-probabilities serve as logits; probabilities would not.
        logits.append(model.predict_log_proba(image))

    np.savez_compressed(
        "signals.npz",
        logits=np.stack(logits).astype(np.float32),  # (n_models, n_records, n_classes)
        label=label,  # (n_records,)
        member=member,  # (n_models, n_records): who was trained on what
        inputs=image.astype(np.float32),  # (n_records, ...), if you like
    )


if __name__ == "__main__":
    main()
