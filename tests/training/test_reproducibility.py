"""The same bytes for any number of threads, any company of rows, any layout of the input."""

import platform
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fastmlp import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_JOBS = (1, 2, 3, 7)


@pytest.fixture(scope="module", params=[np.float32, np.float64])
def digits(request):
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(request.param), y


def parameter_bytes(model):
    return b"".join(array.tobytes() for array in model.coefs_ + model.intercepts_)


@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu"])
@pytest.mark.parametrize(
    "solver",
    [{"solver": "adam"}, {"solver": "sgd"}, {"solver": "sgd", "momentum": 0.0}],
    ids=["adam", "nesterov", "sgd"],
)
@pytest.mark.parametrize("hidden", [(), (100,), (33, 16, 5)])
def test_bits_do_not_depend_on_thread_count(digits, every_thread_works, hidden, solver, activation):
    X, y = digits
    X, y = X[:500], y[:500]
    weight = np.random.RandomState(0).uniform(0.5, 2, len(y))
    models = [
        MLPClassifier(
            hidden, activation, max_iter=3, random_state=0, batch_size=64, n_jobs=n, **solver
        ).fit(X, y, weight)
        for n in N_JOBS
    ]
    assert len({parameter_bytes(model) for model in models}) == 1
    assert len({tuple(model.loss_curve_) for model in models}) == 1
    assert len({model.predict_proba(X).tobytes() for model in models}) == 1
    start = MLPClassifier(hidden, activation, max_iter=1, random_state=0, n_jobs=1, **solver)
    assert parameter_bytes(start.fit(X, y)) != parameter_bytes(models[0])


def test_bits_do_not_depend_on_thread_count_in_large_batches(
    digits, every_thread_works, monkeypatch
):
    monkeypatch.setattr("fastmlp._training.sgd.BLOCK_ROWS", 100)
    X, y = digits
    models = [
        MLPClassifier((40, 20), batch_size=len(X), max_iter=3, random_state=0, n_jobs=n).fit(X, y)
        for n in N_JOBS
    ]
    assert len({parameter_bytes(model) for model in models}) == 1


def test_bits_do_not_depend_on_where_a_launch_ends(digits, monkeypatch):
    X, y = digits
    whole = MLPClassifier(max_iter=2, random_state=0).fit(X, y)
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_LAUNCH", 1)
    pieces = MLPClassifier(max_iter=2, random_state=0).fit(X, y)
    assert parameter_bytes(whole) == parameter_bytes(pieces)


@pytest.mark.parametrize("binary", [False, True])
def test_bits_of_a_row_do_not_depend_on_the_other_rows(digits, every_thread_works, binary):
    X, y = digits
    y = y % 2 if binary else y
    model = MLPClassifier((50, 19), "tanh", max_iter=20, random_state=0).fit(X, y)
    expected = model.predict_proba(X)
    assert np.ptp(expected) > 0.5
    random_state = np.random.RandomState(0)
    for n_jobs in N_JOBS:
        model.n_jobs = n_jobs
        for size in (1, 2, 5, 8, 9, 17, 200, len(X)):
            rows = random_state.choice(len(X), size, replace=False)
            assert model.predict_proba(X[rows]).tobytes() == expected[rows].tobytes()


def test_layout_of_the_input_changes_no_bit(digits):
    X, y = digits
    X, y = X[:300], y[:300]
    wide = np.full((300, 100), np.nan, X.dtype)
    wide[:, 3:67] = X
    unaligned = np.frombuffer(b"\0" + X.tobytes(), X.dtype, offset=1).reshape(X.shape)
    frozen = X.copy()
    frozen.flags.writeable = False
    layouts = [X, np.asfortranarray(X), wide[:, 3:67], unaligned, frozen, X[::-1][::-1]]
    models = [MLPClassifier(max_iter=2, random_state=0).fit(layout, y) for layout in layouts]
    assert len({parameter_bytes(model) for model in models}) == 1
    predictions = {model.predict_proba(layouts[i]).tobytes() for i, model in enumerate(models)}
    assert len(predictions) == 1


SUBPROCESS = """
import sys, warnings
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier as Sklearn
from fastmlp import MLPClassifier
from fastmlp._engine.jit.target import target
warnings.simplefilter("ignore")
X, y = load_digits(return_X_y=True)
parameters = dict(hidden_layer_sizes=(100, 21), max_iter=3, random_state=0)
for activation in ("relu", "tanh", "logistic"):
    ours = MLPClassifier(activation=activation, **parameters).fit(X / 16, y)
    theirs = Sklearn(activation=activation, **parameters).fit(X / 16, y)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        ours.predict_proba(X / 16), theirs.predict_proba(X / 16), rtol=1e-7, atol=1e-12
    )
print(target().vector_bytes)
"""


# Numba's settings for other processors, and the size of their vectors.
OTHER_CPUS = [({"NUMBA_CPU_NAME": "generic"}, 16)]
if platform.machine().lower() in ("x86_64", "amd64"):
    OTHER_CPUS += [
        ({"NUMBA_CPU_NAME": "haswell"}, 32),
        ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, 32),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("changes, vector_bytes", OTHER_CPUS)
def test_other_instruction_sets_give_the_same_model(other_cpu, changes, vector_bytes):
    run = subprocess.run(
        [sys.executable, "-c", SUBPROCESS],
        env=other_cpu(**changes),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == vector_bytes
