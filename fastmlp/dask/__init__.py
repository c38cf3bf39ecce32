"""Estimators that train on a Dask cluster by local SGD."""

try:
    from fastmlp.dask.estimators import DaskMLPClassifier, DaskMLPRegressor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
        raise
    raise ImportError(
        "fastmlp.dask needs dask and distributed: python -m pip install 'fastmlp[dask]'"
    ) from error

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor"]
