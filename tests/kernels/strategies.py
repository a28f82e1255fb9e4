"""Strategies: arrays of any layout, and axes to reduce them over."""

import os

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def dtypes(*ways, others=()):
    """Return the dtypes to test: by default one per code path, since each is compiled.

    `make dtypes` tests all of them.
    """
    return (*ways, *others) if "SHAREDMEM_TEST_ALL_DTYPES" in os.environ else ways


DTYPES = dtypes(
    "f8", "i2", "c16", "g", ">f8", others=("f2", "?", "f4", "i1", "u2", "i8", "u8", "c8")
)


def numbers(dtype, shape, seed):
    """Return elements whose sums are exact in any order of additions."""
    low = 0 if dtype.kind in "bu" else -40
    real, imag = np.random.default_rng(seed).integers(low, 41, (2, *shape))
    if dtype.kind == "b":
        return real % 2 == 1
    return (real + 1j * imag if dtype.kind == "c" else real).astype(dtype)


@st.composite
def arrays(draw, dtypes=DTYPES, min_side=1):
    """Arrays of 0 to 5 dimensions: in C or F order, transposed, reversed, strided, or broadcast."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=min_side, max_side=7))
    a = numbers(dtype, shape, draw(st.integers(0, 1000)))  # to draw each element takes long
    a = np.asarray(a, order=draw(st.sampled_from("CF")))
    a = a.transpose(draw(st.permutations(range(a.ndim))))
    steps = st.sampled_from([1, 1, -1, 2, -2])
    a = a[tuple(slice(None, None, draw(steps)) for _ in shape)]
    return np.broadcast_to(a, (3, *a.shape)) if draw(st.integers(0, 9)) == 0 else a


@st.composite
def arrays_and_axes(draw, **options):
    a = draw(arrays(**options))
    axes = draw(st.none() | hnp.valid_tuple_axes(a.ndim, max_size=a.ndim))
    return a, axes[0] if axes and len(axes) == 1 else axes
