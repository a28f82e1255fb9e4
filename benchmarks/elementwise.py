"""Compare expressions and ufuncs with NumPy, numexpr, numba's prange and blosc2, as a table."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from timing import GIB, MIB, NUMPY, OURS, Call, Row, SetUp, print_table

NUMEXPR, PRANGE, BLOSC2 = "numexpr", "numba prange", "blosc2"
EXPONENTIAL, COMPARISON, SUM = "exp(-a*a) + b*0.5", "a*b - 4.1*a > 2.5*b", "a + 1"

# prange of each; what they are given is `out` and the arrays.
_parallel = functools.partial(numba.njit, parallel=True, error_model="numpy")


@_parallel()  # type: ignore[untyped-decorator, unused-ignore]
def exponential(out: Any, a: Any, b: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = np.exp(-a[i] * a[i]) + b[i] * 0.5


@_parallel()  # type: ignore[untyped-decorator, unused-ignore]
def comparison(out: Any, a: Any, b: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = a[i] * b[i] - 4.1 * a[i] > 2.5 * b[i]


@_parallel()  # type: ignore[untyped-decorator, unused-ignore]
def plus(out: Any, a: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = a[i] + np.float32(1)


def by_numpy(out: Any, a: Any, b: Any = None) -> Any:
    """Write the expression as one does with NumPy, but for `out`."""
    if b is None:
        return np.add(a, 1, out=out)
    if out.dtype == bool:
        return np.greater(a * b - 4.1 * a, 2.5 * b, out=out)
    return np.add(np.exp(-a * a), b * 0.5, out=out)


def operands(expression: str, n: int, dtype: str, empty: Callable[..., Any]) -> list[Any]:
    """Make `out`, and an array for each name."""
    made = [empty(n, "?" if ">" in expression else dtype)]
    for k in range(2 if "b" in expression else 1):
        a = empty(n, dtype)
        a[:] = np.resize(np.linspace(k, k + 0.5, 1000), n)
        made.append(a)
    made[0][:] = 0
    return made


def ours(expression: str, dtype: str) -> SetUp:
    def set_up(n: int) -> Call:
        out, *arrays = operands(expression, n, dtype, sharedmem.empty)
        return lambda: sharedmem.evaluate(
            expression, out=out, **dict(zip("ab", arrays, strict=False))
        )

    return set_up


def numexpr(expression: str, dtype: str) -> SetUp:
    def set_up(n: int) -> Call:
        import numexpr

        numexpr.set_num_threads(sharedmem.cpu_count())
        out, *arrays = operands(expression, n, dtype, np.empty)
        names = dict(zip("ab", arrays, strict=False))
        return lambda: numexpr.evaluate(expression, names, out=out)

    return set_up


def blosc2(expression: str, dtype: str) -> SetUp:
    def set_up(n: int) -> Call:
        import blosc2

        _, *arrays = operands(expression, n, dtype, np.empty)
        plain = {"clevel": 0}
        names = {k: blosc2.asarray(v, cparams=plain) for k, v in zip("ab", arrays, strict=False)}
        lazy = blosc2.lazyexpr(expression, names)
        return lambda: lazy.compute(cparams=plain)[[0, n - 1]]

    return set_up


def by(function: Callable[..., Any], expression: str, dtype: str) -> SetUp:
    def set_up(n: int) -> Call:
        out, *arrays = operands(expression, n, dtype, np.empty)

        def call() -> Any:
            function(out, *arrays)
            return out

        return call

    return set_up


def contenders(expression: str, kernel: Any, dtype: str) -> dict[str, SetUp]:
    made = {
        OURS: ours(expression, dtype),
        NUMPY: by(by_numpy, expression, dtype),
        PRANGE: by(kernel, expression, dtype),
    }
    if importlib.util.find_spec("numexpr"):
        made[NUMEXPR] = numexpr(expression, dtype)
    if importlib.util.find_spec("blosc2"):
        made[BLOSC2] = blosc2(expression, dtype)
    return made


def root(n: int) -> Call:
    a = sharedmem.full(n, 1.0)
    return lambda: sharedmem.apply_ufunc(np.sqrt, a, out=a)


def root_by_numpy(n: int) -> Call:
    a = np.full(n, 1.0)
    return lambda: np.sqrt(a, out=a)


NO_PEER = "no peer faster"
ROWS = {
    "exp": Row(
        f"{EXPONENTIAL}, 1 GiB", GIB // 8, MIB, contenders(EXPONENTIAL, exponential, "f8"), NO_PEER
    ),
    "compare": Row(
        f"{COMPARISON}, 1 GiB", GIB // 8, MIB, contenders(COMPARISON, comparison, "f8"), NO_PEER
    ),
    "add": Row(f"{SUM}, 1 GiB", GIB // 8, MIB, contenders(SUM, plus, "f8"), NO_PEER),
    "add-f4": Row(
        f"{SUM}, 5e6 float32", 5_000_000, MIB, contenders(SUM, plus, "f4"), NO_PEER
    ),
    "sqrt": Row(
        "sqrt in place, 1 GiB", GIB // 8, MIB,
        {OURS: root, NUMPY: root_by_numpy}, "1.8 x faster than NumPy",
    ),
}  # fmt: skip

if __name__ == "__main__":
    print_table(__doc__, ROWS)
