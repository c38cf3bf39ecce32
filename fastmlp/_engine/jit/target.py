"""Which instruction set numba compiles for, and the tile shapes that fit its registers."""

import functools
from dataclasses import dataclass

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core.registry import cpu_target

# NumPy's error model: with Python's, one division keeps a loop from vectorising. No runtime (nrt):
# kernels allocate nothing, and counting references to shared arrays is atomic traffic. No fastmath:
# a diverging fit must stay visible, sums keep their order, and `tile.multiply_add` says what fuses.
JIT = {"error_model": "numpy", "_nrt": False}

CACHE_LINE = 64  # bytes; the unit that cores exchange, and the alignment of every buffer


@dataclass(frozen=True)
class Target:
    """An instruction set as the tile sees it.

    Attributes
    ----------
    name : str
        The name that ``python -m fastmlp info`` prints.
    vector_bytes : int
        Width of a register.
    has_fma : bool
        Whether a fused multiply-add is one instruction.
    widest : int
        Most vectors that a tile is wide.
    tallest : int
        Most rows of a tile of two or more vectors; a power of two.
    tallest_single : int
        Most rows of a tile of one vector; a power of two.
    """

    name: str
    vector_bytes: int
    has_fma: bool
    widest: int
    tallest: int
    tallest_single: int

    def lanes(self, dtype: np.dtype) -> int:
        """Elements of `dtype` in one register."""
        return self.vector_bytes // np.dtype(dtype).itemsize


# tallest * widest accumulators, widest vectors of B and one broadcast of A must fit the registers:
# 32 of them with AVX-512 and NEON, 16 with AVX2 and SSE (which needs one more for the product).
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


def is_x86(triple: str) -> bool:
    """Whether the platform that LLVM calls `triple` has an x86 processor."""
    return triple.startswith(("x86", "i686"))


def is_arm64(triple: str) -> bool:
    """Whether the platform that LLVM calls `triple` has a 64-bit Arm processor."""
    return triple.startswith(("aarch64", "arm64"))


def _probe(triple: str, cpu: str, features: str) -> Target:
    """Ask LLVM itself: which registers does it use for 16 fused multiply-adds?"""
    module = llvm.parse_assembly(_PROBE)
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(module)
    has_fma = "fmaf" not in assembly  # the C library's function stands in for a missing instruction
    if is_arm64(triple):
        register = "neon"
    else:
        register = next((name for name in ("zmm", "ymm") if name in assembly), "xmm")
    return TILE_TABLE[register, has_fma]


@functools.cache
def target() -> Target:
    """The instruction set numba compiles for in this process.

    ``NUMBA_CPU_NAME`` alone leaves numba the features of the host, so a named CPU is asked for
    without them too, and the narrower answer counts.
    """
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    found = _probe(triple, cpu, features)
    if numba.config.CPU_NAME is not None:
        found = min(found, _probe(triple, cpu, ""), key=lambda t: (t.vector_bytes, t.has_fma))
    return found


# The last columns of a matrix are a tail where they fill at most one part in so many of a vector.
TAIL_SHARE = 4
TAIL_HEIGHT = 4  # rows of the tile for it: with a quarter of 16 lanes, 16 sums in registers
# Inner dimension from which on a product takes the tail by itself: a step gains 2 % here, and the
# tile needs more than one vector of any target.
LEAST_TAIL_DEPTH = 48


def tail_columns(dtype: np.dtype) -> int:
    """Columns of a tail at most; 0 where vectors are short."""
    lanes = target().lanes(dtype)
    return lanes // TAIL_SHARE if lanes >= 2 * TAIL_SHARE else 0


def tile_shapes() -> list[tuple[int, int]]:
    """Every (height in rows, width in vectors) that the tile is generated for."""
    shapes = []
    for width in range(1, target().widest + 1):
        height = target().tallest_single if width == 1 else target().tallest
        while height:
            shapes.append((height, width))
            height //= 2
    return shapes
