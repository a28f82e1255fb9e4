"""Instructions of the processor that Python has no operation for, and arrays on the stack."""

# mypy: allow-untyped-calls, disable-error-code="misc, unused-ignore"

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from sharedmem.kernels.compile import intrinsic
from sharedmem.kernels.loops.layout import Array


@intrinsic
def _fma() -> Any:
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
        double = types.float64
        return double(double, double, double), lambda _, builder, __, args: builder.fma(*args)

    return fma


@intrinsic
def _fetch_add() -> Any:
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def fetch_add(typing: Any, array: Any, place: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            numbers = context.make_array(signature.args[0])(context, builder, arguments[0])
            pointer = builder.gep(numbers.data, [arguments[1]])
            return builder.atomic_rmw("add", pointer, arguments[2], "seq_cst")

        return types.int64(array, types.int64, types.int64), generate

    return fetch_add


@intrinsic
def _read_only() -> Any:
    from numba.core.imputils import impl_ret_borrowed
    from numba.extending import intrinsic

    @intrinsic
    def read_only(typing: Any, array: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return impl_ret_borrowed(context, builder, signature.return_type, arguments[0])

        return array.copy(readonly=True)(array), generate

    return read_only


@intrinsic
def _let_others_run() -> Any:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def let_others_run(typing: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(
                cgutils.get_or_insert_function(builder.module, function, "sched_yield"), arguments
            )
            return context.get_dummy_value()

        return types.void(), generate

    return let_others_run


def on_stack(*shape: int) -> Callable[[Any], Array]:
    """Make the operation that returns an array on the stack, of the dtype of a given array.

    Its contents are undefined, and it ends with the function that calls the operation.
    """

    @intrinsic
    def make() -> Any:
        from llvmlite import ir
        from numba import types
        from numba.core import cgutils
        from numba.extending import intrinsic
        from numba.np.arrayobj import populate_array

        @intrinsic
        def make(typing: Any, like: Any) -> Any:
            kind = types.Array(like.dtype, len(shape), "C")

            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                element, word = context.get_data_type(kind.dtype), ir.IntType(64)
                room = cgutils.alloca_once(builder, ir.ArrayType(element, math.prod(shape)))
                itemsize = context.get_abi_sizeof(element)
                array = context.make_array(kind)(context, builder)
                populate_array(
                    array,
                    data=builder.bitcast(room, element.as_pointer()),
                    shape=[word(length) for length in shape],
                    strides=[
                        word(itemsize * math.prod(shape[axis + 1 :])) for axis in range(len(shape))
                    ],
                    itemsize=word(itemsize),
                    meminfo=None,
                )
                return array._getvalue()

            return kind(like), generate

        return make

    return cast(Callable[[Any], Array], make)


# fma(a, b, c) is a * b + c, rounded once.
fma = cast(Callable[[Any, Any, Any], np.float64], _fma)
# fetch_add(array, place, value) adds to an int64 atomically, and returns its previous value.
fetch_add = cast(Callable[[Array, int, int], int], _fetch_add)
# read_only(array) is the same array, with the type of a read-only one.
read_only = cast(Callable[[Array], Array], _read_only)
# let_others_run() yields the core to a waiting thread, if there is one.
let_others_run = cast(Callable[[], None], _let_others_run)
