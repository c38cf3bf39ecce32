"""Pictures of networks, in scikit-learn's display protocol.

They need matplotlib: `python -m pip install "fastmlp[plot]"`.

## Pictures

Each display has scikit-learn's `from_estimator`, `plot`, `ax_` (or `axes_`) and `figure_`, and also
accepts scikit-learn's own multilayer perceptrons.

```python
from fastmlp import MLPAutoencoder, MLPClassifier
from fastmlp.displays import ActivationDisplay, LossCurveDisplay, NetworkDisplay
from fastmlp.displays import ReconstructionDisplay, SensitivityDisplay, WeightsDisplay
from sklearn.datasets import load_digits

X, y = load_digits(return_X_y=True)
adam = MLPClassifier(early_stopping=True, random_state=0).fit(X, y)
sgd = MLPClassifier(early_stopping=True, solver="sgd", random_state=0).fit(X, y)

display = LossCurveDisplay.from_estimator(adam, name="adam")  # a star marks the best epoch
LossCurveDisplay.from_estimator(sgd, name="sgd", ax=display.ax_)

diagram = NetworkDisplay.from_estimator(adam)  # layer sizes, activations, parameter counts
diagram.figure_.savefig("network.png")

WeightsDisplay.from_estimator(adam, image_shape=(8, 8))  # one image per hidden unit
WeightsDisplay.from_estimator(adam, image_shape=None)  # one heat map per layer

ActivationDisplay.from_names()  # every activation and its derivative

# The features to which the probabilities respond, beside their permutation importance
SensitivityDisplay.from_estimator(adam, X[:200], y[:200], random_state=0)

# Digits, and below them what an autoencoder makes of them
autoencoder = MLPAutoencoder((64, 16, 64), max_iter=50, random_state=0).fit(X / 16)
ReconstructionDisplay.from_estimator(autoencoder, X / 16, image_shape=(8, 8))
```
"""

from fastmlp.displays.activations import ActivationDisplay
from fastmlp.displays.diagram import NetworkDisplay
from fastmlp.displays.loss_curve import LossCurveDisplay
from fastmlp.displays.quantiles import QuantileDisplay
from fastmlp.displays.reconstruction import ReconstructionDisplay
from fastmlp.displays.sensitivity import SensitivityDisplay
from fastmlp.displays.weights import WeightsDisplay

__all__ = [
    "ActivationDisplay",
    "LossCurveDisplay",
    "NetworkDisplay",
    "QuantileDisplay",
    "ReconstructionDisplay",
    "SensitivityDisplay",
    "WeightsDisplay",
]
