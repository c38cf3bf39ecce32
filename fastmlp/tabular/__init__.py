"""Multilayer perceptrons for tables: numbers, categories, dates and missing values.

They need narwhals, which scikit-learn 1.9 brings: `python -m pip install "fastmlp[tabular]"`.

## Tables

`TabularMLPClassifier` and `TabularMLPRegressor` take a data frame of pandas, polars or pyarrow, or
an array, as it is:

```python
import numpy as np
import pandas as pd
from fastmlp.tabular import TabularMLPClassifier

rng = np.random.default_rng(0)
table = pd.DataFrame(
    {
        "amount": np.exp(rng.normal(size=600)),
        "age": np.where(rng.random(600) < 0.1, np.nan, rng.integers(18, 80, 600)),
        "city": rng.choice(["Bergen", "Lyon", "Turin"], 600),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, 600), "D"),
    }
)
bought = (table["amount"] > 1) ^ (table["city"] == "Lyon")

model = TabularMLPClassifier(n_members=3, random_state=0).fit(table[:400], bought[:400])
accuracy = model.score(table[400:], bought[400:])
```

An estimator is an ensemble. Each member is an `MLPClassifier` or `MLPRegressor` that trains on all
folds but one; the held-out fold chooses its best epoch, gives `oof_prediction_`, and calibrates a
classifier's probabilities. `TabularPreprocessor`, which makes the members' inputs, works in
pipelines of its own.

`fastmlp.interop.to_onnx` converts a fitted estimator with its preprocessing, except for dates.
There is no counterpart in scikit-learn, whose networks lack the members' activation and solver:
`to_sklearn` raises an error.
"""

try:
    from fastmlp.tabular.estimators import TabularMLPClassifier, TabularMLPRegressor
    from fastmlp.tabular.preprocessing import TabularPreprocessor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "narwhals":
        raise
    raise ImportError(
        "fastmlp.tabular needs narwhals: python -m pip install 'fastmlp[tabular]'"
    ) from error

__all__ = ["TabularMLPClassifier", "TabularMLPRegressor", "TabularPreprocessor"]
