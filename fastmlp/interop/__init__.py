"""Model exchange with scikit-learn, ONNX and C.

## Export

`to_sklearn` and `from_sklearn` convert a fitted model, optimizer state included. Predictions are
equal to within rounding, and training continues where it stopped:

```python
from fastmlp import MLPClassifier
from fastmlp.interop import from_sklearn, to_sklearn
from sklearn.datasets import load_digits

X, y = load_digits(return_X_y=True)
model = MLPClassifier(random_state=0).fit(X, y)

exported = to_sklearn(model)  # a sklearn.neural_network.MLPClassifier
from_sklearn(exported).partial_fit(X, y)
```

If the model uses something that scikit-learn lacks, such as dropout, `to_sklearn` raises a
`ValueError` that names the parameter.

`to_sklearn` also takes a whole fitted `Pipeline`, search or ensemble. It returns a copy in which
every estimator of fastmlp is converted, at any depth. The copy loads where fastmlp is not
installed, and tools that know only scikit-learn's own classes take it, such as `sklearn2pmml`:

```python
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pipeline = make_pipeline(StandardScaler(), MLPClassifier(random_state=0)).fit(X, y)
copied = to_sklearn(pipeline)
```

ONNX needs `python -m pip install "fastmlp[onnx]"`:

```python
from fastmlp.interop import to_onnx

with open("model.onnx", "wb") as file:
    file.write(to_onnx(model, dtype="float32").SerializeToString())
```

The graph has the input `X` and the outputs `label` and `probabilities`; a regressor's output is
`variable`. Every activation, output and loss can be exported, and so can models with several
targets. ONNX Runtime's predictions match fastmlp's to 1e-5 in float32 and to 1e-12 in float64 (1e-6
with gelu, because ONNX Runtime computes erf only in float32).

After `register_onnx_converter`, skl2onnx converts pipelines that contain these estimators:

```python
import skl2onnx
from fastmlp.interop import register_onnx_converter

register_onnx_converter()
converted = skl2onnx.to_onnx(pipeline, X[:1])
```

`to_onnx` also takes the estimators of `fastmlp.tabular`, with their preprocessing. Their graph has
an input for each column of the table, of shape (n_samples, 1): float64 for numbers, NaN if missing,
and strings for categories, empty if missing. Dates cannot be exported; the error names their
columns.

For small machines, `to_c` writes the model as one C99 file without dependencies, in float32:

```python
from fastmlp.interop import to_c

with open("digits.c", "w") as file:
    file.write(to_c(model, prefix="digits"))  # int digits_predict(const float *x), and more
```

## Other tools

What takes scikit-learn's estimators takes these. The tools below were run with the multilayer
perceptron of either package, from the same seed, on float64 data:

| tool | version | compared | largest relative difference |
|---|---|---|---|
| fairlearn | 0.15.0 | probabilities of `ExponentiatedGradient` | 0 |
| flaml | 2.7.0 | loss of an `AutoML` search | 0 |
| imbalanced-learn | 0.14.2 | probabilities of a pipeline with `SMOTE` | 2e-14 |
| lime | 0.2.0.1 | weights of a `LimeTabularExplainer` | 4e-16 |
| mlxtend | 0.25.0 | probabilities of a `StackingClassifier` | 2e-14 |
| optuna | 5.0.0 | scores of all trials of a study | 3e-16 |
| scikit-optimize | 0.10.2 | scores of a `BayesSearchCV` | 4e-16 |
| shap | 0.51.0 | values of a `KernelExplainer` | 5e-15 |
| skops | 0.16.0 | probabilities after saving and loading | 6e-15 |
| sktime | 1.2.0 | forecasts of `make_reduction` | 9e-14 |

skrub 0.11.0 agrees to 4e-7, because its `tabular_pipeline` makes float32 of the data.

Earlier trials, of versions that were not recorded, gave equal numbers with econml, skforecast,
mlforecast, darts, ray, dask, PySpark, umap-learn, uvicorn, gunicorn, uWSGI, and
with pipelines logged by mlflow.

pip installs fastmlp beside aeon 1.6.0 too, which needs Numba before 0.64.

Two tools know only scikit-learn's own classes:

- **mlflow**: `mlflow.sklearn.autolog()` logs fits of these estimators too (tried with 3.17.2), if
  `import fastmlp` comes before it.
- **PMML**: `sklearn2pmml` takes `to_sklearn(pipeline)`. Version 0.133.1 refuses scikit-learn 1.9.
  It took the copy loaded under 1.8, and the document's probabilities were within 2e-15 of the
  pipeline's.
"""

from fastmlp.interop.c_source import to_c
from fastmlp.interop.onnx_export import register_onnx_converter, to_onnx
from fastmlp.interop.scikit_learn import from_sklearn, to_sklearn

__all__ = ["from_sklearn", "register_onnx_converter", "to_c", "to_onnx", "to_sklearn"]
