"""MLPClassifier and MLPRegressor: parameters, labels and targets."""

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from fastmlp._estimator import docstrings
from fastmlp._estimator.base import BaseMLP, is_stochastic


class MLPClassifier(ClassifierMixin, BaseMLP):
    __doc__ = f"""Multilayer perceptron classifier, trained by fused kernels.

    Takes the place of :class:`sklearn.neural_network.MLPClassifier`: the same parameters, the
    same attributes and, from the same integer `random_state`, the same model to rounding.

    Parameters
    ----------
    {docstrings.PARAMETERS}
    loss : {{'log_loss', 'squared_error'}}, default='log_loss'
        The log loss, or half the squared error of the probabilities, summed over the outputs
        (Brier's score), which bounds what a mislabelled sample can do.
    label_smoothing : float, default=0.0
        In [0, 1): the share s of each target that is spread over the classes, (1 - s) y + s / K;
        of an output of its own (two classes, or multilabel y), (1 - s) y + s / 2.
    class_weight : {{'balanced'}}, dict, list of dicts or None, default=None
        Factors on the samples' weights: a dict of class labels, a list of one dict of 0 and 1 for
        each column of a multilabel y, or 'balanced' for n_samples / (n_classes * count of the
        class); None for 1. Not applied to `sample_weight_val`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    {
        docstrings.ATTRIBUTES.format(
            score="Accuracy",
            out_activation="'softmax' for three classes and more; 'logistic' for two and for "
            "multilabel y.",
        )
    }

    References
    ----------
    {docstrings.REFERENCES}

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(max_iter=100, tol=0.01, random_state=0).fit(X[:1500], y[:1500])
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss", "squared_error"})],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
        weight_decay=0.01,
        warmup=0,
        max_grad_norm=None,
        loss="log_loss",
        label_smoothing=0.0,
        n_jobs=None,
        scoring=None,
        restore_best_weights=True,
        max_time=None,
        class_weight=None,
    ):
        self._take_parameters(locals())

    def _check_X_y(self, X, y, reset, incremental):
        X, y = self._validate(X, y, reset=reset)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
            return X, self._as_indicators(y)
        classes = unique_labels(y)
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same "
                    "classes as in the previous call to fit. Previously "
                    f"got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )
        return X, self._as_indicators(y)

    def _check_held_out(self, X, y):
        X, y = self._validate(X, y, reset=False)
        labels = unique_labels(y)
        fits = y.ndim == 1 + self._label_binarizer.y_type_.startswith("multilabel")
        if not fits or len(np.setdiff1d(labels, self.classes_)):
            raise ValueError(f"y has labels {labels}, in training they are {self.classes_}")
        return X, self._as_indicators(y)

    def _as_indicators(self, y):
        """Multilabel y as zeros and ones, which predictions are too: any number but 0 means yes."""
        if y.ndim == 1:
            return y
        return self._label_binarizer.transform(y).astype(bool).astype(int)

    def _check_sample_weight(self, sample_weight, X, y):
        sample_weight = super()._check_sample_weight(sample_weight, X, y)
        if self.class_weight is None:
            return sample_weight
        if isinstance(self.class_weight, list) and not (
            y.ndim == 2 and all(isinstance(each, dict) for each in self.class_weight)
        ):
            raise ValueError("a list class_weight holds a dict for each column of multilabel y")
        if isinstance(self.class_weight, dict) and y.ndim == 1:
            # Among all classes: a batch of partial_fit may lack some.
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            by_class = weights[np.searchsorted(self.classes_, y)]
        elif isinstance(self.class_weight, list):
            if len(self.class_weight) != y.shape[1]:
                raise ValueError(
                    f"the number of elements of class_weight must be y's columns, {y.shape[1]}"
                )
            by_class = np.ones(y.shape[0])
            for column, weights in zip(y.T, self.class_weight, strict=True):
                of_no, of_yes = compute_class_weight(weights, classes=np.arange(2), y=column)
                by_class *= np.where(column == 0, of_no, of_yes)
        else:
            by_class = compute_sample_weight(self.class_weight, y)
        if (by_class < 0).any():
            raise ValueError(f"class_weight must not be negative, got {self.class_weight}")
        product = by_class if sample_weight is None else by_class * sample_weight
        return super()._check_sample_weight(product, X, y)

    def _targets(self, y, dtype):
        if y.ndim == 2:
            return np.ascontiguousarray(y, dtype=dtype)
        numbers = np.searchsorted(self.classes_, y)
        if not np.array_equal(self.classes_.take(numbers, mode="clip"), y):
            raise ValueError("y holds labels that are not in classes_, or classes_ are not sorted")
        return numbers.astype(dtype).reshape(-1, 1)

    def _output_layer(self, y):
        if self._label_binarizer.y_type_ == "multiclass":
            return len(self.classes_), "softmax"
        return y.shape[1] if y.ndim == 2 else 1, "logistic"

    def _stratification(self, y):
        if self.n_outputs_ > 1:
            return None
        return self._label_binarizer.transform(y).astype(bool)

    def _decode(self, outputs):
        return self._label_binarizer.inverse_transform(
            outputs.ravel() if self.n_outputs_ == 1 else outputs
        )

    def _validation_score(self, y, predictions, sample_weight):
        return accuracy_score(y, predictions, sample_weight=sample_weight)

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train one more epoch, on the given samples, from where the last call ended.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        classes : array of shape (n_classes,), default=None
            Every class that will ever come; needed in the first call.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As `fit`; if the first call lacks `classes`, or y holds others; with early_stopping;
            with class_weight='balanced'.
        AttributeError
            With solver 'lbfgs', which has no such steps.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight '{self.class_weight}' is not supported for partial_fit, which sees "
                "only a part of y. Use compute_class_weight('balanced', classes=classes, y=y) on "
                "a large enough sample of y, and pass the weights on as a dict."
            )
        draft = self._draft()
        if _check_partial_fit_first_call(draft, classes):
            labels = y if type_of_target(y).startswith("multilabel") else classes
            draft._label_binarizer = LabelBinarizer().fit(labels)
        return self._commit(draft._fit(X, y, sample_weight, incremental=True))

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`. A row's bytes don't depend on its neighbours.
        """
        fitted = self._draft()  # one model throughout, whoever refits meanwhile
        outputs = fitted._predict_outputs(X)
        if outputs.shape[1] > 1:
            return outputs
        return np.hstack([1 - outputs, outputs])

    def predict_log_proba(self, X):
        """Logarithm of `predict_proba`, of the same shape."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    __doc__ = f"""Multilayer perceptron regressor, trained by fused kernels.

    Takes the place of :class:`sklearn.neural_network.MLPRegressor`: the same parameters, the
    same attributes and, from the same integer `random_state`, the same model to rounding.

    Parameters
    ----------
    loss : {{'squared_error', 'poisson', 'absolute_error', 'huber'}}, default='squared_error'
        Half the squared error; half the Poisson deviance with exp as output activation, which
        needs y >= 0; |e|; or Huber's: e^2 / 2 up to |e| = `huber_delta`, linear beyond.
    {docstrings.PARAMETERS}
    huber_delta : float, default=1.0
        Where the loss 'huber' turns from a parabola into a line, in units of y.

    Attributes
    ----------
    {
        docstrings.ATTRIBUTES.format(
            score="R2", out_activation="'identity', or 'exp' with the poisson loss."
        )
    }

    References
    ----------
    {docstrings.REFERENCES}

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(solver="lbfgs", alpha=1.0, max_iter=2000, random_state=0)
    >>> bool(model.fit(X[:400], y[:400]).score(X[400:], y[400:]) > 0.4)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber"})],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
        weight_decay=0.01,
        warmup=0,
        max_grad_norm=None,
        huber_delta=1.0,
        n_jobs=None,
        scoring=None,
        restore_best_weights=True,
        max_time=None,
    ):
        self._take_parameters(locals())

    def _check_X_y(self, X, y, reset, incremental):
        X, y = self._validate(X, y, reset=reset, y_numeric=True)
        if issparse(y):
            raise ValueError("sparse y is not supported; y.toarray() is")
        if y.dtype.kind not in "biuf":
            raise ValueError(f"y must hold real numbers, got an array of {y.dtype}")
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError("loss='poisson' needs y >= 0; y holds negative values.")
        return X, y

    def _check_held_out(self, X, y):
        X, y = self._check_X_y(X, y, reset=False, incremental=True)
        if self._output_layer(y)[0] != self.n_outputs_:
            raise ValueError(f"y has {self._output_layer(y)[0]} outputs, not {self.n_outputs_}")
        return X, y

    def _targets(self, y, dtype):
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype=dtype)

    def _output_layer(self, y):
        n_outputs = y.shape[1] if y.ndim == 2 else 1
        return n_outputs, "exp" if self.loss == "poisson" else "identity"

    def _stratification(self, y):
        return None

    def _decode(self, outputs):
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _validation_score(self, y, predictions, sample_weight):
        if not np.isfinite(predictions).all():
            return np.nan
        return r2_score(y, predictions, sample_weight=sample_weight)

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train one more epoch, on the given samples, from where the last call ended.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As `fit`; with early_stopping.
        AttributeError
            With solver 'lbfgs', which has no such steps.
        """
        return self._commit(self._draft()._fit(X, y, sample_weight, incremental=True))
