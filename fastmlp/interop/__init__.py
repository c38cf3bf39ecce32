"""Model exchange with scikit-learn and ONNX.

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
"""

from fastmlp.interop.onnx_export import register_onnx_converter, to_onnx
from fastmlp.interop.scikit_learn import from_sklearn, to_sklearn

__all__ = ["from_sklearn", "register_onnx_converter", "to_onnx", "to_sklearn"]
