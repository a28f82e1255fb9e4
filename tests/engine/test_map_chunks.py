"""Kernels over chunks, on pools of every kind."""

import contextlib
import ctypes
import os

import numba
import numpy as np
import pytest

import sharedmem
from tests.engine.helpers import TEAMS, make_array


# Loops compile in a tenth of the time of expressions of arrays.
@numba.njit(nogil=True)
def double(x):
    for i in np.ndindex(x.shape):
        x[i] *= 2


@numba.njit(nogil=True)
def scale_and_add(x, y, result, factor):
    for i in np.ndindex(result.shape):
        result[i] = factor * x[i] + y[i]


def test_a_kernel_works_in_place(pool):
    a = make_array()
    assert pool.map_chunks(double, a, chunks=sharedmem.chunks(a, n=7)) is a
    np.testing.assert_array_equal(a, 2 * np.arange(1200).reshape(300, 4))


def test_a_kernel_writes_to_out_and_private_arrays_are_read(pool):
    a = make_array()
    out = sharedmem.empty_like(a)
    ones = np.ones((300, 4))
    grid = sharedmem.chunks(a, n=7)
    assert pool.map_chunks(scale_and_add, a, ones, args=(3,), out=out, chunks=grid) is out
    np.testing.assert_array_equal(out, 3 * a + 1)


def test_several_outputs_and_a_python_function(pool):
    a = make_array()
    sines, cosines = sharedmem.empty_like(a), sharedmem.empty_like(a)

    def split(x, y, z):
        y[:], z[:] = np.sin(x), np.cos(x)

    pool.map_chunks(split, a, out=(sines, cosines), chunks=sharedmem.chunks(a, axis=1, n=3))
    np.testing.assert_array_equal(sines, np.sin(a))
    np.testing.assert_array_equal(cosines, np.cos(a))


def test_the_default_chunks_are_of_four_mebibytes(pool):
    a = sharedmem.zeros((3, 1 << 20))
    lengths = sharedmem.zeros(3, int)

    def measure(x, length):
        length[:] = x.shape[0]

    pool.map_chunks(measure, a, out=lengths)
    assert lengths.tolist() == [1, 1, 1]


def test_nothing_is_done_to_an_empty_array(pool):
    empty = sharedmem.empty((0, 3))
    assert pool.map_chunks(double, empty) is empty


def test_a_write_that_would_be_lost_is_refused():
    pool = sharedmem.MapReduce(np=2)
    private = np.ones(5)
    with pytest.raises(ValueError, match=r"private memory.*sharedmem\.copy"):
        pool.map_chunks(double.py_func, private)
    with pytest.raises(ValueError, match=r"out, of shape \(5,\)"):
        pool.map_chunks(scale_and_add.py_func, private, private, args=(1,), out=private)

    def write_to_the_second(x, y):
        y[:] = 0

    with pytest.raises(ValueError, match="read-only"):
        pool.map_chunks(write_to_the_second, sharedmem.ones(5), private)
    np.testing.assert_array_equal(private, 1)


def test_threads_may_write_to_private_arrays():
    a = np.ones(5)
    grid = sharedmem.chunks(a, n=2)
    sharedmem.MapReduceByThread(np=2).map_chunks(double.py_func, a, chunks=grid)
    sharedmem.MapReduce(np=2).map_chunks(double, a, chunks=grid)
    np.testing.assert_array_equal(a, 4)


@pytest.mark.parametrize("options", [{"nogil": True}, {}])
def test_a_kernel_that_lets_go_of_the_gil_runs_in_the_process_of_the_caller(options):
    getpid = ctypes.CDLL(None).getpid
    getpid.argtypes = ()
    pids = sharedmem.zeros(6, "i8")

    @numba.njit(**options)
    def note(x):
        x[:] = getpid()

    sharedmem.MapReduce(np=2).map_chunks(note, pids, chunks=sharedmem.chunks(pids, n=6))
    assert pids.all()
    assert (pids == os.getpid()).all() == bool(options)


@numba.njit(parallel=True)
def double_in_parallel(x):
    for i in numba.prange(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] *= 2


@pytest.mark.parametrize("make_pool", TEAMS.values(), ids=TEAMS)
def test_a_kernel_with_parallel_loops_starts_no_threads(make_pool):
    """In a forked process libgomp would end it, once the coordinator has used such a kernel."""
    double_in_parallel(np.ones((2, 3)))
    a = make_array()
    with (
        contextlib.nullcontext()
        if make_pool is not TEAMS["threads"]
        else pytest.warns(RuntimeWarning, match=r"double_in_parallel holds the GIL.*nogil=True")
    ) as caught:
        make_pool().map_chunks(double_in_parallel, a, chunks=sharedmem.chunks(a, n=3))
    assert not caught or caught[0].filename == __file__
    np.testing.assert_array_equal(a.ravel(), 2 * np.arange(1200))
    assert len(double_in_parallel.signatures) == 1


def test_arrays_that_overlap_are_refused():
    a = sharedmem.ones((6, 4))
    pool = sharedmem.MapReduce(np=2)
    for x, out in [(a[1:], a[:-1]), (a, a[::-1]), (a[:, 0], a.ravel()[:6])]:
        with pytest.raises(ValueError, match=r"shares memory with another array, of shape"):
            pool.map_chunks(scale_and_add, x, x, args=(1,), out=out)
        with pytest.raises(ValueError, match="shares memory"):
            pool.map_chunks(scale_and_add, x, out, out, args=(1,))
    with pytest.raises(ValueError, match="shares memory"):
        pool.map_chunks(double, np.ones(5), out=(a[:5, 0], a[1:, 0]))
    pool.map_chunks(scale_and_add, a, a, args=(1,), out=a)  # the same chunk
    pool.map_chunks(scale_and_add, a[:, ::2], a[:, ::2], args=(1,), out=a[:, 1::2])  # apart
    assert a[0].tolist() == [2, 4, 2, 4]


def test_a_kernel_in_threads_raises_its_own_exception():
    @numba.njit(nogil=True)
    def fail(x):
        raise ZeroDivisionError("in the kernel")

    a = make_array()
    with pytest.raises(ZeroDivisionError, match="in the kernel"):
        sharedmem.MapReduce(np=2).map_chunks(fail, a, chunks=sharedmem.chunks(a, n=3))


@pytest.mark.parametrize("kernel_of", [numba.njit(nogil=True), lambda function: function])
def test_a_kernel_may_take_the_position_of_its_chunk(pool, kernel_of):
    @kernel_of
    def number(x, y, position, factor):
        for i in range(y.shape[0]):
            for j in range(y.shape[1]):
                y[i, j] = factor * (position[0] + i) + position[1] + j

    a = make_array()
    for axis, n in [(0, 7), (1, 3), ((1, 0), (2, 5)), (0, 1)]:
        out = sharedmem.empty_like(a)
        grid = sharedmem.chunks(a, axis, n=n)
        pool.map_chunks(number, a, args=(4,), out=out, chunks=grid, position=True)
        np.testing.assert_array_equal(out, np.arange(1200).reshape(300, 4))


def test_structured_arrays_and_outputs_of_other_dtypes(pool):
    bodies = sharedmem.zeros(100, [("position", "f8", 3), ("mass", "f4")])
    bodies["position"] = np.arange(300).reshape(100, 3)
    bodies["mass"] = 2
    heights, is_high = sharedmem.empty(100), sharedmem.empty(100, bool)

    @numba.njit(nogil=True)
    def measure(bodies, height, is_high):
        for i in range(len(bodies)):
            bodies[i].mass += 1
            height[i] = bodies[i].position[2]
            is_high[i] = height[i] > 100

    outs = (heights, is_high)
    assert pool.map_chunks(measure, bodies, out=outs, chunks=sharedmem.chunks(bodies, n=9)) is outs
    np.testing.assert_array_equal(heights, np.arange(2, 300, 3))
    np.testing.assert_array_equal(is_high, heights > 100)
    assert (bodies["mass"] == 3).all()


def test_a_read_only_array_is_refused(pool):
    a = make_array()
    a.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        pool.map_chunks(double, a)


def test_an_error_of_the_compiler_comes_before_any_work():
    a = make_array()
    started = sharedmem.zeros(1)

    @numba.njit
    def wrong(x, flag):
        flag[0] = 1
        x.no_such_attribute  # noqa: B018

    with pytest.raises(numba.core.errors.TypingError, match=r"'no_such_attribute' of type array"):
        sharedmem.MapReduce(np=2).map_chunks(wrong, a, args=(started,))
    assert started[0] == 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((double,), {}, "at least one array"),
        (("double", np.ones(3)), {}, "callable"),
        ((double, np.ones(3), np.ones(4)), {}, r"\(3,\), \(4,\)"),
        ((double, np.ones(3)), {"axis": 1}, "axis 1"),
        ((double, np.ones(3)), {"chunks": [(slice(3),)]}, "sharedmem.chunks"),
        ((double, np.ones(3)), {"chunks": sharedmem.chunks(4, n=2)}, r"lengths \(4,\)"),
        ((double, np.ones(3)), {"chunks": sharedmem.chunks(3, n=2, overlap=1)}, "overlap"),
        ((double, [1.0]), {}, "ndarray, got list"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sharedmem.MapReduce(np=0).map_chunks(*arguments, **options)


def mean_over_first(x, m):
    m[:] = x.mean(axis=0)


@pytest.mark.parametrize("axis", [(1, 0), (-2, 0), (1, -2), -2])
def test_each_array_may_be_split_along_an_axis_of_its_own(pool, axis):
    stack = np.random.default_rng(0).random((6, 8, 8))
    expected = stack.mean(axis=0)
    for grid in (None, sharedmem.chunks(stack, 1, n=3), sharedmem.chunks(expected, 0, n=3)):
        if grid is not None and grid.axis == 0 and axis == -2:
            continue  # they contradict each other
        image = sharedmem.zeros((8, 8))
        pool.map_chunks(mean_over_first, stack, axis=axis, out=image, chunks=grid)
        np.testing.assert_array_equal(image, expected)


def test_tiles_of_a_stack_and_an_image(pool):
    stack, image = np.random.default_rng(0).random((3, 8, 8)), sharedmem.zeros((8, 8))
    grid, places = sharedmem.chunks(image, (0, 1), n=3), sharedmem.zeros((8, 8), int)

    def mean(x, m, place, position):
        m[:] = x.mean(axis=0)
        place[:] = 10 * position[1] + position[2]

    axes = ((1, 2), (0, 1), (0, 1))
    pool.map_chunks(mean, stack, axis=axes, out=(image, places), chunks=grid, position=True)
    np.testing.assert_array_equal(image, stack.mean(axis=0))
    tiles = [(part.start[0], part.start[1], part) for part in grid]
    assert all((places[part] == 10 * row + column).all() for row, column, part in tiles)


SQUARE, STACK = sharedmem.zeros((8, 8)), np.ones((6, 8, 8))


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ((STACK,), {"axis": 1, "out": SQUARE}, r"different dimension.*\(6, 8, 8\), \(8, 8\)"),
        ((SQUARE, STACK), {"axis": 1}, "different dimension"),
        ((STACK,), {"chunks": sharedmem.chunks(STACK, 1, n=2), "out": SQUARE}, "different dim"),
        ((STACK,), {"axis": (1,), "out": SQUARE}, "1 entries for 2 arrays"),
        ((SQUARE,), {"axis": (0, 1)}, r"2 entries for 1.*chunks=sharedmem\.chunks"),
        ((STACK,), {"axis": (0, 0), "out": SQUARE}, "must have the same length"),
        ((STACK,), {"axis": (1, 2), "out": SQUARE}, r"axis 2 is not in an array of shape \(8, 8\)"),
        ((STACK,), {"axis": (-4, 0), "out": SQUARE}, "axis -4 is not in"),
        ((SQUARE,), {"axis": (0, 1), "out": SQUARE}, "shares memory"),
        ((SQUARE,), {"axis": 1, "chunks": sharedmem.chunks(SQUARE, 0, n=2)}, "cut along"),
    ],
)
def test_axes_that_mean_different_things_are_refused(arrays, options, message):
    def kernel(*_):
        raise AssertionError("work was begun")

    with pytest.raises(ValueError, match=message):
        sharedmem.MapReduce(np=0).map_chunks(kernel, *arrays, **options)


def test_the_default_chunks_go_by_the_largest_array(pool, tuned):
    tuned(chunk_bytes=4 << 20)
    small, large = np.zeros((64, 1)), sharedmem.zeros((64, 1 << 17))
    lengths = sharedmem.zeros(64, int)

    def measure(x, y, length):
        length[:] = len(x)

    pool.map_chunks(measure, small, out=(large, lengths))
    assert lengths.tolist() == [4] * 64
    flags, wide = sharedmem.zeros((64, 1 << 17), bool), large.view("c16")

    def measure_both(x, y):
        assert len(x) <= 4

    pool.map_overlap(measure_both, flags[:, ::2], wide, depth=0)


@pytest.mark.parametrize("make_pool", TEAMS.values(), ids=TEAMS)
def test_a_kernel_that_returns_something_is_refused(make_pool):
    a, out = sharedmem.ones(12), sharedmem.ones(12)
    message = "returns .*, which would be lost.* out="
    pool = make_pool()
    for n in (1, 4):
        grid = sharedmem.chunks(a, n=n)
        with pytest.raises(TypeError, match=message):
            pool.map_chunks(lambda x: x * 2, a, chunks=grid)
        with pytest.raises(TypeError, match=message):
            pool.map_overlap(lambda x, y: 0, a, out, depth=0, chunks=grid)
        pool.map_chunks(np.negative, a, out=out, chunks=grid)
        assert (out == -1).all()


@pytest.mark.parametrize("options", [{}, {"nogil": True}])
def test_a_compiled_kernel_that_returns_something_is_refused_before_any_work(options):
    a, out = sharedmem.ones(12), sharedmem.ones(12)

    @numba.njit(**options)
    def double_and_return(x, y):
        y[0] = 2 * x[0]
        return y

    for grid in (None, sharedmem.chunks(a, n=4)):
        with pytest.raises(TypeError, match=r"kernel double_and_return returns array.* out="):
            sharedmem.MapReduce(np=2).map_chunks(double_and_return, a, out=out, chunks=grid)
        with pytest.raises(TypeError, match="double_and_return returns array"):
            sharedmem.map_overlap(double_and_return, a, out, depth=0, chunks=grid)
    assert (out == 1).all()
