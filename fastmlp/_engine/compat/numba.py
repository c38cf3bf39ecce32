"""Numba's own tools for code generation, and the inner parts of its compiler.

The tools must be there; Numba's guide for extensions uses them too. If an inner part is missing,
kernels compile through `numba.njit` and `numba.cfunc` alone: to the same bytes, but in about three
times the time, and in memory only.
"""

import threading

from numba.core import cgutils as cgutils
from numba.core.registry import cpu_target as cpu_target

try:
    from numba.core.ccallback import CFunc as CFunc
    from numba.core.codegen import JITCodeLibrary as JITCodeLibrary
    from numba.core.compiler import Compiler as Compiler
    from numba.core.compiler import CompileResult as CompileResult
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.compiler_machinery import LoweringPass as LoweringPass
    from numba.core.compiler_machinery import register_pass as register_pass
    from numba.core.registry import CPUDispatcher as CPUDispatcher
    from numba.core.serialize import dumps as dumps
    from numba.core.typed_passes import InlineOverloads as InlineOverloads
    from numba.core.typed_passes import NativeLowering as NativeLowering
    from numba.core.typed_passes import NopythonRewrites as NopythonRewrites
    from numba.core.types.functions import BaseFunction as BaseFunction
    from numba.core.untyped_passes import InlineClosureLikes as InlineClosureLikes
except ImportError:
    HAS_COMPILER = False
    global_compiler_lock = threading.RLock()
else:
    HAS_COMPILER = True
