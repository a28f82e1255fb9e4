"""Run the numerical tests as on older kinds of processors: python tests/processors.py.

NumPy, numba, and the C library are told not to use the features that a kind lacks. Each kind has
its own cache of kernels, in build/.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
from numpy._core._multiarray_umath import __cpu_dispatch__

ROOT = Path(__file__).parents[1]
TESTS = ["tests/kernels", "tests/functions", "tests/expressions"]
_V3 = ("avx", "avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe")
_V4 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
# The features of each kind beyond x86-64-v2, by their names in LLVM.
KINDS: dict[str, tuple[str, ...]] = {
    "x86-64-v2": (),
    "x86-64-v3": _V3,
    "x86-64-v4": _V3 + _V4,
}


def is_beyond(feature: str, kind: str) -> bool:
    """Return whether a kind lacks a feature, by its name in NumPy."""
    level = 4 if feature.startswith(("AVX512", "X86_V4")) else 3
    return not feature.startswith(("SSE", "X86_V2", "POPCNT")) and level > int(kind[-1])


def environment_of(kind: str) -> dict[str, str]:
    """Return environment variables that restrict a process to the features of a kind."""
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(x for x in __cpu_dispatch__ if is_beyond(x, kind)),
        "NUMBA_CPU_NAME": kind,
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in KINDS[kind]),
        "NUMBA_CACHE_DIR": str(ROOT / "build/processors" / kind),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps="
        + ",".join(f"-{name.upper()}" for name in _V3 + _V4 if name not in KINDS[kind]),
    }


def run(kind: str, arguments: list[str]) -> int:
    """Run pytest as on a kind of processor, and return its exit status."""
    host = llvm.get_host_cpu_features()
    if lacking := [name for name in KINDS[kind] if not host.get(name, False)]:
        print(f"{kind}: skipped, since this processor lacks {', '.join(lacking)}")
        return 0
    print(f"{kind}:", flush=True)
    # Without a cache, many kernels are compiled.
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=600", *(arguments or TESTS)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment_of(kind)}).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("arguments", nargs="*", help="of pytest, instead of all numerical tests")
    options, rest = parser.parse_known_args()
    results = {kind: run(kind, options.arguments + rest) for kind in options.kinds}
    sys.exit(any(results.values()))


if __name__ == "__main__":
    main()
