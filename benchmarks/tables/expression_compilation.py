"""Print how long expressions take to compile: as text of LLVM, by llvmlite.ir, and by numba.

``python benchmarks/tables/expression_compilation.py`` prints milliseconds of processor time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import llvmlite.ir as ir
import numba
import numpy as np

from sharedmem.expressions import fusion
from sharedmem.expressions.binding import bind
from sharedmem.expressions.levels import plan

EXPRESSIONS = ("a*a + b*0.5", "exp(-a*a) + b*0.5")
ROUNDS = 9
ONES = np.ones(100)


def timed(call: Callable[[], Any]) -> float:
    """Return the median of the processor time, in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def compile_text(expression: str) -> None:
    """Compile an expression that has not been compiled before."""
    fusion._fuse.cache_clear()
    steps, _, scalars = bind(plan(expression).results[0], {"a": ONES, "b": ONES})
    fusion.fuse(steps, (ONES.dtype, ONES.dtype), scalars, is_exact=False)


def write_text(expression: str) -> str:
    """Write an expression's text, and compile nothing."""
    with mock.patch.object(fusion, "assemble") as assemble:
        compile_text(expression)
    text: str = assemble.call_args.args[0]
    return text


def build(n_operations: int) -> str:
    """Write as many operations on vectors by the builders of llvmlite.ir."""
    vector: Any = ir.VectorType(ir.DoubleType(), 16)
    module = ir.Module()
    signature = ir.FunctionType(ir.VoidType(), [ir.PointerType(vector)])
    function = ir.Function(module, signature, "kernel")
    builder = ir.IRBuilder(function.append_basic_block())
    value = builder.load(function.args[0])
    for _ in range(n_operations):
        value = builder.fadd(value, value)
    builder.store(value, function.args[0])
    builder.ret_void()
    return str(module)


def sum_of_exp(a: Any, b: Any, out: Any) -> None:
    """Compute the second expression."""
    for i in numba.prange(len(a)):
        out[i] = np.exp(-a[i] * a[i]) + b[i] * 0.5


def main() -> None:
    """Time all."""
    compile_text(EXPRESSIONS[0])  # which loads LLVM
    for expression in EXPRESSIONS:
        n_operations = write_text(expression).count(" = ")
        print(
            f"{expression}: written in {timed(lambda: write_text(expression)):.2f}, "  # noqa: B023
            f"{n_operations} operations by llvmlite.ir in "
            f"{timed(lambda: build(n_operations)):.2f}, "  # noqa: B023
            f"compiled in {timed(lambda: compile_text(expression)):.0f}"  # noqa: B023
        )
    types = (numba.float64[::1],) * 3
    for parallel in (False, True):
        compiled: Any = numba.njit(nogil=True, parallel=parallel)
        compiled(sum_of_exp).compile(types)
        took = timed(lambda: compiled(sum_of_exp).compile(types))  # noqa: B023
        print(f"{EXPRESSIONS[1]} by numba, parallel={parallel}: {took:.0f}")


if __name__ == "__main__":
    main()
