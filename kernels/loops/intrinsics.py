"""Instructions of the processor that Python has no operation for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from sharedmem.kernels.loops.layout import Array


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    double = types.float64
    return double(double, double, double), lambda _, builder, __, args: builder.fma(*args)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _fetch_add(typing: Any, array: Any, place: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(numbers.data, [arguments[1]])
        return builder.atomic_rmw("add", pointer, arguments[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _read_only(typing: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return impl_ret_borrowed(context, builder, signature.return_type, arguments[0])

    return array.copy(readonly=True)(array), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _let_others_run(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.IntType(32), [])
        builder.call(
            cgutils.get_or_insert_function(builder.module, function, "sched_yield"), arguments
        )
        return context.get_dummy_value()

    return types.void(), generate


# fma(a, b, c) is a * b + c, rounded once.
fma = cast(Callable[[Any, Any, Any], np.float64], _fma)
# fetch_add(array, place, value) adds to an int64 atomically, and returns its previous value.
fetch_add = cast(Callable[[Array, int, int], int], _fetch_add)
# read_only(array) is the same array, with the type of a read-only one.
read_only = cast(Callable[[Array], Array], _read_only)
# let_others_run() yields the core to a waiting thread, if there is one.
let_others_run = cast(Callable[[], None], _let_others_run)
