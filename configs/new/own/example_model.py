"""Train the example's model on its members, and save it as model.ckpt.

Remove this file when the model is your own.
"""

import mindspore as ms
import numpy as np
from data import datasets
from mindspore import nn
from network import build

EPOCHS, BATCH = 60, 30


def main() -> None:
    """Train long enough to learn the wrong labels by heart."""
    ms.set_seed(1)
    ms.set_context(mode=ms.GRAPH_MODE)
    members, _ = datasets()
    rows = list(members.create_dict_iterator(output_numpy=True, num_epochs=1))
    image = np.stack([row["image"] for row in rows])
    label = np.stack([row["label"] for row in rows])

    network = build()
    optimizer = nn.Adam(network.trainable_params(), learning_rate=0.003)
    with_loss = nn.WithLossCell(network, nn.CrossEntropyLoss())
    step = nn.TrainOneStepCell(with_loss, optimizer).set_train()
    rng = np.random.default_rng(1)
    for _ in range(EPOCHS):
        for batch in rng.permutation(len(rows)).reshape(-1, BATCH):
            step(ms.Tensor(image[batch]), ms.Tensor(label[batch]))
    ms.save_checkpoint(network, "model.ckpt")


if __name__ == "__main__":
    main()
