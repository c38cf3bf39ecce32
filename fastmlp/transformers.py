"""MLPTransformer: the output of a hidden layer, as a step of a pipeline."""

from collections.abc import Callable
from copy import deepcopy
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import sklearn
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastmlp._compat.sklearn import HasMethods, fit_context
from fastmlp._estimator.base import BaseMLP
from fastmlp._estimator.documentation import Documented
from fastmlp._estimator.outputs import hidden_layer, hidden_outputs, weights_of
from fastmlp._estimator.parameters import hidden_layer_sizes


def _estimator_has_partial_fit(transformer) -> bool:
    """Return True if the estimator has partial_fit, else raise AttributeError."""
    transformer.estimator.partial_fit  # noqa: B018 - raises the AttributeError
    return True


class MLPTransformer(
    Documented,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Transform X into the activations of a hidden layer of a multilayer perceptron.

    It trains an estimator on X and y, and hands the output of one hidden layer on to the next step:
    features that are learned from the labels, which other models, a search of neighbours or a plot
    can use.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The estimator, of fastmlp or scikit-learn. A clone of it is fitted; it stays as it is.
    layer : int, default=-1
        The hidden layer: 0 is the first one above the input, -1 the last one below the output. It
        may be changed after a fit.
    prefit : bool, default=False
        Whether the estimator is fitted already. Then `fit` only copies it, and `transform` needs no
        `fit`. Cloning, as by searches, makes an unfitted copy of the estimator, unless it is a
        :class:`sklearn.frozen.FrozenEstimator`.

    Attributes
    ----------
    estimator_ : MLPClassifier or MLPRegressor
        The fitted estimator.
    n_features_in_ : int
        The number of features in X.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X is a data frame whose column names are all strings.

    See Also
    --------
    fastmlp.inspection.hidden_activations : The same for a fitted model, as a function.
    sklearn.feature_selection.SelectFromModel : Selects features by means of an estimator.

    Notes
    -----
    The activations have the type of the weights: usually float32 if the estimator was trained on
    float32 data. The bytes of a row do not depend on the other rows or on the number of threads.

    Examples
    --------
    >>> from fastmlp import MLPClassifier, MLPTransformer
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> X, y = load_digits(return_X_y=True)
    >>> hidden = MLPTransformer(MLPClassifier((64, 16), tol=0.01, random_state=0))
    >>> model = make_pipeline(hidden, KNeighborsClassifier()).fit(X[:1500], y[:1500])
    >>> bool(model.score(X[1500:], y[1500:]) > 0.9)
    True
    >>> model[0].transform(X).shape, model[0].get_feature_names_out()[:2].tolist()
    ((1797, 16), ['mlptransformer0', 'mlptransformer1'])
    """

    estimator_: Any  # set by `fit`, as are the other attributes
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [HasMethods(["fit"])],
        "layer": [Integral],
        "prefit": ["boolean"],
    }

    def __init__(self, estimator: Any, layer: int = -1, *, prefit: bool = False) -> None:
        self.estimator = estimator
        self.layer = layer
        self.prefit = prefit

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, **fit_params) -> Self:
        """Fit a clone of the estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels or values. The estimator needs them, unless `prefit` is True.
        **fit_params : dict
            What else the estimator's `fit` takes, such as `sample_weight`. With metadata routing,
            what it requests. Not used if `prefit` is True.

        Returns
        -------
        MLPTransformer
            This one.

        Raises
        ------
        NotFittedError
            If `prefit` is True and the estimator is not fitted.
        TypeError
            If the estimator is not a multilayer perceptron.
        ValueError
            If the estimator refuses X or y, or has no such hidden layer.
        """
        return self._take(self._fitted(clone, "fit", X, y, fit_params))

    @available_if(_estimator_has_partial_fit)
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None, **fit_params) -> Self:
        """Train the estimator for one more epoch; in the first call, a clone of it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels or values. The estimator needs them, unless `prefit` is True.
        **fit_params : dict
            What else the estimator's `partial_fit` takes, such as `classes`, which a classifier
            needs in the first call. With metadata routing, what it requests. Not used if `prefit`
            is True.

        Returns
        -------
        MLPTransformer
            This one.

        Raises
        ------
        NotFittedError
            If `prefit` is True and the estimator is not fitted.
        TypeError
            If the estimator is not a multilayer perceptron.
        ValueError
            If the estimator refuses X or y, or has no such hidden layer.
        """
        before = vars(self).get("estimator_")
        make = clone if before is None else lambda _: before
        return self._take(self._fitted(make, "partial_fit", X, y, fit_params))

    def _fitted(self, make: Callable, method: str, X, y, fit_params: dict) -> Any:
        """A copy of the prefit estimator, or what `make` makes of the estimator, then fitted."""
        if self.prefit:
            return deepcopy(self._prefit_estimator())
        if isinstance(self.estimator, BaseMLP):  # no long fit before an error
            self.estimator._validate_params()
            hidden_layer(self.layer, len(hidden_layer_sizes(self.estimator)))
        if sklearn.get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, method, **fit_params).estimator[method]
        estimator = make(self.estimator)
        return getattr(estimator, method)(X, y, **fit_params)

    def _prefit_estimator(self) -> Any:
        """The estimator as it was given, which must be fitted."""
        try:
            check_is_fitted(self.estimator)
        except NotFittedError as error:
            message = "When `prefit=True`, `estimator` is expected to be a fitted estimator."
            raise NotFittedError(message) from error
        return self.estimator

    def _take(self, estimator) -> Self:
        """Keep a fitted estimator, if it is a multilayer perceptron with such a layer."""
        model = _unfrozen(estimator)
        hidden_layer(self.layer, len(weights_of(model)) - 1)
        self.estimator_, self.n_features_in_ = estimator, model.n_features_in_
        vars(self).pop("feature_names_in_", None)  # from an earlier fit
        if hasattr(model, "feature_names_in_"):
            self.feature_names_in_ = model.feature_names_in_
        return self

    def transform(self, X) -> np.ndarray:
        """Compute the activations of the hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Converted to the type of the weights.

        Returns
        -------
        ndarray of shape (n_samples, n_units)
            In the type of the weights.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not valid, or if there is no such hidden layer.
        """
        return hidden_outputs(self._model(), X, self.layer)

    def _model(self) -> Any:
        """The fitted multilayer perceptron."""
        if "estimator_" not in vars(self) and self.prefit:
            return _unfrozen(self._prefit_estimator())
        check_is_fitted(self)
        return _unfrozen(self.estimator_)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `transform` has an estimator to use."""
        if "estimator_" in vars(self):
            return True
        try:
            return self.prefit and self._prefit_estimator() is not None
        except NotFittedError:
            return False

    @property
    def _n_features_out(self) -> int:
        """The number of units of the layer; scikit-learn's mixin reads it."""
        model, depth = self._model_and_depth()
        return model.coefs_[depth - 1].shape[1]

    def _model_and_depth(self) -> tuple[Any, int]:
        """The fitted multilayer perceptron, and how many of its layers X passes through."""
        model = self._model()
        return model, hidden_layer(self.layer, len(model.coefs_) - 1) + 1

    def get_metadata_routing(self) -> MetadataRouter:
        """How metadata reach the estimator.

        Returns
        -------
        MetadataRouter
            From `fit` and `partial_fit` to the estimator's methods of these names.
        """
        mapping = MethodMapping()
        for method in ("fit", "partial_fit"):
            mapping.add(caller=method, callee=method)
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.target_tags.required = inner.target_tags.required and not self.prefit
        if tags.transformer_tags is not None:  # the solver has a say in the type of the weights
            tags.transformer_tags.preserves_dtype = []
        return tags


def _unfrozen(estimator) -> Any:
    """The estimator in a FrozenEstimator, or the estimator itself."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
