"""Rows of the first call of a new process."""

from __future__ import annotations

import subprocess
import sys

from harness.timing import MIB, NUMPY, OURS, Call, Measured, Row, SetUp

NUMBA = "numba, cached"

IMPORT_NUMPY = "import numpy"
IMPORT_OURS = "import numpy, sharedmem"
SUM_BY_NUMPY = "import numpy; numpy.ones(1000).sum()"
SUM_BY_OURS = "import numpy, sharedmem; sharedmem.sum(numpy.ones(1000))"
SUM_BY_NUMBA = """
import numpy, numba
@numba.njit(cache=True, nogil=True)
def add(x):
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total
add(numpy.ones(1000))
"""


def in_a_new_process(program: str) -> SetUp:
    """Time a program in a new interpreter, without the start of the interpreter."""
    # numba caches kernels only for code that has a file name.
    timed = f"""
import sys, time
start = time.perf_counter()
exec(compile(sys.stdin.read(), {__file__!r}, "exec"))
print(time.perf_counter() - start)
"""

    def set_up(_: int) -> Call:
        def call() -> Measured:
            command = [sys.executable, "-c", timed]
            seconds = subprocess.check_output(command, input=program, text=True)
            return Measured(float(seconds))

        return call

    return set_up


ROWS = {
    "import": Row(
        "import", MIB, MIB,
        {OURS: in_a_new_process(IMPORT_OURS), NUMPY: in_a_new_process(IMPORT_NUMPY)},
        "60 ms more than NumPy", warms_up=True,
    ),
    "sum": Row(
        "import, and a sum of 1,000 float64", MIB, MIB,
        {
            OURS: in_a_new_process(SUM_BY_OURS),
            NUMPY: in_a_new_process(SUM_BY_NUMPY),
            NUMBA: in_a_new_process(SUM_BY_NUMBA),
        },
        "0.15 s more than numba", warms_up=True,
    ),
}  # fmt: skip
