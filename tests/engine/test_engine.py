"""Kernels, ufuncs and users' reductions over chunks, on every kind of team."""

import contextlib
import ctypes
import itertools
import operator
import os

import numba
import numpy as np
import pytest
from scipy import special

import sharedmem
from sharedmem.engine import runners
from sharedmem.engine.reduce import reduce
from sharedmem.kernels import Reduction, extrema, sums

TEAMS = {
    "serial": lambda: sharedmem.MapReduce(np=0),
    "processes": lambda: sharedmem.MapReduce(np=2),
    "threads": lambda: sharedmem.MapReduceByThread(np=3),
}


@pytest.fixture(params=TEAMS)
def pool(request, tuned):
    tuned(thread_bytes=1, chunk_bytes=1 << 10)
    return TEAMS[request.param]()


def make_array():
    a = sharedmem.empty((300, 4))
    a[:] = np.arange(1200).reshape(300, 4)
    return a


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
        x[i] *= 2


@pytest.mark.parametrize("make_pool", TEAMS.values(), ids=TEAMS)
def test_a_kernel_with_parallel_loops_starts_no_threads(make_pool):
    """In a forked process libgomp would end it, once the coordinator has used such a kernel."""
    double_in_parallel(np.ones((2, 3)))
    a = make_array()
    with (
        contextlib.nullcontext()
        if make_pool is not TEAMS["threads"]
        else pytest.warns(RuntimeWarning, match=r"double_in_parallel holds the GIL.*nogil=True")
    ):
        make_pool().map_chunks(double_in_parallel, a, chunks=sharedmem.chunks(a, n=3))
    np.testing.assert_array_equal(a.ravel(), 2 * np.arange(1200))
    assert len(double_in_parallel.signatures) == 1


def test_a_reduction_with_parallel_loops_starts_no_threads():
    @numba.njit(parallel=True)
    def total(x):
        s = 0.0
        for i in numba.prange(x.size):
            s += x[i]
        return s

    added = Reduction(total, operator.add)
    assert sharedmem.MapReduce(np=2).reduce(added, np.ones(300_000)) == 300_000


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


@numba.vectorize(["float64(float64, float64)"])
def hypotenuse(x, y):
    return np.sqrt(x * x + y * y)


@pytest.mark.parametrize(
    ("ufunc", "inputs"),
    [
        (np.sqrt, (np.arange(12.0).reshape(3, 4).T,)),
        (np.add, (np.arange(3, dtype="i2")[:, None], np.float32(0.5))),
        (np.add, (np.arange(3, dtype="i2"), 1)),
        (np.divmod, (np.arange(10.0), 3)),
        (np.hypot, (np.ones((4, 1, 3)), np.ones((5, 1)))),
        (np.matmul, (np.arange(24.0).reshape(4, 2, 3), np.ones((3, 2)))),
        (np.exp, (np.zeros((0, 3)),)),
        (np.add, (1, 2)),
        (special.erf, (np.linspace(-1, 1, 50),)),
        (hypotenuse, (np.ones(50), np.arange(50))),
    ],
)
def test_ufuncs_give_what_numpy_gives(pool, ufunc, inputs):
    result, expected = pool.apply_ufunc(ufunc, *inputs), ufunc(*inputs)
    assert isinstance(result, tuple) is isinstance(expected, tuple)
    for part, wanted in zip(np.atleast_1d(result), np.atleast_1d(expected), strict=True):
        np.testing.assert_array_equal(part, wanted)
        assert part.dtype == wanted.dtype


@numba.guvectorize(["(f8[:], f8[:])"], "(n)->(n)")
def reverse_and_double(x, result):
    for i in range(x.size):
        result[x.size - 1 - i] = 2 * x[i]


LOOPS = [(), (0,), (1,), (3,), (2, 3)]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("ufunc", "cores", "others"),
    [
        (np.add, [()], (1.5,)),
        (np.square, [()], ()),
        (special.expit, [()], ()),
        (hypotenuse, [()], (2.0,)),
        (np.matmul, [(2, 2)], (np.array([[1.0, 2.0], [3.0, 4.0]]),)),
        (np.linalg._umath_linalg.inv, [(2, 2)], ()),
        (reverse_and_double, [(4,)], ()),
        (np.divmod, [(), ()], ()),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_ufunc_works_once_in_place(pool, ufunc, cores, others, loop):
    rng = np.random.default_rng(0)
    given = [rng.uniform(1, 2, loop + core) for core in cores]
    expected = ufunc(*[x.copy() for x in given], *others)
    arrays = tuple(map(sharedmem.copy, given))
    out = arrays if ufunc.nout > 1 else arrays[0]
    assert pool.apply_ufunc(ufunc, *arrays, *others, out=out) is out
    for array, part in zip(arrays, expected if ufunc.nout > 1 else [expected], strict=True):
        np.testing.assert_array_equal(array, part)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_python_function_is_called_once_an_element(pool, loop):
    seen = []
    ufunc = np.frompyfunc(lambda x: seen.append(x) or x + 1, 1, 1)
    a = sharedmem.ones(loop)
    pool.apply_ufunc(ufunc, a, out=a, casting="unsafe")
    assert (a == 2).all()
    assert len(seen) == a.size
    seen.clear()
    pool.apply_ufunc(ufunc, a, out=a, casting="unsafe", where=np.zeros(loop, bool))
    assert not seen
    assert (a == 2).all()


def test_results_without_a_loop_are_numpys(pool):
    ufunc = np.frompyfunc(lambda x: (x, str(x)), 1, 2)
    assert pool.apply_ufunc(ufunc, 3) == (3, "3")
    assert pool.apply_ufunc(np.divmod, 7, np.int8(2)) == (3, 1)
    product = pool.apply_ufunc(np.matmul, np.eye(2), np.eye(2), order="F")
    assert sharedmem.is_shared(product)
    assert product.flags.fnc


LAYOUTS = [
    lambda a: a, np.asfortranarray, lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    lambda a: a[::-1], lambda a: a[:, :1], lambda a: a[0], lambda a: 2.0,
]  # fmt: skip


@pytest.mark.parametrize("order", "CFAK")
def test_results_lie_in_memory_as_numpys(order):
    pool = sharedmem.MapReduce(np=0)
    for shape, left, right in itertools.product([(3, 4), (2, 3, 4)], LAYOUTS, LAYOUTS):
        x, y = left(np.ones(shape)), right(np.ones(shape))
        expected = np.add(x, y, order=order)
        result = pool.apply_ufunc(np.add, x, y, order=order)
        long = np.array(expected.shape) > 1
        assert np.array(result.strides)[long].tolist() == np.array(expected.strides)[long].tolist()
        if np.ndim(x) == 3:
            b = np.ones((np.shape(x)[-1], 2))
            expected = np.matmul(x, b, order=order)
            assert pool.apply_ufunc(np.matmul, x, b, order=order).strides == expected.strides


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "Z"}, "order must be one of"),
        ({"axis": 0, "keepdims": True}, "does not take axis, keepdims; it takes out, where"),
        ({"subok": False}, "does not take subok"),
        ({"dtype": "i4"}, "Cannot cast|could not be found|No loop"),
        ({"casting": "no", "dtype": "f4"}, "Cannot cast"),
        ({"color": 1}, "color"),
    ],
)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_no_option_of_a_ufunc_is_ignored(options, message, shape):
    with pytest.raises((TypeError, ValueError), match=message):
        sharedmem.MapReduce(np=0).apply_ufunc(np.sqrt, np.ones(shape), **options)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_types_of_a_ufunc_are_chosen_as_by_numpy(shape):
    for options in (
        {"dtype": "f4", "casting": "same_kind"},
        {"signature": "f->f"},
        {"sig": "d->d"},
    ):
        options = {"casting": "unsafe", **options}
        expected = np.sqrt(np.full(shape, 2.0), **options)
        result = sharedmem.MapReduce(np=0).apply_ufunc(np.sqrt, np.full(shape, 2.0), **options)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("exponent", [[2], [-1], 2, [[2]]])
def test_what_is_repeated_has_numpys_bits(exponent):
    a = np.random.default_rng(0).normal(scale=10, size=(3, 1000))
    exponent = np.array(exponent, "i4")
    result = sharedmem.apply_ufunc(np.power, a, exponent)
    np.testing.assert_array_equal(result, np.power(a, exponent))


def test_a_ufunc_over_many_chunks(pool):
    a = sharedmem.full((5, 1 << 19), 4.0)
    result = pool.apply_ufunc(np.sqrt, a)
    assert sharedmem.is_shared(result)
    assert (result == 2).all()
    assert pool.apply_ufunc(np.add, a.T, 1, out=a.T) is not None
    assert (a == 5).all()


def test_a_ufunc_writes_where_a_mask_says_so(pool):
    a = sharedmem.ones((5, 1 << 19))
    mask = np.arange(5)[:, None] % 2 == 0
    pool.apply_ufunc(np.add, a, 1, where=mask, out=a)
    assert a[:, ::1000].mean(axis=1).tolist() == [2, 1, 2, 1, 2]
    flags = sharedmem.array([True, False, True, True])
    pool.apply_ufunc(np.logical_not, flags, where=flags[::-1], out=flags)
    assert flags.tolist() == [False, True, True, False]


def test_a_ufunc_whose_input_overlaps_its_output(pool):
    a = sharedmem.empty(1 << 20)
    a[:] = np.arange(1 << 20)
    pool.apply_ufunc(np.add, a[:-1], a[1:], out=a[1:])
    np.testing.assert_array_equal(a[1:], 2 * np.arange(1, 1 << 20) - 1)


@pytest.mark.parametrize(
    ("ufunc", "inputs", "options", "message"),
    [
        (len, (1,), {}, "needs a ufunc"),
        (np.add, (1,), {}, "takes 2 inputs, got 1"),
        (np.add, (np.ones(3), np.ones(2)), {}, "broadcast"),
        (np.add, (np.ones(3), 1), {"out": sharedmem.empty(4)}, "broadcast"),
        (np.divmod, (np.ones(3), 1), {"out": sharedmem.empty(3)}, "2 outputs"),
        (np.add, (np.ones(3), 1), {"where": np.ones(3, bool)}, "needs out"),
        (np.add, (np.ones(3), 1), {"where": np.ones(2, bool), "out": sharedmem.empty(3)}, "shape"),
        (
            np.matmul,
            (np.ones((3, 3)),) * 2,
            {"where": np.array(True), "out": sharedmem.empty((3, 3))},
            "where",
        ),
        (np.add, (np.ones(3), 1), {"out": sharedmem.empty(3, "i4")}, "Cannot cast"),
    ],
)
def test_what_a_ufunc_cannot_do_is_refused(ufunc, inputs, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sharedmem.MapReduce(np=2).apply_ufunc(ufunc, *inputs, **options)


@numba.njit(nogil=True)
def count_and_sum(x):
    return x.size, x.sum()


def add_pairs(a, b):
    return a[0] + b[0], a[1] + b[1]


MEAN = Reduction(count_and_sum, add_pairs, lambda state: state[1] / state[0])


@pytest.mark.parametrize("axis", [None, 0, (0, 1)])
def test_users_reductions(pool, axis):
    a = make_array()
    np.testing.assert_allclose(pool.reduce(MEAN, a, axis), a.mean(axis), rtol=1e-14)
    np.testing.assert_allclose(pool.reduce(MEAN, a[::-1, ::2].T), a[:, ::2].mean(), rtol=1e-14)


def test_a_state_may_be_an_array_and_keeps_the_order_of_memory(pool):
    a = make_array()
    joined = Reduction(lambda x: x.copy(), lambda x, y: np.concatenate([x, y]))
    np.testing.assert_array_equal(pool.reduce(joined, a), a.ravel())


def test_an_identity_is_the_result_for_nothing(pool):
    counted = Reduction(len, operator.add, identity=0)
    assert pool.reduce(counted, np.empty((0, 3))) == 0
    assert pool.reduce(counted, np.empty((0, 3)), axis=0).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"no identity: shape \(0, 3\)"):
        pool.reduce(MEAN, np.empty((0, 3)))


@pytest.mark.parametrize("shape", [(2000,), (3, 900), (900, 3), (40, 5, 30), (7, 90, 2, 4)])
def test_all_teams_give_the_same_bits(shape, tuned):
    tuned(thread_bytes=1, chunk_bytes=1 << 10)
    a = np.random.default_rng(0).normal(size=shape)
    teams = [make() for make in TEAMS.values()]
    teams += [sharedmem.MapReduce(np=np_) for np_ in (1, 3, 7)]
    for axis in (None, 0, -1):
        expected, *others = (pool.reduce(sums.add("f8", "f8"), a, axis) for pool in teams)
        for other in others:
            np.testing.assert_array_equal(other, expected)


def test_long_results_are_written_by_the_workers(pool):
    a = np.random.default_rng(0).random((3, 5000))
    np.testing.assert_array_equal(pool.reduce(extrema.maximum("f8"), a, 0), a.max(0))
    np.testing.assert_array_equal(
        pool.reduce(extrema.maximum("f8"), a.T, 1, True), a.T.max(1, keepdims=True)
    )


def test_an_axis_that_is_not_there_is_refused():
    a = make_array()
    run = runners.run_serially
    for axis in (2, -3, (0, 0)):
        with pytest.raises(ValueError, match="axis"):
            reduce(run, MEAN, a, axis)


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
