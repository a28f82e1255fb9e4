"""Line kernels are made without numba, from what is written in the language of `loops.emit`."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from sharedmem.kernels import machine_code, sums
from sharedmem.kernels.loops import lines
from sharedmem.kernels.loops.columns import emit_columns
from sharedmem.kernels.loops.emit import Block, entry
from sharedmem.kernels.loops.lines import Form
from sharedmem.kernels.loops.memory import kind_of
from sharedmem.kernels.loops.rows import emit_rows

WITHOUT_NUMBA = """
import sys
import numpy as np
import sharedmem
a = np.arange(1.0, 7)
for name in sys.argv[1:]:
    for x, axis in ((a, None), (a.reshape(2, 3), 0), (a.astype(complex), None)):
        if name in ("sum", "mean", "var", "prod", "count_nonzero") or x.dtype != complex:
            getattr(sharedmem, name)(x, axis)
assert "numba" not in sys.modules
"""
NAMES = [
    "sum", "mean", "min", "max", "ptp", "var", "std", "prod", "count_nonzero", "nansum", "nanmean",
    "nanmin", "nanmax", "nanvar", "nanprod", "moments",
]  # fmt: skip


def test_reductions_never_import_numba():
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA, *NAMES], check=True)


def run(code, *words):
    block = (ctypes.c_int64 * lines.N_WORDS)(*words)
    return machine_code.assemble(str(code.module)).call(ctypes.addressof(block))


@pytest.mark.parametrize("n", [0, 1, 3, 4, 11, 100])
def test_a_kernel_does_what_is_written(n):
    code = entry()
    block, kind = Block(code), kind_of(np.dtype("f8"))
    x, out, length = block.numbers(0, kind), block.numbers(1, kind), block.integer(2)

    def double(code, x, out, n):
        code.in_vectors(
            n, lambda at, width: out.store(x.load(at, width) + x.load(at, width), at), (4, 1)
        )

    code.call(double, x, out, length)
    with code.when(length > 3):
        code.call(double, out, out, length)
    with code.unless(length > 3), code.loop(0, length) as i:
        out.store((length - i).as_float(), i)
    code.leave()
    a, result = np.arange(float(n)), np.zeros(n)
    assert run(code, a.ctypes.data, result.ctypes.data, n) == 0
    np.testing.assert_array_equal(result, 4 * a if n > 3 else np.arange(n, 0, -1.0))


@pytest.mark.parametrize(("n", "quotient", "rest", "rounded"), [(0, 0, 0, 0), (29, 4, 1, 40)])
def test_integers_and_variables(n, quotient, rest, rounded):
    code = entry()
    block, kind = Block(code), kind_of(np.dtype("i8"))
    number, out = block.integer(0), block.numbers(1, kind)
    total = code.variable(code.constant(0))
    with code.repeat() as loop:
        loop.leave_if(total.get() >= number)
        total.set(total.get() + 1)
    values = number // 7, number % 7, number.up_to(20), total.get(), number.least(5), number & 5
    for place, value in enumerate(values):
        code.claim(out.start(code.constant(place)), value)
    code.leave()
    result = np.zeros(6, np.int64)
    assert run(code, n, result.ctypes.data) == 0
    assert result.tolist() == [quotient, rest, rounded, n, min(n, 5), n & 5]


@pytest.mark.parametrize("emit", [emit_rows, emit_columns])
def test_a_kernel_without_memory_for_its_lanes_fails(emit):
    kinds = [kind_of(np.dtype("f8"))] * 3
    texts = emit([Form(sums.sum_of("numbers", sums.itself)[True].sums, (0, 0), *kinds)])
    block = (ctypes.c_int64 * lines.N_WORDS)()
    block[lines.SIDE] = 1 << 52
    with pytest.raises(MemoryError, match="no memory for the intermediate results"):
        machine_code.alone(machine_code.assemble(*texts), ctypes.addressof(block))
