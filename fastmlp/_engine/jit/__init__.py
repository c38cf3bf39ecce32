"""The compilation target, device functions, kernels, and the cache of compiled kernels."""

import importlib.util
import sys
from pathlib import Path


def _has_coverage() -> bool:
    """Whether Python finds the coverage library, or nothing, by that name."""
    module = sys.modules.get("coverage")
    if module is not None:
        return hasattr(module, "types")
    try:
        found = importlib.util.find_spec("coverage")
    except ValueError:  # a module of that name, made by hand
        return False
    folders = found.submodule_search_locations or [] if found else []
    return found is None or any(Path(folder, "types.py").exists() for folder in folders)


# Numba imports coverage, and fails if that is another module: a folder of that name in the working
# directory is enough (numba/numba#10705). So hide what is not the library from Numba's import.
if "numba" not in sys.modules and not _has_coverage():
    hidden = sys.modules.get("coverage")
    sys.modules["coverage"] = None  # type: ignore[assignment]
    try:
        import numba as numba
    finally:
        del sys.modules["coverage"]
        if hidden is not None:
            sys.modules["coverage"] = hidden
