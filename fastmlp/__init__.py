"""Multilayer perceptrons for CPUs, compatible with scikit-learn."""

from fastmlp.estimators import MLPClassifier, MLPRegressor
from fastmlp.version import __version__

__all__ = ["MLPClassifier", "MLPRegressor", "__version__"]
