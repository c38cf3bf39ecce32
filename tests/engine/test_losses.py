"""Output activations, row losses and deltas."""

import itertools

import numpy as np
import pytest
from oracles import naive
from oracles.naive import assert_close

from fastmlp._engine.jit.target import target
from fastmlp._engine.kernels.losses import LOSSES, OUTPUTS, apply_output, row_loss_and_delta
from fastmlp._engine.network import round_up
from fastmlp._engine.records import job_dtype
from fastmlp._training import losses

DTYPES = [np.float32, np.float64]
WIDTHS = [(output, n) for output in OUTPUTS for n in (1, 2, 3, 10, 40)]
WIDTHS.remove(("softmax", 1))


def edges(dtype):
    """Output counts around whole vectors."""
    lanes = target().lanes(dtype)
    return sorted({2, 3, *(v * lanes + d for v in (1, 2, 3) for d in (-1, 0, 1))} - {1})


def outputs_of(output, z):
    """The network's outputs for logits z (rows, n_out); their padding holds ones beforehand."""
    rows, n_out = z.shape
    stride = round_up(n_out, target().lanes(z.dtype))
    # The identity leaves all as it is, zeros in the padding too.
    values = np.full((rows, stride), 0 if output == "identity" else 1, z.dtype)
    values[:, :n_out] = z
    apply_output(OUTPUTS[output], values.reshape(-1), rows, n_out, stride)
    finite = np.isfinite(z).all(axis=1)
    assert (values[finite, n_out:] == 0).all()
    return values[:, :n_out]


QUANTILES = np.linspace(0.05, 0.9, 40)  # of as many outputs


def make_hyperparameters(dtype, output, loss=None, **numbers):
    """Their record, for the output's canonical loss by default."""
    hyperparameters = np.zeros(1, job_dtype(dtype)["hyperparameters"])[0]
    hyperparameters["output"] = OUTPUTS[output]
    hyperparameters["loss_function"] = LOSSES[loss or naive.CANONICAL[output]]
    hyperparameters["quantiles"] = QUANTILES.ctypes.data
    for name, number in numbers.items():
        hyperparameters[name] = number
    return hyperparameters


def loss_and_delta(output, outputs, y, weight=1.0, **numbers):
    """Loss and delta of one row of outputs; y is a class number or a row of targets."""
    n_out = outputs.size
    a = np.zeros(round_up(n_out, target().lanes(outputs.dtype)), outputs.dtype)
    a[:n_out] = outputs
    y = np.atleast_1d(np.asarray(y, dtype=outputs.dtype))
    loss = row_loss_and_delta(
        make_hyperparameters(outputs.dtype.type, output, **numbers),
        n_out,
        a,
        y,
        outputs.dtype.type(weight),
    )
    assert (a[n_out:] == 0).all()
    return loss, a[:n_out]


def some_targets(output, n_out, rng):
    """(what the kernel takes, the same as a row of targets)."""
    if output == "softmax":
        label = rng.integers(n_out)
        return label, naive.one_hot([label], n_out)[0]
    if output == "logistic":
        y = rng.choice([0.0, 0.25, 1.0], n_out)
    else:
        y = rng.poisson(2.0, n_out).astype(np.float64)
    return y, y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs_equal_the_oracle_at_every_width(output, dtype):
    rng = np.random.default_rng(0)
    for n_out in edges(dtype):
        z = (5 * rng.standard_normal((4, n_out))).astype(dtype)
        expected = naive.OUTPUTS[output](z.astype(np.float64))
        # exp is 2 ulp off at most, but an argument near 15 carries its own rounding into it
        assert_close(outputs_of(output, z), expected, units=20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_rows_sum_to_one(dtype):
    rng = np.random.default_rng(0)
    for n_out in edges(dtype):
        a = outputs_of("softmax", (10 * rng.standard_normal((50, n_out))).astype(dtype))
        assert (a >= 0).all()
        assert np.abs(a.astype(np.float64).sum(axis=1) - 1).max() <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_unchanged_by_a_shift_of_the_logits(dtype):
    z = np.random.default_rng(0).integers(-40, 40, (20, 7)).astype(dtype) / 8
    np.testing.assert_array_equal(outputs_of("softmax", z), outputs_of("softmax", z + 1024))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_out", [2, 3, 17])
def test_softmax_is_safe_at_huge_logits(n_out, dtype):
    for label in range(n_out):
        z = np.full((1, n_out), -1e4, dtype)
        z[0, label] = 1e4
        a = outputs_of("softmax", z)
        np.testing.assert_array_equal(a, naive.one_hot([label], n_out))
        right, delta = loss_and_delta("softmax", a[0], label)
        np.testing.assert_allclose(right, np.finfo(dtype).eps, rtol=1e-6)
        np.testing.assert_array_equal(delta, np.zeros(n_out))
        wrong, _ = loss_and_delta("softmax", a[0], (label + 1) % n_out)
        assert_close(dtype(wrong), -np.log(np.finfo(dtype).eps), units=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_logits_share_equally_however_large(dtype):
    for size in (-1e4, -1, 0, 1e4):
        a = outputs_of("softmax", np.full((3, 5), size, dtype))
        assert_close(a, np.full((3, 5), 0.2), units=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_is_safe_at_huge_logits(dtype):
    a = outputs_of("logistic", np.array([[1e4, -1e4, 0]], dtype))
    np.testing.assert_array_equal(a, [[1, 0, 0.5]])
    eps = np.finfo(dtype).eps
    wrong, delta = loss_and_delta("logistic", a[0], [0, 1, 1])
    # 1 - (1 - eps) is eps again, so both wrong outputs cost -log eps
    assert_close(dtype(wrong), np.log(2) - 2 * np.log(eps), units=4)
    np.testing.assert_array_equal(delta, [1, -1, -0.5])
    right, delta = loss_and_delta("logistic", a[0], [1, 0, 0])
    assert_close(dtype(right), np.log(2), units=4)
    np.testing.assert_array_equal(delta, [0, 0, 0.5])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rates_out_of_range_show_in_the_poisson_loss(dtype):
    a = outputs_of("exp", np.array([[-1e4, 1e4]], dtype))
    np.testing.assert_array_equal(a, [[0, np.inf]])
    assert loss_and_delta("exp", a[0, :1], 0)[0] == 0
    assert loss_and_delta("exp", a[0, :1], 1)[0] == np.inf
    assert not np.isfinite(loss_and_delta("exp", a[0, 1:], 1)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_nan_logit_shows_in_the_loss_and_stays_in_its_row(output, dtype):
    z = np.random.default_rng(0).standard_normal((3, 5)).astype(dtype)
    clean = outputs_of(output, z)
    z[1, 2] = np.nan
    a = outputs_of(output, z)
    np.testing.assert_array_equal(a[[0, 2]], clean[[0, 2]])
    y = 2 if output == "softmax" else np.ones(5)
    loss, delta = loss_and_delta(output, a[1], y)
    assert np.isnan(loss)
    assert np.isnan(delta[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, n_out", WIDTHS)
def test_loss_and_delta_equal_the_oracle(output, n_out, dtype):
    rng = np.random.default_rng(n_out)
    for weight in (1.0, 0.3, 7.0):
        a = outputs_of(output, (3 * rng.standard_normal((1, n_out))).astype(dtype))
        y, row = some_targets(output, n_out, rng)
        loss, delta = loss_and_delta(output, a[0], y, weight)
        exact = a.astype(np.float64)
        expected = dtype(weight) * naive.row_losses(output, exact, row, np.finfo(dtype).eps)
        # The terms of a deviance cancel where output and target are near each other.
        terms = n_out * (exact + row + 1).max() if output == "exp" else expected[0]
        assert abs(loss - expected[0]) <= 4 * n_out * np.finfo(dtype).eps * terms
        assert loss > 0
        assert_close(delta, (exact[0] - row) * dtype(weight), units=2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, n_out", WIDTHS)
def test_a_row_of_weight_zero_does_not_count(output, n_out, dtype):
    rng = np.random.default_rng(n_out)
    a = outputs_of(output, rng.standard_normal((1, n_out)).astype(dtype))
    loss, delta = loss_and_delta(output, a[0], some_targets(output, n_out, rng)[0], weight=0)
    assert loss == 0
    assert (delta == 0).all()


@pytest.mark.parametrize("output, n_out", WIDTHS)
def test_delta_is_the_slope_of_the_loss(output, n_out):
    rng = np.random.default_rng(n_out)
    z = rng.standard_normal((1, n_out))
    y, _ = some_targets(output, n_out, rng)
    weight, step = 1.7, 1e-3

    def loss(shift):
        return loss_and_delta(output, outputs_of(output, z + shift)[0], y, weight)[0]

    _, delta = loss_and_delta(output, outputs_of(output, z)[0], y, weight)
    for j in range(n_out):
        h = step * np.eye(n_out)[j]
        slope = (8 * (loss(h) - loss(-h)) - loss(2 * h) + loss(-2 * h)) / (12 * step)
        if output == "identity":  # its loss is a mean over outputs, its delta is not
            slope *= n_out
        np.testing.assert_allclose(delta[j], slope, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_rows_have_the_same_bits_alone_and_together(output, dtype):
    for n_out in edges(dtype):
        z = np.random.default_rng(0).standard_normal((9, n_out)).astype(dtype)
        together = outputs_of(output, z)
        for row in range(9):
            np.testing.assert_array_equal(outputs_of(output, z[row : row + 1])[0], together[row])


PAIRS = [(output, name) for name, loss in losses.LOSSES.items() for output in loss.functions]
SMOOTHED = {"softmax", "logistic"}
OPTIONS = [
    (output, loss, smoothing)
    for (output, loss), smoothing in itertools.product(PAIRS, [0.0, 0.2])
    if output in SMOOTHED or smoothing == 0
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, loss, smoothing", OPTIONS)
def test_every_loss_equals_the_oracle(output, loss, smoothing, dtype):
    for n_out, weight in itertools.product((2, 3, 17), (1.0, 0.3)):
        rng = np.random.default_rng(n_out)
        a = outputs_of(output, (3 * rng.standard_normal((1, n_out))).astype(dtype))
        y, row = some_targets(output, n_out, rng)
        numbers = {"loss": loss, "label_smoothing": smoothing, "huber_delta": 0.7}
        got, delta = loss_and_delta(output, a[0], y, weight, **numbers)
        exact, eps = a.astype(np.float64), np.finfo(dtype).eps
        row = naive.smoothed(output, row, smoothing)[None] if smoothing else row[None]
        expected = weight * naive.row_losses(output, exact, row, eps, loss, 0.7, QUANTILES[:n_out])
        np.testing.assert_allclose(got, expected[0], rtol=20 * eps, atol=eps)
        expected = weight * naive.deltas(output, exact, row, loss, 0.7, QUANTILES[:n_out])[0]
        # Delta is a difference: its roundings are those of what it lies between.
        assert np.abs(delta - expected).max() <= 8 * eps * max(1, np.abs(row).max())
        assert np.abs(expected).max() > 1000 * eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, loss, smoothing", OPTIONS)
def test_a_nan_output_shows_in_every_loss(output, loss, smoothing, dtype):
    a = np.array([0.25, np.nan, 0.5], dtype)
    y = 1 if output == "softmax" else np.array([0, 1, 0])
    numbers = {"loss": loss, "label_smoothing": smoothing, "huber_delta": 1.0}
    got, delta = loss_and_delta(output, a, y, **numbers)
    assert np.isnan(got)
    assert np.isnan(delta[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, loss", [pair for pair in PAIRS if pair[1] != "log_loss"])
def test_a_perfect_prediction_costs_nothing_where_nothing_is_clipped(output, loss, dtype):
    a = np.array([0, 1, 0] if output in SMOOTHED else [0.25, 3.0, 0.5], dtype)
    y = 1 if output == "softmax" else a
    got, delta = loss_and_delta(output, a, y, loss=loss, huber_delta=1.0)
    assert got == 0
    assert (delta == 0).all()
