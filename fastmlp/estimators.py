"""MLPClassifier: parameters and labels."""

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)

from fastmlp.base import BaseMLP


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier, trained by fused kernels.

    Takes the place of :class:`sklearn.neural_network.MLPClassifier`: the same parameters, the
    same attributes and, from the same integer `random_state`, the same model to rounding.

    Parameters
    ----------
    hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(100,)
        Units of each hidden layer; empty for a linear model.
    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Activation of the hidden layers: z, 1 / (1 + exp(-z)), tanh(z) or max(0, z).
    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
        Optimizer. 'adam' is Kingma and Ba's, 'sgd' gradient descent with momentum.
    alpha : float, default=0.0001
        Strength of the L2 penalty alpha/2 ||W||^2, divided by the batch's weight sum.
    batch_size : int, default='auto'
        Rows of a mini-batch; 'auto' is min(200, n_samples).
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        Schedule of solver 'sgd': as it is, divided by t ** power_t after every epoch of t
        samples so far, or divided by 5 whenever the loss ceases to improve.
    learning_rate_init : float, default=0.001
        First learning rate.
    power_t : float, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Most epochs.
    shuffle : bool, default=True
        Whether to draw a new order of the samples for every epoch.
    random_state : int, RandomState instance or None, default=None
        Initial weights, validation split and shuffles.
    tol : float, default=1e-4
        An epoch improves if it lowers the best loss (or raises the best validation score) by it.
    verbose : bool, default=False
        Whether to print the loss of every epoch.
    warm_start : bool, default=False
        Whether `fit` continues from the last solution.
    momentum : float, default=0.9
        Of solver 'sgd', in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether that momentum is Nesterov's.
    early_stopping : bool, default=False
        Whether to set aside validation data, stop by their score and keep the best weights.
    validation_fraction : float, default=0.1
        The share of the samples set aside.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of solver 'adam's first and second moment, in [0, 1).
    epsilon : float, default=1e-8
        Keeps 'adam' from dividing by zero.
    n_iter_no_change : int, default=10
        Stop after more than so many epochs in a row without improvement.
    max_fun : int, default=15000
        Most loss evaluations of solver 'lbfgs'.
    n_jobs : int, default=None
        Most threads: None for every CPU the process may use, -2 for all but one, and so on. The
        result has the same bytes for any number.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    coefs_, intercepts_ : lists of n_layers - 1 ndarrays
        Weights (n_in, n_out) and biases (n_out,) of each layer. Changing them in place changes
        the predictions.
    loss_, best_loss_ : float
        Last and least mean loss of an epoch; `best_loss_` is None with early stopping.
    loss_curve_ : list of float
        Mean loss of every epoch.
    validation_scores_, best_validation_score_ : list of float, float
        Accuracies on the validation data; None without early stopping.
    n_iter_, t_ : int
        Epochs of the last call; samples seen in all calls.
    n_layers_, n_outputs_ : int
        Layers, input and output included; output units.
    out_activation_ : str
        'softmax' for three classes and more, else 'logistic'.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are all strings.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010. Kingma and Ba, "Adam: a method for stochastic optimization", 2014.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(max_iter=30, tol=0.01, random_state=0).fit(X[:1500], y[:1500])
    >>> model.predict(X[1500:1504])
    array([1, 7, 4, 6])
    """

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
        n_jobs=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_jobs = n_jobs

    def _check_y(self, y, incremental):
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
            return y
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
        return y

    def _targets(self, y, dtype):
        if y.ndim == 2:  # a label indicator matrix
            return np.ascontiguousarray(y, dtype=dtype)
        return np.searchsorted(self.classes_, y).astype(dtype).reshape(-1, 1)

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

    @available_if(lambda estimator: estimator._is_stochastic())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train one more epoch, on the given samples, from where the last call ended.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
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
            As `fit`; if the first call lacks `classes`, or y holds others; with early_stopping.
        AttributeError
            With solver 'lbfgs', which has no such steps.
        """
        before = self.__dict__.copy()
        if _check_partial_fit_first_call(self, classes):
            labels = y if type_of_target(y).startswith("multilabel") else classes
            self._label_binarizer = LabelBinarizer().fit(labels)
        return self._fit_or_restore(X, y, sample_weight, incremental=True, before=before)

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`. A row's bytes don't depend on its neighbours.
        """
        outputs = self._predict_outputs(X)
        if self.n_outputs_ > 1:
            return outputs
        return np.hstack([1 - outputs, outputs])

    def predict_log_proba(self, X):
        """Logarithm of `predict_proba`, of the same shape."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)
