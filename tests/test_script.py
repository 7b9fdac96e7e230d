"""A script in the shape of MindArmour's tutorial, run on this project's class."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from membership_audit import AuditError, MembershipInference
from pipeline import draws
from pipeline.signals import margins
from tests.conftest import PROJECT, environment

SCRIPT = """
import sys

import mindspore as ms
import mindspore.dataset as de
import numpy as np
from mindspore import Model, nn

from membership_audit import MembershipInference

rng = np.random.default_rng(0)
label = rng.integers(0, 4, 240).astype(np.int32)
image = rng.normal(size=(240, 6)).astype(np.float32)


def dataset(rows):
    columns = {"image": image[rows], "label": label[rows]}
    return de.NumpySlicesDataset(columns, shuffle=False).batch(16)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.out = nn.Dense(6, 4)

    def construct(self, x):
        return self.out(x) * 3


ms.set_seed(1)
model = Model(network=Net(), loss_fn=nn.SoftmaxCrossEntropyWithLogits(sparse=True))
train_train, eval_train = dataset(slice(0, 120)).split([0.75, 0.25], randomize=False)
train_test, eval_test = dataset(slice(120, 240)).split([0.75, 0.25], randomize=False)
config = [
    {"method": "lr", "params": {"C": np.logspace(-4, 2, 3)}},
    {"method": "KNN", "params": {"n_neighbors": [3, 5]}},
    {"method": "mlp", "params": {"hidden_layer_sizes": [(8,), (4, 4)]}},
    {
        "method": "rf",
        "params": {"n_estimators": [5], "max_features": ["auto", "sqrt"],
                   "max_depth": [5, None]},
    },
]
inference = MembershipInference(model, n_jobs=1, cache_dir=sys.argv[1])
inference.train(train_train, train_test, config)
result = inference.eval(eval_train, eval_test, ["precision", "accuracy", "recall"])
for each, rates in zip(config, result):
    print("Method: {}, {}".format(each["method"], rates))
report = inference.report()
print(sorted(attack["method"] for attack in report["attacks"])[:3])
print(sorted(report["controls"]))
"""


def test_a_script_in_the_tutorials_shape_runs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", "cache"],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    shown = [line for line in lines if line.startswith("Method: ")]
    names = [line.split(",")[0].split()[1] for line in shown]
    assert names[:4] == ["lr", "KNN", "mlp", "rf"]
    rates = eval(shown[0].partition(", ")[2])
    assert [*rates] == ["recall", "precision", "accuracy"]
    assert all(value == round(value, 4) for value in rates.values())
    # The report's own lines are of the same attacks on the same records.
    assert names[4:] == ["lr", "knn", "mlp", "rf"]
    assert eval(shown[4].partition(", ")[2]) == rates
    assert lines[-2] == "['amortised', 'attack_p', 'confidence']"
    assert "'labels', 'null'" in lines[-1]
    assert (tmp_path / "cache" / "artifacts" / "script" / "report").is_dir()


@pytest.fixture(scope="module")
def network() -> Any:
    import mindspore as ms
    from mindspore import nn

    ms.set_seed(3)
    return nn.Dense(6, 3)


def dataset(rows: int, seed: int, shift: float = 0.0, batch: int = 16) -> Any:
    import mindspore.dataset as ds

    rng = np.random.default_rng(seed)
    columns = {
        "image": (rng.normal(size=(rows, 6)) + shift).astype(np.float32),
        "label": rng.integers(0, 3, rows).astype(np.int32),
    }
    whole = ds.NumpySlicesDataset(columns, shuffle=False)
    return whole.batch(batch) if batch else whole


def said(network: Any, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return features [loss, logits] of a dataset, record by record."""
    import mindspore as ms

    features = []
    for row in data.create_dict_iterator(output_numpy=True, num_epochs=1):
        logits = network(ms.Tensor(row["image"])).asnumpy()
        loss = margins.loss(margins.margin(logits, row["label"]))
        features.append(np.column_stack((loss, logits)))
    return np.concatenate(features), row


def test_all_columns_but_the_label_are_inputs_in_their_order() -> None:
    import mindspore as ms
    import mindspore.dataset as ds
    from mindspore import nn

    from pipeline.models import answers

    class Difference(nn.Cell):  # type: ignore[misc]
        def construct(self, second: Any, first: Any) -> Any:
            return ms.ops.concat((second - first, first), axis=1)

    rng = np.random.default_rng(1)
    second, first = rng.normal(size=(2, 5, 2)).astype(np.float32)
    label = np.arange(5, dtype=np.int32) % 4
    columns = {"second": second, "label": label, "first": first}
    given = ds.NumpySlicesDataset(columns, shuffle=False)
    answer = answers.answers(Difference(), "dataset_train", given)
    np.testing.assert_array_equal(answer.label, label)
    np.testing.assert_allclose(
        answer.logits, np.hstack((second - first, first)), rtol=1e-6
    )


CONFIG = [
    {"method": "lr", "params": {"C": [0.5]}},
    {"method": "knn", "params": {"n_neighbors": np.array([7])}},
    {"method": "knn", "params": {"n_neighbors": (3,)}},
]
LIST = ["accuracy", "recall", "precision"]


def test_the_metrics_are_those_of_the_classifiers_fitted_by_hand(
    network: Any, tmp_path: Path
) -> None:
    sides = dataset(90, 1, 0.8), dataset(60, 2)
    judged = dataset(50, 3, 0.8), dataset(40, 4)
    inference = MembershipInference(network, n_jobs=1, cache_dir=tmp_path)
    inference.train(*sides, CONFIG)
    result = inference.eval(*judged, LIST)

    features = np.vstack([said(network, side)[0] for side in sides])
    others = np.vstack([said(network, side)[0] for side in judged])
    member, truth = np.arange(150) < 90, np.arange(90) < 50
    state = draws.integer(1, "attack.fit")
    for rates, classifier in zip(
        result,
        (
            LogisticRegression(C=0.5, max_iter=300, random_state=state),
            KNeighborsClassifier(7),
            KNeighborsClassifier(3),
        ),
        strict=True,
    ):
        decided = classifier.fit(features, member).predict(others)
        assert rates == {
            "recall": round(decided[truth].mean(), 4),
            "precision": round(truth[decided].mean(), 4),
            "accuracy": round((decided == truth).mean(), 4),
        }
    # Batches, workers and a run from the cache change nothing.
    again = MembershipInference(network, n_jobs=2, cache_dir=tmp_path)
    again.train(dataset(90, 1, 0.8, batch=0), sides[1], CONFIG)
    assert again.eval(*judged, ("recall",)) == [
        {"recall": rates["recall"]} for rates in result
    ]


def test_an_attack_that_takes_nobody_for_a_member_has_no_precision(
    network: Any,
) -> None:
    inference = MembershipInference(network, n_jobs=1)
    few = dataset(10, 1), dataset(90, 2)
    inference.train(*few, [{"method": "lr", "params": {"C": [1e-4]}}])
    assert inference.eval(*few, ["precision", "accuracy"]) == [
        {"precision": 0.0, "accuracy": 0.9}
    ]


ATTACK_CONFIGS: list[tuple[Any, str]] = [
    (
        [],
        "attack_config: is []. Fix: give a list of dicts, each with a method and its ",
    ),
    ("lr", "attack_config: is 'lr'. Fix: give a list of dicts"),
    (
        [{"method": "lr"}],
        "attack_config[0]: has ['method']. Fix: give a dict with a method and its ",
    ),
    (
        [CONFIG[0], {"method": "svm", "params": {}}],
        "attack_config[1]: has the method 'svm'. Fix: use one of knn, lr, mlp, rf.",
    ),
    (
        [{"method": "lr", "params": [1]}],
        "attack_config[0]: has params of type list. Fix: give a dict of lists.",
    ),
    (
        [{"method": "lr", "params": {"C": 1.0}}],
        "attack_config[0].C: is 1.0. Fix: give a list of values to try.",
    ),
    (
        [{"method": "lr", "params": {"D": [1.0]}}],
        "attack_config[0].D: is not a parameter. Fix: use ",
    ),
    (
        [{"method": "lr", "params": {"C": [-1.0]}}],
        "attack_config[0].C: has the value -1.0. Fix: use a number > 0.",
    ),
]


@pytest.mark.parametrize(("attack_config", "message"), ATTACK_CONFIGS)
def test_attacks_that_cannot_be_are_refused(
    attack_config: Any, message: str, network: Any
) -> None:
    inference = MembershipInference(network)
    with pytest.raises(AuditError) as caught:
        inference.train(dataset(20, 1), dataset(20, 2), attack_config)
    assert str(caught.value).startswith(message)


def cases(network: Any) -> Iterator[tuple[Callable[[], Any], str]]:
    fresh = MembershipInference(network)
    yield (
        lambda: MembershipInference("model"),
        "model: is a str. Fix: give a mindspore.train.Model or an nn.Cell.",
    )
    for n_jobs in (0, -2, True, 1.0):
        yield (
            lambda n=n_jobs: MembershipInference(network, n),  # type: ignore[misc]
            f"n_jobs: is {n_jobs!r}. Fix: give -1, or a whole number >= 1.",
        )
    yield (
        lambda: MembershipInference(network, seed=-1),
        "seed: is -1. Fix: give a whole number >= 0.",
    )
    for metrics, problem in (
        (["auc"], "has 'auc'. Fix: use "),
        ([], "is []. Fix: give a list of recall, precision, accuracy."),
        ("recall", "is 'recall'. Fix: give a list of recall, precision, accuracy."),
    ):
        yield (
            lambda m=metrics: fresh.eval(dataset(20, 1), dataset(20, 1), m),  # type: ignore[misc]
            f"metrics: {problem}",
        )
    yield (
        lambda: fresh.eval(dataset(20, 1), dataset(20, 1), LIST),
        "eval: has no trained attacks. Fix: call train first.",
    )
    yield fresh.report, "report: has no trained attacks. Fix: call train first."
    yield (
        lambda: fresh.train([], dataset(20, 1), CONFIG),
        "dataset_train: is a list, not a mindspore dataset. "
        "Fix: give a pipeline of mindspore.dataset.",
    )
    yield (
        lambda: fresh.train(
            dataset(20, 1), dataset(20, 1).rename("label", "y"), CONFIG
        ),
        "dataset_test: has the columns image, y, and no label. Fix: rename them "
        "(dataset.rename), so that there is a label.",
    )
    yield (
        lambda: fresh.train(dataset(20, 1).project(["label"]), dataset(20, 1), CONFIG),
        "dataset_train: has no column but label. Fix: add what the network is given.",
    )
    yield (
        lambda: fresh.train(dataset(20, 1), dataset(20, 1).skip(9), CONFIG),
        "dataset_test: has no records. Fix: give a dataset that is not empty.",
    )


def test_what_a_script_does_wrong_is_told(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for act, message in cases(network):
        with pytest.raises(AuditError) as caught:
            act()
        assert str(caught.value).startswith(message)
    trained = MembershipInference(network, n_jobs=1)
    trained.train(dataset(20, 1), dataset(20, 2), CONFIG[:1])
    with pytest.raises(AuditError) as caught:
        trained.report()
    assert str(caught.value) == (
        "report: has no records to judge the attacks on. Fix: call eval first."
    )
    trained.eval(dataset(20, 1), dataset(20, 2), LIST)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AuditError) as caught:
        trained.report()
    assert str(caught.value) == "report: needs GNU make. Fix: install it."
