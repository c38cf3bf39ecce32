"""Scalar arithmetic with explicit multiply-adds; loops over it vectorize."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.simd.memory import I64
from fastmlp._engine.simd.vectors import fma_name


def _scalar_multiply_add(context, builder, kind, a, b, c):
    name = f"llvm.{fma_name()}.f{32 if kind == types.float32 else 64}"
    scalar = context.get_value_type(kind)
    function = ir.FunctionType(scalar, [scalar] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a * b + c for scalars, rounded once if the target has FMA. Loops over it vectorize."""

    def codegen(context, builder, signature, arguments):
        return _scalar_multiply_add(context, builder, a, *arguments)

    return a(a, a, a), codegen


@intrinsic
def polynomial(typingctx, x, coefficients):
    """A polynomial in x by Horner's rule, highest power first, as one chain of multiply-adds.

    The chain is unrolled here: the compiler would not unroll a long loop, and so not vectorize it.
    """

    def codegen(context, builder, signature, arguments):
        point, table = arguments
        value = builder.extract_value(table, 0)
        for place in range(1, coefficients.count):
            c = builder.extract_value(table, place)
            value = _scalar_multiply_add(context, builder, x, value, point, c)
        return value

    return x(x, coefficients), codegen


@intrinsic
def power_of_two(typingctx, exponent):
    """2**exponent for a float that holds an integer in the range of normal exponents.

    Adding 1.5 * 2**mantissa leaves the integer in the lowest bits; a shift moves it to the
    exponent. A conversion to integer would lose NaN.
    """
    mantissa, bias = (23, 127) if exponent == types.float32 else (52, 1023)

    def codegen(context, builder, signature, arguments):
        scalar, whole = context.get_value_type(exponent), ir.IntType(mantissa + 9)
        if exponent == types.float64:
            whole = I64
        shifted = builder.fadd(arguments[0], ir.Constant(scalar, 1.5 * 2**mantissa))
        bits = builder.add(builder.bitcast(shifted, whole), ir.Constant(whole, bias))
        return builder.bitcast(builder.shl(bits, ir.Constant(whole, mantissa)), scalar)

    return exponent(exponent), codegen
