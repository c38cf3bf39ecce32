"""MLPAutoencoder: a network that learns to reproduce X through a narrow layer."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastmlp._compat.sklearn import Interval, fit_context
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._estimator import fitted
from fastmlp._estimator.base import BaseMLP
from fastmlp._estimator.continuation import continuing
from fastmlp._estimator.outputs import layer_outputs, outputs_above
from fastmlp._estimator.parameters import (
    COMMON_CONSTRAINTS,
    hidden_layer_sizes,
    if_stochastic,
    working_type,
)


def narrowest_layer(sizes: Sequence[int]) -> int:
    """The number of the narrowest hidden layer; of several, that of the middle one.

    Of an even number of them, the one below the middle.

    Examples
    --------
    >>> from fastmlp.autoencoder import narrowest_layer
    >>> narrowest_layer([64, 16, 64]), narrowest_layer([8, 8, 8]), narrowest_layer([9, 4, 4, 9])
    (1, 1, 1)
    """
    narrowest = [index for index, size in enumerate(sizes) if size == min(sizes)]
    return narrowest[(len(narrowest) - 1) // 2]


class MLPAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseMLP):
    """Autoencoder: a multilayer perceptron that learns to reproduce X through a narrow layer.

    The layers up to the narrowest one encode a sample in few numbers, and the layers above decode
    it. The code serves other models as features, without labels. The error of the reconstruction
    tells how much a sample differs from those seen in training. With `noise`, the network also
    learns to remove noise.

    The model is, bit for bit, the `MLPRegressor` with the same parameters that is fitted to X as X
    and y.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(64, 16, 64)
        The number of units in each hidden layer. `transform` returns the activations of the
        narrowest one. If several are narrowest, it is the middle one of them, and of an even number
        the one below the middle.
    activation : str, CustomActivation or sequence of these, default='relu'
        The activation of the hidden layers, as in `MLPRegressor`: one for all, or one for each
        layer. The output layer is linear.
    noise : float, default=0.0
        The standard deviation of the Gaussian noise that is added to the inputs in training, while
        the targets stay without noise (denoising autoencoder). It has the unit of X, so scale X
        first. The noise is drawn anew in every epoch, and needs one copy of X. Validation data and
        predictions have none. Not available with 'lbfgs', which needs the same loss in every step.
    solver, alpha, batch_size, learning_rate, learning_rate_init, power_t : as in MLPRegressor
        The optimizer, the penalty and the learning rate.
    max_iter, shuffle : as in MLPRegressor
        The epochs. The loss of X between 0 and 1 is small, so a smaller `tol` may be in place.
    random_state : int, RandomState instance or None, default=None
        The source of initial weights, validation split, dropout masks, noise and shuffles. An
        integer makes every fit give the same model.
    tol, verbose, warm_start, momentum, nesterovs_momentum : as in MLPRegressor
        When to stop, what to print, where to begin, and the momentum of 'sgd'.
    early_stopping : bool, default=False
        Whether to stop when the loss on validation data, without noise, no longer improves, and to
        restore the weights of the best epoch. The validation data are the `X_val` passed to `fit`;
        without it they are split off X.
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun : as in MLPRegressor
        Early stopping, the moments of 'adam', patience, and the limit of 'lbfgs'.
    dropout, weight_decay, warmup, max_grad_norm, n_jobs : as in MLPRegressor
        Regularization, the first epochs, and threads.
    restore_best_weights, max_time, precision, n_hidden_layers : as in MLPRegressor
        More about early stopping, a limit of time, the type of the weights, and depth as a number.
    update_learning_rate : bool, default=False
        Whether calls of `partial_fit` follow changes of `learning_rate_init`, as in `MLPRegressor`.
    frozen_layers : array-like of int or None, default=None
        The layers whose weights and biases stay as they are, as in `MLPRegressor`.
    initialization : {'glorot', 'he', 'data'}, default='glorot'
        How the weights are drawn, as in `MLPRegressor`.
    weight_averaging : float, default=0.0
        The share that an average of the weights keeps of itself, as in `MLPRegressor`.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_in, n_out)
        The weights of each layer, those of the encoder first.
    intercepts_ : list of ndarray of shape (n_out,)
        The biases of each layer.
    loss_ : float
        The mean loss of the last epoch: half the mean squared error, and the penalty.
    best_loss_ : float or None
        The lowest mean loss of an epoch; None with early_stopping. Not set by 'lbfgs'.
    loss_curve_ : list of float
        The mean loss of each epoch. Not set by 'lbfgs'.
    validation_loss_curve_ : list of float or None
        The mean loss on validation data after each epoch; None if there were none.
    validation_scores_ : list of float or None
        The negative validation losses; None without early_stopping.
    best_validation_score_ : float or None
        The highest of them; None without early_stopping.
    n_iter_ : int
        The number of epochs, or of iterations of 'lbfgs', in the last call of `fit`.
    t_ : int
        The number of samples seen in all calls.
    n_layers_ : int
        The number of layers, including input and output.
    n_outputs_ : int
        The number of output units, which is that of features.
    out_activation_ : str
        The activation of the output layer: 'identity'.
    n_features_in_ : int
        The number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        The names of the features, if X has names that are all strings.

    See Also
    --------
    MLPTransformer : Features that are learned from labels.
    fastmlp.displays.ReconstructionDisplay : Images beside their reconstruction.
    sklearn.decomposition.PCA : The best linear code.

    Notes
    -----
    Everything that takes an `MLPRegressor` of fastmlp takes this estimator as well: displays,
    `fastmlp.inspection`, `fastmlp.interop.to_c`. Sparse X is refused, since its reconstruction is
    dense.

    References
    ----------
    Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science
    2006. Vincent et al., "Extracting and composing robust features with denoising autoencoders",
    ICML 2008.

    Examples
    --------
    >>> from fastmlp import MLPAutoencoder
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> model = MLPAutoencoder(
    ...     (64, 16, 64), "tanh", noise=0.1, learning_rate_init=0.01, tol=1e-5, random_state=0
    ... )
    >>> codes = model.fit(X[:1500]).transform(X[1500:])
    >>> codes.shape, model.inverse_transform(codes).shape
    ((297, 16), (297, 64))
    >>> errors = model.reconstruction_error(X[1500:])
    >>> bool(errors.mean() < 0.25 * X.var(axis=0).mean())
    True

    Digits that are turned upside down stand out:

    >>> from sklearn.metrics import roc_auc_score
    >>> turned = model.reconstruction_error(X[1500:, ::-1])
    >>> bool(roc_auc_score([0] * 297 + [1] * 297, [*errors, *turned]) > 0.75)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{name: each for name, each in COMMON_CONSTRAINTS.items() if name != "scoring"},
        "noise": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: ArrayLike = (64, 16, 64),
        activation: str | CustomActivation | Sequence[str | CustomActivation] = "relu",
        *,
        noise: float = 0.0,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        weight_decay: float = 0.01,
        warmup: float = 0,
        max_grad_norm: float | None = None,
        n_jobs: int | None = None,
        restore_best_weights: bool = True,
        max_time: float | None = None,
        precision: str | None = None,
        n_hidden_layers: int | None = None,
        update_learning_rate: bool = False,
        frozen_layers: Sequence[int] | None = None,
        initialization: str = "glorot",
        weight_averaging: float = 0.0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.noise = noise
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
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.max_grad_norm = max_grad_norm
        self.n_jobs = n_jobs
        self.restore_best_weights = restore_best_weights
        self.max_time = max_time
        self.precision = precision
        self.n_hidden_layers = n_hidden_layers
        self.update_learning_rate = update_learning_rate
        self.frozen_layers = frozen_layers
        self.initialization = initialization
        self.weight_averaging = weight_averaging

    @property
    def loss(self) -> str:
        """The loss function, of which `MLPRegressor` has a choice: 'squared_error'."""
        return "squared_error"

    @property
    def scoring(self) -> str:
        """What early_stopping maximizes: 'loss', the negative validation loss."""
        return "loss"

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, X_val=None) -> Self:
        """Train from scratch, or, with warm_start, from the last solution.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples, and what the network is to make of them.
        y : Ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; None means 1.
        X_val : array-like of shape (n_val, n_features), default=None
            Validation data, for `validation_loss_curve_`. With early_stopping, they replace the
            split.

        Returns
        -------
        MLPAutoencoder
            This one.

        Raises
        ------
        TypeError
            If X is sparse.
        ValueError
            If there is no hidden layer, if `noise` is used with solver 'lbfgs', or for what the
            `fit` of `MLPRegressor` refuses. The estimator then keeps its state from before the
            call.
        """
        targets = self._targets(X)
        y_val = None if X_val is None else self._targets(X_val, "X_val")
        return super().fit(X, targets, sample_weight, X_val=X_val, y_val=y_val)

    @if_stochastic
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None) -> Self:
        """Train for one more epoch, on the given samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        y : Ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; None means 1.

        Returns
        -------
        MLPAutoencoder
            This one.

        Raises
        ------
        AttributeError
            With solver 'lbfgs', which has no such steps.
        TypeError
            If X is sparse.
        ValueError
            For what `fit` refuses; with early_stopping; if the layer sizes have changed.
        """
        return self._train_for_an_epoch(X, self._targets(X), sample_weight)

    @continuing
    def _train_for_an_epoch(self, X, targets, sample_weight) -> Self:
        draft = fitted.draft_of(self)
        warnings = draft._fit(X, targets, sample_weight, incremental=True)
        return fitted.commit(self, draft, warnings)

    def _targets(self, X, input_name: str = "X") -> np.ndarray:
        """X as a regressor's y, for parameters that allow it."""
        if not hidden_layer_sizes(self):
            raise ValueError("an autoencoder needs a hidden layer to transform X into; got none")
        if self.noise and self.solver == "lbfgs":
            raise ValueError("solver='lbfgs' does not support noise, which changes with the epoch")
        dtype: Any = working_type(self) or (np.float64, np.float32)
        targets = cast(np.ndarray, check_array(X, dtype=dtype, input_name=input_name))
        return targets.ravel() if targets.shape[1] == 1 else targets

    def transform(self, X) -> np.ndarray:
        """Compute the activations of the narrowest layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples, n_units)
            In the type of `coefs_`. The bytes of a row do not depend on the other rows.
        """
        model, depth = self._model_and_depth()
        return layer_outputs(model, X, depth)

    def inverse_transform(self, X) -> np.ndarray:
        """Reconstruct samples from the activations of the narrowest layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_units)
            What `transform` returns, or other activations; converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the type of `coefs_`. After `transform`, the same bytes as from `predict`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not finite, or has a number of columns other than n_units.
        """
        return outputs_above(*self._model_and_depth(), X)

    def predict(self, X) -> np.ndarray:
        """Reconstruct samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the type of `coefs_`.
        """
        return layer_outputs(self._model_and_depth()[0], X)

    def reconstruction_error(self, X) -> np.ndarray:
        """Compute the mean squared error of each sample's reconstruction.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Means over the features, in the type of `coefs_`.
        """
        outputs = self.predict(X)
        dtype: Any = outputs.dtype
        outputs -= check_array(X, dtype=dtype)
        return np.square(outputs, out=outputs).mean(axis=1)

    def score(self, X, y=None, sample_weight=None) -> float:
        """Compute the negative mean of the reconstruction errors: higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        y : Ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; None means 1.

        Returns
        -------
        float
            At most 0.
        """
        return -float(np.average(self.reconstruction_error(X), weights=sample_weight))

    def _model_and_depth(self) -> tuple[Self, int]:
        """A draft, and how many of its layers X passes through to the narrowest one."""
        check_is_fitted(self)
        model = fitted.draft_of(self)  # one model throughout, even if another thread refits self
        fitted.complete(model)
        return model, narrowest_layer([coef.shape[1] for coef in model.coefs_[:-1]]) + 1

    @property
    def _n_features_out(self) -> int:
        """The number of units of the narrowest layer; scikit-learn's mixin reads it."""
        model, depth = self._model_and_depth()
        return model.coefs_[depth - 1].shape[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
