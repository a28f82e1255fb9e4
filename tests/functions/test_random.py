"""Random numbers have their distributions, and depend only on the seed."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

import sharedmem
from sharedmem import random
from tests.functions.comparing import with_workers
from tests.kernels.strategies import dtypes

N = 200_000
LIKELY = 1e-3  # smallest p-value: seeds are fixed, so that no test fails by chance
DRAWS = {
    "uniform": lambda **how: random.uniform(-1, 2, **how),
    "normal": lambda **how: random.normal(1, 2, **how),
    "exponential": lambda **how: random.exponential(3, **how),
    "integers": lambda **how: random.integers(-5, 3 * 2**30, **how),
    "wide integers": lambda **how: random.integers(-5, 3 * 2**60, **how),
    "few poisson": lambda **how: random.poisson(3.5, **how),
    "many poisson": lambda **how: random.poisson(1e4, **how),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=5000, permutation_chunk_bytes=5000, random_reads=1 << 20)


@each_draw
def test_samples_do_not_depend_on_the_number_of_workers(draw):
    result = with_workers(lambda: draw(size=(50, 101), seed=3))
    assert type(result) is sharedmem.SharedArray
    with sharedmem.MapReduceByThread(np=2):
        np.testing.assert_array_equal(draw(size=(50, 101), seed=3), result)


@each_draw
def test_samples_do_not_depend_on_chunks(draw, tuned):
    expected = draw(size=5000, seed=3)
    for nbytes in (8, 1000, 1 << 20):
        tuned(chunk_bytes=nbytes)
        size = 100 if nbytes == 8 else 5000
        np.testing.assert_array_equal(draw(size=size, seed=3), expected[:size])


LAYOUTS = {
    "C": lambda shape, dtype: np.empty(shape, dtype),
    "F": lambda shape, dtype: np.empty(shape, dtype, "F"),
    "strided": lambda shape, dtype: np.empty((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2],
    "reversed": lambda shape, dtype: np.empty(shape, dtype)[::-1],
    "swapped bytes": lambda shape, dtype: np.empty(shape, np.dtype(dtype).newbyteorder()),
    "shared": lambda shape, dtype: sharedmem.empty(shape, dtype).swapaxes(0, -1).swapaxes(0, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@each_draw
@settings(max_examples=10)
@given(shape=st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_samples_do_not_depend_on_the_layout_of_out(layout, draw, shape):
    expected = draw(size=shape, seed=[1, 2])
    out = layout(tuple(shape), expected.dtype)
    assert draw(out=out, seed=[1, 2]) is out
    np.testing.assert_array_equal(out, expected)


@each_draw
def test_scalars_and_shapes(draw):
    assert isinstance(draw(seed=1), np.generic)
    assert draw(size=(), seed=1).shape == ()
    assert draw(size=(), seed=1) == draw(seed=1) == draw(size=3, seed=1)[0]
    assert draw(size=(3, 0, 2)).shape == (3, 0, 2)
    out = np.empty((), draw().dtype)
    assert draw(out=out, seed=1) is out
    assert out == draw(seed=1)


@each_draw
def test_seeds(draw):
    sequence = np.random.SeedSequence(5)
    np.testing.assert_array_equal(draw(size=9, seed=sequence), draw(size=9, seed=5))
    np.testing.assert_array_equal(draw(size=9, seed=sequence), draw(size=9, seed=5))
    child = draw(size=9, seed=sequence.spawn(1)[0])
    assert (child != draw(size=9, seed=5)).any()
    assert (draw(size=9) != draw(size=9)).any()
    with pytest.raises(ValueError, match="non-negative"):
        draw(seed=-1)
    with pytest.raises(TypeError, match="SeedSequence"):
        draw(seed="seed")


def uniforms():
    """Yield samples of each continuous distribution, mapped to uniform ones in (0, 1)."""
    yield random.uniform(size=N, seed=11)
    yield random.uniform(size=N, seed=11, dtype="f4")
    yield stats.norm.cdf(random.normal(size=N, seed=11))
    yield stats.norm.cdf(random.normal(size=N, seed=11, dtype="f4"), 0, 1)
    yield stats.expon.cdf(random.exponential(size=N, seed=11))


def test_continuous_distributions():
    for u in uniforms():
        assert stats.kstest(u, "uniform").pvalue > LIKELY
        counts = np.histogram(u, 1000, (0, 1))[0]
        assert stats.chisquare(counts).pvalue > LIKELY


def test_tails_of_distributions():
    z = random.normal(size=20 * N, seed=12)
    edge = 3.9  # another method samples the tail, above 4.04
    for tail in (z[z > edge], -z[z < -edge]):
        p = stats.norm.sf(edge)
        assert stats.binomtest(len(tail), len(z), p).pvalue > LIKELY
        assert stats.kstest(stats.norm.sf(tail) / p, "uniform").pvalue > LIKELY
    x = random.exponential(size=20 * N, seed=12)
    tail = x[x > 9]  # another method samples the tail, above 9.26
    assert stats.binomtest(len(tail), len(x), math.exp(-9)).pvalue > LIKELY
    assert stats.kstest(tail - 9, "expon").pvalue > LIKELY


def test_moments():
    z = random.normal(10, 2, N, seed=13)
    standard_error = 2 / math.sqrt(N)
    assert z.mean() == pytest.approx(10, abs=4 * standard_error)
    assert z.std() == pytest.approx(2, abs=4 * standard_error)
    assert stats.skew(z) == pytest.approx(0, abs=4 * math.sqrt(6 / N))
    assert stats.kurtosis(z) == pytest.approx(0, abs=4 * math.sqrt(24 / N))
    for lam in (0.3, 200.0, 300.0, 1e6, 1e12):
        k = random.poisson(lam, N, seed=13) - lam
        assert k.mean() == pytest.approx(0, abs=4 * math.sqrt(lam / N))
        assert k.var() == pytest.approx(lam, rel=4 * math.sqrt((2 + 1 / lam) / N))


@pytest.mark.parametrize("lam", [0.01, 1.0, 9.7, 60.0, 255.0, 257.0, 3000.0])
def test_poisson(lam):
    k = random.poisson(lam, N, seed=14)
    values = np.arange(k.max() + 2)
    expected = stats.poisson.pmf(values, lam) * N
    expected[-1] = stats.poisson.sf(values[-2], lam) * N
    counts = np.bincount(k, minlength=len(values))
    # Rare values are counted together.
    rare = expected < 10
    pairs = [(counts[~rare], expected[~rare]), ([counts[rare].sum()], [expected[rare].sum()])]
    observed, wanted = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert stats.chisquare(observed, wanted).pvalue > LIKELY


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000, 2**10 + 1])
@pytest.mark.parametrize("factor", [1, 2**20 + 1, 2**32 // 3, 2**48 - 1])
def test_integers_of_ranges_that_are_not_powers_of_two(n, factor):
    if n * factor < 2**63:
        k = random.integers(n * factor, size=N, seed=15)
        assert 0 <= k.min() <= k.max() < n * factor
        assert stats.chisquare(np.bincount(k // factor, minlength=n)).pvalue > LIKELY or n == 1
        assert stats.chisquare(np.bincount(k % 7)).pvalue > LIKELY or n * factor < 10**5


@pytest.mark.parametrize(
    "dtype", dtypes("?", "i1", "u4", "i8", "u8", ">i4", others=("u1", "i2", "u2", "i4"))
)
def test_full_ranges_of_integers(dtype):
    dtype = np.dtype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    k = random.integers(low, high, N, dtype, endpoint=True, seed=16)
    assert k.dtype == dtype
    n = high - low + 1
    place = (np.array(k, object) - low) // max(n // 256, 1)
    assert stats.chisquare(np.bincount(place.astype(int))).pvalue > LIKELY
    assert (random.integers(high, high, 9, dtype, endpoint=True) == high).all()
    assert (random.integers(low, low + 1, 9, dtype) == low).all()


def test_rejection_leaves_integers_uniform():
    # Nearly half of the 64-bit words are rejected.
    n = 2**63 + 2
    k = random.integers(0, n, N, "u8", seed=17)
    assert stats.kstest(k.astype(float) / n, "uniform").pvalue > LIKELY
    assert stats.chisquare(np.bincount((k % np.uint64(11)).astype(int))).pvalue > LIKELY


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "bounds", [(0, 1), (1, 1 + 2**-22), (-3e5, 1e-3), (0.1, 0.3), (2**24 - 2, 2**24), (5, 5)]
)
def test_uniform_samples_are_within_bounds(dtype, bounds):
    low, high = (np.dtype(dtype).type(bound) for bound in bounds)
    u = random.uniform(*bounds, N, dtype=dtype, seed=18)
    assert u.dtype == dtype
    assert u.min() >= low
    assert u.max() < high or low == high


def test_uniform_samples_have_all_of_their_bits():
    u = random.uniform(size=N, seed=19)
    assert np.bitwise_or.reduce((u * 2**53).astype("i8")) == 2**53 - 1
    u = random.uniform(size=N, seed=19, dtype="f4")
    assert np.bitwise_or.reduce((u * 2**24).astype("i8")) == 2**24 - 1


def correlation(a, b):
    """Return the correlation in units of its standard deviation."""
    return abs(np.corrcoef(a, b)[0, 1]) * math.sqrt(len(a))


def test_neighbors_and_seeds_are_independent():
    streams = [random.normal(size=N, seed=seed) for seed in (0, 1, 2**32, 2**64)]
    for other in streams[1:]:
        assert correlation(streams[0], other) < 4
    for lag in (1, 2, 4, 255, 256, 257, 512, 1024, 65536):
        assert correlation(streams[0][:-lag], streams[0][lag:]) < 4
        assert correlation(streams[0][:-lag] ** 2, streams[0][lag:] ** 2) < 4
    pairs = np.histogram2d(*random.uniform(size=(2, N), seed=3), 30)[0]
    assert stats.chisquare(pairs.ravel()).pvalue > LIKELY


def test_distributions_of_one_seed_are_independent():
    draws = [draw(size=N, seed=20) for draw in DRAWS.values()]
    for at, a in enumerate(draws):
        for b in draws[:at]:
            if a.dtype != b.dtype or a.dtype == float:
                assert correlation(a, b) < 4


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: random.uniform(1, 0), ValueError, "low=1 is greater than high=0"),
        (lambda: random.uniform(0, math.inf), OverflowError, "not finite"),
        (lambda: random.uniform(-1e308, 1.7e308), OverflowError, "not finite"),
        (lambda: random.uniform(0, 1e39, dtype="f4"), OverflowError, "not finite"),
        (lambda: random.uniform([0, 1], 2), TypeError, r"low must be one number.*\(2,\)"),
        (lambda: random.uniform(1j), TypeError, "complex"),
        (lambda: random.uniform(size=-1), ValueError, "negative"),
        (lambda: random.uniform(size=2.5), TypeError, "integer"),
        (lambda: random.uniform(dtype="f2"), TypeError, "float16"),
        (lambda: random.normal(dtype="i8"), TypeError, "int64"),
        (lambda: random.normal(0, -1), ValueError, "is negative"),
        (lambda: random.exponential(-0.0), ValueError, "is negative"),
        (lambda: random.poisson(-1), ValueError, "lam=-1 is out of bounds"),
        (lambda: random.poisson(math.nan), ValueError, "lam=nan"),
        (lambda: random.poisson(1e19), ValueError, "give a mean from 0 to"),
        (lambda: random.integers(0), ValueError, "no integer"),
        (lambda: random.integers(5, 5), ValueError, "low=5 to the bound high=5"),
        (lambda: random.integers(0, 300, dtype="i1"), ValueError, "high is out of bounds for int8"),
        (lambda: random.integers(-1, 3, dtype="u8"), ValueError, "low is out of bounds for uint64"),
        (lambda: random.integers(3, dtype=float), TypeError, "float64"),
        (lambda: random.integers(2.5), TypeError, "2.5"),
        (lambda: random.uniform(out=[1.0]), TypeError, "list"),
        (lambda: random.uniform(out=np.empty(3, "i4")), TypeError, "int32"),
        (lambda: random.uniform(out=np.empty(3), dtype="f4"), TypeError, "float32"),
        (lambda: random.uniform(size=4, out=np.empty(3)), ValueError, "differ"),
        (lambda: random.uniform(out=np.broadcast_to(0.0, 3)), ValueError, "read-only"),
        (lambda: random.permutation(3.5), np.exceptions.AxisError, "axis 0"),
        (lambda: random.permutation(np.array([None])), TypeError, "Python objects"),
    ],
)
def test_invalid_arguments_raise(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_extreme_parameters():
    assert np.isnan(random.normal(0, math.nan))
    assert random.normal(math.inf, 1) == math.inf
    assert (random.normal(3, 0, 5) == 3).all()
    assert (random.poisson(0, 5) == 0).all()
    assert random.poisson(9e18) > 8e18
    assert 0 <= random.integers(1e3) < 1000


@pytest.fixture
def small_buckets(tuned):
    tuned(permutation_bucket_length=100)


def test_permutations_do_not_depend_on_the_number_of_workers(small_buckets):
    result = with_workers(lambda: random.permutation(20_000, seed=3))
    assert type(result) is sharedmem.SharedArray
    np.testing.assert_array_equal(np.sort(result), np.arange(20_000))


@pytest.mark.parametrize("dtype", ["?", "i2", "f4", ">f8", "c16", "M8[s]", "S3", [("x", "i1", 3)]])
def test_arrays_are_permuted_like_their_indices(small_buckets, dtype):
    values = np.arange(3000 * np.dtype(dtype).itemsize, dtype="u1").view(dtype)[::-1]
    values.flags.writeable = False
    order = random.permutation(len(values), seed=4)
    np.testing.assert_array_equal(random.permutation(values, seed=4), values[order])
    rows = np.arange(3000).reshape(1000, 3).T.copy().T
    order = random.permutation(1000, seed=4)
    np.testing.assert_array_equal(random.permutation(rows, seed=4), rows[order])


def test_permutations_of_few_items():
    assert random.permutation(0).tolist() == random.permutation([]).tolist() == []
    assert random.permutation(1).tolist() == [0]
    assert random.permutation(np.empty((0, 3))).shape == (0, 3)
    assert random.permutation(True).tolist() == [0]


def test_all_permutations_are_equally_likely(tuned):
    # Four items in up to four buckets.
    tuned(permutation_bucket_length=1)
    orders = [random.permutation(4, seed=seed) for seed in range(4800)]
    counts = np.unique(np.array(orders) @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > LIKELY


@pytest.mark.parametrize("items", [100, 1 << 20])
def test_permutations_move_items_everywhere(tuned, items):
    tuned(permutation_bucket_length=items)
    order = random.permutation(N, seed=5)
    table = np.histogram2d(np.arange(N), order, 20)[0]
    assert stats.chisquare(table.ravel(), ddof=38).pvalue > LIKELY
    assert correlation(order[:-1], order[1:]) < 4


def test_the_module_is_loaded_lazily_and_does_not_hide_pythons():
    code = "import random, sharedmem; from sharedmem import *; print(random.random.__module__)"
    code += "; print('sharedmem.random' in __import__('sys').modules)"
    code += "; print(sharedmem.random.uniform(size=3).shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[1:3] == ["False", "(3,)"]
