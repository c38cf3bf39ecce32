"""What determines speed on this machine, and the versions of what fastmlp depends on."""

import platform
from importlib import metadata

import llvmlite
import numba
import numpy as np
import sklearn

from fastmlp._engine.jit.target import target, tile_shapes
from fastmlp._engine.kernels.prediction import predict
from fastmlp._engine.kernels.training import train
from fastmlp._engine.machine import cpu_name
from fastmlp._engine.threads import explain_threads
from fastmlp._inference import predictions
from fastmlp._training import sgd
from fastmlp.version import __version__

DEPENDENCIES = ("numpy", "scipy", "numba", "llvmlite", "scikit-learn", "joblib", "threadpoolctl")
OPTIONAL = ("matplotlib", "onnx", "onnxruntime", "skl2onnx", "dask", "distributed", "pandas")


def machine() -> dict[str, str]:
    """What `python -m fastmlp info` prints: a value for each name."""
    chosen = numba.config.CPU_NAME
    by = f", set by NUMBA_CPU_NAME={chosen}" if chosen else ""
    shares = (
        sgd.FLOPS_PER_THREAD,
        sgd.FLOPS_PER_THREAD_OF_FIT,
        predictions.FLOPS_PER_THREAD,
    )
    per_step, per_fit, per_call = (f"{flops / 1e6:g}" for flops in shares)
    return {
        "fastmlp": __version__,
        "python": platform.python_version(),
        "numba, llvmlite": f"{numba.__version__}, {llvmlite.__version__}",
        "numpy, scikit-learn": f"{np.__version__}, {sklearn.__version__}",
        "cpu": f"{cpu_name()}, {platform.machine()}",
        "instruction set": f"{target().name}, {target().vector_bytes}-byte vectors{by}",
        "products of bfloat16": "one instruction for two"
        if target().has_bfloat16
        else "emulated: slower than float32",
        "tiles (rows x vectors)": ", ".join(f"{h} x {w}" for h, w in tile_shapes()),
        "threads (n_jobs=None)": explain_threads(),
        "of them in use": f"one for each {per_step} million operations of a training step and "
        f"{per_fit} million of a whole fit, {per_call} million of a prediction",
        "training kernel": train.cache_state(),
        "prediction kernel": predict.cache_state(),
    }


def dependencies() -> dict[str, str]:
    """The version of each package that fastmlp needs or can use."""
    versions = {}
    for name in DEPENDENCIES + OPTIONAL:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def print_rows(rows: dict[str, str]) -> None:
    """Print a line for each name and its value."""
    for name, value in rows.items():
        print(f"{name:24s}{value}")
