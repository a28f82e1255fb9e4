"""Reductions of computed arrays: the bits of reductions of arrays in memory."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.engine.computed import Computed
from sharedmem.engine.reduce import Request, reduce
from sharedmem.engine.reduce_computed import computed as as_computed, reduce_computed
from sharedmem.kernels import (
    arg_extrema,
    counts,
    extrema,
    moments,
    nan_reductions,
    products,
    sums,
    variances,
)
from sharedmem.pool.mapreduce import current_pool


class Product:
    """The product of two arrays."""

    def __init__(self, dtype):
        self.dtype = dtype

    def fill(self, operands, out):
        """Compute all of `out`."""
        np.multiply(*operands, out=out)

    def in_registers(self, operands):
        """Return None: NumPy computes it."""
        return


@functools.cache
def reductions_of(dtype):
    float64, total = np.dtype("f8"), np.dtype("i8") if dtype.kind == "i" else dtype
    mean = float64 if dtype.kind == "i" else dtype
    found = [
        sums.add(dtype, total), sums.mean(dtype, mean, 7), products.multiply(dtype, total),
        counts.count_nonzero(dtype), variances.variance(dtype, float64),
        variances.deviation(dtype, float64, 1),
    ]  # fmt: skip
    if dtype.kind != "c":
        found += [extrema.minimum(dtype), extrema.minmax(dtype), arg_extrema.argmax(dtype)]
    if dtype.kind == "f":
        found += [
            nan_reductions.add(dtype, dtype), nan_reductions.mean(dtype, dtype),
            nan_reductions.minimum(dtype), nan_reductions.variance(dtype, 0),
            moments.summary(dtype),
        ]  # fmt: skip
    return found


def bits_of(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [(np.shape(part), np.asarray(part).dtype, np.asarray(part).tobytes()) for part in parts]


def operand(rng, shape, dtype, single, is_fortran, is_reversed):
    lengths = [1 if axis in single else n for axis, n in enumerate(shape)]
    numbers = rng.normal(size=lengths) * 100
    if dtype.kind == "c":
        numbers = numbers + 1j * numbers[::-1]
    a = np.asarray(numbers.astype(dtype), order="F" if is_fortran else "C")
    return a[::-1] if is_reversed else a


lengths = st.one_of(st.integers(1, 40), st.sampled_from([1, 17, 64, 300, 2100]))
long = st.sampled_from([32_767, 32_769, 70_000, 150_001])
shapes = st.one_of(
    st.lists(lengths, min_size=1, max_size=3),
    st.tuples(long, st.integers(1, 4)),
    st.tuples(st.integers(1, 4), long),
    st.tuples(st.sampled_from([300, 520]), st.sampled_from([2_066, 2_048, 2_100])),
).filter(lambda shape: np.prod(shape) < 1_200_000)
layouts = st.tuples(st.sets(st.integers(0, 2), max_size=2), st.booleans(), st.booleans())


@pytest.mark.slow
@settings(max_examples=50)
@given(
    shape=shapes,
    dtype=st.sampled_from(["f8", "f4", "i4", "c16"]).map(np.dtype),
    layouts=st.tuples(layouts, layouts),
    seed=st.integers(0, 2**32),
    keepdims=st.booleans(),
    data=st.data(),
)
def test_the_bits_are_those_of_an_array(shape, dtype, layouts, seed, keepdims, data):
    rng = np.random.default_rng(seed)
    operands = [operand(rng, shape, dtype, *layout) for layout in layouts]
    computed = Computed.of(Product(dtype), operands)
    array = sharedmem.apply_ufunc(np.multiply, *operands)
    every = range(array.ndim)
    some = [axes for n in range(1, array.ndim + 1) for axes in itertools.combinations(every, n)]
    axis = data.draw(st.sampled_from([None, *some]))
    runner = current_pool().runner
    requests = [Request(one, computed, axis, keepdims) for one in reductions_of(dtype)]
    results = reduce_computed(runner, requests)
    for request, result in zip(requests, results, strict=True):
        expected = reduce(
            runner.run(array.nbytes), request.reduction, array, axis, keepdims,
            n_workers=runner.n_workers, share=runner.share(array.nbytes),
        )  # fmt: skip
        assert bits_of(result) == bits_of(expected)


@pytest.mark.parametrize("np_", [0, 1, 2, 5])
def test_the_number_of_workers_does_not_matter(np_):
    a = np.random.default_rng(5).normal(size=(700, 900))
    computed = Computed.of(Product(a.dtype), [a, a[:, :1]])
    wanted = [variances.variance(a.dtype, a.dtype), sums.add(a.dtype, a.dtype)]
    expected = [sharedmem.var(a * a[:, :1], axis=1), sharedmem.sum(a * a[:, :1], axis=1)]
    with sharedmem.MapReduce(np=np_) as pool:
        results = reduce_computed(pool.runner, [Request(one, computed, 1) for one in wanted])
    assert bits_of(tuple(results)) == bits_of(tuple(expected))


def test_an_element_is_computed_once_for_all_reductions():
    computed = []

    class Counted(Product):
        def fill(self, operands, out):
            computed.append(out.size)
            super().fill(operands, out)

    a = np.ones((500, 3000))
    array = Computed.of(Counted(a.dtype), [a, a])
    wanted = [sums.add(a.dtype, a.dtype), extrema.maximum(a.dtype), counts.count_nonzero(a.dtype)]
    reduce_computed(current_pool().runner, [Request(one, array) for one in wanted])
    assert sum(computed) == a.size


class Stored:
    """An array that is read like one in a file, and notes how much of it is."""

    chunks = (20, 30)

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.ndim, self.nbytes, self.n_read = values.ndim, values.nbytes, 0

    def __getitem__(self, region):
        part = self.values[region]
        self.n_read += part.size
        return part


def test_files_are_read_in_one_pass():
    values = np.random.default_rng(2).normal(size=(90, 70))
    store, runner = Stored(values), current_pool().runner
    product = as_computed(runner, Product(values.dtype), [store, values[0]])
    requests = [
        Request(sums.add(values.dtype, values.dtype), product),
        Request(extrema.maximum(values.dtype), product, 0),
        Request(arg_extrema.argmax(values.dtype), product, 1, True),
    ]
    total, largest, places = reduce_computed(runner, requests)
    expected = values * values[0]
    assert store.n_read == values.size
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-12)
    np.testing.assert_array_equal(largest, expected.max(axis=0))
    np.testing.assert_array_equal(places, expected.argmax(axis=1, keepdims=True))
