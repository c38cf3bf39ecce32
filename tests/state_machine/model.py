"""What must hold of an estimator, whatever has been done to it: in step with scikit-learn's.

A failed call changes nothing, a copy goes on as the original does, for any number of threads, and
where scikit-learn has the same parameters, its estimator has the same state.
"""

import copy
import hashlib
import warnings
from collections import namedtuple

import numpy as np
import sklearn
from sklearn import neural_network
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastmlp.interop.scikit_learn import is_default
from state_machine.draws import samples_of

PAIRS = {"MLPClassifier": neural_network.MLPClassifier, "MLPRegressor": neural_network.MLPRegressor}
# Without effect on results (n_jobs), or made anew by the next call.
UNCOMPARED = {"n_jobs", "_fitted_network", "_continuation", "_skl_callbacks"}
CLOSE = {"rtol": 1e-6, "atol": 1e-8}
MARGIN = 1e-6  # probabilities nearer to each other than this may be ordered differently
SOLVERS = ("adam", "sgd", "lbfgs")  # scikit-learn's
SCHEDULES = ("constant", "invscaling", "adaptive")
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
KINDS = (NotFittedError, AttributeError, ValueError, TypeError)
COUNTS = ("n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_")
VALUES = ("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_")

Outcome = namedtuple("Outcome", "error categories")


def plain(value):
    """A value as nested tuples of bytes and builtins, equal only if each bit is."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.generic | float):
        return plain(np.asarray(value))
    if isinstance(value, dict):
        return tuple((key, plain(each)) for key, each in sorted(value.items()))
    if isinstance(value, list | tuple | np.ndarray):
        return type(value).__name__, *map(plain, value)
    if hasattr(value, "as_arrays"):  # the state of an optimizer
        state = value.as_arrays()
        state["settings"] = {**state["settings"], "n_jobs": None}
        return plain(state)
    if isinstance(value, BaseEstimator):
        return type(value).__name__, plain(vars(value))
    return type(value).__name__, repr(value)


def state_of(model):
    """Every parameter and fitted attribute, to the bit."""
    return plain({key: each for key, each in vars(model).items() if key not in UNCOMPARED})


def fitted_names(model):
    return {name for name in vars(model) if name.endswith("_") and not name.startswith("__")}


def digest(*values):
    return hashlib.sha256(repr(values).encode()).hexdigest()


def attempt(method, *arguments, **options):
    """Call a method; return its error and the kinds of the warnings it gave."""
    # An interrupt may leave scikit-learn's context managers to the garbage collector.
    sklearn.set_config(skip_parameter_validation=False)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            method(*arguments, **options)
        except KINDS as error:
            return Outcome(error, None)
    known = (ConvergenceWarning, UserWarning)
    names = {each.category.__name__ for each in caught if each.category in known}
    return Outcome(None, names)


def kind_of(error):
    return next((kind for kind in KINDS if isinstance(error, kind)), None)


def uses_shared_parameters(model):
    """Whether scikit-learn has all parameters that are not at their default."""
    theirs = PAIRS[type(model).__name__]
    names, defaults = theirs().get_params(), type(model)().get_params()
    own = {
        name: value
        for name, value in model.get_params().items()
        if name not in names and name != "n_jobs"
    }
    return (
        all(is_default(value, defaults[name]) for name, value in own.items())
        and model.solver in SOLVERS
        and model.learning_rate in SCHEDULES
        and model.activation in ACTIVATIONS
    )


def counterpart(model):
    """scikit-learn's estimator with the same parameters, not fitted."""
    theirs = PAIRS[type(model).__name__]
    known = theirs().get_params()
    return theirs(**{key: value for key, value in model.get_params().items() if key in known})


def outputs(model, X):
    """Predictions, probabilities too if there are any."""
    with np.errstate(all="ignore"):
        if is_classifier(model):
            return model.predict(X), model.predict_proba(X)
        return (model.predict(X),)


def assert_same_outputs(model, other, X):
    mine, theirs = outputs(model, X), outputs(other, X)
    np.testing.assert_allclose(mine[-1], theirs[-1], **CLOSE)
    if not is_classifier(model):
        return
    assert mine[0].shape == theirs[0].shape and mine[0].dtype == theirs[0].dtype
    if mine[0].ndim == 2:
        sure = np.abs(theirs[-1] - 0.5) > MARGIN
    else:
        ordered = np.sort(theirs[-1], axis=1)
        sure = ordered[:, -1] - ordered[:, -2] > MARGIN
    np.testing.assert_array_equal(mine[0][sure], theirs[0][sure])


def assert_same_state(model, other, solver):
    """Whether a model has the state of scikit-learn's, to within rounding, after a solver's fit."""
    for name in COUNTS:
        assert getattr(model, name) == getattr(other, name), name
    for name in VALUES:
        mine, theirs = getattr(model, name, None), getattr(other, name, None)
        if solver == "lbfgs" and name != "loss_":
            continue  # those of an earlier fit stay, if it was by the same object
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, **CLOSE, err_msg=name)
    if solver != "lbfgs":
        assert model._no_improvement_count == other._no_improvement_count
    for name in ("coefs_", "intercepts_"):
        for mine, theirs in zip(getattr(model, name), getattr(other, name), strict=True):
            np.testing.assert_allclose(mine, theirs, **CLOSE, err_msg=name)
    if is_classifier(model):
        np.testing.assert_array_equal(model.classes_, other.classes_)


class Trio:
    """An estimator, a copy of it on other threads, and scikit-learn's: all are called alike.

    Attributes
    ----------
    ours : MLPClassifier or MLPRegressor
    copy : MLPClassifier, MLPRegressor or None
        Must have the same state, to the bit.
    theirs : scikit-learn's estimator or None
        None where it cannot be compared: until the next fit from scratch.
    began : (solver, early_stopping, scoring) or None
        Of the last fit.
    compares_warnings : bool
        Whether both libraries' warnings must be the same.
    """

    def __init__(self, ours):
        self.ours, self.copy, self.theirs, self.began = ours, None, counterpart(ours), None
        self.compares_warnings = True

    @property
    def is_fitted(self):
        return hasattr(self.ours, "coefs_")

    def probe(self, rows=7):
        """Rows to predict."""
        return np.random.RandomState(rows).randn(rows, self.ours.n_features_in_)

    def set_params(self, **changes):
        """Set parameters. Predictions stay, except that the activation decides them at once."""
        before = outputs(self.ours, self.probe()) if self.is_fitted else None
        for model in filter(None, (self.ours, self.copy)):
            model.set_params(**changes)
        if self.theirs is not None:
            known = self.theirs.get_params()
            self.theirs.set_params(**{key: each for key, each in changes.items() if key in known})
        if before is not None and "activation" not in changes:
            assert plain(outputs(self.ours, self.probe())) == plain(before)

    def set_params_unseen(self, **changes):
        """Set parameters without predicting, which invalid ones may not allow."""
        for model in filter(None, (self.ours, self.copy, self.theirs)):
            model.set_params(**changes)

    def go_alone(self, twin=None):
        """Give the others up, when ours may have a state that they cannot reach."""
        self.copy, self.theirs = twin, None
        self._note()

    def join(self, exported):
        """Go on beside `to_sklearn`'s estimator, if scikit-learn could have got there."""
        optimizer = vars(self.ours).get("_optimizer")
        is_shared = optimizer is None or (
            optimizer.settings.solver in SOLVERS
            and optimizer.settings.learning_rate in SCHEDULES
            and not optimizer.settings.warmup
        )
        if is_shared and self.ours.coefs_[0].dtype == np.float64:
            self.theirs = exported

    def _note(self):
        self.began = self.ours.solver, self.ours.early_stopping, self.ours.scoring

    def continues(self, method):
        return self.is_fitted and (self.ours.warm_start or method == "partial_fit")

    def train(self, method, samples, **options):
        """Call fit or partial_fit of all three; returns the error of ours, if any."""
        ours = self.ours
        X, y, weight = samples_of(samples, is_classifier(ours))
        comparable = self._is_comparable(method, X)
        sizes_fit = self._sizes_fit(method, y)
        before = state_of(ours)
        outcome = attempt(self.method_of(ours, method), X, y, weight, **options)
        if outcome.error is not None:
            assert str(outcome.error)
            assert state_of(ours) == before, "a failed call left a trace"
        if method == "partial_fit" and ours.solver == "lbfgs":
            # scikit-learn's regressor runs L-BFGS instead.
            assert isinstance(outcome.error, AttributeError)
        elif not sizes_fit:
            assert isinstance(outcome.error, ValueError), "other sizes of layers went unnoticed"
        elif comparable:
            self._train_theirs(outcome, method, (X, y, weight), options)
        if outcome.error is None:
            self._note()
            if not comparable:
                self.theirs = None
        if self.copy is not None:
            other = attempt(self.method_of(self.copy, method), X, y, weight, **options)
            assert (kind_of(other.error), str(other.error)) == (
                kind_of(outcome.error),
                str(outcome.error),
            )
        return outcome.error

    @staticmethod
    def method_of(model, name):
        return lambda *arguments, **options: getattr(model, name)(*arguments, **options)

    def _is_comparable(self, method, X):
        """Whether scikit-learn is to do the same."""
        ours = self.ours
        is_narrow = getattr(X, "dtype", None) == np.float32
        if is_narrow or not uses_shared_parameters(ours):
            return False
        if not self.continues(method):
            return True
        if self.theirs is None:
            return False
        if ours.solver == "lbfgs":
            return True
        # It has no curves to extend, and may have the moments of an earlier fit.
        solver, *criterion = self.began
        return solver != "lbfgs" and criterion == [ours.early_stopping, ours.scoring]

    def _sizes_fit(self, method, y):
        """Whether the network to continue has the layers that the parameters and y ask for."""
        if not self.continues(method):
            return True
        ours = self.ours
        if [coef.shape[1] for coef in ours.coefs_[:-1]] != list(ours.hidden_layer_sizes):
            return False
        if is_classifier(ours):  # scikit-learn takes labels for those of a multilabel y
            return y.ndim == 2 or not ours._label_binarizer.y_type_.startswith("multilabel")
        return ours.n_outputs_ == np.atleast_2d(y.T).shape[0]

    def _train_theirs(self, outcome, method, data, options):
        trial = counterpart(self.ours) if self.theirs is None else copy.deepcopy(self.theirs)
        other = attempt(self.method_of(trial, method), *data, **options)
        if isinstance(other.error, TypeError):
            # NumPy's, of labels as real values; ours is the clearer error.
            assert isinstance(outcome.error, ValueError)
            return
        assert kind_of(outcome.error) == kind_of(other.error), (outcome, other)
        if self.compares_warnings:
            assert outcome.categories == other.categories
        if other.error is None:  # else it may be half fitted
            self.theirs = trial

    def check(self):
        """All that must hold between calls."""
        ours = self.ours
        if self.copy is not None:
            assert state_of(ours) == state_of(self.copy)
        if not self.is_fitted:
            assert not fitted_names(ours)
            return
        X = self.probe()
        predicted = outputs(ours, X)
        if self.copy is not None:
            assert plain(outputs(self.copy, X)) == plain(predicted)
        for row in range(len(X)):
            alone = outputs(ours, X[row : row + 1])
            assert plain(alone) == plain(tuple(each[row : row + 1] for each in predicted))
        if hasattr(ours, "loss_curve_"):
            self._check_curves()
        if self.theirs is not None:
            assert_same_state(ours, self.theirs, self.began[0])
            if uses_shared_parameters(ours):
                assert_same_outputs(ours, self.theirs, X)

    def _check_curves(self):
        ours = self.ours
        if self.began is not None and self.began[0] != "lbfgs":
            assert len(ours.loss_curve_) >= ours.n_iter_ and ours.t_ >= ours.n_iter_
        if ours.validation_scores_ is not None:
            assert len(ours.validation_scores_) <= len(ours.loss_curve_)
