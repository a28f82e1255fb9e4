"""Ufuncs over chunks, on pools of every kind."""

import itertools

import numba
import numpy as np
import pytest
from scipy import special

import sharedmem


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
