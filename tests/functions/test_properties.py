"""Results have the same bits for any number of workers, in processes, threads, and serially."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest

import sharedmem
from sharedmem import MapReduce, ProcessBackend, ThreadBackend

POOLS = [(backend, np_) for backend in (ProcessBackend, ThreadBackend) for np_ in (0, 1, 2, 3, 7)]
# More than two chunks of the default size, and not a whole number of chunks.
SHAPES = {"line": (1_300_001,), "rows": (1300, 1001), "columns": (433_334, 3)}

REDUCTIONS = {
    name: getattr(sharedmem, name)
    for name in ("sum", "mean", "min", "max", "minmax", "var", "std", "moments", "count_nonzero")
}
LARGEST = sharedmem.Reduction(np.max, np.maximum)
TOTAL = sharedmem.Reduction(np.sum, operator.add, identity=0.0)
OTHERS = {
    "histogram": lambda a: sharedmem.histogram(a, bins=17),
    "largest": lambda a: sharedmem.reduce(LARGEST, a),
    "total": lambda a: sharedmem.reduce(TOTAL, a),
    "cosine": lambda a: sharedmem.apply_ufunc(np.cos, a),
}


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(1)
    return generator.standard_normal(1_301_300) * 10.0 ** generator.integers(-8, 8, 1_301_300)


def bits(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part).tobytes() for part in parts]


def check_same_bits(call):
    results = []
    for backend, n_workers in POOLS:
        with MapReduce(backend, np=n_workers):
            results.append(bits(call()))
    assert results == results[:1] * len(POOLS)


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS)
def test_reductions_have_the_same_bits(reduction, shape, axis, data):
    a = sharedmem.copy(data[: math.prod(shape)].reshape(shape))
    check_same_bits(lambda: reduction(a, axis=axis))


@pytest.mark.parametrize("function", OTHERS.values(), ids=OTHERS)
def test_other_functions_have_the_same_bits(function, data):
    a = sharedmem.copy(data)
    check_same_bits(lambda: function(a))


def test_private_and_shared_arrays_have_the_same_sum(data):
    with MapReduce(np=2):
        assert sharedmem.sum(data) == sharedmem.sum(sharedmem.copy(data))
