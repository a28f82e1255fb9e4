"""Rows that the peers publish, with their own code and with sharedmem."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import DASK, JOBLIB, NUMEXPR, PRANGE, present
from harness.timing import GIB, MIB, NUMPY, OURS, Call, Row, SetUp, scratch

WORKERS = sharedmem.cpu_count()

# numexpr: the expressions of its README, and of bench/vml_timing2.py in its repository.

README = ("a + 1", "a*b - 4.1*a > 2.5*b", "sin(a) + arcsinh(a/b)", "a**2 + b**2 + 2*a*b")
VML_TIMING = ("2*b + 4*a", "sin(a)**2 + cos(b)**2")


def evaluated(expression: str, dtype: str, evaluate: Callable[..., Any]) -> SetUp:
    """Evaluate into an existing array, as the sources do for large ones."""

    def set_up(n: int) -> Call:
        a = np.linspace(1, 2, n, dtype=dtype)
        names = {"a": a, "b": a + 1} if "b" in expression else {"a": a}
        out = np.zeros(n, "?" if ">" in expression else dtype)

        def call() -> np.ndarray:
            evaluate(expression, names, out)
            return np.round(out[[0, -1]].astype("f8"), 3)

        return call

    return set_up


def by_ours(expression: str, names: dict[str, np.ndarray], out: np.ndarray) -> None:
    sharedmem.evaluate(expression, out=out, **names)


def by_numexpr(expression: str, names: dict[str, np.ndarray], out: np.ndarray) -> None:
    importlib.import_module("numexpr").evaluate(expression, names, out=out)


def by_numpy(expression: str, names: dict[str, np.ndarray], out: np.ndarray) -> None:
    out[...] = eval(expression, vars(np), names)


def expression_row(expression: str, n: int, dtype: str) -> Row:
    by = {OURS: by_ours, NUMPY: by_numpy, NUMEXPR: by_numexpr}
    return Row(
        f"numexpr: {expression}, {n:,} {np.dtype(dtype).name}", n, 100_000,
        present({which: evaluated(expression, dtype, evaluate) for which, evaluate in by.items()}),
        "no peer faster", warms_up=True,
    )  # fmt: skip


# joblib: examples/parallel_memmap.py in its repository. Rows are summed into a shared array.


def sum_row(samples: np.ndarray, sums: np.ndarray, i: int) -> None:
    sums[i] = samples[i, :].sum()


def samples_of(n: int) -> np.ndarray:
    return np.random.default_rng(42).normal(size=(10, n // 10))


def summed(n: int) -> Call:
    samples, sums = samples_of(n), sharedmem.zeros(10)

    def call() -> np.ndarray:
        with sharedmem.MapReduce() as pool:
            pool.map(lambda i: sum_row(samples, sums, i), range(10))
        return np.asarray(sums)

    return call


def summed_by_joblib(n: int) -> Call:
    import joblib

    path = scratch() / f"samples-{n}"
    joblib.dump(samples_of(n), path)
    samples = joblib.load(path, mmap_mode="r")
    sums = np.memmap(scratch() / f"sums-{n}", "f8", "w+", shape=10)
    task = joblib.delayed(sum_row)

    def call() -> np.ndarray:
        joblib.Parallel(n_jobs=WORKERS)(task(samples, sums, i) for i in range(10))
        return sums

    return call


def summed_by_numpy(n: int) -> Call:
    samples = samples_of(n)
    return lambda: samples.sum(axis=1)


# Dask: examples.dask.org/array.html, and the array chapter of tutorial.dask.org.
# Small integers: their sums do not depend on the order.


def matrix(side: int) -> np.ndarray:
    a = np.empty((side, side))
    a[...] = np.arange(side) % 101
    a += np.arange(side)[:, None] % 7
    return a


def on_matrix(function: Callable[[np.ndarray], Any]) -> SetUp:
    def set_up(side: int) -> Call:
        a = matrix(side)
        return lambda: function(a)

    return set_up


def by_dask(chunk: int, function: Callable[[Any], Any]) -> SetUp:
    def set_up(side: int) -> Call:
        dask_array = importlib.import_module("dask.array")
        chunked = dask_array.from_array(matrix(side), chunks=(chunk, chunk))
        return lambda: function(chunked).compute()

    return set_up


def mean_of_sum(x: np.ndarray) -> Any:
    y = sharedmem.evaluate("a + b", a=x[::2, len(x) // 2 :], b=x.T[::2, len(x) // 2 :])
    return sharedmem.mean(y, axis=1)


def mean_of_sum_by_numpy(x: np.ndarray) -> Any:
    return (x[::2, len(x) // 2 :] + x.T[::2, len(x) // 2 :]).mean(axis=1)


def mean_of_sum_by_dask(x: Any) -> Any:
    """Leave it to Dask to find the half of y that is needed."""
    y = x + x.T
    return y[::2, len(x) // 2 :].mean(axis=1)


# numba: "Automatic parallelization with @jit" in its user manual, the first example of prange.


@numba.njit(parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def prange_test(a: Any) -> Any:
    s = 0
    for i in numba.prange(a.shape[0]):
        s += a[i]
    return s


def added(add: Callable[[np.ndarray], Any]) -> SetUp:
    def set_up(n: int) -> Call:
        a = np.resize(np.arange(101.0), n)
        return lambda: add(a)

    return set_up


ROWS = {
    **{
        f"numexpr-{k}": expression_row(expression, 5_000_000, "f4")
        for k, expression in enumerate(README)
    },
    **{
        f"numexpr-vml-{k}": expression_row(expression, 50_000_000, "f8")
        for k, expression in enumerate(VML_TIMING)
    },
    "joblib-memmap": Row(
        "joblib: sums of ten rows of 1,000,000 in a memmap", 10_000_000, 10_000,
        present({OURS: summed, NUMPY: summed_by_numpy, JOBLIB: summed_by_joblib}),
        warms_up=True,
    ),
    "dask-mean-of-sum": Row(
        "Dask: (x + x.T)[::2, 5000:].mean(axis=1), 10,000 x 10,000", 10_000, 100,
        present({
            OURS: on_matrix(mean_of_sum), NUMPY: on_matrix(mean_of_sum_by_numpy),
            DASK: by_dask(1000, mean_of_sum_by_dask),
        }),
        needs=4 * GIB, warms_up=True,
    ),
    "dask-mean": Row(
        "Dask: x.mean(axis=0)[::100], 20,000 x 20,000", 20_000, 100,
        present({
            OURS: on_matrix(lambda x: sharedmem.mean(x, axis=0)[::100]),
            NUMPY: on_matrix(lambda x: x.mean(axis=0)[::100]),
            DASK: by_dask(1000, lambda x: x.mean(axis=0)[::100]),
        }),
        needs=11 * GIB, warms_up=True,
    ),
    "numba-prange": Row(
        "numba: sum of an array with prange, 128 MiB", 16 * MIB, MIB // 8,
        {OURS: added(sharedmem.sum), NUMPY: added(np.sum), PRANGE: added(prange_test)},
        "no peer faster", warms_up=True,
    ),
}  # fmt: skip
