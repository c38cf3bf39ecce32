"""SensitivityDisplay: how much the outputs change with each feature."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.inspection import permutation_importance
from sklearn.utils import gen_batches

from fastmlp.displays.panels import panels
from fastmlp.inspection.sensitivity import input_gradient

PANEL_WIDTH = 4.5  # inches
BAR_HEIGHT, MARGINS = 0.25, 1.0  # inches, of a feature and of title and labels
BLOCK_ROWS = 500  # samples whose gradients are in memory together


class SensitivityDisplay:
    """The mean absolute gradient of the outputs by each feature.

    It shows to which features the predictions respond, without knowing the truth. With y, a second
    panel shows what the score loses when a feature is permuted: the model may respond to a feature
    that is of no use, or that another one can replace.

    Parameters
    ----------
    sensitivities : ndarray of shape (n_features,)
        The mean absolute gradients, over samples and outputs.
    feature_names : array-like of str of shape (n_features,)
        The names of the features.
    label : str
        What is differentiated, for the axis.
    importances : ndarray of shape (n_features, n_repeats), default=None
        What the score lost in each permutation of each feature. None leaves out the second panel.

    Attributes
    ----------
    bars_ : list of matplotlib BarContainer
        Those of each panel.
    features_ : ndarray of int
        The features drawn, the most sensitive first.
    axes_ : ndarray of matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    fastmlp.inspection.input_gradient : The gradients themselves.
    sklearn.inspection.permutation_importance : What the second panel shows.

    Notes
    -----
    A gradient is a change per unit of a feature, so bars can be compared if the features have one
    scale. For a pipeline, pass the fitted step and what the steps before it make of X.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.displays import SensitivityDisplay
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> X[:] = scale(X)
    >>> model = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", alpha=100, random_state=0)
    >>> display = SensitivityDisplay.from_estimator(model.fit(X, y), X, y, random_state=0)
    >>> [X.columns[feature] for feature in display.features_[:2]]
    ['s1', 's5']
    """

    def __init__(self, *, sensitivities, feature_names, label, importances=None):
        self.sensitivities = sensitivities
        self.feature_names = feature_names
        self.label = label
        self.importances = importances

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        output=None,
        pre_activation=False,
        n_repeats=5,
        random_state=None,
        ax=None,
        **kwargs,
    ) -> "SensitivityDisplay":
        """Draw the sensitivity of a fitted estimator of fastmlp or scikit-learn.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted one.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples over which the mean is taken. With y they must be dense.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels or values, for the second panel. None draws the first only.
        output : int, default=None
            The output to differentiate, as in `input_gradient`; None means all. The second panel
            does not depend on it.
        pre_activation : bool, default=False
            Whether to differentiate the outputs before their activation.
        n_repeats : int, default=5
            How often each feature is permuted.
        random_state : int, RandomState instance or None, default=None
            The source of the permutations.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.
        **kwargs
            As in `plot`.

        Returns
        -------
        SensitivityDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it is not a multilayer perceptron.
        ValueError
            If X or y is not valid, or if there is no such output.
        """
        sensitivities = _mean_absolute_gradient(estimator, X, output, pre_activation)
        importances = None
        if y is not None:
            importances = permutation_importance(
                estimator, X, y, n_repeats=n_repeats, random_state=random_state
            )["importances"]
        numbers = [str(feature) for feature in range(len(sensitivities))]
        display = cls(
            sensitivities=sensitivities,
            feature_names=getattr(estimator, "feature_names_in_", numbers),
            label=_label(estimator, output, pre_activation),
            importances=importances,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, max_features=20) -> "SensitivityDisplay":
        """Draw the most sensitive features.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            A single Axes is divided if there are two panels; an array must have one Axes per
            panel. None creates a new figure.
        max_features : int, default=20
            The most features drawn.

        Returns
        -------
        SensitivityDisplay
            The display itself, with its attributes set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        self.features_ = np.argsort(-np.asarray(self.sensitivities), kind="stable")[:max_features]
        count = len(self.features_)
        size = PANEL_WIDTH, MARGINS + BAR_HEIGHT * count
        self.axes_ = panels(caller, ax, 1 if self.importances is None else 2, 2, size)
        self.figure_ = self.axes_[0].figure
        places, names = np.arange(count), np.asarray(self.feature_names, dtype=object)
        first = self.axes_[0]
        self.bars_ = [first.barh(places, self.sensitivities[self.features_], color="0.35")]
        first.set(title="Sensitivity", xlabel=self.label, ylabel="Feature")
        if self.importances is not None:
            drawn, second = self.importances[self.features_], self.axes_[1]
            self.bars_.append(
                second.barh(places, drawn.mean(axis=1), xerr=drawn.std(axis=1), color="0.7")
            )
            second.axvline(0, color="black", linewidth=0.8)
            second.set(title="Permutation importance", xlabel="Loss of score")
        for panel, labels in zip(self.axes_, (names[self.features_], [""] * count), strict=False):
            panel.set_yticks(places, labels)  # the names stand beside the first panel
            panel.invert_yaxis()  # the most sensitive on top
        return self


def _mean_absolute_gradient(estimator, X, output, pre_activation) -> np.ndarray:
    """The mean of |gradient| over samples and outputs (n_features,)."""
    X = X if hasattr(X, "shape") else np.asarray(X)
    rows = getattr(X, "iloc", X)  # the slices of a data frame may be of labels otherwise
    sums = np.zeros(X.shape[1])
    count = 0
    for block in gen_batches(X.shape[0], BLOCK_ROWS):
        options = {"pre_activation": pre_activation}
        gradients = np.abs(input_gradient(estimator, rows[block], output, **options))
        gradients = gradients.reshape(-1, gradients.shape[-1])
        sums += gradients.sum(axis=0, dtype=np.float64)
        count += len(gradients)
    return sums / count


def _label(estimator, output, pre_activation) -> str:
    """What the gradients are of, in words for an axis."""
    if is_classifier(estimator):
        what = "logit" if pre_activation else "probability"
    else:
        what = "z" if pre_activation else "prediction"
    if output is not None and len(estimator.coefs_[-1].T) > 1:
        what += f" {estimator.classes_[output]}" if is_classifier(estimator) else f" {output}"
    return f"Mean |d {what} / d feature|"
