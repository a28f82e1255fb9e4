"""Kernels that numba compiles."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import CPUDispatcher

from sharedmem.kernels import sums
from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import on_stack

two_sum = part(sums.two_sum)


def test_arguments_are_those_that_numba_would_be_given():
    @kernel
    def tell(x, numbers, out):
        n, (scale, is_on), nothing, narrow, large = numbers
        out[0, 0], out[0, 1] = x.shape
        out[1, 0], out[1, 1] = x[1, 0], x[0, 2]
        out[2, 0] = n * scale if is_on else 0
        out[2, 1] = narrow + (0 if nothing is None else 1)
        out[3, 0] = large // np.uint64(2)
        out[3, 1] = x.strides[1]

    @kernel
    def back(number):
        return number

    x = np.arange(12, dtype=np.int32).reshape(3, 4)
    numbers = -3, (0.5, np.True_), None, np.float32(0.25), np.uint64(2**52 - 2)
    for a in (x, x.T[1:].T, np.asfortranarray(x), x[:, ::-1]):
        out = np.zeros((4, 2))
        tell(a, numbers, out)
        expected = [*a.shape, a[1, 0], a[0, 2], -1.5, 0.25, 2**51 - 1, a.strides[1]]
        assert out.ravel().tolist() == expected
    for number in (-1, 2**62, 0.1, True, np.uint64(2**64 - 1), np.float32(0.1), np.int8(-7)):
        assert back(number) == number
    assert back((1, -2.5, np.uint64(2**63), False)) == (1, -2.5, 2**63, False)
    assert back(None) is None


def test_kernels_refuse_what_is_no_array_and_no_number():
    @kernel
    def two_sum_of(x):
        return two_sum(x, x)

    with pytest.raises(TypeError, match="arrays, numbers, and tuples, got a str"):
        two_sum_of("text")


def test_arrays_on_the_stack_are_apart():
    four, pairs = on_stack(4), on_stack(3, 2)

    @kernel
    def sums(x):
        a, b = four(x), pairs(np.int64)
        for i in range(4):
            a[i] = x[i]
        for i in range(3):
            b[i, 0], b[i, 1] = i, 10 * i
        return a.sum(), b[2, 1], b.shape[1]

    assert sums(np.arange(4.0)) == (6.0, 20, 2)


def test_kernels_that_need_more_than_the_c_library_are_refused():
    @kernel
    def allocate(n):
        return len(np.empty(n))

    with pytest.raises(Exception, match="empty"):
        allocate(3)


def test_kernels_can_be_called_by_users_kernels():
    @numba.njit
    def error_of(a, b):
        return two_sum(a, b)[1]

    assert error_of(1.0, 1e-20) == 1e-20


def test_kernels_divide_as_numpy_does():
    @kernel
    def divide(a, b):
        return a / b

    assert np.isinf(divide(1.0, 0.0))


DISABLED = """
import numba
from sharedmem.kernels.random.generators import philox
assert numba.config.DISABLE_JIT
philox(*[0] * 6)
"""


def test_kernels_are_compiled_where_numba_is_disabled():
    env = {"NUMBA_DISABLE_JIT": "1", "NUMBA_CACHE_DIR": os.devnull, "PYTHONPATH": "."}
    subprocess.run([sys.executable, "-c", DISABLED], check=True, env=env)


def test_parts_cannot_be_called_from_python():
    with pytest.raises(TypeError, match="two_sum is a part of kernels"):
        two_sum(1.0, 2.0)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (CPUDispatcher, "compile"),
        (JITCodeLibrary, "_optimize_final_module"),
        (JITCodeLibrary, "_finalize_final_module"),
        (JITCodeLibrary, "_get_module_for_linking"),
        (JITCodeLibrary, "get_pointer_to_function"),
    ],
)
def test_numba_has_the_private_parts_that_compile_uses(owner, name):
    assert hasattr(owner, name), f"numba {numba.__version__} has no {owner}.{name}: see parts.py"


def test_parts_have_no_machine_code():
    @part
    def one_more(x):
        return x + 1

    @kernel
    def three(x):
        return one_more(x) + 1

    assert three(1) == 3
    for function in (one_more, three):
        (compiled,) = function.dispatcher.overloads.values()
        name = compiled.fndesc.mangled_name
        assert name in {each.name for each in compiled.library.get_defined_functions()}
        assert compiled.library.get_pointer_to_function(name) == 0
        assert not compiled.library.codegen._engine.is_symbol_defined(name)
