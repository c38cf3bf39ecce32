"""Estimators that train on a Dask cluster by local SGD."""

from fastmlp.dask.estimators import DaskMLPClassifier, DaskMLPRegressor

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor"]
