"""Copies in which some objects are replaced by others, wherever they stand."""

import io
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any


class _Pickler(pickle.Pickler):
    """Writes a number in place of each object for which `replace` gives another."""

    def __init__(self, file: io.BytesIO, replace: Callable[[Any], Any]):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.replace = replace
        self.numbers: dict[int, int] = {}
        self.kept: list[tuple[Any, Any]] = []  # the object, so that its id stays its own

    def persistent_id(self, obj: Any) -> int | None:
        """The number of the object that comes in place of this one; None if it is copied."""
        number = self.numbers.get(id(obj))
        if number is None:
            # Functions are copied as copy.deepcopy does: lambdas have no name to find them by.
            other = obj if isinstance(obj, FunctionType) else self.replace(obj)
            if other is None:
                return None
            number = self.numbers[id(obj)] = len(self.kept)
            self.kept.append((obj, other))
        return number


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` has written."""

    def __init__(self, file: io.BytesIO, others: list[Any]):
        super().__init__(file)
        self.others = others

    def persistent_load(self, pid: int) -> Any:
        """The object with this number."""
        return self.others[pid]


def copy_with(obj: Any, replace: Callable[[Any], Any]) -> Any:
    """A deep copy of an object in which others stand for some of those that it holds.

    Parameters
    ----------
    obj : object
        What can be pickled. It may also hold functions without a name; the copy has the same ones.
    replace : callable
        Gets an object and returns the one that comes in its place, or None if it is copied. It is
        called once for an object that stands in several places.

    Returns
    -------
    object
        It shares no memory with `obj`.

    Examples
    --------
    >>> from fastmlp.interop.substitution import copy_with
    >>> copy_with({"a": [1, ("b", 2)]}, lambda each: each.upper() if each == "b" else None)
    {'a': [1, ('B', 2)]}
    """
    file = io.BytesIO()
    pickler = _Pickler(file, replace)
    pickler.dump(obj)
    file.seek(0)
    return _Unpickler(file, [other for _, other in pickler.kept]).load()
