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
replicas' weights and optimizer state are averaged, weighted by samples. `batch_size` counts the
rows of all replicas, which divide them: R replicas make as many steps in an epoch as one machine,
each with 1/R of the work. The result is not the model that one machine would find, but about as
good. Test accuracy with default parameters, the mean of 3 seeds
(`benchmarks.scripts.dask_accuracy`):

| data, epochs | one machine | 1 replica | 2 replicas | 4 replicas |
|---|---|---|---|---|
| digits of scikit-learn, 30 | 0.956 | 0.955 | 0.956 | 0.955 |
| 5,000 digits of MNIST, 20 | 0.932 | 0.933 | 0.932 | 0.930 |
| Fashion-MNIST, 20 | 0.886 | 0.886 | 0.885 | 0.881 |

Rows should be in random order: replicas that see different classes make a worse model.

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
