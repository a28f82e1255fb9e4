"""Measure the functions of expressions, of libmvec and of NumPy, and write a table.

Times are CPU time of one thread per element, the minimum of several interleaved rounds. Errors are
the maximum, in units in the last place (ulp), over `N` numbers, half of them uniform and half
log-uniform.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from sharedmem.expressions import fusion, libmvec
from sharedmem.expressions.language import Call, Operand, Steps

N = 1 << 18
ROUNDS = 15
# The interval of the arguments.
DOMAINS: dict[str, tuple[float, float]] = {
    "exp": (-80, 80), "expm1": (-17, 80), "log": (1e-30, 1e30), "log1p": (-0.99, 1e30),
    "log2": (1e-30, 1e30), "log10": (1e-30, 1e30), "sin": (-100, 100), "cos": (-100, 100),
    "tan": (-100, 100), "arcsin": (-1, 1), "arccos": (-1, 1), "arctan": (-100, 100),
    "sinh": (-80, 80), "cosh": (-80, 80), "tanh": (-9, 9), "arcsinh": (-1e30, 1e30),
    "arccosh": (1, 1e30), "arctanh": (-0.999, 0.999), "arctan2": (-1e3, 1e3),
    "hypot": (-1e10, 1e10), "power": (1e-3, 1e3),
}  # fmt: skip
WITHOUT = "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
Measured = tuple[float, float]


def arguments_of(name: str, dtype: str, n: int = N) -> np.ndarray:
    """Draw uniform and log-uniform numbers in the domain of a function."""
    low, high = DOMAINS[name]
    rng = np.random.default_rng(0)
    evenly = rng.uniform(low, high, (2, n // 2))
    by_size = np.clip(np.exp(rng.uniform(-30, 30, (2, n // 2))), low, high)
    drawn = np.concatenate([evenly, by_size], axis=1).astype(dtype)
    if name == "power":
        drawn[1] = rng.uniform(-10, 10, n)
    return drawn[: 2 if name in ("arctan2", "hypot", "power") else 1]


def errors(name: str, drawn: np.ndarray, result: np.ndarray) -> float:
    """Return the maximum error, in ulp of the exact result."""
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(*drawn.astype("g" if result.dtype == "f8" else "f8"))
        return float((abs(result - exact) / np.spacing(abs(exact).astype(result.dtype))).max())


def compiled(name: str, dtype: str, n_arguments: int, by_library: bool | None) -> Any:
    """Return a kernel that calls libmvec's function, NumPy's, or (None) the one chosen here."""
    fusion._fuse.cache_clear()
    kind = np.dtype(dtype)
    operands = [Operand(at, kind) for at in range(n_arguments)]
    steps: Steps = (*operands, Call(name, tuple(range(n_arguments))))
    chosen = libmvec._is_left_to_numpy if by_library is None else lambda *_: not by_library
    with mock.patch.object(libmvec, "_is_left_to_numpy", chosen):
        return fusion.fuse(steps, (kind,) * n_arguments, [], is_exact=False)


def measure(name: str, dtype: str) -> tuple[list[Measured], bool]:
    """Return time and error of libmvec and of NumPy, and whether libmvec is chosen here."""
    drawn = arguments_of(name, dtype)
    out = np.empty(N, dtype)
    kernels = [compiled(name, dtype, len(drawn), by_library) for by_library in (True, False)]
    seconds, worst = [np.inf, np.inf], [0.0, 0.0]
    for turn in range(ROUNDS):
        for at, kernel in enumerate(kernels):
            start = time.thread_time()
            kernel([*drawn], out, streams=False)
            seconds[at] = min(seconds[at], time.thread_time() - start)
            if turn == 0:
                worst[at] = errors(name, drawn, out)
    is_library = name in libmvec._NAMES and libmvec._library() is not None
    is_library = is_library and not libmvec._is_left_to_numpy(name, np.dtype(dtype))
    found = [(1e9 * spent / N, error) for spent, error in zip(seconds, worst, strict=True)]
    return found, is_library


def rows() -> list[str]:
    """Return a row per function and dtype, measured in this process."""
    found = []
    for name in DOMAINS:
        for dtype in ("f4", "f8"):
            (library, numpys), is_library = measure(name, dtype)
            cells = [f"{spent:.1f} ns, {error:.1f} ulp" for spent, error in (library, numpys)]
            if name not in libmvec._NAMES:
                cells[0] = ""
            found.append("|".join([*cells, "libmvec" if is_library else "NumPy"]))
    return found


def rows_without() -> list[str]:
    """Return the rows of a process without AVX-512."""
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": WITHOUT}
    command = [sys.executable, "-W", "ignore", __file__, "--rows"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def table() -> str:
    lines = [
        "# Functions in expressions",
        "",
        "For arrays of more than 65,536 float32 or float64, [`evaluate`](expressions.md) calls",
        "glibc's libmvec or NumPy's own loops, depending on the processor (\"used\"). Times are",
        "per element in one thread; errors are the largest ones, in units of the last place",
        "(ulp). Written by `benchmarks/tables/vector_functions.py`. `log10` of float32 is",
        "computed in float64.",
        "",
        "| function | dtype | libmvec | NumPy, AVX-512 | used | NumPy, AVX2 | used |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = [(name, dtype) for name in DOMAINS for dtype in ("float32", "float64")]
    for (name, dtype), here, there in zip(names, rows(), rows_without(), strict=True):
        library, numpys, used = here.split("|")
        _, others, used_there = there.split("|")
        cells = (f"`{name}`", dtype, library, numpys, used, others, used_there)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", action="store_true", help="only rows of this process")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the table to this file, too"
    )
    options = parser.parse_args()
    text = "\n".join(rows()) + "\n" if options.rows else table()
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
