"""Calls on arrays of a known form give the results and warnings of the first one."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.functions import numpy_rules

NAMES = ["sum", "mean", "min", "max", "var", "nansum", "count_nonzero", "prod"]
SIZES = [1, 2, 15, 16, 1000, 1 << 15, (1 << 15) + 1, 100_000]


def same(a, b):
    return type(a) is type(b) and np.array(a).tobytes() == np.array(b).tobytes()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=30)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(["f8", "f4", "i8", "i2", "u1", "?", "c16", "f2", ">f8"]),
    st.sampled_from(SIZES),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2]),
)
def test_each_call_gives_what_the_first_gave(name, dtype, size, seed, np_):
    a = (np.random.default_rng(seed).standard_normal(size) * 50).astype(dtype)
    function = getattr(sharedmem, name)
    expected = function(a[None], axis=1)[0]  # an axis is no part of a plan
    with sharedmem.MapReduce(np=np_):
        for array in (a, sharedmem.copy(a), a[::-1], a.copy(), np.repeat(a, 2)[::2]):
            if array.strides[0] >= 0:
                assert same(function(array), expected)
    assert same(function(a), expected)


@pytest.mark.parametrize("name", NAMES)
def test_forms_of_one_shape(name):
    function = getattr(sharedmem, name)
    a = np.random.default_rng(1).random((30, 40))
    bytes_of = np.zeros(a.nbytes + 1, np.uint8)
    misaligned = bytes_of[1:].view("f8").reshape(a.shape)
    misaligned[...] = a
    expected = function(a.copy())
    for array in (a, sharedmem.copy(a), misaligned, np.repeat(a, 2, axis=0)[::2]):
        assert same(function(array), expected)
    assert np.isclose(function(np.asfortranarray(a)), expected)


@pytest.mark.parametrize("name", ["sum", "mean", "nansum", "var"])
@pytest.mark.filterwarnings("error")
def test_warnings_come_each_time(name):
    function = getattr(sharedmem, name)
    function(np.ones(100))
    large = np.full(100, 1.7e308) * np.where(np.arange(100) % 3, 1.0, 0.5)
    for _ in range(3):
        with pytest.raises(RuntimeWarning, match="overflow"):
            function(large)
    both = np.ones(100)
    both[:2] = np.inf, -np.inf
    for _ in range(3):
        with pytest.raises(RuntimeWarning, match="invalid"):
            function(both)


@pytest.mark.parametrize("name", ["min", "max"])
def test_nan_and_infinity(name):
    function = getattr(sharedmem, name)
    a = np.ones(100)
    for value in (np.inf, -np.inf, np.nan):
        a[7] = value
        for _ in range(2):
            assert np.array_equal(function(a), getattr(np, name)(a), equal_nan=True)


def test_options_are_not_forgotten():
    a = np.arange(12.0).reshape(3, 4)
    for _ in range(2):
        assert sharedmem.sum(a) == 66
        assert sharedmem.sum(a, keepdims=True).shape == (1, 1)
        assert sharedmem.sum(a, axis=0).tolist() == [12, 15, 18, 21]
        assert sharedmem.sum(a, dtype="f4").dtype == np.float32
        assert sharedmem.sum(a, initial=4) == 70
        assert sharedmem.sum(a, where=a > 10) == 11
        assert sharedmem.var(a, ddof=1) == pytest.approx(13)
        assert sharedmem.count_nonzero(a, keepdims=True).shape == (1, 1)


def test_a_scalar_and_an_empty_array_have_numpys_rules():
    for _ in range(2):
        assert sharedmem.sum(np.array(-0.0)) == 0
        assert sharedmem.sum(np.zeros(0)) == 0
        with pytest.raises(ValueError, match="zero-size array"):
            sharedmem.max(np.zeros(0))


def test_plans_are_few():
    for n in range(1, 600):
        assert sharedmem.sum(np.ones(n)) == n
    assert len(numpy_rules.SUM.plans) < 300


def test_threads_use_one_plan_at_once():
    arrays = [np.full(100_000, float(i)) for i in range(8)]
    wrong = []

    def work(a):
        wrong.extend(a[0] for _ in range(50) if sharedmem.mean(a) != a[0])

    threads = [threading.Thread(target=work, args=(a,)) for a in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
