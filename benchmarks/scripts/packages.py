"""Processes that run a script of this checkout on another copy of fastmlp."""

import os
import shutil
import sys
from pathlib import Path

import fastmlp

CHECKOUT = Path(__file__).parents[2]
THIS_PACKAGE = Path(fastmlp.__file__).parent


def copy_package(package: Path, folder: Path) -> None:
    """Copy a package into a folder of its own, without its compiled kernels."""
    if package.name != "fastmlp" or not (package / "__init__.py").is_file():
        raise SystemExit(f"{package} is not a directory of the package fastmlp")
    shutil.copytree(package, folder / "fastmlp", ignore=shutil.ignore_patterns("__pycache__"))


def script_on(folder: Path, script: str, *arguments: str, **environment: str) -> dict:
    """Arguments of `subprocess`: the script finds fastmlp in `folder`.

    It keeps its kernels there too, or where NUMBA_CACHE_DIR says.
    """
    return {
        "args": [sys.executable, "-m", f"benchmarks.scripts.{script}", *arguments],
        "env": {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), str(CHECKOUT)]),
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(folder / "kernels")),
            **environment,
        },
        "cwd": folder,  # Python looks here first
        "text": True,
    }
