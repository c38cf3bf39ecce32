"""Wherever kernels can or cannot be kept, and whoever wrote them, a fit is right."""

import compileall
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
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


# What processes need: Python does not start without the second on Windows.
NEEDED = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}


def at_home(folder):
    """Environment variables of a user whose home is this folder."""
    return {"HOME": str(folder), "USERPROFILE": str(folder)}


def start(tmp_path, package=None, **environment):
    """A fit in a process of its own that finds fastmlp in `package`, or here."""
    variables = {**NEEDED, "PYTHONDONTWRITEBYTECODE": "1"}
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
    (package / "fastmlp" / "_engine" / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    hits, state = result(start(tmp_path, package, **at_home(tmp_path / "home")))
    assert hits == 0 and state.startswith("in memory only")
    assert not [*tmp_path.rglob("*.nbc")]
    told = warm_up(tmp_path, "--beside-package", PYTHONPATH=str(package), succeeds=False)
    assert "takes no files" in told


def warm_up(tmp_path, *options, succeeds=True, **environment):
    """What `python -m fastmlp warmup` prints."""
    run = subprocess.run(
        [sys.executable, "-m", "fastmlp", "warmup", *options],
        env=NEEDED | at_home(tmp_path / "home") | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (run.returncode == 0) == succeeds, run.stderr
    return run.stdout + run.stderr


SHARED_FIT = """
import numpy as np
from fastmlp import MLPClassifier
from fastmlp._engine.threading.pool import pool
X = np.random.RandomState(0).rand(2000, 300)
MLPClassifier((200,), max_iter=1, n_jobs=2).fit(X, np.arange(2000) % 3).predict(X)
MLPClassifier((4,), "gelu", max_iter=1, dropout=0.5).fit(X, np.arange(2000) % 3).predict(X)
print(pool.threads)
"""


@pytest.mark.slow
def test_after_a_warmup_nothing_is_compiled_for_several_threads_either(tmp_path):
    warm_up(tmp_path)
    kept = {path.name for path in tmp_path.rglob("*.nbc")}
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHARED_FIT],
        env=NEEDED | at_home(tmp_path / "home") | {"PYTHONPATH": str(PACKAGE.parent)},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert printed == "1\n"  # besides this one
    assert {path.name for path in tmp_path.rglob("*.nbc")} == kept != set()


def uninstall(package):
    """Remove what an installer knows of, as pip does: files, and folders that are empty then."""
    for path in sorted((package / "fastmlp").rglob("*"), reverse=True):
        if path.suffix in (".py", ".pyc", ".typed"):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not any((package / "fastmlp").iterdir()):
        (package / "fastmlp").rmdir()


def test_kernels_are_kept_in_the_users_cache_so_that_an_uninstall_leaves_no_package(tmp_path):
    package = install_copy(tmp_path)
    hits, state = result(start(tmp_path, package, **at_home(tmp_path / "home")))
    assert hits == 0
    assert {path.parent for path in tmp_path.rglob("*.nbc")} == {Path(state.split(" (")[0])}
    assert not [*package.rglob("*.nbc")]
    uninstall(package)
    assert not any(package.iterdir())


UNDER_ANOTHER_USER = """
import os, sys, time
import numpy as np
from fastmlp import MLPClassifier
from fastmlp._engine.kernels.training import train
from fastmlp._engine.compat.numba import cpu_target
X = np.eye(20, dtype=np.float32)
cpu_target.target_context.refresh()  # imports what Numba leaves for the first kernel
os.setgroups([])  # only now: others may not be allowed to read the tests' Python
os.setgid(65534)
os.setuid(65534)
start = time.process_time()
MLPClassifier((8,), max_iter=1).fit(X, np.arange(20) % 2).predict(X)
seconds = time.process_time() - start
try:
    open(os.path.join(sys.argv[1], "file"), "w")
except OSError as error:
    print(error.strerror, seconds, train.cache_hits, sep=";")
"""

READ_ONLY = """
mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" &&
(mount -o remount,bind,ro / || true) && exec "$2" -W ignore -c "$3" "$1"
"""


@pytest.fixture
def container():
    """A folder that other users can read."""
    can_mount = shutil.which("unshare") and hasattr(os, "geteuid") and os.geteuid() == 0
    if not can_mount or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mounts need root")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize("beside", [False, True], ids=["NUMBA_CACHE_DIR", "beside the package"])
def test_a_read_only_container_of_another_user_needs_no_compiler(beside, container):
    package = install_copy(container)
    variables = {} if beside else {"NUMBA_CACHE_DIR": str(container / "kernels")}
    variables["PYTHONPATH"] = str(package)
    told = warm_up(container, *["--beside-package"] * beside, **variables)
    assert str(package if beside else container / "kernels") in told
    variables |= {**NEEDED, "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(container), sys.executable]
    run = subprocess.run(
        [*command, UNDER_ANOTHER_USER], env=variables, cwd="/", capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    reason, seconds, hits = run.stdout.strip().split(";")
    assert reason == os.strerror(errno.EROFS)
    assert int(hits) == 1
    assert float(seconds) < 1


def make_zip(tmp_path, change=None):
    """The package in a zip file, with one source changed."""
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for path in sorted(PACKAGE.rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if change and path.name == change[0]:
                assert change[1] in text
                text = text.replace(*change[1:])
            archive.writestr(f"fastmlp/{path.relative_to(PACKAGE)}", text)
    return tmp_path / "app.zip"


def make_pyc_zip(tmp_path, change=None):
    """The same without sources: compiled modules only, as in a frozen application."""
    work = tmp_path / "work"
    with zipfile.ZipFile(make_zip(tmp_path, change)) as archive:
        archive.extractall(work)
    compileall.compile_dir(work, quiet=1, legacy=True, stripdir=str(work))
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for path in sorted(work.rglob("*.pyc")):
            archive.write(path, path.relative_to(work))
    shutil.rmtree(work)
    return tmp_path / "app.zip"


LOSS = """
import numpy as np
from fastmlp import MLPRegressor
from fastmlp._engine.kernels.training import train
X = np.random.RandomState(0).rand(60, 4)
model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, random_state=0).fit(X, X[:, 0])
assert ".zip" in __import__("fastmlp").__file__
print(train.cache_hits, model.loss_curve_[-1] < model.loss_curve_[0])
"""


@pytest.mark.parametrize("named", [True, False], ids=["NUMBA_CACHE_DIR", "the user's cache"])
@pytest.mark.parametrize("make", [make_zip, make_pyc_zip])
def test_a_zip_file_has_cached_kernels_and_never_those_of_another(make, named, tmp_path):
    place = tmp_path / "kernels"
    chosen = {"NUMBA_CACHE_DIR": str(place)} if named else at_home(place)

    def fit(archive, folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOSS],
            env={**NEEDED, "PYTHONPATH": str(archive), **chosen},
            cwd=tmp_path / folder,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.split()

    archive = make(tmp_path)
    assert fit(archive, "a") == ["0", "True"]
    assert fit(archive, "b") == ["1", "True"]
    assert [*place.rglob("*.nbc")] == [*tmp_path.rglob("*.nbc")]
    archive = make(tmp_path, ("optimizers.py", "-(eta * m", "(eta * m"))
    assert fit(archive, "a") == ["0", "False"]
    assert fit(archive, "a") == ["1", "False"]


@pytest.mark.parametrize("setting", ["DISABLE_JIT", "DEBUGINFO", "ENABLE_PROFILING"])
def test_numbas_settings_for_debugging_do_not_stop_a_fit(setting, tmp_path):
    assert result(start(tmp_path, **at_home(tmp_path), **{f"NUMBA_{setting}": "1"}))[0] == 0


NOT_COVERAGE = {
    "an empty folder": {},
    "a package": {"__init__.py": "raise RuntimeError('not this one')"},
    "an older release": {"__init__.py": "", "version.py": ""},
}


@pytest.mark.parametrize("first", ["fastmlp", "coverage, fastmlp"])
def test_a_folder_that_is_already_taken_for_a_module_does_no_harm(first, tmp_path):
    (tmp_path / "coverage").mkdir()
    code = f"import {first}, sys; sys.path.insert(0, ''); import coverage; print(coverage.__path__)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert str(tmp_path / "coverage") in run.stdout, run.stderr


@pytest.mark.parametrize("contents", NOT_COVERAGE)
def test_a_folder_named_coverage_in_the_working_directory_does_no_harm(contents, tmp_path):
    """Numba imports the library of that name, and takes the folder for it."""
    folder = tmp_path / "coverage"
    folder.mkdir()
    for name, text in NOT_COVERAGE[contents].items():
        (folder / name).write_text(text)
    code = "import fastmlp, sys; print('coverage' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "False", run.stderr


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
