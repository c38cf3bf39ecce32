"""BaseTabularMLP: preprocess, split, fit the members, average them."""

import time
from abc import abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from fastmlp._compat.sklearn import CallbackSupport, Interval, check_sample_weight
from fastmlp._estimator import fitted
from fastmlp.tabular.columns import as_table
from fastmlp.tabular.members import Samples, Split, fit_members, splits_of
from fastmlp.tabular.preprocessing import TabularPreprocessor
from fastmlp.tabular.progress import EnsembleTasks, MemberTasks

MOST_SEEDS = 2**31 - 1

# The recipe, without what a subclass adds. Every member runs all epochs and keeps its best one.
RECIPE = {
    "activation": "mish",
    "solver": "adamw",
    "learning_rate": "one_cycle",
    "beta_2": 0.95,
    "weight_averaging": 0.75,
    "alpha": 0.0,
    "weight_decay": 0.0,
    "early_stopping": True,
    "n_iter_no_change": np.inf,
    "tol": 0.0,
    "scoring": "loss",
}


class BaseTabularMLP(CallbackSupport, BaseEstimator):
    """What the classifier and the regressor for tables share."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TabularPreprocessor._parameter_constraints,
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "verbose": ["verbose"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    # Parameters that this class reads.
    n_members: int
    max_iter: int
    max_time: float | None
    verbose: bool | int
    n_jobs: int | None

    def _fit_draft(self, X, y, sample_weight) -> Self:
        """Fit a draft and commit it, and let callbacks see it."""
        tasks = EnsembleTasks.of(self, X, y, sample_weight)
        draft = fitted.draft_of(self)
        try:
            warnings = draft._fit(X, y, sample_weight, tasks)
        finally:
            if tasks is not None:
                tasks.close()
        if tasks is not None:
            tasks.end(fitted.attributes_of(draft))
        return fitted.commit(self, draft, warnings)

    def _fit(self, X, y, sample_weight, tasks: EnsembleTasks | None) -> list[Warning]:
        """Fit this draft; return the warnings to give once it is committed."""
        deadline = time.monotonic() + (np.inf if self.max_time is None else self.max_time)
        random_state = check_random_state(self.random_state)
        names = TabularPreprocessor._parameter_constraints
        preprocessor = TabularPreprocessor(**{name: getattr(self, name) for name in names})
        table = as_table(X)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        check_consistent_length(table, y)
        targets, labels = self._encode(y)
        inputs = preprocessor.fit(X, None if labels is not None else targets).transform(X)
        if inputs.shape[1] == 0:
            raise ValueError(f"every column of X is constant; n_samples={len(inputs)}")
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, inputs)
        seed = random_state.randint(MOST_SEEDS)
        splits = splits_of(len(inputs), labels, self.n_members, seed)
        members = [self._member(random_state.randint(MOST_SEEDS)) for _ in splits]
        samples = Samples(inputs, targets, sample_weight)
        self.preprocessor_ = preprocessor
        self.n_features_in_ = preprocessor.n_features_in_
        if hasattr(preprocessor, "feature_names_in_"):
            self.feature_names_in_ = preprocessor.feature_names_in_
        members = fit_members(
            members,
            samples,
            splits,
            self.n_jobs,
            deadline=deadline,
            is_verbose=bool(self.verbose),
            tasks=[] if tasks is None else self._tasks_of(tasks, members, samples, splits),
        )
        self._take_members(members, samples, splits)
        is_stopped = tasks is not None and tasks.is_stopped
        return [] if is_stopped else self._closing_warnings(members)

    def _tasks_of(
        self, tasks: EnsembleTasks, members: list, samples: Samples, splits: list[Split]
    ) -> list[MemberTasks]:
        """Begin the callbacks' fit; return each member's part of it."""

        def with_member(attributes: dict, member, split: Split) -> dict:
            model, member = fitted.draft_of(self), fitted.draft_of(member)
            vars(member).update(attributes)
            model._take_members([member], samples, [split])
            return vars(model)

        tasks.begin_members(len(splits), self.max_iter)
        return [
            tasks.of_member(index * self.max_iter, partial(with_member, member=member, split=split))
            for index, (member, split) in enumerate(zip(members, splits, strict=True))
        ]

    def _take_members(self, members: list, samples: Samples, splits: list[Split]) -> None:
        """Set the attributes that need fitted members."""
        self.n_iter_ = max(member.n_iter_ for member in members if member is not None)
        # A member without a finished epoch knows nothing: leave it out, unless none knows more.
        kept = [
            n
            for n, member in enumerate(members)
            if member is not None and (member.n_iter_ or not self.n_iter_)
        ]
        self.members_ = [members[n] for n in kept]
        self._finish(samples, [splits[n] for n in kept])

    def _closing_warnings(self, members: list) -> list[Warning]:
        late = sum(member.n_iter_ < self.max_iter for member in members)
        if self.max_time is None or late == 0:
            return []
        message = (
            f"max_time={self.max_time:g} seconds have passed; {late} of {len(members)} members "
            f"ended before {self.max_iter} epochs."
        )
        return [ConvergenceWarning(message)]

    def _held_out_outputs(self, samples: Samples, splits: list[Split]) -> np.ndarray:
        """Each row's outputs by the member that held it out; NaN for rows that none did."""
        like = self._outputs_of(self.members_[0], samples.X[:1])
        found = np.full((len(samples.X), *like.shape[1:]), np.nan, like.dtype)
        for member, (_, held_out) in zip(self.members_, splits, strict=True):
            if len(held_out):
                found[held_out] = self._outputs_of(member, samples.X[held_out])
        return found

    def _mean_outputs(self, X) -> np.ndarray:
        """The members' mean outputs."""
        check_is_fitted(self)
        inputs = self.preprocessor_.transform(X)
        return np.mean([self._outputs_of(member, inputs) for member in self.members_], axis=0)

    @abstractmethod
    def _encode(self, y) -> tuple[np.ndarray, np.ndarray | None]:
        """Targets for the members, and the labels by which folds are stratified."""

    @abstractmethod
    def _member(self, seed: int) -> Any:
        """A member that is not fitted yet."""

    @abstractmethod
    def _outputs_of(self, member, inputs: np.ndarray) -> np.ndarray:
        """A member's outputs, of which the mean is taken."""

    @abstractmethod
    def _finish(self, samples: Samples, splits: list[Split]) -> None:
        """Set the attributes that need fitted members."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        return tags
