"""weight_averaging: the average of the weights over the ends of epochs, beside NumPy's."""

import itertools
import signal

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from fastmlp import MLPAutoencoder, MLPClassifier, MLPRegressor
from fastmlp._training.averaging import WeightAverage
from fastmlp._training.sgd import Descent
from fastmlp.interop import to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:300] / 16, LABELS[:300]
EPOCHS, SHARE = 6, 0.75
OPTIONS = {"hidden_layer_sizes": (12, 7), "max_iter": EPOCHS, "random_state": 0, "batch_size": 50}


def arrays(model):
    return model.coefs_ + model.intercepts_


def trained_epoch_by_epoch(kind=MLPClassifier, y=Y, **options):
    """The parameters after each epoch of a fit without an average."""
    models = [
        kind(**OPTIONS | options | {"max_iter": count}).fit(X, y) for count in range(1, EPOCHS + 1)
    ]
    return [arrays(model) for model in models]


def averages(epochs, share=SHARE):
    """NumPy's average after each epoch, in float64."""
    return list(
        itertools.accumulate(
            epochs,
            lambda average, new: [
                share * a + (1 - share) * np.asarray(b, float)
                for a, b in zip(average, new, strict=True)
            ],
        )
    )


def assert_same(got, expected, tolerance=1e-12):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"solver": "sgd"}, {"solver": "adamw", "dropout": 0.2}, {"max_grad_norm": 0.1},
        {"alpha": 0.1, "shuffle": False}, {"batch_size": 300},
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.75, 0.99])
def test_a_fit_ends_with_the_average_of_its_epochs(share, options):
    expected = averages(trained_epoch_by_epoch(**options), share)[-1]
    model = MLPClassifier(**OPTIONS | options, weight_averaging=share).fit(X, Y)
    assert_same(arrays(model), expected)
    plain = MLPClassifier(**OPTIONS | options).fit(X, Y)
    np.testing.assert_array_equal(model.loss_curve_, plain.loss_curve_)  # of what is trained
    assert np.abs(model.coefs_[0] - plain.coefs_[0]).max() > 1e-4


@pytest.mark.parametrize("kind", [MLPRegressor, MLPAutoencoder])
def test_regressors_and_autoencoders_average_too(kind):
    y = X[:, :3]
    expected = averages(trained_epoch_by_epoch(kind, y))[-1]
    assert_same(arrays(kind(**OPTIONS, weight_averaging=SHARE).fit(X, y)), expected)


def test_no_average_has_the_bits_of_before():
    models = [MLPClassifier(**OPTIONS, **each).fit(X, Y) for each in ({}, {"weight_averaging": 0})]
    for one, other in zip(*map(arrays, models), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore:precision='bfloat16' saves no time")
def test_an_average_has_the_type_of_the_weights(precision):
    expected = averages(trained_epoch_by_epoch(precision=precision))[-1]
    model = MLPClassifier(**OPTIONS, precision=precision, weight_averaging=SHARE).fit(X, Y)
    assert {array.dtype for array in arrays(model)} == {np.dtype("float32")}
    assert_same(arrays(model), expected, 1e-5)


def test_bits_do_not_depend_on_thread_count(every_thread_works):
    models = [
        MLPClassifier(**OPTIONS, weight_averaging=SHARE, n_jobs=n).fit(X, Y) for n in (1, 2, 5)
    ]
    assert len({b"".join(map(np.ndarray.tobytes, arrays(model))) for model in models}) == 1


def test_the_average_is_validated_and_the_best_one_kept():
    validation = {"X_val": DIGITS[300:500] / 16, "y_val": LABELS[300:500]}
    options = OPTIONS | {"early_stopping": True, "learning_rate_init": 0.1, "random_state": 1}
    expected = averages(trained_epoch_by_epoch(learning_rate_init=0.1, random_state=1))
    model = MLPClassifier(**options, weight_averaging=SHARE).fit(X, Y, **validation)
    probe, scores = clone(model).fit(X, Y, **validation), []
    for each in expected:
        probe.coefs_, probe.intercepts_ = each[:3], each[3:]
        scores.append(probe.score(validation["X_val"], validation["y_val"]))
    np.testing.assert_allclose(model.validation_scores_, scores, atol=1e-12)
    assert len(set(scores)) > 1
    assert_same(arrays(model), expected[int(np.argmax(scores))])
    last = clone(model).set_params(restore_best_weights=False).fit(X, Y, **validation)
    assert_same(arrays(last), expected[-1])


def test_callbacks_see_the_average():
    pytest.importorskip("sklearn.callback")
    seen = []

    class Watch:
        """Keeps the weights that it is shown after each epoch."""

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "epoch":
                seen.append(arrays(fitted_estimator))

    MLPClassifier(**OPTIONS, weight_averaging=SHARE).set_callbacks(Watch()).fit(X, Y)
    for got, expected in zip(seen, averages(trained_epoch_by_epoch()), strict=True):
        assert_same(got, expected)


def test_an_interrupted_fit_keeps_the_average_of_whole_epochs(monkeypatch):
    expected = averages(trained_epoch_by_epoch())
    epoch, calls = Descent.epoch, []

    def interrupted(self):
        calls.append(1)
        loss = epoch(self)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return loss

    monkeypatch.setattr(Descent, "epoch", interrupted)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = MLPClassifier(**OPTIONS, weight_averaging=SHARE).fit(X, Y)
    assert_same(arrays(model), expected[2])


def test_warm_start_goes_on_from_the_average():
    model = MLPClassifier(**OPTIONS, weight_averaging=SHARE, warm_start=True).fit(X, Y)
    start = [array.copy() for array in arrays(model)]
    model.set_params(learning_rate_init=1e-30).fit(X, Y)
    assert_same(arrays(model), start)


def test_partial_fit_refuses_an_average_and_keeps_the_model():
    model = MLPClassifier(**OPTIONS, weight_averaging=SHARE).fit(X, Y)
    before = [array.copy() for array in arrays(model)]
    with pytest.raises(ValueError, match=r"partial_fit does not support weight_averaging=0\.75"):
        model.partial_fit(X, Y)
    assert_same(arrays(model), before, 0)
    model.set_params(weight_averaging=0).partial_fit(X, Y)


def test_lbfgs_has_no_average():
    models = [
        MLPClassifier(**OPTIONS, solver="lbfgs", weight_averaging=share).fit(X, Y)
        for share in (0, SHARE)
    ]
    assert_same(*map(arrays, models), 0)


def test_scikit_learn_has_no_average():
    with pytest.raises(ValueError, match="no weight_averaging"):
        to_sklearn(MLPClassifier(**OPTIONS, weight_averaging=SHARE).fit(X, Y))


class Trained:
    """A network, as far as an average needs one."""

    def __init__(self, values):
        self.parameters = np.array(values)


def test_what_is_trained_comes_back_whatever_happens_meanwhile():
    network = Trained([1.0, 2.0])
    average = WeightAverage(network, 0.5)
    with average.in_place():  # there is none yet
        assert network.parameters.tolist() == [1, 2]
    average.take_in()
    network.parameters[:] = 3, 6
    average.take_in()
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert network.parameters.tolist() == [2, 4]
        raise KeyboardInterrupt
    assert network.parameters.tolist() == [3, 6]
    average.keep()
    assert network.parameters.tolist() == [2, 4]
