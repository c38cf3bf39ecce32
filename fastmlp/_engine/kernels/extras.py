"""Plain kernels, which lack what few fits use, and so compile in 0.6 of the time.

Code for sparse X, unusual activations and losses, dropout, clipped gradients and others is called
through `extra`. A plain kernel has none of it. The workspace launches the whole kernel if a job
needs it, see `Workspace.run`. What both have computes the same bytes.
"""

import math

from numba import types
from numba.extending import intrinsic

from fastmlp._engine.records import HAS_EXTRAS
from fastmlp._engine.simd.memory import numpy_dtype


@intrinsic
def extra(typingctx, record, function, arguments):
    """function(*arguments), or NaN and no code in a plain kernel.

    `record` is a job or its hyperparameters: the type of their field `extras` says which kernel it
    is.
    """
    if numpy_dtype(record.typeof("extras")) != HAS_EXTRAS:

        def nothing(context, builder, signature, given):
            return context.get_constant(types.float64, math.nan)

        return types.float64(record, function, arguments), nothing

    inner = function.get_call_type(typingctx, arguments.types, {})

    def call(context, builder, signature, given):
        values = [builder.extract_value(given[2], n) for n in range(arguments.count)]
        return context.get_function(function, inner)(builder, values)

    return inner.return_type(record, function, arguments), call
