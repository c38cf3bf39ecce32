"""BaseMLP: fit, partial_fit, predict. A draft is fitted, then committed."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from fastmlp._compat.sklearn import CallbackSupport, fit_context
from fastmlp._engine.inputs import should_be_compact
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.network import Network
from fastmlp._estimator import continuation, fitted, parameters
from fastmlp._estimator.documentation import Documented
from fastmlp._estimator.given_weights import NONE_GIVEN, GivenWeights
from fastmlp._estimator.initialization import initialize
from fastmlp._estimator.kinds import kind_of_targets
from fastmlp._estimator.outputs import layer_outputs
from fastmlp._training.callbacks import FitTasks
from fastmlp._training.history import History
from fastmlp._training.loop import divergence
from fastmlp._training.solve import Problem, Solution, solve
from fastmlp._training.validation import HeldOut


class BaseMLP(Documented, CallbackSupport, BaseEstimator):
    """What the classifier and the regressor share.

    A subclass declares the parameters in ``__init__``, and their constraints.
    """

    # Parameters that this class reads.
    activation: str | CustomActivation | Sequence[str | CustomActivation]
    n_jobs: int | None
    random_state: int | np.random.RandomState | None
    warm_start: bool
    # Fitted attributes, declared for static tools; `fit` sets them.
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    loss_: float
    best_loss_: float | None
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, Any]] = parameters.COMMON_CONSTRAINTS

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        coefs_init=None,
        intercepts_init=None,
    ):
        """Train from scratch, or, with warm_start, from the last solution.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples. Training is in float32 for float32 data, else in float64, unless
            `precision` says otherwise. An array of that type with contiguous rows is not copied.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels or values.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; None means 1.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data, for `validation_loss_curve_`. With early_stopping, they replace the
            split and need at least two rows. In a pipeline, call
            ``set_fit_request(X_val=True, y_val=True)`` on the estimator and pass
            ``transform_input=["X_val"]`` to the pipeline.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Their labels, which must all occur in y, or their values.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights; None means 1.
        coefs_init : list of array-like or estimator, default=None
            Initial weights (n_in, n_out) of each layer; those of a layer that is None are drawn.
            Or a fitted multilayer perceptron of fastmlp or scikit-learn: the layers whose shapes
            agree, from the first on, are taken over with their biases, the others are drawn. The
            values are copied. All layers are drawn first, whatever is given, so neither the rest
            nor a split or a shuffle depends on it.
        intercepts_init : list of array-like, default=None
            Initial biases (n_out,) of each layer; those of a layer that is None are drawn. Not with
            an estimator.

        Returns
        -------
        MLPClassifier or MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If X or y is not finite or has the wrong shape, if the validation data do not fit or are
            used with solver 'lbfgs', or if training diverges and early_stopping has no best
            weights to keep. If initial weights do not fit the layers or are not finite, or if
            warm_start goes on from others. The estimator then keeps its state from before the call.
        TypeError
            If initial weights are neither a list nor a multilayer perceptron, or not real numbers.
        NotFittedError
            If they are to come from an estimator that is not fitted.

        Warns
        -----
        ConvergenceWarning
            If max_iter, max_fun or max_time ends the fit, or if training diverges and
            early_stopping keeps the best weights.
        UserWarning
            If Ctrl-C ends the fit (the model so far is kept), or if `batch_size` exceeds the
            number of samples.

        Notes
        -----
        Callbacks (see :mod:`sklearn.callback`, new in version 1.9) run at every epoch, or every
        iteration of 'lbfgs', with X and y as given, in searches and pipelines too. Their
        `fitted_estimator` has the current weights, which need not be the best under early_stopping.
        A callback can end the fit. If it raises an exception, the estimator keeps its state from
        before the call.
        """
        tasks = FitTasks.of(self, X, y, sample_weight)
        validation = X_val, y_val, sample_weight_val
        given = GivenWeights(coefs_init, intercepts_init)
        draft = fitted.draft_of(self)
        warnings = draft._fit(X, y, sample_weight, given, validation=validation, tasks=tasks)
        if tasks is not None:
            tasks.end(fitted.attributes_of(draft))
        return fitted.commit(self, draft, warnings)

    def _fit(
        self,
        X,
        y,
        sample_weight,
        given: GivenWeights = NONE_GIVEN,
        *,
        incremental: bool = False,
        validation: tuple = (None, None, None),
        tasks: FitTasks | None = None,
    ) -> list[Warning]:
        """Fit this draft; with `incremental`, continue the last call for one epoch.

        Returns the warnings to give once the draft is committed.
        """
        continuation.take(self)
        hidden = parameters.hidden_layer_sizes(self)
        continues = hasattr(self, "coefs_") and (self.warm_start or incremental)
        if continues:
            fitted.complete(self)
        targets, (X, y) = kind_of_targets(self).prepare(
            self, X, y, reset=not continues, incremental=incremental
        )
        parameters.check_precision(self, X)
        if not (continues and incremental):  # once for all calls of partial_fit
            parameters.warn_of_emulation(self)
        sample_weight = targets.check_sample_weight(sample_weight, X, y)
        random_state = check_random_state(self.random_state)
        n_outputs, out_activation = targets.output_layer(y)
        layer_sizes = [X.shape[1], *hidden, n_outputs]
        is_compact = should_be_compact(X, layer_sizes, X.dtype)
        if continues:
            given.refuse_to_continue()
            network = fitted.network_to_continue(self, layer_sizes, is_compact)
            vars(self).setdefault("t_", 0)  # the weights may have been set by hand
        else:
            network = Network(
                layer_sizes,
                X.dtype,
                is_compact,
                multiplies_pairs=parameters.multiplies_pairs(self),
            )
            initialize(network, self, X, random_state)
            given.write_to(network)
            self.n_iter_ = self.t_ = 0
        self.n_layers_, self.n_outputs_ = len(layer_sizes), n_outputs
        self.out_activation_ = out_activation
        problem = Problem(
            model=self,
            with_network=lambda network: fitted.with_network(self, network),
            targets=targets,
            settings=parameters.settings_of(self, len(hidden)),
            network=network,
            samples=(X, y, sample_weight),
            held_out=HeldOut.given(self, targets, *validation),
            history=History.of(self) if continues else History.begin(self),
            optimizer=vars(self).get("_optimizer") if incremental else None,
            random_state=random_state,
            one_epoch=incremental,
            tasks=tasks,
        )
        return self._fit_problem(problem)

    def _fit_problem(self, problem: Problem) -> list[Warning]:
        """Fit this draft by solving its problem; returns the warnings to give."""
        solution = self._solve(problem)
        if not solution.network.is_finite():
            message = (
                "Solver produced non-finite parameter weights. The input data may"
                " contain large values and need to be preprocessed."
            )
            if solution.history is not None:
                message += f" {divergence(problem.settings, solution.history, problem.one_epoch)}"
            raise ValueError(message)
        vars(self).pop("_optimizer", None)  # from an earlier fit
        vars(self).update(solution.attributes)
        if solution.history is not None:
            vars(self).update(solution.history.unfinished_attributes())
        fitted.take_network(self, solution.network)
        continuation.leave(self, problem, solution)
        fitted.set_history(self, solution.history)
        return solution.warnings

    def _solve(self, problem: Problem) -> Solution:
        """Train; estimators for clusters override this."""
        return solve(problem)

    def predict(self, X):
        """Predict labels or values.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels of the type of `classes_`, or values of the type of `coefs_`.
        """
        model = fitted.draft_of(self)  # one model throughout, even if another thread refits self
        outputs = layer_outputs(model, X)
        return kind_of_targets(model).of(model).decode(outputs)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not parameters.multiplies_pairs(self)
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """The state as arrays and builtins only; views are copied."""
        return fitted.plain_state(cast(dict[str, Any], super().__getstate__()))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a state from `__getstate__`, of this version or another."""
        super().__setstate__(fitted.without_version(state, type(self).__name__))
        fitted.rebuild(self)
