"""Kernels of users: compiled for signatures, or not compiled at all."""

import operator
import os
import pickle
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest

import sharedmem
from sharedmem.workers.functions import pack_any

SECONDS = 120


@pytest.fixture(scope="module")
def scale():
    @numba.njit(["void(float64[:], float64)", "void(float32[::1], float64)"], nogil=True)
    def scale(x, factor):
        for i in range(len(x)):
            x[i] *= factor

    return scale


@numba.njit
def add_one(x):
    return x + 1


def test_a_kernel_of_a_module_is_sent_by_its_name():
    parcel = pack_any([add_one])
    assert parcel.nbytes < 200
    assert pickle.loads(parcel.stream)[0] is add_one


@pytest.mark.parametrize("n", [3, 2_000_000])
def test_a_kernel_with_signatures_works_in_place(scale, n):
    a = sharedmem.ones(n)
    sharedmem.map_chunks(scale, a, args=(2.0,))
    sharedmem.map_chunks(scale, a[::-1], args=(np.float32(2),))
    assert (a == 4).all()
    b = sharedmem.ones(n, "f4")
    sharedmem.map_chunks(scale, b, args=(3,))  # as numba itself converts an argument
    assert (b == 3).all()


def test_signatures_that_take_none_of_the_chunks_are_named(scale):
    for a, args in ((np.ones(3), ()), (np.ones((3, 3)), (1,)), (np.ones(6, "f4")[::2], (1,))):
        with pytest.raises(TypeError, match=r"scale was compiled for .*float64.*none of which"):
            sharedmem.map_chunks(scale, a, args=args)


def test_what_a_kernel_with_signatures_returns_is_refused():
    total = numba.njit("float64(float64[:])", nogil=True)(lambda x: x.sum())
    with pytest.raises(TypeError, match="returns float64"):
        sharedmem.map_chunks(total, np.ones(3))


def test_a_stencil_with_signatures():
    @numba.njit("void(float64[:], float64[:])", nogil=True)
    def steps(x, out):
        out[:] = x[2:] - x[:-2]

    a = sharedmem.copy(np.arange(10.0))
    out = sharedmem.map_overlap(steps, a, sharedmem.empty_like(a), depth=1, boundary="periodic")
    np.testing.assert_array_equal(out, np.roll(a, -1) - np.roll(a, 1))


@pytest.mark.parametrize(
    "signature",
    ["float64(float64[:])", "float64(Array(float64, 1, 'A', readonly=True))", "int64(int64[:])"],
)
def test_a_reduction_with_signatures(signature):
    total = numba.njit(signature, nogil=True)(lambda x: x.sum())
    a = np.ones(10, "i8" if "int" in signature else "f8")
    a.flags.writeable = False
    assert sharedmem.reduce(sharedmem.Reduction(total, operator.add), a) == 10
    assert (sharedmem.reduce(sharedmem.Reduction(total, operator.add), a[None], axis=0) == 1).all()
    with pytest.raises(TypeError, match="was compiled for"):
        sharedmem.reduce(sharedmem.Reduction(total, operator.add), np.ones(3, "c16"))


def test_ufuncs_with_signatures():
    add = numba.vectorize(["float64(float64, float64)"])(lambda x, y: x + y)
    assert sharedmem.apply_ufunc(add, np.ones(3, "f4"), 2).tolist() == [3, 3, 3]


@pytest.mark.slow
def test_array_functions_work_where_numba_is_told_not_to_compile():
    program = """
        import numba, numpy as np, sharedmem
        assert numba.config.DISABLE_JIT
        @numba.njit(nogil=True)
        def twice(x):
            x *= 2
            lines.append(1)
        lines = []
        assert not hasattr(twice, "py_func")
        a = sharedmem.copy(np.arange(10.0))
        with sharedmem.MapReduce(np=0):
            sharedmem.map_chunks(twice, a)
        assert lines, "the kernel runs in Python"
        sharedmem.map_chunks(twice, a, chunks=sharedmem.chunks(a, n=2))
        total = sharedmem.Reduction(numba.njit(lambda x: x.sum()), lambda a, b: a + b)
        print(a[3], sharedmem.reduce(total, a), sharedmem.sum(a), sharedmem.sort(a[::-1])[:2])
        big = sharedmem.ones(100_000)
        print(sharedmem.evaluate("a + 1", a=big)[0], sharedmem.apply_ufunc(np.sqrt, big)[0])
        print(sharedmem.random.normal(size=3, seed=0).shape, numba.config.DISABLE_JIT)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "12.0 180.0 180.0 [0. 4.]",
        "2.0 1.0",
        "(3,) 1",
    ]
