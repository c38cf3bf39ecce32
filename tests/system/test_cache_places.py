"""Wherever kernels can or cannot be kept, and whoever wrote them, a fit is right."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastmlp

pytestmark = pytest.mark.slow  # every test compiles kernels

PACKAGE = Path(fastmlp.__file__).parent

FIT = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from fastmlp import MLPClassifier
from fastmlp._engine.kernels.training import train
X = np.random.RandomState(0).randn(60, 5)
y = (X[:, 0] > 0).astype(int)
model = MLPClassifier((6,), max_iter=150, learning_rate_init=0.05, random_state=0).fit(X, y)
assert model.score(X, y) > 0.95
print(train.cache_hits, train.cache_state())
"""


def start(tmp_path, package=None, **environment):
    """A fit in a process of its own that finds fastmlp in `package`, or here."""
    variables = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    variables["PYTHONPATH"] = str(package or PACKAGE.parent)
    return subprocess.Popen(
        [sys.executable, "-c", FIT],
        env=variables | environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    """(cache hits, what `cache_state` says)."""
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    hits, state = printed.strip().split(" ", 1)
    return int(hits), state


def install_copy(tmp_path):
    """A copy of the package in a directory of its own."""
    package = tmp_path / "site"
    shutil.copytree(
        PACKAGE,
        package / "fastmlp",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return package


def test_an_install_and_a_home_that_take_no_files_compile_in_memory(tmp_path):
    """Regular files stand where directories would be made: that stops root as well."""
    package = install_copy(tmp_path)
    engine = package / "fastmlp" / "_engine"
    for place in (*(engine / name for name in ("kernels", "threading")), tmp_path):
        (place / ("home" if place == tmp_path else "__pycache__")).write_text("")
    hits, state = result(start(tmp_path, package, HOME=str(tmp_path / "home")))
    assert hits == 0 and state.startswith("in memory only")
    assert not [*tmp_path.rglob("*.nbc")]


def test_two_processes_compile_at_once_and_only_their_cpu_uses_it(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    both = [start(tmp_path, **cache) for _ in range(2)]
    assert all(state.endswith("(1 compiled)") for _, state in map(result, both))
    assert result(start(tmp_path, **cache))[0] == 1
    hits, state = result(start(tmp_path, NUMBA_CPU_NAME="generic", **cache))
    assert hits == 0 and state.endswith("(2 compiled)")


TWO_TYPES = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from fastmlp import MLPClassifier
X, y = np.random.RandomState(0).randn(60, 5), np.arange(60) % 2
for kind in sys.argv[1:]:
    model = MLPClassifier((6,), max_iter=3, random_state=0).fit(X.astype(kind), y)
    print(kind, model.coefs_[0].tobytes().hex())
"""


def test_kernels_that_two_processes_compiled_for_two_types_work_in_a_third(tmp_path):
    """Two processes may give their compiled code the same names, so one could hide the other."""

    def fit(*kinds):
        run = subprocess.run(
            [sys.executable, "-c", TWO_TYPES, *kinds],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr[-2000:]
        return run.stdout.splitlines()

    alone = fit("float32") + fit("float64")
    assert fit("float32", "float64") == alone
    assert fit("float64", "float32") == alone[::-1]


def test_kernels_run_under_bounds_checking_with_the_same_bytes_compiled_and_loaded(tmp_path):
    """Every index of the plain Numba kernels is inside its array, dense and sparse."""
    code = """
import hashlib, warnings
import numpy as np, scipy.sparse
warnings.simplefilter("ignore")
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._training import sgd
X = np.where(np.random.RandomState(0).rand(70, 19) < 0.3, 1.5, 0.0)
y = np.arange(70) % 5
sgd.FLOPS_PER_THREAD = sgd.FLOPS_PER_THREAD_OF_FIT = 1
digest = hashlib.sha256()
for data in (X, scipy.sparse.csr_array(X), X.astype(np.float32)):
    for block_rows in (1024, 16):
        sgd.BLOCK_ROWS = block_rows
        for hidden in ((), (33,), (7, 17, 1)):
            for n_jobs in (1, 3):
                parameters = dict(hidden_layer_sizes=hidden, max_iter=2, batch_size=33,
                                  n_jobs=n_jobs, random_state=0)
                for outputs in (
                    MLPClassifier(**parameters).fit(data, y, np.ones(70)).predict_proba(data),
                    MLPClassifier(early_stopping=True, **parameters).fit(data, y % 2).predict(data),
                    MLPRegressor("poisson", **parameters).fit(data, X[:, :3]).predict(data),
                    MLPRegressor(solver="lbfgs", **parameters).fit(data, y).predict(data),
                ):
                    digest.update(outputs.tobytes())
print("done", digest.hexdigest())
"""
    environment = dict(
        os.environ, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path), PYTHONWARNINGS="ignore"
    )
    command = [sys.executable, "-c", code]
    compiled, loaded = (
        subprocess.run(command, env=environment, capture_output=True, text=True) for _ in range(2)
    )
    assert compiled.stdout.startswith("done"), compiled.stderr[-2000:]
    assert loaded.stdout == compiled.stdout, loaded.stderr[-2000:]
