"""Planted faults: accesses one element outside an array, which fences must catch."""

import ctypes
import os
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fenced_cases import RUNS, settings_of
from fences import fenced

from fastmlp._engine.jit import cache
from fastmlp._engine.jit.device import device
from fastmlp._engine.kernels import products
from fastmlp._engine.simd.vectors import Vectors, tallest, tallest_single

FENCED, STRAY = 3, 4  # exit codes of a process after a fault: at a fence, or elsewhere
SI_ADDR, SA_SIGINFO = 16, 4  # offset of the address in siginfo_t, and the flag to get that
_handlers: list = []  # kept as long as the process


def call_on_fault(function: Callable[[int], None]) -> None:
    """After a read or write that is not allowed, call a function with its address, and exit.

    On Linux with the GNU C library.
    """

    class Action(ctypes.Structure):  # struct sigaction of the GNU C library
        _fields_ = [
            ("handler", ctypes.c_void_p), ("mask", ctypes.c_ubyte * 128), ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        ]  # fmt: skip

    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def handler(number, information, context):
        try:
            function(ctypes.c_uint64.from_address(information + SI_ADDR).value)
        finally:  # otherwise the instruction would be repeated, again and again
            os._exit(STRAY)

    _handlers.append(handler)
    action = Action(ctypes.cast(handler, ctypes.c_void_p), flags=SA_SIGINFO)
    assert ctypes.CDLL(None).sigaction(signal.SIGSEGV, ctypes.byref(action), None) == 0


def shift(workspace, part: str, name: str, layer: int, step: int) -> None:
    """Let the kernels take an array of the job, or of one layer, for one `step` elements away.

    A record counts as one element.
    """
    if part == "layers":
        workspace.layers[layer][name] += step
    elif part == "layout":
        workspace.job[part][name] += step
    elif workspace.job[part][name]:
        array = workspace._held.get(part, {}).get(name)
        item = workspace.dtype.itemsize if array is None else array.itemsize
        workspace.job[part][name] += step * (4 if name == "columns" else item)


def _read_whole_vectors() -> None:
    """Let a tail read a whole vector at the end of a row, where it has fewer elements."""
    Vectors.load_first = lambda vectors, address, count: vectors.load(address)


def _store_one_element_later() -> None:
    """Let each vector be stored one element later."""
    store = Vectors.store

    def late(vectors, value, address, vector=0):
        step = address.type(vectors.item)
        store(vectors, value, vectors.builder.add(address, step), vector)

    Vectors.store = late


def _take_tall_tiles() -> None:
    """Let a tile be as tall as can be, even if that is more than the rows so far."""

    @device
    def height(width, remaining, available):
        return tallest_single() if width == 1 else tallest()

    products._tile_height = height


# Faults of the code. Each must be planted before any kernel is compiled.
OF_CODE = {
    "a vector is read where a row ends": _read_whole_vectors,
    "a vector is stored one element later": _store_one_element_later,
    "a tile begins before the first row": _take_tall_tiles,
}


def _run_until_fault(case: dict, planted: Callable | None) -> None:
    """Run a case with fences. A fault ends the process with the exit code FENCED or STRAY."""
    side = case["side"]
    with settings_of(case), fenced(side, case["rows_apart"]) as fences:
        call_on_fault(lambda address: os._exit(FENCED if fences.is_guarded(address) else STRAY))
        fences.planted = planted
        RUNS[case["run"]](case, side)


def run_shifted(case: dict, part: str, name: str, layer: int) -> None:
    """Run a case while the kernels take an array for one that is an element further out."""
    step = 1 if case["side"] == "end" else -1
    _run_until_fault(case, partial(shift, part=part, name=name, layer=layer, step=step))


def run_spoilt(case: dict, fault: str) -> None:
    """Run a case with kernels that are compiled with a fault, and not kept."""
    OF_CODE[fault]()
    with tempfile.TemporaryDirectory() as folder, cache.kept_in(Path(folder)):
        _run_until_fault(case, None)
