"""BaseMLP: what classifier and regressor share around the training loop. No arithmetic."""

import contextlib
import operator
import warnings
from abc import ABC, abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.metrics import get_scorer_names
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastmlp._engine.inputs import rows_in_place
from fastmlp._engine.kernels import activations
from fastmlp._engine.layerwise import per_layer
from fastmlp._engine.network import Network
from fastmlp._estimator.architecture import hidden_activations
from fastmlp._inference.predictions import apply_network
from fastmlp._training import lbfgs, schedules
from fastmlp._training.callbacks import FitTasks
from fastmlp._training.history import Progress
from fastmlp._training.training import Descent, OptimizerState, Settings, descend
from fastmlp._training.validation import HeldOut, ValidationScorer
from fastmlp.version import __version__

STOCHASTIC_SOLVERS = ("sgd", "adam", "adamw")
# Glorot and Bengio (2010) draw weights from +-sqrt(6 / (n_in + n_out)), for the logistic function
# from +-sqrt(2 / (n_in + n_out)); scikit-learn draws biases from the same range.
GLOROT_FACTOR, LOGISTIC_FACTOR = 6.0, 2.0
RATE = Interval(Real, 0, 1, closed="left")


def is_stochastic(estimator) -> bool:
    """Whether the solver goes by batches; else partial_fit does not exist.

    Raises
    ------
    AttributeError
        Where it does not.
    """
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    return True


class BaseMLP(CallbackSupportMixin, BaseEstimator, ABC):
    """Parameters, validation and fitted state of a multilayer perceptron.

    A subclass names its parameters in ``__init__``, turns y into targets and outputs into
    predictions.
    """

    _parameter_constraints: ClassVar[dict] = {
        **SklearnMLPClassifier._parameter_constraints,
        "activation": [StrOptions(set(activations.CODES)), "array-like"],
        "solver": [StrOptions({"lbfgs", *STOCHASTIC_SOLVERS})],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", *schedules.SCHEDULES})],
        "dropout": [RATE, "array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "warmup": [Interval(Real, 0, None, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "n_jobs": [Integral, None],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "restore_best_weights": ["boolean"],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
    }

    def _take_parameters(self, arguments: dict) -> None:
        """Set an attribute for each argument of ``__init__``, given its ``locals()``."""
        names = [name for name in arguments if name not in ("self", "__class__")]
        for name in names:
            setattr(self, name, arguments[name])

    @abstractmethod
    def _check_X_y(self, X, y, reset: bool, incremental: bool) -> tuple:
        """Validated X and y, after taking note of labels or comparing with the last call's."""

    @abstractmethod
    def _check_held_out(self, X, y) -> tuple:
        """Validated X and y for a score, of no other features, outputs and labels than trained."""

    @abstractmethod
    def _targets(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """What the kernels train on: (n_samples, n_columns) of `dtype`."""

    @abstractmethod
    def _output_layer(self, y: np.ndarray) -> tuple[int, str]:
        """Number of output units and the name of their activation."""

    @abstractmethod
    def _stratification(self, y: np.ndarray) -> np.ndarray | None:
        """What the validation split keeps in proportion, if anything."""

    @abstractmethod
    def _decode(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from output activations (n_samples, n_outputs)."""

    @abstractmethod
    def _validation_score(self, y, predictions, sample_weight) -> float:
        """The score that early stopping watches; greater is better."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Train from the start or, with warm_start, from the last solution.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Float32 is trained on as float32, everything else as float64. An array of either type
            whose rows are contiguous is read where it is, without a copy.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None weighs each 1.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data: `validation_loss_curve_` is taken on them. With early_stopping they
            decide, instead of a part of X, and must be two rows at least. In a pipeline, name it in
            `transform_input`.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Their targets; of a classifier, labels that y has too.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X or y are not finite or of wrong shape, if the validation data do not fit them or
            the solver is 'lbfgs', or if training diverged. The estimator is then as it was before
            the call.

        Notes
        -----
        Callbacks (see :mod:`sklearn.callback`) are told of every epoch, or iteration of 'lbfgs',
        with X and y as given. Their `fitted_estimator` has the weights of that moment, which under
        early_stopping need not be the best. One that asks for it ends the fit; an exception in one
        leaves the estimator as it was.
        """
        tasks = FitTasks.of(self, X, y, sample_weight)
        validation = X_val, y_val, sample_weight_val
        draft = self._draft()._fit(X, y, sample_weight, False, validation, tasks)
        if tasks is not None:
            tasks.end(vars(draft))
        return self._commit(draft)

    def _draft(self):
        """An estimator of the same attributes, to be fitted in place of this one.

        This one stays whole until the fit is done, for an exception and for other threads.
        """
        draft = object.__new__(type(self))
        draft.__dict__ = self.__dict__.copy()
        return draft

    def _commit(self, draft):
        """Take over all attributes of `draft`, in one step."""
        self.__dict__ = draft.__dict__
        return self

    def _fit(self, X, y, sample_weight, incremental, validation=(None, None, None), tasks=None):
        hidden = self._hidden_layer_sizes()
        continues = hasattr(self, "coefs_") and (self.warm_start or incremental)
        X, y = self._check_X_y(X, y, reset=not continues, incremental=incremental)
        sample_weight = self._check_sample_weight(sample_weight, X, y)
        random_state = check_random_state(self.random_state)
        n_outputs, out_activation = self._output_layer(y)
        layer_sizes = [X.shape[1], *hidden, n_outputs]
        if continues:
            network = self._network_to_continue(layer_sizes)
        else:
            network = self._initial_network(layer_sizes, X.dtype, random_state)
            self.n_iter_ = self.t_ = 0
        self.n_layers_, self.n_outputs_ = len(layer_sizes), n_outputs
        self.out_activation_ = out_activation
        held_out = HeldOut.given(self, *validation)
        if self.solver in STOCHASTIC_SOLVERS:
            progress = Progress.of(self) if continues else Progress.begin(self)
            samples = X, y, sample_weight
            network = self._descend(
                network, progress, samples, held_out, random_state, incremental, tasks
            )
            progress.write_to(self)
        else:
            network = self._minimize(network, X, y, sample_weight, tasks)
            self.__dict__.pop("_optimizer", None)  # of another fit: partial_fit begins anew
        if not np.isfinite(network.parameters).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may"
                " contain large values and need to be preprocessed."
            )
        self._take_network(network)
        return self

    def _validate(self, X, y, reset, **checks):
        """scikit-learn's validation of X and y, with `reset` also of the feature names."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=reset,
            **checks,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _check_sample_weight(self, sample_weight, X, y) -> np.ndarray | None:
        """The samples' weights in training, validated; None weighs each 1."""
        return None if sample_weight is None else _check_sample_weight(sample_weight, X)

    def _hidden_layer_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        self._check_hidden_layers(len(sizes))
        return [operator.index(size) for size in sizes]

    def _check_hidden_layers(self, n_hidden: int) -> None:
        """Whether every hidden layer has an activation and a rate of dropout that exist."""
        for name in hidden_activations(self, n_hidden):
            if not isinstance(name, str) or name not in activations.CODES:
                raise InvalidParameterError(
                    f"The 'activation' parameter of {type(self).__name__} must name "
                    f"{', '.join(activations.CODES)}; got {name!r}."
                )
        rates = per_layer(self.dropout, n_hidden, "dropout")
        for rate in rates:
            if not RATE.is_satisfied_by(rate):
                raise InvalidParameterError(
                    f"The 'dropout' parameter of {type(self).__name__} must hold rates in "
                    f"[0, 1); got {rate!r}."
                )
        if any(rates) and self.solver == "lbfgs":
            raise ValueError("dropout needs batches: solver='lbfgs' has none")

    def _initial_network(self, layer_sizes, dtype, random_state) -> Network:
        """Weights and biases from Glorot's uniform range, in scikit-learn's order of draws."""
        network = Network(layer_sizes, dtype)
        names = hidden_activations(self, len(layer_sizes) - 2) or [self.activation]
        names.append(names[-1])  # the output layer is drawn as the one before it
        for name, coef, intercept in zip(names, network.coefs, network.intercepts, strict=False):
            factor = LOGISTIC_FACTOR if name == "logistic" else GLOROT_FACTOR
            bound = np.sqrt(factor / sum(coef.shape))
            coef[...] = random_state.uniform(-bound, bound, coef.shape)
            intercept[...] = random_state.uniform(-bound, bound, intercept.shape)
        return network

    def _network_to_continue(self, layer_sizes) -> Network:
        """A copy of the fitted network, so that a failed fit leaves the old one whole."""
        network = self._network().copy()
        if list(network.layer_sizes) != list(layer_sizes):
            raise ValueError(
                "warm_start and partial_fit continue with the fitted layers: their sizes were "
                f"{list(network.layer_sizes)}, now {list(layer_sizes)} are asked for."
            )
        return network

    def _descend(self, network, progress, samples, held_out, random_state, incremental, tasks):
        """Train by stochastic gradient descent; returns the network to keep."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        settings = Settings.of(self)
        if incremental and hasattr(self, "_optimizer"):
            state = self._optimizer.copy(network.dtype)
        else:
            state = OptimizerState.begin(network, settings)
        training = None
        if self.early_stopping and held_out is None:
            training, held_out = HeldOut.split(self, *samples, random_state)
        elif progress.validation_scores:  # same data: keep what earlier calls found, or better
            progress.best = network.copy()
        validate = None if held_out is None else ValidationScorer(self, network, held_out)
        data = self._kernel_data(network, *samples)
        epochs = 1 if incremental else settings.max_iter
        descent = Descent(network, settings, self.out_activation_, *data, state, training, epochs)
        if tasks is not None:
            tasks.begin(partial(self._snapshot, network, progress))
        descend(descent, progress, random_state, incremental, validate, tasks)
        self._optimizer = state
        keeps_best = self.restore_best_weights and progress.best is not None
        return progress.best if keeps_best else network

    def _minimize(self, network, X, y, sample_weight, tasks) -> Network:
        """Train by L-BFGS, in float64 as SciPy computes; returns the network to keep."""
        network = Network.from_arrays(network.coefs, network.intercepts, np.float64)
        data = self._kernel_data(network, X, y, sample_weight)
        if tasks is not None:
            tasks.begin(partial(self._snapshot, network))
        self.loss_, self.n_iter_ = lbfgs.minimize(
            network, Settings.of(self), self.out_activation_, *data, self.max_fun, tasks
        )
        return network

    def _kernel_data(self, network, X, y, sample_weight) -> tuple:
        """X, targets and weights in the network's type."""
        if sample_weight is not None:
            sample_weight = sample_weight.astype(network.dtype, copy=False)
        return rows_in_place(X, network.dtype), self._targets(y, network.dtype), sample_weight

    def _with_network(self, network: Network):
        """An estimator like this one that predicts with `network` as it stands at each call."""
        draft = self._draft()
        draft._take_network(network)
        return draft

    def _snapshot(self, network: Network, progress: Progress | None = None) -> dict:
        """The attributes of an estimator whose fit ends with `network` as it stands."""
        draft = self._with_network(network.copy())
        if progress is not None:
            progress.write_to(draft)
        return vars(draft)

    def _take_network(self, network: Network) -> None:
        """Make `network` the fitted one; coefs_ and intercepts_ are views of it."""
        self._fitted_network = network
        self.coefs_, self.intercepts_ = list(network.coefs), list(network.intercepts)

    def _network(self) -> Network:
        """The fitted network, rebuilt from coefs_ and intercepts_ where those were replaced."""
        network = self.__dict__.get("_fitted_network")
        if network is not None and network.owns(self.coefs_, self.intercepts_):
            return network
        arrays = [np.asarray(each) for each in [*self.coefs_, *self.intercepts_]]
        if any(array.dtype.kind not in "fiu" for array in arrays):
            raise ValueError("coefs_ and intercepts_ must be arrays of real numbers")
        dtype = np.result_type(np.float32, *arrays)
        dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
        network = Network.from_arrays(self.coefs_, self.intercepts_, dtype)
        expected = self.n_features_in_, self.n_outputs_
        if (network.layer_sizes[0], network.layer_sizes[-1]) != expected:
            raise ValueError(
                f"coefs_ lead from {network.layer_sizes[0]} features to {network.layer_sizes[-1]} "
                f"outputs; {expected[0]} and {expected[1]} were fitted"
            )
        return network

    def _outputs(self, network: Network, X: np.ndarray) -> np.ndarray:
        return self._apply(network, X)[0]

    def _apply(self, network: Network, X: np.ndarray) -> tuple[np.ndarray, bool]:
        names = hidden_activations(self, len(network.layer_sizes) - 2)
        return apply_network(network, X, names, self.out_activation_, self.n_jobs)

    def _predict_outputs(self, X) -> np.ndarray:
        """Output activations (n_samples, n_outputs) for X, validated."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        network = self._network()
        if self._needs_no_validation(X, network.dtype):
            outputs, may_be_nonfinite = self._apply(network, X)
            if not may_be_nonfinite:
                return outputs
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return self._outputs(network, rows_in_place(X, network.dtype))

    def _needs_no_validation(self, X, dtype: np.dtype) -> bool:
        """Whether X passes scikit-learn's checks as it is, but for NaN and infinity.

        Those the kernel sees in passing. For one row validation takes longer than all the rest, and
        for many it reads X once more than the network does.
        """
        return (
            type(X) is np.ndarray
            and X.dtype == dtype
            and X.ndim == 2
            and X.shape[0] > 0
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and X.flags.c_contiguous
            and X.flags.aligned
            and not hasattr(self, "feature_names_in_")
        )

    def predict(self, X):
        """Predict labels or values.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        fitted = self._draft()  # one model throughout, whoever refits meanwhile
        return fitted._decode(fitted._predict_outputs(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict:
        """Arrays and builtins only; views become arrays of their own."""
        state = super().__getstate__().copy()
        state.pop("_fitted_network", None)
        state["_fastmlp_version"] = __version__
        for name in ("coefs_", "intercepts_"):
            if name in state:
                state[name] = [np.array(each, order="C") for each in state[name]]
        if "_optimizer" in state:
            state["_optimizer"] = state["_optimizer"].as_arrays()
        return state

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        version = state.pop("_fastmlp_version", "unknown")
        if version != __version__:
            warning = InconsistentVersionWarning(
                estimator_name=type(self).__name__,
                current_sklearn_version=f"{__version__} of fastmlp",
                original_sklearn_version=f"{version} of fastmlp",
            )
            warnings.warn(warning, stacklevel=2)
        super().__setstate__(state)
        if isinstance(self.__dict__.get("_optimizer"), dict):
            self._optimizer = OptimizerState.from_arrays(self._optimizer)
        if "coefs_" in self.__dict__:
            with contextlib.suppress(ValueError, TypeError):  # predict will say what is wrong
                self._take_network(self._network())
