"""TabularMLPClassifier and TabularMLPRegressor: signatures, docstrings and targets."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from fastmlp._compat.sklearn import fit_context
from fastmlp.estimators import MLPClassifier, MLPRegressor
from fastmlp.tabular.base import RECIPE, BaseTabularMLP
from fastmlp.tabular.members import Samples, Split

TEMPERATURES = 0.05, 20.0  # least and largest
TINY = 1e-7  # below this, a probability counts as this in the log loss


class TabularMLPClassifier(ClassifierMixin, BaseTabularMLP):
    """A classifier for tables: an ensemble of multilayer perceptrons.

    It takes data frames with numbers, categories, dates and missing values as they are. The rows
    are divided into folds. Each member of the ensemble trains on all folds but one, which chooses
    its best epoch, and predictions are the members' mean.

    Parameters
    ----------
    n_members : int, default=5
        The number of members, which is the number of folds. A single member holds out a fifth of
        the rows. There are fewer members if a fold would have fewer than two rows.
    hidden_layer_sizes : int or array-like of int, default=(256, 256, 256)
        The number of units in each hidden layer.
    learning_rate_init : float, default=0.005
        The largest learning rate, of a schedule that rises once and falls.
    max_iter : int, default=64
        The number of epochs. Every member runs all of them and keeps its best one, by the loss of
        the held-out rows. What it keeps is an average of the weights over the last few epochs.
    batch_size : int, default=256
        The number of rows in a batch.
    label_smoothing : float, default=0.1
        The share of each target that is spread over all classes.
    calibrate : bool, default=True
        Whether to scale the logarithms of probabilities by one factor, the inverse temperature,
        that makes the log loss of held-out rows least. Label smoothing makes probabilities timid.
    categorical_features : {'from_dtype'} or array-like of int, str or bool, default='from_dtype'
        See :class:`TabularPreprocessor`.
    n_bins : int, default=16
        See :class:`TabularPreprocessor`.
    min_frequency : int, default=2
        See :class:`TabularPreprocessor`.
    max_categories : int, default=64
        See :class:`TabularPreprocessor`.
    max_time : float or None, default=None
        The maximum time of `fit` in seconds. Members share what preprocessing leaves of it, and end
        with their best epoch so far. A member that finished no epoch is left out, unless none did.
    verbose : bool, default=False
        Whether to print a line for each member once it is trained.
    n_jobs : int or None, default=None
        The maximum number of threads, as for :class:`fastmlp.MLPClassifier`. Members train side by
        side. The result is the same, bit for bit, for any number.
    random_state : int, RandomState or None, default=None
        Determines folds, initial weights and shuffles.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    members_ : list of MLPClassifier
        The members.
    preprocessor_ : TabularPreprocessor
        Makes their inputs of a table.
    temperature_ : float
        The members' probabilities are raised to the power 1 / `temperature_`.
    oof_prediction_ : ndarray of shape (n_samples, n_classes)
        Each row's probabilities by the member that held it out, calibrated; NaN for rows that none
        did.
    n_iter_ : int
        The number of epochs.
    n_features_in_ : int
        The number of columns of the table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if the table has names that are all strings.

    See Also
    --------
    TabularMLPRegressor : The same for real values.
    fastmlp.MLPClassifier : The members' class.

    References
    ----------
    D. Holzmueller, L. Grinsztajn, I. Steinwart: Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data. NeurIPS 2024.

    Examples
    --------
    >>> import pandas as pd
    >>> from fastmlp.tabular import TabularMLPClassifier
    >>> table = pd.DataFrame({"size": [1.0, 1.2, None, 3.1, 2.9, 3.3] * 20})
    >>> table["color"] = ["red", "red", "red", "blue", "blue", "red"] * 20
    >>> kind = ["apple", "apple", "apple", "plum", "plum", "plum"] * 20
    >>> model = TabularMLPClassifier(n_members=2, max_iter=20, random_state=0).fit(table, kind)
    >>> model.predict(table[:6]).tolist()
    ['apple', 'apple', 'apple', 'plum', 'plum', 'plum']
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseTabularMLP._parameter_constraints,
        "label_smoothing": MLPClassifier._parameter_constraints["label_smoothing"],
        "calibrate": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_members: int = 5,
        hidden_layer_sizes: int | Sequence[int] = (256, 256, 256),
        learning_rate_init: float = 0.005,
        max_iter: int = 64,
        batch_size: int = 256,
        label_smoothing: float = 0.1,
        calibrate: bool = True,
        categorical_features: str | Sequence = "from_dtype",
        n_bins: int = 16,
        min_frequency: int = 2,
        max_categories: int = 64,
        max_time: float | None = None,
        verbose: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_members = n_members
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.label_smoothing = label_smoothing
        self.calibrate = calibrate
        self.categorical_features = categorical_features
        self.n_bins = n_bins
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.max_time = max_time
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None) -> Self:
        """Fit the preprocessor and the members.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            The table.
        y : array-like of shape (n_samples,)
            The class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            The rows' weights, in training and in choosing the best epoch; None means 1.

        Returns
        -------
        TabularMLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If X or y is not valid, or y has only one class. The estimator then keeps its state
            from before the call.

        Warns
        -----
        ConvergenceWarning
            If max_time ends the training of a member.

        Notes
        -----
        Callbacks (see :mod:`sklearn.callback`, new in version 1.9) run at every epoch of every
        member: a progress bar counts them all. They run one at a time, in the members' threads.
        Their `fitted_estimator` has only the member of that epoch, with its current weights. A
        callback can end the fit: members at work end with their epoch, and others are left out.
        """
        return self._fit_draft(X, y, sample_weight)

    def predict_proba(self, X) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            A table with the columns of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In float32 and the order of `classes_`.
        """
        return self._mean_outputs(X)

    def predict(self, X) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            A table with the columns of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels of the type of `classes_`.
        """
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]

    def _encode(self, y):
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"a classifier needs samples of at least 2 classes; got one class: {y[0]!r}"
            )
        return labels, labels

    def _member(self, seed):
        return MLPClassifier(
            hidden_layer_sizes=self.hidden_layer_sizes,
            batch_size=self.batch_size,
            learning_rate_init=self.learning_rate_init,
            max_iter=self.max_iter,
            label_smoothing=self.label_smoothing,
            random_state=seed,
            **RECIPE,
        )

    def _outputs_of(self, member, inputs):
        outputs = np.zeros((len(inputs), len(self.classes_)), np.float32)
        outputs[:, member.classes_] = member.predict_proba(inputs)
        return tempered(outputs, self.temperature_)

    def _finish(self, samples: Samples, splits: list[Split]) -> None:
        self.temperature_ = 1.0
        held_out = self._held_out_outputs(samples, splits)
        if self.calibrate:
            known = ~np.isnan(held_out[:, 0])
            self.temperature_ = best_temperature(held_out[known], *samples.part(known)[1:])
            held_out[known] = tempered(held_out[known], self.temperature_)
        self.oof_prediction_ = held_out


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (n_samples, n_classes) to the power 1 / temperature, with sums of 1."""
    if temperature == 1.0:
        return probabilities
    powers = (probabilities / probabilities.max(axis=1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def best_temperature(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> float:
    """The temperature of the least log loss; 1 if there are no rows."""
    if len(labels) == 0:
        return 1.0
    probabilities = probabilities.astype(np.float64)

    def log_loss(logarithm: float) -> float:
        chosen = tempered(probabilities, np.exp(logarithm))[np.arange(len(labels)), labels]
        return float(np.average(-np.log(np.maximum(chosen, TINY)), weights=weights))

    found = minimize_scalar(log_loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


class TabularMLPRegressor(RegressorMixin, BaseTabularMLP):
    """A regressor for tables: an ensemble of multilayer perceptrons.

    It takes data frames with numbers, categories, dates and missing values as they are. The rows
    are divided into folds. Each member of the ensemble trains on all folds but one, which chooses
    its best epoch, and predictions are the members' mean.

    Parameters
    ----------
    n_members : int, default=5
        The number of members, which is the number of folds. A single member holds out a fifth of
        the rows. There are fewer members if a fold would have fewer than two rows.
    hidden_layer_sizes : int or array-like of int, default=(256, 256, 256)
        The number of units in each hidden layer.
    learning_rate_init : float, default=0.008
        The largest learning rate, of a schedule that rises once and falls.
    max_iter : int, default=64
        The number of epochs. Every member runs all of them and keeps its best one, by the loss of
        the held-out rows. What it keeps is an average of the weights over the last few epochs.
    batch_size : int, default=256
        The number of rows in a batch.
    categorical_features : {'from_dtype'} or array-like of int, str or bool, default='from_dtype'
        See :class:`TabularPreprocessor`.
    n_bins : int, default=16
        See :class:`TabularPreprocessor`.
    min_frequency : int, default=2
        See :class:`TabularPreprocessor`.
    max_categories : int, default=64
        See :class:`TabularPreprocessor`.
    max_time : float or None, default=None
        The maximum time of `fit` in seconds. Members share what preprocessing leaves of it, and end
        with their best epoch so far. A member that finished no epoch is left out, unless none did.
    verbose : bool, default=False
        Whether to print a line for each member once it is trained.
    n_jobs : int or None, default=None
        The maximum number of threads, as for :class:`fastmlp.MLPRegressor`. Members train side by
        side. The result is the same, bit for bit, for any number.
    random_state : int, RandomState or None, default=None
        Determines folds, initial weights and shuffles.

    Attributes
    ----------
    members_ : list of MLPRegressor
        The members, which predict standardized values.
    preprocessor_ : TabularPreprocessor
        Makes their inputs of a table.
    oof_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Each row's prediction by the member that held it out; NaN for rows that none did.
    n_iter_ : int
        The number of epochs.
    n_features_in_ : int
        The number of columns of the table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if the table has names that are all strings.

    See Also
    --------
    TabularMLPClassifier : The same for class labels.
    fastmlp.MLPRegressor : The members' class.

    References
    ----------
    D. Holzmueller, L. Grinsztajn, I. Steinwart: Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data. NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.tabular import TabularMLPRegressor
    >>> X = np.linspace(0, 1, 200)[:, np.newaxis]
    >>> y = np.abs(X[:, 0] - 0.5)
    >>> model = TabularMLPRegressor(n_members=2, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.99
    True
    """

    def __init__(
        self,
        *,
        n_members: int = 5,
        hidden_layer_sizes: int | Sequence[int] = (256, 256, 256),
        learning_rate_init: float = 0.008,
        max_iter: int = 64,
        batch_size: int = 256,
        categorical_features: str | Sequence = "from_dtype",
        n_bins: int = 16,
        min_frequency: int = 2,
        max_categories: int = 64,
        max_time: float | None = None,
        verbose: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_members = n_members
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.categorical_features = categorical_features
        self.n_bins = n_bins
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.max_time = max_time
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None) -> Self:
        """Fit the preprocessor and the members.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            The table.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The values.
        sample_weight : array-like of shape (n_samples,), default=None
            The rows' weights, in training and in choosing the best epoch; None means 1.

        Returns
        -------
        TabularMLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If X or y is not valid. The estimator then keeps its state from before the call.

        Warns
        -----
        ConvergenceWarning
            If max_time ends the training of a member.

        Notes
        -----
        Callbacks (see :mod:`sklearn.callback`, new in version 1.9) run at every epoch of every
        member: a progress bar counts them all. They run one at a time, in the members' threads.
        Their `fitted_estimator` has only the member of that epoch, with its current weights. A
        callback can end the fit: members at work end with their epoch, and others are left out.
        """
        return self._fit_draft(X, y, sample_weight)

    def predict(self, X) -> np.ndarray:
        """Predict values, within the range of those in `fit`.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            A table with the columns of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In float64.
        """
        return self._mean_outputs(X)

    def _encode(self, y):
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._range = y.min(axis=0), y.max(axis=0)
        # Powers of two that bring y below 1: sums of squares neither overflow nor vanish.
        exponents = np.frexp(np.abs(y).max(axis=0))[1]
        y = np.ldexp(y, -exponents)
        mean, deviation = y.mean(axis=0), y.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        self._mean, self._deviation = np.ldexp(mean, exponents), np.ldexp(deviation, exponents)
        return (y - mean) / deviation, None

    def _member(self, seed):
        return MLPRegressor(
            hidden_layer_sizes=self.hidden_layer_sizes,
            batch_size=self.batch_size,
            learning_rate_init=self.learning_rate_init,
            max_iter=self.max_iter,
            random_state=seed,
            **RECIPE,
        )

    def _outputs_of(self, member, inputs):
        values = member.predict(inputs).astype(np.float64) * self._deviation + self._mean
        return np.clip(values, *self._range)

    def _finish(self, samples: Samples, splits: list[Split]) -> None:
        self.oof_prediction_ = self._held_out_outputs(samples, splits)
