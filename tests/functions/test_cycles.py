"""Arrays are freed with their last reference, without the cyclic garbage collector."""

import contextlib
import gc
import time
import weakref

import numpy as np
import pytest

import sharedmem

N = 300_000
# Functions that neither take nor return arrays.
NO_ARRAYS = {
    *("available_memory", "chunks", "cpu_count", "get_debug", "is_shared", "set_debug"),
    "total_memory",
}


def rows(a):
    return a.reshape(1000, -1)


def halve(x):
    x /= 2


def shift(x, out):
    out[...] = x[1:-1]


def fail(*_):
    raise ValueError("as it should")


def reduce(a):
    return sharedmem.reduce(sharedmem.Reduction(chunk=np.max, combine=max), a)


# Calls of functions with other arguments; all others are called with an array alone.
CALLS = {
    "accumulate": lambda a: sharedmem.accumulate(np.maximum, a),
    "anonymousmemmap": lambda a: sharedmem.anonymousmemmap(10),
    "apply_ufunc": lambda a: sharedmem.apply_ufunc(np.modf, a),
    "background": lambda a: sharedmem.background(lambda: a[:5000] * 2).wait(),
    "bincount": lambda a: sharedmem.bincount(a.astype(int)),
    "clip": lambda a: sharedmem.clip(a, 1, 2),
    "compress": lambda a: sharedmem.compress(a > 3, a),
    "diff": lambda a: sharedmem.diff(a, 2),
    "digitize": lambda a: sharedmem.digitize(a, [1.0, 2.0]),
    "dot": lambda a: sharedmem.dot(a, a),
    "empty": lambda a: sharedmem.empty(a.shape),
    "evaluate": lambda a: sharedmem.evaluate(["sin(a) + 1", "mean(a) / std(a)"], a=a),
    "fromfile": lambda a: sharedmem.fromfile(__file__, "u1"),
    "fromiter": lambda a: sharedmem.fromiter(iter(a[:10]), "f8", 10),
    "full": lambda a: sharedmem.full(a.shape, 3.0),
    "full_like": lambda a: sharedmem.full_like(a, 3),
    "group_reduce": lambda a: sharedmem.group_reduce(a, a, func=["mean", "median"]),
    "histogram2d": lambda a: sharedmem.histogram2d(a, a),
    "histogramdd": lambda a: sharedmem.histogramdd([a, a]),
    "map_chunks": lambda a: sharedmem.map_chunks(halve, a),
    "map_overlap": lambda a: sharedmem.map_overlap(shift, a, sharedmem.empty_like(a), depth=1),
    "nanpercentile": lambda a: sharedmem.nanpercentile(a, 3),
    "nanquantile": lambda a: sharedmem.nanquantile(rows(a), [0.1, 0.5], axis=0),
    "ones": lambda a: sharedmem.ones(a.shape),
    "partition": lambda a: sharedmem.partition(a, 5),
    "percentile": lambda a: sharedmem.percentile(a, 3),
    "quantile": lambda a: sharedmem.quantile(a, [0.1, 0.5]),
    "reduce": reduce,
    "searchsorted": lambda a: sharedmem.searchsorted([1.0, 2.0], a),
    "sort": lambda a: (sharedmem.sort(a), sharedmem.sort(rows(a), axis=0)),
    "sum": lambda a: [sharedmem.sum(rows(a), axis=axis) for axis in (None, 0, 1)],
    "take": lambda a: sharedmem.take(a, np.arange(a.size)[::-1]),
    "topk": lambda a: sharedmem.topk(a, 5),
    "vdot": lambda a: sharedmem.vdot(a, a),
    "where": lambda a: sharedmem.where(a > 3, a, 0),
    "zeros": lambda a: sharedmem.zeros(a.shape),
    "random.exponential": lambda a: sharedmem.random.exponential(size=N, seed=1),
    "random.integers": lambda a: sharedmem.random.integers(9, size=N, seed=1),
    "random.normal": lambda a: sharedmem.random.normal(size=N, seed=1),
    "random.permutation": lambda a: sharedmem.random.permutation(a, seed=1),
    "random.poisson": lambda a: sharedmem.random.poisson(3.0, size=N, seed=1),
    "random.uniform": lambda a: sharedmem.random.uniform(size=N, seed=1),
}
ERRORS = {
    "apply_ufunc": lambda a: sharedmem.apply_ufunc(np.add, a, a[1:]),
    "background": lambda a: sharedmem.background(lambda: fail(a)).wait(),
    "evaluate": lambda a: sharedmem.evaluate("a + b", a=a, b=a, out=a.view("i8")),
    "floating point": lambda a: sharedmem.apply_ufunc(np.log, -a),
    "map_chunks": lambda a: sharedmem.map_chunks(fail, a),
    "python function": lambda a: sharedmem.apply_ufunc(np.frompyfunc(fail, 1, 1), a),
    "quantile": lambda a: sharedmem.quantile(a, 4),
    "reduce": lambda a: sharedmem.reduce(sharedmem.Reduction(chunk=fail, combine=max), a),
    "sort": lambda a: sharedmem.sort(a, axis=4),
    "sum": lambda a: sharedmem.sum(a, out=np.empty(3)),
}
POOLS = [sharedmem.MapReduce, sharedmem.MapReduceByThread]


def functions():
    """Return the names of the public functions, `sharedmem.random` included."""
    names = {*dir(sharedmem)} - {"kernels", "random", "sharedmem", *NO_ARRAYS}
    random = vars(sharedmem.random).items()
    return sorted(filter(str.islower, names)) + [
        f"random.{name}"
        for name, function in random
        if getattr(function, "__module__", "") == sharedmem.random.__name__ and name[0].islower()
    ]


@pytest.fixture
def without_collector():
    gc.collect()
    gc.freeze()  # numba's objects, whose collection takes long
    gc.disable()
    yield
    gc.enable()


def call_of(name):
    return CALLS.get(name) or getattr(sharedmem, name)


def arrays_in(result):
    if isinstance(result, np.ndarray):
        return [result]
    parts = result if isinstance(result, list | tuple) else ()
    return [array for part in parts for array in arrays_in(part)]


def left_by(function):
    """Call a function, drop all references, and return the types of arrays that stay alive."""
    a = sharedmem.ones(N)
    given = [weakref.ref(a)]
    result = function(a)
    given += map(weakref.ref, arrays_in(result))
    del a, result
    # A thread that shared a kernel may still have to notice that the caller has done all the work.
    deadline = time.monotonic() + 5
    while any(reference() is not None for reference in given) and time.monotonic() < deadline:
        time.sleep(0.001)
    return [type(left).__name__ for reference in given if (left := reference()) is not None]


@pytest.mark.parametrize("name", functions())
def test_arrays_are_freed_after_each_function(name, without_collector):
    function = call_of(name)
    function(sharedmem.ones(N))  # compilation leaves reference cycles of numba
    gc.collect()
    assert left_by(function) == []


@pytest.mark.parametrize("name", ERRORS)
def test_arrays_are_freed_after_an_error(name, without_collector, tuned):
    tuned(chunk_bytes=1 << 16, thread_bytes=1)

    def call(a):
        with np.errstate(all="raise"), contextlib.suppress(Exception):
            ERRORS[name](a)
            pytest.fail("no error was raised")

    call(sharedmem.ones(N))
    gc.collect()
    assert left_by(call) == []


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("n", [0, 2])
@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
@pytest.mark.parametrize("kind", POOLS)
def test_arrays_and_pools_are_freed_after_a_map(kind, method, n, fails, without_collector):
    pools = []

    def call(a):
        pool = kind(np=n)
        pools.append(weakref.ref(pool))
        with contextlib.suppress(sharedmem.WorkerException, ValueError), pool:
            call = getattr(pool, method)
            return list(call(lambda i: fail(a) if fails else a[i : i + 2000] * 2, range(5)))

    assert left_by(call) == []
    assert pools[0]() is None


@pytest.mark.parametrize("kind", POOLS)
def test_arrays_are_freed_after_an_imap_that_is_not_finished(kind, without_collector):
    def call(a):
        with kind(np=2) as pool:
            return next(pool.imap(lambda i: a[i : i + 2000] * 2, range(50)))

    assert left_by(call) == []
