"""A warning at the end of a fit costs nothing: the model is committed before it is given."""

import time
import warnings

import needs
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._training.history import History

RNG = np.random.RandomState(0)
X = RNG.randn(120, 4)
CLASSES, VALUES = (X[:, 0] > 0).astype(int), X[:, 0] - X[:, 1]
PARAMETERS = {"hidden_layer_sizes": (5,), "random_state": 0}
ESTIMATORS = [(MLPClassifier, CLASSES), (MLPRegressor, VALUES)]

# What ends a fit with a warning: its words, and the parameters.
ENDINGS = {
    "max_iter": ("Maximum iterations", {"max_iter": 3}),
    "max_time": ("max_time=", {"max_time": 1e-9}),
    "lbfgs max_iter": ("lbfgs failed to converge", {"solver": "lbfgs", "max_iter": 3}),
    "lbfgs max_fun": ("lbfgs failed to converge", {"solver": "lbfgs", "max_fun": 3}),
    "lbfgs max_time": ("max_time=", {"solver": "lbfgs", "max_time": 1e-9}),
    "batch_size": ("It is going to be clipped", {"batch_size": 500, "tol": 10.0}),
    "early_stopping": ("Maximum iterations", {"early_stopping": True, "max_iter": 3}),
}


def same_coefs(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.coefs_, other.coefs_, strict=True))


def quiet(estimator, *arguments, method="fit"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(estimator, method)(*arguments)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("estimator", "y"), ESTIMATORS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_warning_as_an_error_leaves_the_fitted_model(estimator, y, ending):
    words, options = ENDINGS[ending]
    model = estimator(**PARAMETERS, **options)
    with pytest.raises(UserWarning, match=words):
        model.fit(X, y)
    if "max_time" not in options:
        assert same_coefs(model, quiet(estimator(**PARAMETERS, **options), X, y))
    assert model.predict(X).shape == y.shape and np.isfinite(model.loss_) == (ending != "max_time")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("estimator", "y"), ESTIMATORS)
def test_partial_fit_and_warm_start_keep_what_they_learned(estimator, y):
    model = quiet(estimator(**PARAMETERS, max_iter=3, warm_start=True), X, y)
    for epochs in (6, 9):
        with pytest.raises(ConvergenceWarning):
            model.fit(X, y)
        assert len(model.loss_curve_) == epochs and model.n_iter_ == 3
    model.set_params(batch_size=500)
    for epochs in (10, 11):
        with pytest.raises(UserWarning, match="clipped"):
            model.partial_fit(X, y)
        assert len(model.loss_curve_) == epochs


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}])
def test_an_interrupted_fit_is_kept_too(options, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    where = "lbfgs.Iterations.end" if options else "sgd.Descent.epoch"
    monkeypatch.setattr(f"fastmlp._training.{where}", interrupt)
    model = MLPClassifier(**PARAMETERS, **options)
    with pytest.raises(UserWarning, match="interrupted"):
        model.fit(X, CLASSES)
    assert model.predict(X).shape == CLASSES.shape


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_error_while_the_curves_are_finished_leaves_the_model_as_it_was(
    error, method, monkeypatch
):
    model = quiet(MLPClassifier(**PARAMETERS, max_iter=3, warm_start=True), X, CLASSES)
    before, curve, losses = vars(model).copy(), model.loss_curve_, list(model.loss_curve_)
    finish = History.finish

    def fail(history):
        finish(history)
        raise error

    monkeypatch.setattr(History, "finish", fail)
    with pytest.raises(error):
        quiet(model, X, CLASSES, method=method)
    assert model.loss_curve_ is curve and curve == losses
    before.pop("_continuation", None)  # a call takes it
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


@pytest.mark.filterwarnings("error")
def test_several_warnings_are_given_one_after_the_other():
    model = MLPClassifier(**PARAMETERS, batch_size=500, max_iter=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, CLASSES)
    assert [each.category for each in caught] == [UserWarning, ConvergenceWarning]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("estimator", "y"), ESTIMATORS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_filter_on_the_module_works(estimator, y, ending):
    options = ENDINGS[ending][1]
    category = UserWarning if ending == "batch_size" else ConvergenceWarning
    warnings.filterwarnings("ignore", category=category, module="fastmlp")
    model = estimator(**PARAMETERS, **options).fit(X, y)
    if model.solver == "adam":
        model.partial_fit(X, y) if not model.early_stopping else None
    warnings.filterwarnings("error", category=category, module="fastmlp")
    with pytest.raises(category):
        model.fit(X, y)


@pytest.mark.filterwarnings("error")
def test_a_filter_on_another_module_does_not():
    warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
    with pytest.raises(ConvergenceWarning):
        MLPClassifier(**PARAMETERS, max_iter=2).fit(X, CLASSES)


@pytest.mark.parametrize("options", [{"max_iter": 5}, {"max_fun": 4}])
def test_lbfgs_warns_in_the_words_of_scikit_learn(options):
    said = []
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        with pytest.warns(ConvergenceWarning) as caught:
            model = estimator((5,), solver="lbfgs", random_state=0, **options).fit(X, CLASSES)
        said.append((model.n_iter_, [str(each.message) for each in caught]))
    assert said[0] == said[1]


@needs.scikit_learn(1, 9, reason="it has callbacks")
def test_a_warning_waits_for_the_callbacks(monkeypatch):
    """They see the end of the fit before the warning ends the call."""

    class Timer:
        ended = 0.0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.ended = time.monotonic()
            return False

        def teardown(self, estimator, context):
            pass

    timer = Timer()
    model = MLPClassifier(**PARAMETERS, max_iter=2).set_callbacks(timer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            model.fit(X, CLASSES)
    assert 0 < timer.ended <= time.monotonic() and model.n_iter_ == 2


@pytest.mark.filterwarnings(
    "error::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)
@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error", "poisson"])
@pytest.mark.parametrize("size", [1e160, 1e307])
def test_validation_data_far_out_of_range_give_an_infinite_loss_without_a_word(loss, size):
    """Predictions or their squares overflow, a Poisson mean may be zero, and inf - inf is NaN."""
    model = MLPRegressor(loss, **PARAMETERS, activation="relu", max_iter=2)
    held = size * X
    with np.errstate(all="warn"):
        model.fit(X, np.abs(VALUES), X_val=held, y_val=size * np.abs(VALUES))
    assert len(model.validation_loss_curve_) == 2
    if (loss, size) == ("squared_error", 1e160):
        assert np.isinf(model.validation_loss_curve_).all()
