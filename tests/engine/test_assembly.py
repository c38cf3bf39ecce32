"""The instructions that LLVM writes for tiles and pauses, whichever processor it writes for."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from assembly import APPLE, ARM64, X86, assembly_of, instructions, loops, spills
from llvmlite import ir
from numba import types

from fastmlp._engine.jit.target import NARROW, TILE_TABLE, _probe, column_shapes, tile_shapes
from fastmlp._engine.kernels.prefetch import (
    full_shapes,
    next_line_of_rows,
    next_rows_along,
    next_rows_of_columns,
)
from fastmlp._engine.simd.bfloat16 import PAIR, vectors_of
from fastmlp._engine.simd.tile import TileKind, emit_tiles
from fastmlp._engine.threading.atomics import emit_pause


class Cpu(NamedTuple):
    """A processor: its row of TILE_TABLE, and one step of its largest tile."""

    triple: str
    instruction_set: str
    instruction: str  # a multiply-add; without one, a multiplication
    vectors: int  # each of which takes one


CPUS = {
    "skylake-avx512": Cpu(X86, "AVX-512", "vfmadd", 8 * 3),
    "haswell": Cpu(X86, "AVX2", "vfmadd", 4 * 3),
    "sandybridge": Cpu(X86, "AVX without FMA", "vmulp", 4 * 2),
    "x86-64": Cpu(X86, "128-bit without FMA", "mulp", 4 * 2),
    "generic": Cpu(ARM64, "NEON", "fmla", 8 * 3),
    "neoverse-n1": Cpu(ARM64, "NEON", "fmla", 8 * 3),
    "apple-m1": Cpu(APPLE, "NEON", "fmla", 8 * 3),
}
SCALARS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), PAIR: ir.IntType(32)}
FLOATS = types.float32, types.float64
# Processors with fast products of bfloat16: the triple and the instruction.
BFLOAT16_CPUS = {
    "znver4": (X86, "vdpbf16ps"),
    "neoverse-v1": (ARM64, "bfdot"),
    "apple-m2": (APPLE, "bfdot"),
}
# The tiles of `kernels.products`: their kind and shapes.
TILES = {
    "A B": (TileKind(False), tile_shapes),
    "A B, prefetching": (TileKind(False, next_rows_along), full_shapes),
    "A^T B": (TileKind(True, next_line_of_rows), tile_shapes),
    "columns": (TileKind(True, next_rows_of_columns, gathers_b=True), column_shapes),
}
OPERANDS = 5  # shape, A, B, start, C: two integers each; the depth and next_a follow


@pytest.fixture(params=CPUS)
def cpu(request, monkeypatch):
    """The name of a processor, for whose registers tiles are emitted."""
    name = CPUS[request.param].instruction_set
    (found,) = (each for each in TILE_TABLE.values() if each.name == name)
    for module in ("jit.target", "simd.vectors", "kernels.prefetch"):
        monkeypatch.setattr(f"fastmlp._engine.{module}.target", lambda: found)
    return request.param


def tiles_on(triple, cpu, scalar, kind, shapes):
    """The assembly of tiles of these shapes."""
    context = SimpleNamespace(get_value_type=SCALARS.__getitem__)

    def emit(builder):
        given, pair = builder.function.args, ir.LiteralStructType([ir.IntType(64)] * 2)
        operands = []
        for n in range(0, 2 * OPERANDS, 2):
            first = builder.insert_value(ir.Constant(pair, ir.Undefined), given[n], 0)
            operands.append(builder.insert_value(first, given[n + 1], 1))
        vectors = vectors_of(builder, context, scalar)
        emit_tiles(vectors, kind, shapes, [*operands, *given[2 * OPERANDS :]])

    return assembly_of(emit, triple, cpu, 2 * OPERANDS + 2)


def largest(shapes):
    """The tallest shape of each width, the widest last."""
    return list({width: (height, width) for height, width in sorted(shapes)}.values())


@pytest.mark.parametrize("scalar", FLOATS, ids=str)
@pytest.mark.parametrize("tile", TILES)
def test_a_step_of_the_largest_tile_is_one_multiply_add_per_vector(cpu, scalar, tile):
    kind, shapes = TILES[tile]
    if not shapes():
        assert CPUS[cpu].vectors < NARROW  # too few registers for a tile of columns
        return
    assembly = tiles_on(CPUS[cpu].triple, cpu, scalar, kind, largest(shapes())[-1:])
    (loop,) = loops(assembly)
    names = [name for name in instructions(loop) if name.startswith(CPUS[cpu].instruction)]
    assert len(names) == CPUS[cpu].vectors


@pytest.mark.parametrize("scalar", FLOATS, ids=str)
@pytest.mark.parametrize("tile", TILES)
def test_no_vector_register_of_a_tile_is_spilled(cpu, scalar, tile):
    kind, shapes = TILES[tile]
    assert spills(tiles_on(CPUS[cpu].triple, cpu, scalar, kind, largest(shapes()))) == []


@pytest.mark.parametrize("name", BFLOAT16_CPUS)
@pytest.mark.parametrize("tile", list(TILES)[:3])
def test_a_step_of_bfloat16_is_one_dot_product_per_vector(name, tile, monkeypatch):
    (triple, instruction), (kind, shapes) = BFLOAT16_CPUS[name], TILES[tile]
    found = _probe(triple, name, "")
    assert found.has_bfloat16
    for module in ("jit.target", "simd.vectors", "simd.bfloat16", "kernels.prefetch"):
        monkeypatch.setattr(f"fastmlp._engine.{module}.target", lambda: found)
    # Of A B, a tile of one vector has 16 addresses to hold: LLVM spills two of its vectors.
    several = [shape for shape in largest(shapes()) if shape[1] > 1]
    assert spills(tiles_on(triple, name, PAIR, kind, several)) == []
    (loop,) = loops(tiles_on(triple, name, PAIR, kind, largest(shapes())[-1:]))
    names = instructions(loop)
    dot_products = [each for each in names if each.startswith(instruction)]
    assert len(dot_products) in (8 * 3, 2 * 8 * 3)  # LLVM may unroll two steps
    assert not any(name.startswith(("vfmadd", "fmla")) for name in names)


@pytest.mark.parametrize("name", CPUS)
def test_processors_without_products_of_bfloat16_are_known(name):
    assert not _probe(CPUS[name].triple, name, "").has_bfloat16


@pytest.mark.parametrize("name", ["cooperlake", "sapphirerapids"])
def test_intels_dot_products_are_left_alone(name):
    """They take the time of four multiply-adds."""
    assert _probe(X86, name, "") == TILE_TABLE["zmm", True]


def test_a_tile_that_is_too_large_would_be_seen_to_spill(cpu):
    height, width = largest(tile_shapes())[-1]
    assert spills(
        tiles_on(CPUS[cpu].triple, cpu, types.float32, TileKind(False), [(2 * height, width)])
    )


def test_the_instruction_set_of_each_processor_is_recognized(cpu):
    assert _probe(CPUS[cpu].triple, cpu, "").name == CPUS[cpu].instruction_set


@pytest.mark.parametrize("triple, pause", [(X86, "pause"), (ARM64, "isb"), (APPLE, "isb")])
def test_a_pause_is_one_instruction(triple, pause):
    """On Arm it is not YIELD, which most cores skip."""
    assert instructions(assembly_of(emit_pause, triple)) in ([pause, "ret"], [pause, "retq"])


KERNELS_ASSEMBLY = """
import numpy as np
from fastmlp._engine.kernels.prediction import predict
from fastmlp._engine.kernels.training import train
for kernel in predict, train:
    print(kernel.compiled(np.float32)._library.get_asm_str())
"""


def test_no_kernel_scatters(tmp_path):
    """LLVM makes scatters of loops over indices that might be negative. AVX-512 has them."""
    done = subprocess.run(
        [sys.executable, "-c", KERNELS_ASSEMBLY],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ret" in done.stdout
    assert "scatter" not in done.stdout
