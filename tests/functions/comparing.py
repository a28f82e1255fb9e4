"""Results for several numbers of workers, and comparison with NumPy's results."""

import numpy as np

import sharedmem

WORKERS = (0, 1, 2, 3, 7)


def results_of_workers(call):
    """Return the results of a call, one for each number of workers."""
    results = []
    for n_workers in WORKERS:
        with sharedmem.MapReduce(np=n_workers):
            results.append(call())
    return results


def with_workers(call):
    """Return the result of a call, whose bits must not depend on the number of workers."""
    results = results_of_workers(call)
    assert same_bits(results)
    return results[0]


def same_bits(results):
    """Return whether all results, arrays or tuples of them, have the same bits."""
    return len(set(map(_bits, results))) == 1


def _bits(result):
    if isinstance(result, tuple | list):
        return tuple(map(_bits, result))
    if np.asarray(result).dtype.char in "gG":  # whose padding is undefined
        return str(np.asarray(result).tolist())
    return np.ascontiguousarray(result).tobytes()


def assert_same(result, expected):
    """Compare values, dtypes and classes."""
    assert type(result) is type(expected)
    np.testing.assert_array_equal(result, expected)
    assert np.asarray(result).dtype == np.asarray(expected).dtype


def assert_like(result, expected, rtol=1e-13):
    """Compare dtypes, shapes, and values, with a tolerance for small dtypes."""
    result, expected = np.asarray(result), np.asarray(expected)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind in "fc":
        rtol = max(rtol, 4 * float(np.finfo(expected.dtype).eps))
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=rtol)
    else:
        np.testing.assert_array_equal(result, expected)
