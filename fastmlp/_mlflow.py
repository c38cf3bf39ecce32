"""mlflow.sklearn.autolog() logs the fits of these estimators too.

It patches `fit` of the classes that scikit-learn itself has. mlflow has no way to add one, so the
function that lists them is wrapped: at once if `mlflow.sklearn` is imported already, else when it
is. Nothing is imported for that, and a version of mlflow without the function is left as it is.
"""

import contextlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULE, LISTS_CLASSES = "mlflow.sklearn", "_gen_estimators_to_patch"


class _AfterImport(MetaPathFinder):
    """Finds nothing itself, but adds classes to `mlflow.sklearn` once it is imported."""

    def __init__(self, classes: tuple[type, ...]):
        self.classes = classes

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        """The spec of `mlflow.sklearn` as others find it, with a loader that adds the classes."""
        if fullname != MODULE:
            return None
        with contextlib.suppress(ValueError):  # another thread may be importing it, too
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _add(module, self.classes)

            spec.loader.exec_module = exec_module
        return spec


def _add(module: ModuleType, classes: tuple[type, ...]) -> None:
    listed = getattr(module, LISTS_CLASSES, None)
    if listed is not None:
        setattr(module, LISTS_CLASSES, lambda: [*listed(), *classes])


def register(classes: tuple[type, ...]) -> None:
    """Let mlflow.sklearn.autolog() patch these classes as well, now or once it is imported."""
    module = sys.modules.get(MODULE)
    if module is not None:
        _add(module, classes)
    else:
        sys.meta_path.insert(0, _AfterImport(classes))
