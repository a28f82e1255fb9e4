"""Rows of expressions and ufuncs: NumPy, numexpr, numba's prange, and blosc2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import BLOSC2, NUMEXPR, PRANGE, present
from harness.limits import loop
from harness.timing import GIB, MIB, NUMPY, OURS, Call, Row, SetUp, of_sizes

EXPONENTIAL, COMPARISON, SUM = "exp(-a*a) + b*0.5", "a*b - 4.1*a > 2.5*b", "a + 1"
ROOT = "sqrt(a)"

# Each expression with prange; the arguments are `out` and the arrays. Without fast-math, as the
# others compute it.
EXACT = {"fastmath": False, "error_model": "numpy"}


@loop(**EXACT)  # type: ignore[untyped-decorator, unused-ignore]
def exponential(out: Any, a: Any, b: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = np.exp(-a[i] * a[i]) + b[i] * 0.5


@loop(**EXACT)  # type: ignore[untyped-decorator, unused-ignore]
def comparison(out: Any, a: Any, b: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = a[i] * b[i] - 4.1 * a[i] > 2.5 * b[i]


@loop(**EXACT)  # type: ignore[untyped-decorator, unused-ignore]
def plus(out: Any, a: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = a[i] + np.float32(1)


@loop(**EXACT)  # type: ignore[untyped-decorator, unused-ignore]
def square_root(out: Any, a: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = np.sqrt(a[i])


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def root_of_chunk(a: Any) -> None:
    for i in range(a.size):
        a[i] = np.sqrt(a[i])


def by_numpy(out: Any, a: Any, b: Any = None) -> Any:
    """Evaluate the expression as NumPy users write it, except for `out`."""
    if out is a:
        return np.sqrt(a, out=a)
    if b is None:
        return np.add(a, 1, out=out)
    if out.dtype == bool:
        return np.greater(a * b - 4.1 * a, 2.5 * b, out=out)
    return np.add(np.exp(-a * a), b * 0.5, out=out)


def operands(expression: str, n: int, dtype: str, empty: Callable[..., Any]) -> list[Any]:
    """Create `out` and an array per name; the root is computed in place, of ones."""
    if expression == ROOT:
        a = empty(n, dtype)
        a[:] = 1
        return [a, a]
    made = [empty(n, "?" if ">" in expression else dtype)]
    for k in range(2 if "b" in expression else 1):
        a = empty(n, dtype)
        a[:] = np.resize(np.linspace(k, k + 0.5, 1000), n)
        made.append(a)
    made[0][:] = 0
    return made


def by(
    function: Callable[..., Any], expression: str, dtype: str, empty: Callable[..., Any] = np.empty
) -> SetUp:
    def set_up(n: int) -> Call:
        out, *arrays = operands(expression, n, dtype, empty)

        def call() -> Any:
            function(out, *arrays)
            return out

        return call

    return set_up


def named(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    return lambda out, *arrays: evaluate(out, dict(zip("ab", arrays, strict=False)))


def by_numexpr(expression: str) -> Callable[..., Any]:
    def evaluate(out: Any, names: dict[str, Any]) -> None:
        import numexpr

        numexpr.set_num_threads(sharedmem.cpu_count())
        numexpr.evaluate(expression, names, out=out)

    return named(evaluate)


def by_blosc2(expression: str, dtype: str) -> SetUp:
    def set_up(n: int) -> Call:
        import blosc2

        _, *arrays = operands(expression, n, dtype, np.empty)
        plain = {"clevel": 0}
        names = {k: blosc2.asarray(v, cparams=plain) for k, v in zip("ab", arrays, strict=False)}
        lazy = blosc2.lazyexpr(expression, names)
        return lambda: lazy.compute(cparams=plain)[[0, n - 1]]

    return set_up


def ours(expression: str) -> Callable[..., Any]:
    if expression == ROOT:
        return lambda out, a: sharedmem.apply_ufunc(np.sqrt, a, out=out)
    return named(lambda out, names: sharedmem.evaluate(expression, out=out, **names))


def contenders(expression: str, kernel: Any, dtype: str) -> dict[str, SetUp]:
    return present({
        OURS: by(ours(expression), expression, dtype, sharedmem.empty),
        NUMPY: by(by_numpy, expression, dtype),
        PRANGE: by(kernel, expression, dtype),
        NUMEXPR: by(by_numexpr(expression), expression, dtype),
        BLOSC2: by_blosc2(expression, dtype),
    })  # fmt: skip


ROOTS = contenders(ROOT, square_root, "f8")
CHUNKS = {
    OURS: by(lambda out, a: sharedmem.map_chunks(root_of_chunk, a), ROOT, "f8", sharedmem.empty),
    NUMPY: ROOTS[NUMPY],
    PRANGE: ROOTS[PRANGE],
}
NO_PEER = "no peer faster"


ROWS = {
    **of_sizes("exp", EXPONENTIAL, contenders(EXPONENTIAL, exponential, "f8"), NO_PEER, 3),
    **of_sizes(
        "sqrt", "sqrt in place", ROOTS, "1.8 x faster than NumPy", only=("1MiB", "128MiB")
    ),
    **of_sizes(
        "map_chunks", "map_chunks of a compiled sqrt, in place", CHUNKS, NO_PEER,
        only=("8MiB", "128MiB"),
    ),
    "compare": Row(
        f"{COMPARISON}, 128 MiB", 16 * MIB, MIB // 64,
        contenders(COMPARISON, comparison, "f8"), NO_PEER,
    ),
    "add": Row(f"{SUM}, 1 GiB", GIB // 8, MIB // 64, contenders(SUM, plus, "f8"), NO_PEER),
    "add-f4": Row(
        f"{SUM}, 5e6 float32", 5_000_000, MIB // 64, contenders(SUM, plus, "f4"), NO_PEER
    ),
}  # fmt: skip
