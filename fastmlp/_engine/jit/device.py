"""Device functions: compiled functions that get machine code only inside the kernel they serve."""

import numba
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import InlineOverloads, NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes
from numba.extending import intrinsic

from fastmlp._engine.jit.target import JIT

# numba passes for closures, array expressions and overloads: device functions have none of these.
# Without this the first fit compiles 10 % longer.
UNUSED = InlineClosureLikes, NopythonRewrites, InlineOverloads


class DeviceLibrary(JITCodeLibrary):
    """LLVM code to link into a kernel, which is optimised once, as a whole.

    It does not hold the code of what it calls: the kernel links each device function in once.
    """

    def finalize(self):
        """Keep what there is; numba would link, optimise and translate it."""
        self._raise_if_finalized()
        self._finalized = True

    def with_what_it_calls(self):
        """This library and, its calls' calls included, those of all that it calls."""
        return list(dict.fromkeys([self, *self._linking_libraries]))


class LoweredDevice:
    """Stands where numba keeps a function's entry from Python; a device function has none."""


@register_pass(mutates_CFG=False, analysis_only=True)
class OfferDevice(LoweringPass):
    """Make a lowered device function known to the code that calls it."""

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
    """numba's compiler, up to LLVM code and no further."""

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
    """A function for kernels. Called from Python, it compiles a kernel of itself."""

    def __init__(self, function):
        super().__init__(function, targetoptions={**JIT, "nopython": True})
        self._compiler.pipeline_class = DeviceCompiler
        self._alone = None

    def get_call_template(self, args, kws):
        """One form for all values of a type: numba would add one for each literal it meets."""
        args = tuple(map(types.unliteral, args))
        kws = {name: types.unliteral(kind) for name, kind in dict(kws).items()}
        return super().get_call_template(args, kws)

    def add_overload(self, cres):
        """Keep the types it was compiled for."""
        self.overloads[tuple(cres.signature.args)] = cres

    def __call__(self, *arguments):
        if self._alone is None:
            function = self
            self._alone = numba.njit(**JIT)(lambda *arguments: function(*arguments))
        return self._alone(*arguments)


def device(function) -> DeviceFunction:
    """Declare a device function.

    numba would optimise, wrap and translate each function by itself as well, of which the kernels
    use nothing: that doubled the time of the first fit.
    """
    return DeviceFunction(function)


@intrinsic
def inline(typingctx):
    """Let the function that says this be inlined: a call keeps the loop around from vectorising.

    numba's own option would pass on to all that the function calls, and compile that once more.
    """

    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("alwaysinline")
        return context.get_dummy_value()

    return types.void(), codegen
