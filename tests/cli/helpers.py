"""Helpers of the tests of `sharedmem stats`."""

import json

import numpy as np
from scipy import stats as scipy_stats

from sharedmem.cli.main import main


def describe(capsys, *arguments):
    """Return the statistics of arrays, from JSON."""
    assert main(["stats", "--json", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)["arrays"]


def assert_describes(found, values):
    finite = values[np.isfinite(values)].astype("f8")
    assert found["shape"] == list(values.shape)
    assert found["dtype"] == str(values.dtype)
    assert found["count"] == values.size
    assert found["n_nan"] == np.isnan(values).sum()
    assert found["n_inf"] == np.isinf(values).sum()
    assert (found["min"], found["max"]) == (finite.min(), finite.max())
    measured = [found[name] for name in ("mean", "std", "skew", "kurtosis")]
    expected = finite.mean(), finite.std(), scipy_stats.skew(finite), scipy_stats.kurtosis(finite)
    np.testing.assert_allclose(measured, expected, rtol=1e-12, atol=1e-13)


def assert_histogram(found, values, bins, limits=None):
    counts, edges = np.histogram(values[np.isfinite(values)].astype("f8"), bins, limits)
    assert found["histogram"]["counts"] == counts.tolist()
    np.testing.assert_allclose(found["histogram"]["edges"], edges, rtol=1e-15)
