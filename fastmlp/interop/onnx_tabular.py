"""Estimators for tables as ONNX graphs: columns as inputs, preprocessing, members, their mean."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from fastmlp.interop.onnx_graph import ML_DOMAIN, Graph, add_labels, add_network, label_array
from fastmlp.tabular.base import BaseTabularMLP
from fastmlp.tabular.columns import DATE, NUMBER
from fastmlp.tabular.encoding import FARTHEST, SOFT_LIMIT, Category, Number

INPUT = "X"  # the one input for an array of numbers
PREFIX = "fastmlp/"  # of all names within the graph, so that columns may have any other name
OUTPUTS = {"label", "probabilities", "variable"}
MISSING = ""  # stands for a missing category: ONNX has no missing strings
TAIL, MARK = 10**9, 10**9 + 1  # places of what comes after all bins: the tail and the missing


class Tensor(NamedTuple):
    """An input or output: its type (object for strings) and columns; None for a vector."""

    dtype: np.dtype
    columns: int | None


class Block(NamedTuple):
    """Some columns of the preprocessor's result: their name in the graph, and where they belong.

    `places` has a pair for each: the position of the table's column, and the place among those that
    are made of it.
    """

    result: str
    places: list[tuple[int, int]]


class TabularGraph(Graph):
    """The graph of a fitted estimator for tables.

    Parameters
    ----------
    estimator : TabularMLPClassifier or TabularMLPRegressor
    dtype : numpy.float32 or numpy.float64
        The type in which members compute. Preprocessing is in float64, as in fastmlp.

    Attributes
    ----------
    inputs, outputs : dict of str to Tensor

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If a column is a date or has a name that the graph needs, if a category has both missing
        and empty values, or if labels are neither strings nor integers.
    """

    def __init__(self, estimator: BaseTabularMLP, dtype):
        super().__init__(dtype, PREFIX)
        check_is_fitted(estimator)
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        values = self._add_preprocessor(estimator.preprocessor_)
        add = self._add_classifier if is_classifier(estimator) else self._add_regressor
        add(estimator, self.cast(self.cast(values, np.float32), self.dtype))

    def _add_preprocessor(self, preprocessor) -> str:
        """Add the nodes from the table's columns to the members' inputs."""
        has_names = hasattr(preprocessor, "feature_names_in_")
        if has_names:
            names = preprocessor.feature_names_in_.tolist()
        else:
            names = [f"x{index}" for index in range(preprocessor.n_features_in_)]
        kinds = preprocessor._kinds
        dates = [name for name, kind in zip(names, kinds, strict=True) if kind == DATE]
        if dates:
            raise ValueError(f"columns {dates} are dates, which have no ONNX graph")
        columns = [
            (position, names[position], encoding)
            for position, encoding in enumerate(preprocessor._encodings)
            if encoding is not None and encoding.names("")
        ]
        numbers = [each for each in columns if isinstance(each[2], Number)]
        if not has_names and all(kind == NUMBER for kind in kinds):
            self.inputs[INPUT] = Tensor(np.dtype(np.float64), len(names))
            used = self.constant([position for position, *_ in numbers])
            values = self.node("Gather", INPUT, used, axis=1)
        else:
            for _, name, encoding in columns:
                self._add_input(name, isinstance(encoding, Category))
            values = self._joined([name for _, name, _ in numbers]) if numbers else ""
        blocks = self._number_blocks(values, [(each[0], each[2]) for each in numbers])
        blocks += [self._levels(*each) for each in columns if isinstance(each[2], Category)]
        return self._in_order(blocks)

    def _add_input(self, name: str, is_category: bool) -> None:
        if name in OUTPUTS or name.startswith(PREFIX):
            raise ValueError(f"column {name!r} has a name that the ONNX graph needs: rename it")
        self.inputs[name] = Tensor(np.dtype(object if is_category else np.float64), 1)

    def _joined(self, values: list[str]) -> str:
        return self.node("Concat", *values, axis=1)

    def _in_order(self, blocks: list[Block]) -> str:
        """The columns of all blocks, each in its place."""
        places = [place for block in blocks for place in block.places]
        order = sorted(range(len(places)), key=places.__getitem__)
        joined = self._joined([block.result for block in blocks])
        return self.node("Gather", joined, self.constant(order), axis=1)

    def _number_blocks(self, values: str, numbers: list[tuple[int, Number]]) -> list[Block]:
        """What `Number.encode` makes of all columns of numbers, `values` (n_samples, n_numbers)."""
        if not numbers:
            return []
        exponents = np.array([number.exponent for _, number in numbers])
        for part in (exponents // 2, exponents - exponents // 2):  # 2^exponent may overflow
            values = self.node("Mul", values, self.constant(np.ldexp(1.0, -part)))
        median, scale = (
            self.constant([getattr(number, name) for _, number in numbers])
            for name in ("median", "scale")
        )
        missing = self.node("IsNaN", values)
        x = self.node("Where", missing, median, values)
        z = self.node("Mul", self.node("Sub", x, median), scale)
        z = self.node("Clip", z, self.constant(-FARTHEST), self.constant(FARTHEST))
        blocks = [
            self._some(self._soft_clip(z), numbers, 0, lambda number: number.scale > 0),
            self._places(x, numbers),
            self._tails(z, numbers),
            self._some(
                self.cast(missing, np.float64), numbers, MARK, lambda number: number.has_gaps
            ),
        ]
        return [block for block in blocks if block.places]

    def _some(
        self,
        values: str,
        numbers: list[tuple[int, Number]],
        place: int,
        is_chosen: Callable[[Number], bool],
    ) -> Block:
        """Some columns of values (n_samples, n_numbers)."""
        chosen = [index for index, (_, number) in enumerate(numbers) if is_chosen(number)]
        places = [(numbers[index][0], place) for index in chosen]
        indices = self.constant(np.array(chosen, np.int64))
        return Block(self.node("Gather", values, indices, axis=1), places)

    def _soft_clip(self, z: str) -> str:
        share = self.node("Div", z, self.constant(SOFT_LIMIT))
        square = self.node("Mul", share, share)
        return self.node("Div", z, self.node("Sqrt", self.node("Add", square, self.constant(1.0))))

    def _places(self, x: str, numbers: list[tuple[int, Number]]) -> Block:
        """The place of each number in each of its bins."""
        bins = [
            (index, position, place, low, high)
            for index, (position, number) in enumerate(numbers)
            if number.scale > 0
            for place, (low, high) in enumerate(pairwise(number.edges), start=1)
        ]
        index, low, high = (np.array([each[field] for each in bins]) for field in (0, 3, 4))
        columns = self.node("Gather", x, self.constant(index.astype(np.int64)), axis=1)
        shares = self.node("Sub", columns, self.constant(low))
        shares = self.node("Div", shares, self.constant(high - low))
        shares = self.node("Clip", shares, self.constant(0.0), self.constant(1.0))
        result = self.node("Sub", shares, self.constant(0.5))
        return Block(result, [each[1:3] for each in bins])

    def _tails(self, z: str, numbers: list[tuple[int, Number]]) -> Block:
        scales = self.constant([number.tail_scale for _, number in numbers])
        tails = self.node("Mul", z, scales)
        return self._some(tails, numbers, TAIL, lambda number: number.tail_scale > 0)

    def _levels(self, position: int, name: str, category: Category) -> Block:
        """What `Category.encode` makes of strings (n_samples, 1): a row of a table for each."""
        levels = category.levels
        is_missing = np.array([not isinstance(level, str) for level in levels])
        if is_missing.any() and MISSING in levels:
            raise ValueError(
                f"column {name!r} has missing and empty values, which are the same in ONNX: "
                "give the empty ones another name"
            )
        unseen = "".join(level for level in levels if isinstance(level, str)) + "?"
        table = np.column_stack(category.encode(np.array([*levels, unseen], object)))
        row = self.node(
            "LabelEncoder",
            name,
            domain=ML_DOMAIN,
            keys_strings=np.where(is_missing, MISSING, levels).tolist(),
            values_int64s=list(range(len(levels))),
            default_int64=len(levels),
        )
        row = self.node("Reshape", row, self.constant([-1]))
        result = self.node("Gather", self.constant(table), row, axis=0)
        return Block(result, [(position, place) for place in range(table.shape[1])])

    def _add_classifier(self, estimator, inputs: str) -> None:
        """Add probabilities, to the power of 1 / temperature, their mean, and labels."""
        temperature = self.number(1 / estimator.temperature_)
        members = []
        for member in estimator.members_:
            _, p = add_labels(self, member, add_network(self, member, inputs))
            if estimator.temperature_ != 1:
                most = self.node("ReduceMax", p, axes=[1], keepdims=1)
                powers = self.node("Pow", self.node("Div", p, most), temperature)
                total = self.node("ReduceSum", powers, self.constant([1]), keepdims=1)
                p = self.node("Div", powers, total)
            members.append(p)
        p = self._mean(members, self.number(len(members)))
        labels = label_array(estimator)
        best = self.node("ArgMax", p, axis=1, keepdims=0)
        self.node("Gather", self.constant(labels), best, output="label")
        self.node("Identity", p, output="probabilities")
        self.outputs["label"] = Tensor(labels.dtype, None)
        self.outputs["probabilities"] = Tensor(self.dtype, len(labels))

    def _add_regressor(self, estimator, inputs: str) -> None:
        """Add values within the range of those in `fit`, in float64, and their mean."""
        factor, mean, least, most = (
            self.constant(np.atleast_1d(np.asarray(each, np.float64)))
            for each in (estimator._deviation, estimator._mean, *estimator._range)
        )
        members = []
        for member in estimator.members_:
            values = self.cast(add_network(self, member, inputs), np.float64)
            values = self.node("Add", self.node("Mul", values, factor), mean)
            members.append(self.node("Min", self.node("Max", values, least), most))
        values = self._mean(members, self.constant(float(len(members))))
        self.node("Identity", values, output="variable")
        self.outputs["variable"] = Tensor(np.dtype(np.float64), estimator.members_[0].n_outputs_)

    def _mean(self, values: list[str], count: str) -> str:
        return self.node("Div", self.node("Sum", *values), count)
