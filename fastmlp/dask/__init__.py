"""Estimators that train on a Dask cluster by local SGD.

They need Dask: `python -m pip install "fastmlp[dask]"`.

## Several machines

With a Dask client connected, `DaskMLPClassifier` and `DaskMLPRegressor` accept Dask arrays and data
frames:

```python
import dask.dataframe as dd
from fastmlp.dask import DaskMLPClassifier

frame = dd.read_parquet("table.parquet")
X, y = frame.drop(columns="label"), frame["label"]

model = DaskMLPClassifier((100,), max_iter=20, random_state=0).fit(X, y)
probabilities = model.predict_proba(X)  # lazy, block by block
local = model.to_local()  # an MLPClassifier
```

## Local SGD

Each worker trains a replica of the network on its share of the partitions. After every epoch, the
replicas' weights and optimizer state are averaged, weighted by samples. The result is not the model
that one machine would find, but its test accuracy is about as good:

| data | two replicas | one machine |
|---|---|---|
| 5,000 digits of MNIST, until the loss stopped falling; 4 seeds | 0.932-0.939 | 0.934-0.939 |
| Fashion-MNIST, 40 epochs; 3 seeds | 0.882-0.886 | 0.884-0.891 |

`batch_size` counts the rows of one replica's batch, so R replicas take R times fewer steps in an
epoch. Divide `batch_size` by R to take as many as one machine would.

The same partitions, `random_state` and `n_replicas` give the same model, to the byte, wherever the
replicas run. `n_replicas` defaults to the number of workers, so set it where that number may vary.
If a worker dies, Dask computes its share again, the round is repeated, and the model is still the
same. `solver="lbfgs"`, `early_stopping` and `class_weight` need all rows in one place and raise a
`ValueError`.

## Cost

Each round moves two snapshots of weights and optimizer state for each replica, whatever the number
of samples: 2 x 0.95 MB for a 784-100-10 network with Adam in float32. `fastmlp.dask.local_sgd`
estimates the cost for 1,000 workers: about one second a round, most of it Dask's scheduling.

## Many small fits

To run many independent fits on a cluster, use joblib's Dask backend with the ordinary estimators:

```py
with joblib.parallel_config(backend="dask"):
    GridSearchCV(MLPClassifier(), grid).fit(X, y)
```

In a task of a Dask worker, a fit uses one thread, because the worker already runs one task per
thread.
"""

try:
    from fastmlp.dask.estimators import DaskMLPClassifier, DaskMLPRegressor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
        raise
    raise ImportError(
        "fastmlp.dask needs dask and distributed: python -m pip install 'fastmlp[dask]'"
    ) from error

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor"]
