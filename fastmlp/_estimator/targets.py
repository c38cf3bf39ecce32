"""Targets: validation, encoding, decoding and scores, for class labels and real values."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self, cast

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from fastmlp._compat.sklearn import check_sample_weight
from fastmlp._estimator.class_weights import weights_of_samples
from fastmlp._estimator.parameters import working_type


def validate(estimator, X, y, reset: bool, **checks) -> tuple:
    """scikit-learn's validation of X and y; `reset` records the features instead of comparing."""
    validated = validate_data(
        estimator,
        X,
        y,
        accept_sparse=["csr", "csc"],
        multi_output=True,
        dtype=working_type(estimator) or (np.float64, np.float32),
        reset=reset,
        **checks,
    )
    X, y = cast("tuple[Any, np.ndarray]", validated)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return X, y


class Targets(ABC):
    """What an estimator knows about y: `ClassTargets` for labels, `RealTargets` for real values."""

    DERIVED: ClassVar[frozenset[str]] = frozenset(
        {"n_layers_", "n_features_in_", "n_outputs_", "out_activation_"}
    )

    @classmethod
    @abstractmethod
    def of(cls, estimator) -> Self:
        """The targets of a fitted estimator."""

    @classmethod
    @abstractmethod
    def derive(cls, estimator, n_outputs: int) -> dict[str, Any]:
        """The attributes that follow from the weights and the others, all set by hand."""

    @classmethod
    @abstractmethod
    def prepare(cls, estimator, X, y, reset: bool, incremental: bool) -> tuple[Self, tuple]:
        """Learn the targets of a fit, or compare y with those of the last call.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Feature names and class labels are stored in it.
        X, y
            As the user passed them.
        reset : bool
            Whether to record the features of X, instead of comparing them.
        incremental : bool
            Whether this is a call of partial_fit.

        Returns
        -------
        targets : Targets
        (X, y) : tuple
            Validated.
        """

    @abstractmethod
    def validate_held_out(self, estimator, X, y) -> tuple:
        """Validate X and y for a score: same features and outputs as in training, known labels."""

    @abstractmethod
    def are_valid(self, y, n_samples: int, n_outputs: int, warm_start: bool) -> bool:
        """Whether y is sure to pass `prepare` in a further call of partial_fit."""

    def has_classes(self, classes) -> bool:
        """Whether these are sure to be the classes of the first call of partial_fit."""
        return False

    @abstractmethod
    def output_layer(self, y: np.ndarray) -> tuple[int, str]:
        """The number of output units and the name of their activation."""

    @abstractmethod
    def encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The kernels' targets (n_samples, n_columns) in `dtype`."""

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from output activations (n_samples, n_outputs)."""

    @abstractmethod
    def score(self, y, predictions, sample_weight) -> float:
        """The estimator's default score; higher is better."""

    def stratification(self, y: np.ndarray) -> np.ndarray | None:
        """The labels by which to stratify the validation split; None if it is not stratified."""
        return None

    def check_sample_weight(self, sample_weight, X, y: np.ndarray) -> np.ndarray | None:
        """The validated sample weights for training; None means 1 for each sample."""
        return None if sample_weight is None else check_sample_weight(sample_weight, X)


class ClassTargets(Targets):
    """Class labels, or columns of a multilabel y.

    Parameters
    ----------
    binarizer : LabelBinarizer
        Fitted.
    classes : ndarray of shape (n_classes,)
        Sorted.
    class_weight : 'balanced', dict, list of dict or None
    """

    DERIVED = Targets.DERIVED | {"_label_binarizer", "classes_"}

    def __init__(self, binarizer: LabelBinarizer, classes: np.ndarray, class_weight=None):
        self.binarizer, self.classes, self.class_weight = binarizer, classes, class_weight

    @classmethod
    def of(cls, estimator) -> Self:
        """The targets of a fitted classifier.

        Raises
        ------
        NotFittedError
            If the labels are not known, because the weights were set by hand without them.
        """
        if not hasattr(estimator, "_label_binarizer"):
            raise NotFittedError(
                f"the labels of this {type(estimator).__name__} are not known; call fit, or set "
                "classes_ beside coefs_ and intercepts_"
            )
        classes = np.asarray(estimator.classes_)
        return cls(estimator._label_binarizer, classes, estimator.class_weight)

    @classmethod
    def derive(cls, estimator, n_outputs: int) -> dict[str, Any]:
        """The output activation and, if either is known, the labels and their binarizer.

        Several outputs are those of a multilabel y only if the output activation, or the binarizer,
        says so.
        """
        known = vars(estimator)
        derived: dict[str, Any] = {}
        output = known.get("out_activation_", "softmax" if n_outputs > 1 else "logistic")
        if "_label_binarizer" in known:
            binarizer = known["_label_binarizer"]
            if binarizer.y_type_.startswith("multilabel"):
                output = "logistic"
            derived = {"classes_": binarizer.classes_}
        elif "classes_" in known:
            is_multilabel = n_outputs > 1 and output == "logistic"
            binarizer = _binarizer_of(np.asarray(known["classes_"]), n_outputs, is_multilabel)
            derived = {"_label_binarizer": binarizer}
        return {"out_activation_": output, **derived}

    @classmethod
    def begin_partial_fit(cls, estimator, y, classes) -> None:
        """Learn the labels in the first call of partial_fit; compare them in later ones."""
        known = getattr(estimator, "classes_", None)
        if classes is None:
            if known is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            return
        given = unique_labels(classes)
        if known is None:
            estimator.classes_ = given
            labels = y if type_of_target(y).startswith("multilabel") else classes
            estimator._label_binarizer = LabelBinarizer().fit(labels)
        # Not np.array_equal, which turns an exception of a signal handler into False.
        elif len(known) != len(given) or (known != given).any():
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{known!r}"
            )

    @classmethod
    def prepare(cls, estimator, X, y, reset, incremental) -> tuple[Self, tuple]:
        """Learn the labels of a fit, or compare y with those of the last call."""
        X, y = validate(estimator, X, y, reset=reset)
        continues = estimator.warm_start or incremental
        if not hasattr(estimator, "classes_") or not continues:
            estimator._label_binarizer = LabelBinarizer().fit(y)
            estimator.classes_ = estimator._label_binarizer.classes_
            targets = cls.of(estimator)
        else:
            targets = cls.of(estimator)
            targets._compare(y, estimator.warm_start)
        return targets, (X, targets._as_indicators(y))

    def _compare(self, y, warm_start: bool) -> None:
        """Reject labels that the last call did not have; with warm_start, missing ones too."""
        classes = unique_labels(y)
        if warm_start:
            if set(classes) != set(self.classes):
                raise ValueError(
                    "warm_start can only be used where `y` has the same "
                    "classes as in the previous call to fit. Previously "
                    f"got {self.classes}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes}."
                f" 'y' has {classes}."
            )

    def validate_held_out(self, estimator, X, y) -> tuple:
        """Validate X and y, whose labels must have occurred in training."""
        X, y = validate(estimator, X, y, reset=False)
        labels = unique_labels(y)
        fits = y.ndim == 1 + self.binarizer.y_type_.startswith("multilabel")
        if not fits or len(np.setdiff1d(labels, self.classes)):
            raise ValueError(f"y has labels {labels}, but the training data have {self.classes}")
        return X, self._as_indicators(y)

    def are_valid(self, y, n_samples: int, n_outputs: int, warm_start: bool) -> bool:
        """Whether y is an array of known labels, of their type; with warm_start, of all of them."""
        if not (
            type(y) is np.ndarray
            and y.shape == (n_samples,)
            and y.dtype == self.classes.dtype
            and y.dtype.kind in "biufUS"
        ):
            return False
        numbers, is_any_unknown = self._numbers_of(y)
        if is_any_unknown:
            return False
        return not warm_start or len(np.unique(numbers)) == len(self.classes)

    def has_classes(self, classes) -> bool:
        """Whether these are the same classes, in the same order."""
        if type(classes) is np.ndarray and classes.dtype == self.classes.dtype:
            return classes.shape == self.classes.shape and bool((classes == self.classes).all())
        return isinstance(classes, list | range) and list(classes) == self.classes.tolist()

    def _numbers_of(self, y: np.ndarray) -> tuple[np.ndarray, bool]:
        """Each label's number, and whether any label is unknown."""
        numbers = self.classes.searchsorted(y)
        # Not np.array_equal, which turns an exception of a signal handler into False.
        return numbers, bool((self.classes.take(numbers, mode="clip") != y).any())

    def _as_indicators(self, y: np.ndarray) -> np.ndarray:
        """Multilabel y as zeros and ones, like predictions: any number except 0 becomes 1."""
        if y.ndim == 1:
            return y
        return self._binarize(y).astype(int)

    def _binarize(self, y: np.ndarray) -> np.ndarray:
        return cast(np.ndarray, self.binarizer.transform(y)).astype(bool)

    def output_layer(self, y: np.ndarray) -> tuple[int, str]:
        """One output for each class or column; a single one for two classes."""
        if self.binarizer.y_type_ == "multiclass":
            return len(self.classes), "softmax"
        return y.shape[1] if y.ndim == 2 else 1, "logistic"

    def encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Class numbers in one column, or the columns of a multilabel y."""
        if y.ndim == 2:
            return np.ascontiguousarray(y, dtype=dtype)
        numbers, is_any_unknown = self._numbers_of(y)
        if is_any_unknown:
            raise ValueError("y has labels that are not in classes_, or classes_ is not sorted")
        return numbers.astype(dtype).reshape(-1, 1)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """The most probable label of each row, or all labels of probability above 0.5."""
        binarizer = self.binarizer
        labels = np.asarray(binarizer.classes_)
        if binarizer.y_type_ == "binary" and outputs.shape[1] == 1 and len(labels) == 2:
            # As the binarizer does, which takes ten times as long.
            threshold = (binarizer.pos_label + binarizer.neg_label) / 2
            return labels[(outputs.ravel() > threshold).astype(int)]
        columns = outputs.ravel() if outputs.shape[1] == 1 else outputs
        return cast(np.ndarray, self.binarizer.inverse_transform(columns))

    def score(self, y, predictions, sample_weight) -> float:
        """Accuracy."""
        return accuracy_score(y, predictions, sample_weight=sample_weight)

    def stratification(self, y: np.ndarray) -> np.ndarray | None:
        """The labels if there are two, else None."""
        if self.output_layer(y)[0] > 1:
            return None
        return self._binarize(y)

    def check_sample_weight(self, sample_weight, X, y: np.ndarray) -> np.ndarray | None:
        """The validated sample weights, multiplied by the class weights."""
        sample_weight = super().check_sample_weight(sample_weight, X, y)
        if self.class_weight is None:
            return sample_weight
        by_class = weights_of_samples(self.class_weight, self.classes, y)
        if (by_class < 0).any():
            raise ValueError(f"class_weight must not be negative, got {self.class_weight}")
        product = by_class if sample_weight is None else by_class * sample_weight
        return super().check_sample_weight(product, X, y)


def _binarizer_of(classes: np.ndarray, n_outputs: int, is_multilabel: bool) -> LabelBinarizer:
    """The binarizer of labels that were set by hand, in their order."""
    labels = len(classes)
    if n_outputs != labels and (n_outputs, labels) != (1, 2):
        raise ValueError(f"classes_ has {labels} labels, but the network has {n_outputs} outputs")
    both = np.arange(2)[:, None] * np.ones(n_outputs, dtype=int)
    binarizer = LabelBinarizer().fit(both if is_multilabel else classes)
    binarizer.classes_ = classes
    return binarizer
