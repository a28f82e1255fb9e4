"""Observe how each function works on each dtype, and write a table."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import sharedmem
from sharedmem.kernels import machine_code
from sharedmem.machine import helper_threads

N_BYTES = 16 << 20
DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "longdouble", "complex64", "complex128"),
    *("datetime64[s]", "timedelta64[s]"),
]
Function = Callable[[Any], Any]


def small_counts(a: np.ndarray) -> np.ndarray:
    return np.arange(len(a)) % 100


# Functions that take more than one argument; all others are called with an array.
CALLS: dict[str, Function] = {
    # Of numbers that do not decide the result before the last chunk.
    "all": lambda a: sharedmem.all(np.ones_like(a)),
    "any": lambda a: sharedmem.any(np.zeros_like(a)),
    "accumulate": lambda a: sharedmem.accumulate(np.add, a),
    "average": lambda a: sharedmem.average(a, weights=np.ones(a.shape)),
    "bincount": lambda a: sharedmem.bincount(small_counts(a).astype(a.dtype)),
    "clip": lambda a: sharedmem.clip(a, a[0], a[1]),
    "compress": lambda a: sharedmem.compress(small_counts(a) < 50, a),
    "digitize": lambda a: sharedmem.digitize(a, np.sort(a[:10])),
    "dot": lambda a: sharedmem.dot(a, a),
    "histogram2d": lambda a: sharedmem.histogram2d(a, a),
    "histogramdd": lambda a: sharedmem.histogramdd([a, a]),
    "nanpercentile": lambda a: sharedmem.nanpercentile(a, 30),
    "nanquantile": lambda a: sharedmem.nanquantile(a, 0.3),
    "partition": lambda a: sharedmem.partition(a, len(a) // 2),
    "percentile": lambda a: sharedmem.percentile(a, 30),
    "quantile": lambda a: sharedmem.quantile(a, 0.3),
    "searchsorted": lambda a: sharedmem.searchsorted(np.sort(a[:1000]), a),
    "take": lambda a: sharedmem.take(a, np.arange(len(a))[::-1]),
    "topk": lambda a: sharedmem.topk(a, 10),
    "vdot": lambda a: sharedmem.vdot(a, a),
    "where": lambda a: sharedmem.where(small_counts(a) < 50, a, a[::-1]),
}
# These run a function of the user, or take no array.
NOT_OF_AN_ARRAY = {"apply_ufunc", "evaluate", "map_chunks", "map_overlap", "reduce"}


def functions() -> list[str]:
    return [
        name
        for name in dir(sharedmem)
        if getattr(getattr(sharedmem, name), "__module__", "").startswith("sharedmem.functions")
        and name not in NOT_OF_AN_ARRAY
    ]


def values(dtype: str) -> np.ndarray:
    numbers = np.random.default_rng(0).integers(0, 100, N_BYTES // np.dtype(dtype).itemsize)
    return numbers.astype(dtype)


def compiled() -> int:
    """Return the number of kernels that are loaded, each for the types of its arguments."""
    return sum(not name.startswith("threads") for name in machine_code._loaded)


def observe(function: Function, a: np.ndarray) -> str:
    """Call a function, and return how it worked."""
    before = compiled()
    n_jobs = 0
    call = helper_threads._Helpers.call

    def note(*arguments: Any) -> None:
        nonlocal n_jobs
        n_jobs += 1
        call(*arguments)

    with mock.patch.object(helper_threads._Helpers, "call", note):
        try:
            function(a)
        except (TypeError, ValueError):
            return "-"
    if compiled() > before:
        return "kernel" if n_jobs else "kernel, serial"
    return "NumPy per chunk" if n_jobs else "NumPy"


def observe_apart(function: Function, dtype: str) -> str:
    """Observe in a fork, in which no kernel has been used."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        warnings.simplefilter("ignore")
        np.seterr(all="ignore")
        os.write(write_end, pickle.dumps(observe(function, values(dtype))))
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        found = file.read()
    os.wait()
    return str(pickle.loads(found)) if found else "failed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=functions(), default=functions())
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--output", type=Path, metavar="FILE", help="replace its table")
    options = parser.parse_args()
    lines = [
        "# Functions and dtypes\n",
        "How the [functions](numpy-functions.md) process 16 MiB of each dtype along one axis:",
        "*kernel*, compiled, in parallel; *NumPy per chunk*, in parallel; *NumPy*, on the whole",
        "array. `-`: NumPy refuses the dtype, too. Written by `benchmarks/tables/dtypes.py`.\n",
        f"| function | {' | '.join(options.dtypes)} |",
        "| --- " * (len(options.dtypes) + 1) + "|",
    ]
    print("\n".join(lines))
    for name in options.only:
        function = CALLS.get(name, getattr(sharedmem, name))
        cells = [observe_apart(function, dtype) for dtype in options.dtypes]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if options.output is not None:
        _, heading, rest = options.output.read_text().partition("\n## ")  # written by hand
        options.output.write_text("\n".join(lines) + "\n" + heading + rest)


if __name__ == "__main__":
    main()
