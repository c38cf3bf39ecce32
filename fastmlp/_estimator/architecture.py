"""Architecture: the layers of a fitted estimator, for plots and exports."""

from dataclasses import dataclass
from itertools import pairwise

from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._estimator.fitted import completed
from fastmlp._estimator.outputs import weights_of
from fastmlp._estimator.parameters import hidden_activations


@dataclass(frozen=True)
class Architecture:
    """Sizes and activations of a network's layers.

    Parameters
    ----------
    layer_sizes : tuple of int
        Units of each layer, input and output included.
    activations : tuple of str or CustomActivation
        Activation of each layer except the input.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp._estimator.architecture import Architecture
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 5, [0, 1, 1, 0] * 5
    >>> model = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    >>> architecture = Architecture.of(model)
    >>> architecture.layer_sizes, architecture.activations
    ((2, 8, 1), ('relu', 'logistic'))
    >>> architecture.names, architecture.parameters
    (('input', 'hidden', 'output'), (0, 24, 9))
    """

    layer_sizes: tuple[int, ...]
    activations: tuple[str | CustomActivation, ...]

    @classmethod
    def of(cls, estimator) -> "Architecture":
        """Read the layers of a fitted multilayer perceptron of fastmlp or scikit-learn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it is not a multilayer perceptron.
        """
        weights_of(estimator)  # raises if it has none
        estimator = completed(estimator)
        coefs = estimator.coefs_
        sizes = (coefs[0].shape[0], *(coef.shape[1] for coef in coefs))
        hidden = hidden_activations(estimator, len(coefs) - 1)
        return cls(sizes, (*hidden, estimator.out_activation_))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers: input, hidden (numbered if there are several), output."""
        n_hidden = len(self.layer_sizes) - 2
        numbers = [""] if n_hidden == 1 else [f" {number}" for number in range(1, n_hidden + 1)]
        return ("input", *(f"hidden{number}" for number in numbers), "output")

    @property
    def parameters(self) -> tuple[int, ...]:
        """The number of weights and biases of each layer; 0 for the input."""
        return (0, *((n_in + 1) * n_out for n_in, n_out in pairwise(self.layer_sizes)))
