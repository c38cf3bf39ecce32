"""The instruction set that Numba compiles for, and the tile shapes that fit its registers."""

import functools
from dataclasses import dataclass, replace

import llvmlite.binding as llvm
import numba
import numpy as np

from fastmlp._engine.compat.numba import cpu_target

# NumPy's error model: with Python's, a single division stops a loop from vectorizing. No runtime
# (nrt): kernels allocate nothing, and reference counts of shared arrays would be contended. No
# fastmath: divergence must stay visible, sums keep their order, multiply-adds are explicit.
JIT = {"error_model": "numpy", "_nrt": False}

CACHE_LINE = 64  # bytes; the unit of transfer between cores, and the alignment of every buffer


@dataclass(frozen=True)
class Target:
    """The properties of an instruction set that tiles depend on.

    Attributes
    ----------
    name : str
        The name that ``python -m fastmlp info`` prints.
    vector_bytes : int
        Size of a vector register.
    has_fma : bool
        Whether a fused multiply-add is one instruction.
    widest : int
        Maximum number of vectors in a row of a tile.
    tallest : int
        Maximum number of rows of a tile of several vectors; a power of two.
    tallest_single : int
        Maximum number of rows of a tile of one vector; a power of two.
    has_bfloat16 : bool
        Whether the dot product of pairs of bfloat16 is one instruction, and the faster way.
    """

    name: str
    vector_bytes: int
    has_fma: bool
    widest: int
    tallest: int
    tallest_single: int
    has_bfloat16: bool = False

    def lanes(self, dtype: np.dtype) -> int:
        """Elements of `dtype` in one register."""
        return self.vector_bytes // np.dtype(dtype).itemsize


# The registers must hold tallest * widest accumulators, widest vectors of B and one broadcast of A.
# AVX-512 and NEON have 32 registers; AVX2 and SSE have 16 (without FMA, one holds the product).
TILE_TABLE = {
    ("zmm", True): Target("AVX-512", 64, True, 3, 8, 16),
    ("ymm", True): Target("AVX2", 32, True, 3, 4, 8),
    ("ymm", False): Target("AVX without FMA", 32, False, 2, 4, 8),
    ("neon", True): Target("NEON", 16, True, 3, 8, 16),
    ("xmm", True): Target("128-bit with FMA", 16, True, 3, 4, 8),
    ("xmm", False): Target("128-bit without FMA", 16, False, 2, 4, 8),
}

_PROBE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define <16 x float> @probe(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
  %r = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  ret <16 x float> %r
}
"""

# A conversion tells whether a processor has dot products of bfloat16: x86's AVX512_BF16 and Arm's
# FEAT_BF16 have both. To emit a dot product would end the process on other processors.
_BFLOAT16_PROBE = """
define <16 x i16> @probe(<16 x float> %a) {
  %r = fptrunc <16 x float> %a to <16 x bfloat>
  %s = bitcast <16 x bfloat> %r to <16 x i16>
  ret <16 x i16> %s
}
"""


BFLOAT16_CONVERSIONS = {"zmm": "vcvtneps2bf16", "neon": "bfcvtn"}  # by the kind of register
# How LLVM's names of the x86 processors begin whose dot products pay off: AMD's. Intel's take the
# time of four multiply-adds: 92 GFLOP/s on one core of Emerald Rapids, where those of float32 reach
# 181. Two multiply-adds instead, with the same bits, take 0.8 to 0.86 of the time.
FAST_DOT_PRODUCTS = "znver"


def is_x86(triple: str) -> bool:
    """Whether an LLVM target triple names an x86 processor."""
    return triple.startswith(("x86", "i686"))


def is_arm64(triple: str) -> bool:
    """Whether an LLVM target triple names a 64-bit Arm processor."""
    return triple.startswith(("aarch64", "arm64"))


def _emit(code: str, triple: str, cpu: str, features: str) -> str:
    """The assembly of some LLVM code on a processor."""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    return machine.emit_assembly(llvm.parse_assembly(code))


def _probe(triple: str, cpu: str, features: str) -> Target:
    """Find out which registers LLVM uses for 16 fused multiply-adds."""
    machine_of = triple, cpu, features
    assembly = _emit(_PROBE, *machine_of)
    has_fma = "fmaf" not in assembly  # without the instruction, LLVM calls the C library
    if is_arm64(triple):
        register = "neon"
    else:
        register = next((name for name in ("zmm", "ymm") if name in assembly), "xmm")
    found = TILE_TABLE[register, has_fma]
    conversion = BFLOAT16_CONVERSIONS.get(register)
    converts = conversion is not None and conversion in _emit(_BFLOAT16_PROBE, *machine_of)
    pays_off = not is_x86(triple) or cpu.startswith(FAST_DOT_PRODUCTS)
    return replace(found, has_bfloat16=converts and pays_off)


@functools.cache
def target() -> Target:
    """The instruction set that Numba compiles for in this process.

    ``NUMBA_CPU_NAME`` alone keeps the host's features. So a named CPU is also probed without
    them, and the narrower result wins.
    """
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    found = _probe(triple, cpu, features)
    if numba.config.CPU_NAME is not None:
        named = _probe(triple, cpu, "")
        found = min(found, named, key=lambda t: (t.vector_bytes, t.has_fma, t.has_bfloat16))
    return found


# A matrix has a tail if its last columns fill at most 1 / TAIL_SHARE of a vector.
TAIL_SHARE = 4
TAIL_HEIGHT = 4  # rows of a tail's tile: with 4 of 16 lanes, 16 accumulators
# Minimum inner dimension of a product with a tail. A step gains 2 % here, and the tile needs more
# than one vector of any target.
LEAST_TAIL_DEPTH = 48


def tail_columns(dtype: np.dtype) -> int:
    """The most columns of a tail; 0 if vectors are too short for one."""
    lanes = target().lanes(dtype)
    return lanes // TAIL_SHARE if lanes >= 2 * TAIL_SHARE else 0


def tile_shapes() -> list[tuple[int, int]]:
    """Every tile shape (height in rows, width in vectors) for which code is generated."""
    shapes = []
    for width in range(1, target().widest + 1):
        height = target().tallest_single if width == 1 else target().tallest
        while height:
            shapes.append((height, width))
            height //= 2
    return shapes


# The gradient of a narrow first layer is summed in tiles of columns, see `kernels.products`: all
# columns of W by some vectors of inputs. Up to 12 columns, tiles of 24 accumulators have two such
# vectors, those of 12 have one. With them, a step of full-batch descent of 784-10-10 takes 0.6 to
# 0.8 of the time.
NARROW = 12
COLUMN_HEIGHTS = range(4, NARROW + 1, 2)


def column_width() -> int:
    """Vectors of inputs in a tile of columns; 0 if there are too few registers."""
    return target().tallest * target().widest // NARROW


def column_shapes() -> list[tuple[int, int]]:
    """Every shape of a tile of columns: height in columns of W, width in vectors of inputs."""
    return [(height, width) for height in COLUMN_HEIGHTS if (width := column_width())]
