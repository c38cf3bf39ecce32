"""The instruction sets: how one is found, whether its tiles fit, and the kernels under others."""

import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastmlp._engine.jit.target import TILE_TABLE, Target, target, tile_shapes
from fastmlp._engine.simd.tile import WIDTH_RADIX

ENGINE_TESTS = Path(__file__).parent
ORACLE_TESTS = ["tile", "tail", "products", "training", "activations", "losses", "optimizers"]
REGISTERS = {"zmm": 32, "neon": 32, "ymm": 16, "xmm": 16}

# Environments that make numba compile for another CPU, and the instruction set each has to give.
# On x86 a name alone keeps the host's features; an empty list of them takes those away as well.
if platform.machine().lower() in ("x86_64", "amd64"):
    ENVIRONMENTS = [
        ({"NUMBA_CPU_NAME": "haswell"}, "AVX2"),
        ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, "AVX2"),
        ({"NUMBA_CPU_NAME": "generic"}, "128-bit without FMA"),
        ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, "128-bit without FMA"),
        ({"NUMBA_CPU_NAME": "sandybridge", "NUMBA_CPU_FEATURES": ""}, "AVX without FMA"),
    ]
    SWEPT = [ENVIRONMENTS[0], ENVIRONMENTS[3]]
else:
    ENVIRONMENTS = SWEPT = [({"NUMBA_CPU_NAME": "generic"}, "NEON")]


def start(arguments, environment):
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        cwd=ENGINE_TESTS.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_target_is_what_numba_compiles_for(other_cpu):
    code = "from fastmlp._engine.jit.target import target; print(target().name)"
    started = [start(["-c", code], other_cpu(**changes)) for changes, _ in ENVIRONMENTS]
    for process, (changes, expected) in zip(started, ENVIRONMENTS, strict=True):
        printed, errors = process.communicate()
        assert printed.strip() == expected, (changes, errors)


@pytest.mark.slow
@pytest.mark.parametrize("changes, expected", SWEPT)
def test_kernels_equal_the_oracle_on_other_instruction_sets(changes, expected, other_cpu):
    files = [str(ENGINE_TESTS / f"test_{name}.py") for name in ORACLE_TESTS]
    arguments = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    environment = other_cpu(**changes)
    process = start(arguments, environment)
    printed, errors = process.communicate()
    assert process.returncode == 0, printed[-5000:] + errors[-1000:]
    assert list(Path(environment["NUMBA_CACHE_DIR"]).rglob("*train*.nbc"))  # for this target


def test_target_is_one_of_the_table():
    assert replace(target(), has_bfloat16=False) in TILE_TABLE.values()


@pytest.mark.parametrize("key", TILE_TABLE)
def test_every_tile_fits_the_registers(key):
    register, has_fma = key
    entry = TILE_TABLE[key]
    assert entry.has_fma == has_fma
    broadcast, product = 1, 0 if has_fma else 1
    for height, width in ((entry.tallest, entry.widest), (entry.tallest_single, 1)):
        assert height * width + width + broadcast + product <= REGISTERS[register]


@pytest.mark.parametrize("entry", TILE_TABLE.values())
def test_tile_heights_are_powers_of_two(entry):
    for height in (entry.tallest, entry.tallest_single):
        assert height.bit_count() == 1
    assert entry.tallest_single >= entry.tallest
    assert 1 < entry.widest < WIDTH_RADIX


@pytest.mark.parametrize("entry", TILE_TABLE.values())
def test_tile_shapes_include_every_height_down_to_one_row(entry, monkeypatch):
    monkeypatch.setattr("fastmlp._engine.jit.target.target", lambda: entry)
    shapes = tile_shapes()
    assert len(set(shapes)) == len(shapes)
    assert {width for _, width in shapes} == set(range(1, entry.widest + 1))
    for width in range(1, entry.widest + 1):
        tallest = entry.tallest_single if width == 1 else entry.tallest
        heights = sorted(height for height, wide in shapes if wide == width)
        assert heights == [2**i for i in range(tallest.bit_length())]


def test_lanes_count_elements_of_a_register():
    entry = Target("", vector_bytes=32, has_fma=True, widest=3, tallest=4, tallest_single=8)
    assert entry.lanes(np.float32) == 8
    assert entry.lanes(np.dtype(np.float64)) == 4
