"""Print how long the first calls of functions take: ever, and in a new process.

``python benchmarks/tables/cold_starts.py [FUNCTION...] [--dtype DTYPE]`` prints seconds. Each call
is the first one of a process, after the imports of NumPy and of this package; it imports whatever
else it needs. It is made with an empty cache, and again in new processes, which find the kernels on
disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from sharedmem.cli import warming

# Functions that take integers only, or floats only, whatever dtype is asked for.
OF_INTEGERS = {"bincount", "random.integers"}
OF_FLOATS = {"random.exponential", "random.normal", "random.uniform"}
# Functions that compile in each process, and how they are called.
COMPILED_ANEW = {
    "apply_ufunc": "sharedmem.apply_ufunc(numpy.add, a, a)",
    "evaluate": "sharedmem.evaluate('a * a + 1', a=a)",
}
CALL = """
import os, pathlib, sys, time
import numpy, sharedmem
from sharedmem.cli import warming
from sharedmem.kernels import machine_code
machine_code.folders = lambda: [pathlib.Path(os.environ["NUMBA_CACHE_DIR"])]  # and no others
a = warming.values({dtype!r})
start = time.perf_counter()
{call}
print(time.perf_counter() - start)
"""
# What others cost: numba itself, and a plain parallel loop of it.
IMPORT = """
import time
import numpy
start = time.perf_counter()
import numba
print(time.perf_counter() - start)
"""
LOOP = """
import time
import numpy as np
a = np.ones(10**6)
start = time.perf_counter()
import numba
def total(a):
    result = 0.0
    for i in numba.prange(len(a)):
        result += a[i]
    return result
numba.njit(parallel=True)(total)(a)
print(time.perf_counter() - start)
"""
N_PROCESSES = 3


def seconds(code: str, folder: str) -> float:
    """Return what a program prints that keeps compiled code in a folder."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def first_and_later(code: str) -> tuple[float, float]:
    """Return the medians of first processes ever, and of those after them."""
    first, later = [], []
    for _ in range(N_PROCESSES):
        with tempfile.TemporaryDirectory() as folder:
            first.append(seconds(code, folder))
            later.append(seconds(code, folder))
    return statistics.median(first), statistics.median(later)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("functions", nargs="*", metavar="FUNCTION")
    parser.add_argument("--dtype", default="float64")
    options = parser.parse_args()
    names = options.functions or [*warming.functions(), *COMPILED_ANEW]
    print("| first call | nothing on disk | new process |\n| --- | --- | --- |")
    rows = {"`import numba`": IMPORT, "numba, sum by `prange`": LOOP}
    for name in names:
        dtype = "int64" if name in OF_INTEGERS else options.dtype
        if name in OF_FLOATS and not dtype.startswith("float"):
            continue
        call = f"warming.call(warming.Task({name!r}, {dtype!r}), a)"
        rows[f"`{name}`"] = CALL.format(dtype=dtype, call=COMPILED_ANEW.get(name, call))
    for title, code in rows.items():
        first, later = first_and_later(code)
        print(f"| {title} | {first:.2f} s | {later:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
