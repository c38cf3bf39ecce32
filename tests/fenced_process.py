"""A process that runs cases in fenced memory, and whose death is told with the case that it ran."""

import faulthandler
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


class FencedProcess:
    """Runs cases one after the other, and starts anew after a death.

    Parameters
    ----------
    environment : dict, optional
        Environment variables.
    arguments : list of str
        For the process.
    """

    def __init__(self, environment: dict | None = None, arguments: tuple = ()):
        self._environment, self._arguments, self._process = environment, arguments, None
        self.cases = self.launches = self.errors = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()
            self._errors.close()
            self._process = None

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        environment = {**(self._environment or os.environ), "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env=environment,
            text=True,
        )

    def ask(self, request: dict) -> dict:
        """Send a request and return the answer; {"died": what it printed} if there is none."""
        if self._process is None:
            self._start()
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        errors = self._errors
        self._process.stdin.close()
        code = self._process.wait()
        self._process = None
        with errors:
            errors.seek(0)
            return {"died": f"exit code {code}\n{errors.read()[-5000:]}"}

    def run(self, case: dict) -> dict:
        """Run a case; raise an AssertionError if it dies or fails."""
        answer = self.ask(case)
        told = answer.get("died") or answer.get("failed")
        assert not told, f"{json.dumps(case)}\n{told}"
        self.cases += 1
        self.launches += answer["launches"]
        self.errors += answer["error"] is not None
        return answer


def fate_of(function: Callable, *arguments) -> dict:
    """How a child process ends that calls a function: by a signal or with an exit code."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            function(*arguments)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status)}


def answer_to(request: dict) -> dict:
    """Run a case, here or, with a planted fault, in a child process."""
    from fenced_cases import run_case
    from planted import run_shifted, run_spoilt

    try:
        if "shifted" in request:
            return fate_of(run_shifted, request["case"], *request["shifted"])
        if "fault" in request:
            return fate_of(run_spoilt, request["case"], request["fault"])
        return run_case(request)
    except Exception:
        return {"failed": traceback.format_exc()}


def take_shapes(register: str, has_fma: str, folder: str) -> None:
    """Compile this processor's code for the vectors and tiles of another instruction set.

    Kernels are kept in `folder` alone.
    """
    from fastmlp._engine.jit import cache, target

    entry = target.TILE_TABLE[register, has_fma == "fma"]
    target.TILE_TABLE.update(dict.fromkeys(target.TILE_TABLE, entry))
    target.BFLOAT16_CONVERSIONS.clear()  # this processor's instruction may have longer vectors
    cache.folders = cache.Folders(Path(folder))


def main(*shapes: str) -> None:
    """Answer requests from the standard input until it ends."""
    sys.path.insert(0, str(ROOT / "tests"))
    answers, sys.stdout = sys.stdout, sys.stderr
    faulthandler.enable()
    from fences import fence_pool

    if shapes:
        take_shapes(*shapes)
    fence_pool()
    for line in sys.stdin:
        print(line, end="", file=sys.stderr, flush=True)  # before it runs: it may be the last
        print(json.dumps(answer_to(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
