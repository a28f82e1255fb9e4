"""Stencils: kernels over chunks with a halo, against numpy.pad and scipy.ndimage."""

import itertools

import numba
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import ndimage

import sharedmem

MODES = {"reflect": "symmetric", "periodic": "wrap", "nearest": "edge"}
DTYPES = ["?", "i1", "u8", "f2", "f8", "g", "c16", "M8[s]", "U3"]


def add_halo(a, depths, boundaries):
    """Return the array padded along each axis, as the kernel of a single chunk sees it."""
    for axis, (depth, boundary) in enumerate(zip(depths, boundaries, strict=True)):
        width = [(0, 0)] * a.ndim
        width[axis] = (depth, depth)
        if boundary in MODES:
            a = np.pad(a, width, mode=MODES[boundary])
        elif boundary != "none":
            a = np.pad(a, width, constant_values=boundary)
    return a


def join_corners(x, low, high, depths):
    """A kernel that sees both ends of the halo along all axes."""
    low[:] = x[tuple(slice(0, n) for n in low.shape)]
    high[:] = x[tuple(slice(2 * d, 2 * d + n) for d, n in zip(depths, low.shape, strict=True))]


@st.composite
def problems(draw):
    ndim = draw(st.integers(1, 4))
    axes = st.tuples(*[st.integers(1, 7)] * ndim)
    shape = draw(axes)
    dtype = draw(st.sampled_from(DTYPES))
    a = sharedmem.empty(shape, dtype, order=draw(st.sampled_from("CF")))
    a[...] = np.arange(a.size).reshape(shape).astype("i8" if a.dtype.kind == "M" else "i1")
    if draw(st.booleans()):
        a = a[::-1, ...]
    constants = st.just(1) if a.dtype.kind in "iufc" else st.nothing()
    boundaries = st.sampled_from([*MODES, "none"]) | constants
    depths = draw(st.tuples(*[st.integers(0, 9)] * ndim))
    cut = tuple(draw(st.permutations(range(ndim)))[: draw(st.integers(1, ndim))])
    grid = sharedmem.chunks(a, cut, n=[draw(st.integers(1, 4)) for _ in cut])
    return a, depths, draw(st.tuples(*[boundaries] * ndim)), grid


@settings(max_examples=60)
@given(problems())
def test_the_halo_is_that_of_a_padded_array(problem):
    a, depths, boundaries, grid = problem
    padded = add_halo(np.asarray(a), depths, boundaries)
    low, high = sharedmem.zeros_like(a), sharedmem.zeros_like(a)
    sharedmem.MapReduce(np=0).map_overlap(
        join_corners, a, (low, high), depth=depths, boundary=boundaries, args=(depths,), chunks=grid
    )
    inside = tuple(
        slice(depth, max(depth, n - depth)) if boundary == "none" else slice(None)
        for depth, boundary, n in zip(depths, boundaries, a.shape, strict=True)
    )
    shape = low[inside].shape
    expected = padded[tuple(slice(0, n) for n in shape)]
    np.testing.assert_array_equal(low[inside], expected)
    expected = padded[tuple(slice(2 * d, 2 * d + n) for d, n in zip(depths, shape, strict=True))]
    np.testing.assert_array_equal(high[inside], expected)
    written = np.zeros(a.shape, bool)
    written[inside] = True
    assert (low[~written] == np.zeros((), a.dtype)).all()


@numba.njit(nogil=True)
def laplace(x, result):
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            neighbors = x[i, j + 1] + x[i + 2, j + 1] + x[i + 1, j] + x[i + 1, j + 2]
            result[i, j] = neighbors - 4 * x[i + 1, j + 1]


TEAMS = [
    lambda: sharedmem.MapReduce(np=0),
    lambda: sharedmem.MapReduce(np=3),
    lambda: sharedmem.MapReduceByThread(np=2),
]


@pytest.mark.parametrize("kernel", [laplace, laplace.py_func], ids=["compiled", "python"])
@pytest.mark.parametrize("make_pool", TEAMS, ids=["serial", "processes", "threads"])
@pytest.mark.parametrize(
    ("boundary", "mode"), [("reflect", "reflect"), ("periodic", "wrap"), ("nearest", "nearest")]
)
@pytest.mark.parametrize("order", "CF")
def test_a_laplacian_is_that_of_scipy(kernel, make_pool, boundary, mode, order):
    a = sharedmem.empty((23, 17), order=order)
    a[:] = np.random.default_rng(0).integers(0, 100, a.shape)
    out = sharedmem.empty_like(a)
    expected = ndimage.laplace(np.asarray(a), mode=mode)
    for axis, n in [(0, 1), (0, 4), (1, 5), ((0, 1), 3)]:
        out[:] = 0
        grid = sharedmem.chunks(a, axis, n=n)
        pool = make_pool()
        assert pool.map_overlap(kernel, a, out, depth=1, boundary=boundary, chunks=grid) is out
        np.testing.assert_array_equal(out, expected)


def test_default_chunks_and_strided_arrays():
    a = np.random.default_rng(0).random((2000, 600)).astype("f4")[::2, ::-3]
    out = np.empty(a.shape, "f8")
    sharedmem.map_overlap(laplace, a, out, depth=1, boundary=0)
    np.testing.assert_allclose(out, ndimage.laplace(a.astype("f8"), mode="constant"), atol=1e-5)


def test_chunks_inside_the_array_are_views():
    a = sharedmem.zeros((20, 4))
    out = sharedmem.zeros_like(a)

    def is_view(x, result):
        result[:] = np.shares_memory(x, np.asarray(a))

    pool = sharedmem.MapReduce(np=2)
    pool.map_overlap(is_view, a, out, depth=(1, 0), chunks=sharedmem.chunks(a, n=4))
    assert out[:, 0].tolist() == [0] * 5 + [1] * 10 + [0] * 5
    pool.map_overlap(is_view, a, out, depth=1, boundary="none", chunks=sharedmem.chunks(a, n=4))
    assert out[1:-1, 1:-1].all()
    assert not out[0].any()


def test_several_arrays_arguments_and_the_position():
    a = sharedmem.copy(np.arange(30.0).reshape(6, 5))
    sums, places = sharedmem.empty_like(a), sharedmem.empty((6, 5), "i8")

    @numba.njit(nogil=True)
    def kernel(x, y, result, place, position, factor):
        for i, j in np.ndindex(result.shape):
            result[i, j] = x[i, j + 1] + factor * y[i + 2, j + 1]
            place[i, j] = 10 * (position[0] + i) + position[1] + j

    grid = sharedmem.chunks(a, (1, 0), n=(2, 3))
    ones = np.ones_like(a)
    options = {"depth": 1, "boundary": ("periodic", 7.0), "args": (2,), "position": True}
    outs = sharedmem.map_overlap(kernel, (a, ones), (sums, places), chunks=grid, **options)
    assert outs == (sums, places)
    np.testing.assert_array_equal(sums, np.roll(a, 1, 0) + 2)
    np.testing.assert_array_equal(places, np.add.outer(10 * np.arange(6), np.arange(5)))


def test_structured_arrays():
    a = sharedmem.zeros(9, [("x", "f8"), ("n", "i4")])
    a["x"] = np.arange(9)
    out = sharedmem.zeros_like(a)

    @numba.njit(nogil=True)
    def kernel(cells, result):
        for i in range(len(result)):
            result[i].x = cells[i].x + cells[i + 2].x
            result[i].n = cells[i + 1].n + 1

    sharedmem.map_overlap(
        kernel, a, out, depth=1, boundary="periodic", chunks=sharedmem.chunks(a, n=3)
    )
    np.testing.assert_array_equal(out["x"], np.roll(a["x"], 1) + np.roll(a["x"], -1))
    assert (out["n"] == 1).all()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_nothing_is_done_to_an_empty_array(shape):
    a, out = sharedmem.empty(shape), sharedmem.empty(shape)
    assert sharedmem.map_overlap(laplace, a, out, depth=2) is out


def test_nothing_is_done_where_the_halo_leaves_no_interior():
    a, out = sharedmem.ones((4, 4)), sharedmem.zeros((4, 4))
    sharedmem.map_overlap(
        laplace, a, out, depth=1 << 40, boundary="none", chunks=sharedmem.chunks(a, n=2)
    )
    assert not out.any()


def test_errors_of_the_compiler_come_before_any_work():
    a, out = sharedmem.zeros(40), sharedmem.zeros(40)
    n_calls = sharedmem.zeros(1, int)

    @numba.njit
    def wrong(x, result, n_calls):
        n_calls[0] += 1
        result.no_such_attribute  # noqa: B018

    with pytest.raises(numba.core.errors.TypingError, match="no_such_attribute"):
        sharedmem.map_overlap(
            wrong, a, out, depth=1, args=(n_calls,), chunks=sharedmem.chunks(a, n=4)
        )
    assert n_calls[0] == 0


def test_kernels_are_compiled_by_the_coordinator_for_every_layout():
    for axis, order in itertools.product([0, 1, (0, 1)], "CF"):
        a, out = sharedmem.zeros((12, 12), order=order), sharedmem.zeros((12, 12))
        kernel = numba.njit(laplace.py_func)
        options = {"depth": 1, "boundary": ("nearest", "none")}
        options["chunks"] = sharedmem.chunks(a, axis, n=4)
        sharedmem.MapReduce(np=2).map_overlap(kernel, a, out, **options)
        compiled = list(kernel.signatures)
        sharedmem.MapReduce(np=0).map_overlap(kernel, a, out, **options)
        assert kernel.signatures == compiled


def test_private_memory_is_for_threads():
    a, out = np.arange(5.0), np.zeros(5)

    def kernel(x, result):
        result[:] = x[2:]

    with pytest.raises(ValueError, match="private memory"):
        sharedmem.MapReduce(np=2).map_overlap(kernel, a, out, depth=1)
    sharedmem.MapReduceByThread(np=2).map_overlap(kernel, a, out, depth=1)
    assert out.tolist() == [1, 2, 3, 4, 4]
    compiled = numba.njit(nogil=True)(kernel)
    grid = sharedmem.chunks(5, n=3)
    sharedmem.MapReduce(np=2).map_overlap(compiled, a, out, depth=1, boundary=-1, chunks=grid)
    assert out.tolist() == [1, 2, 3, 4, -1]


ONES = sharedmem.ones((4, 4))


@pytest.mark.parametrize(
    ("a", "out", "options", "error", "message"),
    [
        (ONES, ONES, {}, ValueError, "shares memory"),
        (ONES[1:], ONES[:-1], {}, ValueError, "shares memory"),
        (ONES, sharedmem.ones((4, 5)), {}, ValueError, r"one shape.*\(4, 4\), \(4, 5\)"),
        (1.0, sharedmem.ones(()), {}, ValueError, "at least one axis"),
        ((), ONES, {}, TypeError, "at least one array"),
        (ONES, None, {}, TypeError, "ndarray, got NoneType"),
        (ONES, [1.0], {}, TypeError, "ndarray, got list"),
        (ONES, sharedmem.ones((4, 4)), {"depth": -1}, ValueError, "depth must be at least 0"),
        (ONES, sharedmem.ones((4, 4)), {"depth": 0.5}, TypeError, "depth must be an integer"),
        (ONES, sharedmem.ones((4, 4)), {"depth": (1,)}, ValueError, r"\(1,\) has 1 entries"),
        (ONES, sharedmem.ones((4, 4)), {"boundary": "wrap"}, ValueError, "periodic.*'wrap'"),
        (
            ONES,
            sharedmem.ones((4, 4)),
            {"boundary": 1j},
            TypeError,
            "1j cannot be cast to dtype float64",
        ),
        (
            ONES,
            sharedmem.ones((4, 4)),
            {"boundary": None},
            TypeError,
            "None cannot be cast to dtype",
        ),
        (ONES.astype("i1"), ONES, {"boundary": 300}, OverflowError, "300"),
        (
            ONES.astype("i1"),
            ONES,
            {"boundary": np.nan},
            TypeError,
            "nan cannot be cast to dtype int8",
        ),
        (
            ONES.astype("i1"),
            ONES,
            {"chunks": sharedmem.chunks(ONES, overlap=1)},
            ValueError,
            "overlap",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(a, out, options, error, message):
    with pytest.raises(error, match=message):
        sharedmem.map_overlap(laplace, a, out, **{"depth": 1, **options})


def test_a_kernel_has_to_be_callable():
    with pytest.raises(TypeError, match="kernel must be callable"):
        sharedmem.map_overlap("laplace", ONES, sharedmem.ones((4, 4)), depth=1)
