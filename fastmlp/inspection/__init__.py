"""A look inside a model: its hidden layers, and the gradient that trains it.

`hidden_activations` returns what a hidden layer makes of X. `fastmlp.MLPTransformer` does the same
as a step of a pipeline.

`input_gradient` tells how the outputs change with each feature of a sample.
`fastmlp.displays.SensitivityDisplay` draws its mean over many.

`check_gradient` compares the gradient that the training kernels compute with finite differences.
"""

from fastmlp.inspection.activations import hidden_activations
from fastmlp.inspection.gradient_check import check_gradient
from fastmlp.inspection.sensitivity import input_gradient

__all__ = ["check_gradient", "hidden_activations", "input_gradient"]
