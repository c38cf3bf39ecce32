"""The compiler of device functions: Numba's, as far as LLVM code."""

import numba
from numba import types

from fastmlp._engine.compat.numba import (
    Compiler,
    CPUDispatcher,
    InlineClosureLikes,
    InlineOverloads,
    JITCodeLibrary,
    LoweringPass,
    NativeLowering,
    NopythonRewrites,
    register_pass,
)
from fastmlp._engine.jit.target import JIT

# Numba's passes for closures, array expressions and overloads, which device functions do not have.
# With these passes, the first fit compiles 10 % longer.
UNUSED = InlineClosureLikes, NopythonRewrites, InlineOverloads


class DeviceLibrary(JITCodeLibrary):
    """LLVM code to link into a kernel, which is optimized once, as a whole.

    It does not contain the device functions that it calls: the kernel links each of them once.
    """

    def finalize(self):
        """Keep the LLVM code; Numba would link, optimize and translate it."""
        self._raise_if_finalized()
        self._finalized = True

    def with_what_it_calls(self):
        """This library and those of all functions that it calls, directly or indirectly."""
        return list(dict.fromkeys([self, *self._linking_libraries]))


class LoweredDevice:
    """Takes the place of a function's Python entry point, which device functions do not have."""


@register_pass(mutates_CFG=False, analysis_only=True)
class OfferDevice(LoweringPass):
    """Make a lowered device function available to its callers."""

    _name = "fastmlp_offer_device"

    def __init__(self):
        LoweringPass.__init__(self)

    def run_pass(self, state) -> bool:
        lowered = state["cr"]._replace(cfunc=LoweredDevice())
        libraries = state.library.with_what_it_calls()
        state.targetctx.insert_user_function(lowered.cfunc, lowered.fndesc, libraries)
        state["cr"] = lowered
        return False


class DeviceCompiler(Compiler):
    """Numba's compiler, as far as LLVM code."""

    def define_pipelines(self):
        state = self.state
        state.library = DeviceLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        state.flags.no_cpython_wrapper = state.flags.no_cfunc_wrapper = True
        (pipeline,) = super().define_pipelines()
        pipeline.passes = [(kind, told) for kind, told in pipeline.passes if kind not in UNUSED]
        pipeline.add_pass_after(OfferDevice, NativeLowering)
        pipeline.finalize()
        return [pipeline]


class DeviceFunction(CPUDispatcher):
    """A function for kernels. A call from Python compiles it as an ordinary function."""

    def __init__(self, function):
        super().__init__(function, targetoptions={**JIT, "nopython": True})
        self._compiler.pipeline_class = DeviceCompiler
        self._alone = None

    def get_call_template(self, args, kws):
        """Compile once per type: Numba would also compile for each literal."""
        args = tuple(map(types.unliteral, args))
        kws = {name: types.unliteral(kind) for name, kind in dict(kws).items()}
        return super().get_call_template(args, kws)

    def add_overload(self, cres):
        """Register a compiled form by its argument types."""
        self.overloads[tuple(cres.signature.args)] = cres

    def __call__(self, *arguments):
        if self._alone is None:
            function = self
            self._alone = numba.njit(**JIT)(lambda *arguments: function(*arguments))
        return self._alone(*arguments)
