"""Schedules, AdamW, warm-up and clipping, each against a few lines of NumPy over many steps."""

import numpy as np
import pytest
from oracles import naive

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._training.schedules import factors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 4))
Y = RNG.integers(0, 3, 50)
SIZES, BATCH, EPOCHS = [4, 6, 3], 10, 10
STEPS = EPOCHS * len(X) // BATCH
BASE = {
    "hidden_layer_sizes": (6,),
    "activation": "tanh",
    "batch_size": BATCH,
    "max_iter": EPOCHS,
    "shuffle": False,
    "random_state": 0,
    "learning_rate_init": 0.05,
    "n_iter_no_change": 1000,
}


def cosine(t):
    return 0.05 * (1 + np.cos(np.pi * t / STEPS)) / 2


def one_cycle(t):
    # PyTorch's OneCycleLR: pct_start 0.3, div_factor 25, final_div_factor 1e4, anneal "cos".
    def anneal(start, end, share):
        return end + (start - end) / 2 * (1 + np.cos(np.pi * share))

    first, highest, last = 0.05 / 25, 0.05, 0.05 / 25 / 1e4
    turn = 0.3 * STEPS - 1
    if t <= turn:
        return anneal(first, highest, t / turn)
    return anneal(highest, last, (t - turn) / (STEPS - 1 - turn))


def warm(t):
    return 0.05 * min(1, (t + 1) / (2.5 * len(X) / BATCH))


RATES = {
    "cosine": ({"learning_rate": "cosine"}, cosine),
    "one_cycle": ({"learning_rate": "one_cycle"}, one_cycle),
    "warmup": ({"warmup": 2.5}, warm),
    "constant": ({}, lambda t: 0.05),
}
RULES = {
    "sgd": ({"solver": "sgd", "momentum": 0}, naive.Sgd),
    "momentum": ({"solver": "sgd", "nesterovs_momentum": False}, naive.Momentum),
    "nesterov": ({"solver": "sgd"}, naive.Nesterov),
    "adam": ({"solver": "adam"}, naive.Adam),
    "adamw": ({"solver": "adamw", "weight_decay": 0.3, "alpha": 0.0}, naive.Adam),
}


def trained_oracle(rule, rate, alpha, decay=0.0, limit=np.inf):
    """The same fit step by step: rates, decay of the weights, and the clipped gradient."""
    start = MLPClassifier(**{**BASE, "solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1})
    start.fit(X, Y)
    mlp = naive.Mlp(start.coefs_, start.intercepts_, "tanh", "softmax", alpha)
    rule, targets = rule(0.05), naive.one_hot(Y, 3)
    for t in range(STEPS):
        rows = slice(t * BATCH % len(X), t * BATCH % len(X) + BATCH)
        coefs, intercepts = mlp.gradients(X[rows], targets[rows])
        norm = np.sqrt(sum((g**2).sum() for g in coefs + intercepts))
        gradients = [g * min(1, limit / norm) for g in coefs + intercepts]
        rule.eta = rate(t)
        for W in mlp.coefs:
            W *= 1 - rate(t) * decay
        rule.step(mlp.coefs + mlp.intercepts, gradients)
    return mlp.coefs + mlp.intercepts


def assert_equals_oracle(model, arrays):
    model.fit(X, Y)
    for ours, expected in zip(model.coefs_ + model.intercepts_, arrays, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("schedule", RATES)
@pytest.mark.parametrize("solver", RULES)
def test_a_fit_equals_the_oracle_over_fifty_steps(solver, schedule):
    (parameters, rule), (rates, rate) = RULES[solver], RATES[schedule]
    model = MLPClassifier(**{**BASE, "alpha": 0.01, **parameters, **rates})
    assert_equals_oracle(
        model, trained_oracle(rule, rate, model.alpha, decay=0.3 * (solver == "adamw"))
    )
    assert STEPS == 50


@pytest.mark.parametrize("limit", [1e-3, 0.3, 1e6])
@pytest.mark.parametrize("solver", RULES)
def test_clipping_equals_the_oracle(solver, limit):
    parameters, rule = RULES[solver]
    model = MLPClassifier(**{**BASE, "alpha": 0.01, "max_grad_norm": limit, **parameters})
    decay = 0.3 * (solver == "adamw")
    oracle = trained_oracle(rule, lambda t: 0.05, model.alpha, decay, limit)
    assert_equals_oracle(model, oracle)


def test_a_limit_above_every_norm_changes_no_bit():
    for solver in ("sgd", "adam"):
        free = MLPClassifier(**BASE, solver=solver).fit(X, Y)
        limited = MLPClassifier(**BASE, solver=solver, max_grad_norm=1e6).fit(X, Y)
        # The gradient is rounded once more on its way through memory, by no more than that.
        np.testing.assert_allclose(free.coefs_[0], limited.coefs_[0], rtol=1e-10, atol=1e-12)


def test_clipping_keeps_a_fit_finite_that_diverges_without():
    y = 1e6 * X[:, 0]
    parameters = {"solver": "sgd", "random_state": 0, "learning_rate_init": 0.01}
    with pytest.raises(ValueError, match="non-finite"):
        MLPRegressor(**parameters).fit(X, y)
    model = MLPRegressor(**parameters, max_grad_norm=1.0).fit(X, y)
    assert np.isfinite(model.loss_)


def test_clipping_works_on_sparse_input_and_on_batches_of_several_blocks(monkeypatch):
    from scipy.sparse import csr_array

    parameters = {**BASE, "max_grad_norm": 0.1, "batch_size": 30}
    dense = MLPClassifier(**parameters).fit(X, Y)
    sparse = MLPClassifier(**parameters).fit(csr_array(X), Y)
    monkeypatch.setattr("fastmlp._training.sgd.BLOCK_ROWS", 7)
    blocks = MLPClassifier(**parameters).fit(X, Y)
    for model in (sparse, blocks):
        for a, b in zip(dense.coefs_, model.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
def test_factors_go_on_from_epoch_to_epoch_and_stay_at_the_end(name, epochs):
    whole = factors(name, 0, 5 * epochs, 1, 0)
    parts = [factors(name, 5 * epoch, 5, epochs, 0) for epoch in range(epochs)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole <= 1).all()
    assert (whole >= 0).all()
    beyond = factors(name, 5 * epochs + 1, 5, epochs, 0)
    assert np.ptp(beyond) == 0
    assert beyond[0] <= whole.min()


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [0, 0.2, 1])
def test_no_schedule_divides_by_zero(name, warmup):
    with np.errstate(all="raise"):
        for total in range(1, 12):
            assert (factors(name, 0, total, 1, warmup) > -1e-16).all()


def test_one_cycle_of_the_shortest_fits_is_finite():
    for total in (1, 2, 3, 4):
        rates = factors("one_cycle", 0, total, 1, 0)
        assert np.isfinite(rates).all()
        np.testing.assert_allclose(rates[-1], 1 / 250_000)


def test_clipping_holds_where_squares_exceed_float32():
    X, y = np.full((8, 1), 1e10, np.float32), np.full(8, 1e12, np.float32)
    parameters = dict(hidden_layer_sizes=(), solver="sgd", momentum=0, max_iter=1, random_state=0)
    model = MLPRegressor(learning_rate_init=1.0, max_grad_norm=1.0, **parameters).fit(X, y)
    begun = MLPRegressor(learning_rate_init=1e-40, **parameters).fit(X * 0, y * 0)
    step = np.abs(model.coefs_[0] - begun.coefs_[0])
    np.testing.assert_allclose(step, 1.0, rtol=1e-5)
