"""Real values as targets: what regressors predict, and its quantiles."""

from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import d2_pinball_score, r2_score

from fastmlp._engine.kernels.custom_loss import CustomLoss
from fastmlp._estimator.parameters import quantiles_of
from fastmlp._estimator.targets import Targets, validate
from fastmlp._training.losses import loss_of


class RealTargets(Targets):
    """Real values, one column or several.

    Parameters
    ----------
    loss : str or CustomLoss
        The regressor's loss, which determines the output activation.
    quantiles : tuple of float
        Those that outputs predict; empty for other losses. With several, y has one column, and each
        output predicts one of its quantiles.
    is_sorted : bool
        Whether predictions of quantiles are sorted.
    """

    def __init__(
        self,
        loss: str | CustomLoss,
        quantiles: tuple[float, ...] = (),
        is_sorted: bool = False,
    ):
        self.loss, self.quantiles, self.is_sorted = loss, quantiles, is_sorted

    @classmethod
    def of(cls, estimator) -> Self:
        """The targets of a regressor."""
        if estimator.loss != "quantile":
            return cls(estimator.loss)
        return cls(estimator.loss, quantiles_of(estimator), estimator.sort_quantiles)

    @property
    def _is_repeated(self) -> bool:
        """Whether each output has the same target."""
        return len(self.quantiles) > 1

    @classmethod
    def derive(cls, estimator, n_outputs: int) -> dict[str, Any]:
        """The output activation."""
        return {"out_activation_": cls.of(estimator)._output_activation()}

    @classmethod
    def prepare(cls, estimator, X, y, reset, incremental) -> tuple[Self, tuple]:
        """Validate X and y; y may have any values in every call."""
        X, y = validate(estimator, X, y, reset=reset, y_numeric=True)
        if issparse(y):
            raise ValueError("sparse y is not supported; pass y.toarray()")
        if y.dtype.kind not in "biuf":
            raise ValueError(f"y must hold real numbers, got an array of {y.dtype}")
        targets = cls.of(estimator)
        if targets.loss == "poisson" and y.min() < 0:
            raise ValueError("loss='poisson' needs y >= 0, but y has negative values")
        if targets._is_repeated and y.ndim == 2 and y.shape[1] > 1:
            raise ValueError(
                f"several quantiles need a y of one column, got {y.shape[1]}; for several columns, "
                "quantile must be a number"
            )
        return targets, (X, y)

    def validate_held_out(self, estimator, X, y) -> tuple:
        """Validate X and y, which must have as many outputs as in training."""
        _, (X, y) = self.prepare(estimator, X, y, reset=False, incremental=True)
        n_outputs = self.output_layer(y)[0]
        if n_outputs != estimator.n_outputs_:
            raise ValueError(f"y has {n_outputs} outputs, not {estimator.n_outputs_}")
        return X, y

    def are_valid(self, y, n_samples: int, n_outputs: int, warm_start: bool) -> bool:
        """Whether y is an array of finite numbers that the loss takes."""
        is_vector = n_outputs == 1 or self._is_repeated
        return (
            type(y) is np.ndarray
            and y.dtype.kind in "iuf"
            and y.shape == ((n_samples,) if is_vector else (n_samples, n_outputs))
            and bool(np.isfinite(y).all())
            and (self.loss != "poisson" or y.min() >= 0)
        )

    def output_layer(self, y: np.ndarray) -> tuple[int, str]:
        """One output for each column, or for each of several quantiles."""
        columns = y.shape[1] if y.ndim == 2 else 1
        return len(self.quantiles) if self._is_repeated else columns, self._output_activation()

    def _output_activation(self) -> str:
        return "exp" if "exp" in loss_of(self.loss).functions else "identity"

    def encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The values (n_samples, n_outputs)."""
        values = y.reshape(len(y), -1)
        if self._is_repeated:
            values = values.repeat(len(self.quantiles), axis=1)
        return np.ascontiguousarray(values, dtype=dtype)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """The outputs; a single column becomes one-dimensional."""
        if self.is_sorted and self._is_repeated:
            outputs = np.sort(outputs, axis=1)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def score(self, y, predictions, sample_weight) -> float:
        """R2, or for quantiles the mean of the D2 of their pinball losses; NaN if diverged."""
        if not np.isfinite(predictions).all():
            return np.nan
        if not self.quantiles:
            return float(r2_score(y, predictions, sample_weight=sample_weight))
        predictions = np.reshape(predictions, (len(y), -1))
        columns = predictions.T if self._is_repeated else [predictions]
        scores = [
            d2_pinball_score(np.reshape(y, each.shape), each, sample_weight=sample_weight, alpha=q)
            for each, q in zip(columns, self.quantiles, strict=True)
        ]
        return float(np.mean(scores))
