"""Types and lines that are hard to sort."""

import numpy as np

from tests.kernels.strategies import dtypes

NUMBERS = dtypes("f8", "i2", "?", "c16", "f2", "g", ">f8", others=("f4", "i8", "u1", ">i4"))
DTYPES = (*NUMBERS, *dtypes("M8[s]", "U2", others=("m8[s]",)))


def hard_line(dtype, n=1001):
    """Return a line with ties, zeros of both signs, NaN, NaT and infinities."""
    rng = np.random.default_rng(n)
    dtype = np.dtype(dtype)
    a = rng.normal(size=n)
    if dtype.kind not in "fc":
        a = rng.integers(0, 100, n).astype("i8")
        a = a.astype(dtype if dtype.kind != "?" else "i8") % 2 if dtype.kind == "b" else a
    a = a.astype(dtype)
    if dtype.kind in "fc":
        a[::7], a[1::7], a[2::50], a[3::90], a[4::90] = 0, -0.0, np.nan, np.inf, -np.inf
        a[5::9] = a[6]
    if dtype.kind == "c":
        a.imag[::11], a.imag[1::23] = 1, np.nan
    if dtype.kind in "mM":
        a[::13] = "NaT"
    return a
