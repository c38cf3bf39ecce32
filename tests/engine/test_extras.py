"""Plain kernels beside whole ones: the same bytes, where a plain one is enough."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastmlp import CustomActivation, CustomLoss, MLPClassifier, MLPRegressor
from fastmlp._engine.kernels.activations import ACTIVATIONS
from fastmlp._engine.kernels.losses import LOSSES
from fastmlp._engine.records import Plain, job_dtype
from fastmlp._engine.training_workspace import LEAST_SPLIT_K_INPUTS
from fastmlp._engine.workspace import Workspace
from fastmlp._training.sgd import BLOCK_ROWS

RANDOM = np.random.RandomState(0)
X, Y = RANDOM.randn(70, 30), RANDOM.randint(0, 3, 70)
WIDE = RANDOM.randn(20, LEAST_SPLIT_K_INPUTS)
UNITS = (20,)  # too many for tiles of columns


def square(z):
    return z * z


def twice(z):
    return 2 * z


def squared_difference(y, a):
    return (a - y) ** 2


def twice_the_difference(y, a):
    return 2 * (a - y)


def classifier(X=X, y=Y, **parameters):
    options = {"hidden_layer_sizes": UNITS, "max_iter": 3, "random_state": 0, "batch_size": 16}
    return MLPClassifier(**options | parameters).fit(X, y)


def regressor(loss):
    return MLPRegressor(loss, UNITS, max_iter=3, random_state=0).fit(X, np.abs(X[:, 0]))


PLAIN = {
    "defaults": classifier,
    "two classes": lambda: classifier(y=Y > 1),
    "multilabel": lambda: classifier(y=np.column_stack([Y > 0, Y > 1])),
    "tanh": lambda: classifier(activation="tanh", hidden_layer_sizes=(20, 30)),
    "logistic": lambda: classifier(activation="logistic"),
    "identity": lambda: classifier(activation="identity"),
    "no hidden layer": lambda: classifier(hidden_layer_sizes=(), y=np.arange(70) % 14),
    "sgd": lambda: classifier(solver="sgd"),
    "momentum": lambda: classifier(solver="sgd", nesterovs_momentum=False),
    "adamw": lambda: classifier(solver="adamw", weight_decay=0.1),
    "lbfgs": lambda: classifier(solver="lbfgs"),
    "float32": lambda: classifier(X.astype(np.float32)),
    "bfloat16": lambda: classifier(X.astype(np.float32), precision="bfloat16"),
    "label smoothing": lambda: classifier(label_smoothing=0.1),
    "weights": lambda: classifier(class_weight="balanced"),
    "several blocks": lambda: classifier(
        np.tile(X, (20, 1)), np.tile(Y, 20), batch_size=BLOCK_ROWS + 1
    ),
    "early stopping": lambda: classifier(early_stopping=True),
    "squared error": lambda: regressor("squared_error"),
    "squared error of a classifier": lambda: classifier(loss="squared_error"),
    "frozen": lambda: classifier(warm_start=True, frozen_layers=[0]),
}
WHOLE = {
    **{each.name: lambda name=each.name: classifier(activation=name) for each in ACTIVATIONS[4:]},
    **{name: lambda name=name: regressor(name) for name in list(LOSSES)[2:]},
    "dropout": lambda: classifier(dropout=0.5),
    "clipping": lambda: classifier(max_grad_norm=0.1),
    "sparse": lambda: classifier(csr_array(np.maximum(X, 0))),
    "columns": lambda: classifier(hidden_layer_sizes=(7,)),
    "chunks": lambda: classifier(
        np.tile(X, (40, 3)), np.tile(Y, 40), batch_size=2000, hidden_layer_sizes=(7,)
    ),
    "split-K": lambda: classifier(WIDE, Y[:20], batch_size=2),
    "own activation": lambda: classifier(activation=CustomActivation(square, twice)),
    "own loss": lambda: regressor(CustomLoss(squared_difference, twice_the_difference)),
    "own loss of classes": lambda: classifier(
        loss=CustomLoss(squared_difference, twice_the_difference)
    ),
}


@pytest.fixture
def launched(monkeypatch):
    """Of each launch, whether its kernel is a plain one."""
    run, found = Workspace.run, []

    def note(self, kernel, **options):
        address = kernel.address

        class Noted:
            @staticmethod
            def address(kind):
                found.append(isinstance(kind, Plain))
                return address(kind)

        return run(self, Noted, **options)

    monkeypatch.setattr(Workspace, "run", note)
    return found


def outcome(make):
    """All bytes of a model, and of its outputs for some rows."""
    model = make()
    rows = np.resize(X, (30, model.n_features_in_)).astype(model.coefs_[0].dtype)
    predict = getattr(model, "predict_proba", model.predict)
    return [each.tobytes() for each in (*model.coefs_, *model.intercepts_, predict(rows))]


@pytest.mark.parametrize("name", [*PLAIN, *WHOLE])
def test_plain_kernels_compute_the_same_bytes(name, launched, monkeypatch):
    make = (PLAIN | WHOLE)[name]
    found = outcome(make)
    assert launched and (all(launched) if name in PLAIN else not launched[0])
    launched.clear()
    monkeypatch.setattr(Workspace, "note_extras", lambda self: setattr(self, "_needs_extras", True))
    assert outcome(make) == found
    assert launched and not any(launched)


@pytest.mark.parametrize("whole", [np.float32, np.float64])
def test_both_kinds_of_job_have_the_same_layout(whole):
    jobs = [job_dtype(kind) for kind in (whole, Plain(whole))]
    offsets = [{name: job.fields[name][1] for name in job.names} for job in jobs]
    assert offsets[0] == offsets[1] and jobs[0].itemsize == jobs[1].itemsize
    assert jobs[0] != jobs[1]
