"""Functions other than reductions, on lines of all lengths around the sizes of chunks and runs.

Chunks are small, so that each remainder occurs. Sizes that are compiled into kernels (runs of 32
and 512 elements, words of 64 bits, 512 columns) are the real ones.
"""

import numpy as np
import pytest

import sharedmem

RNG = np.random.default_rng(0)
NUMBERS = RNG.integers(-40, 41, 1 << 16) / 4  # whose sums and products are exact
SIGNS = RNG.choice([-1.0, 1.0, 1.0, 0.5, 2.0], 1 << 16)
LENGTHS = [
    *range(1, 43),
    *(size + step for size in (64, 80, 128, 512, 1024) for step in (-1, 0, 1)),
]
CHUNK = 320  # bytes
TABLE = np.sort(NUMBERS[:999])


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(
        chunk_bytes=CHUNK,
        scan_chunk_bytes=CHUNK,
        scan_line_bytes=CHUNK,
        sort_bytes=CHUNK,
        sort_run_bytes=CHUNK,
        sort_line_bytes=CHUNK,
        sort_piece_bytes=CHUNK,
        histogram_run_length=64,
        sample_size=16,
        sorted_search_length=1,
        thread_bytes=64,
    )


def same_as(name, **options):
    return lambda module, a: getattr(module, name)(a, **options)


CALLS = {
    "cumsum": same_as("cumsum"),
    "cumprod": lambda module, a: module.cumprod(SIGNS[: len(a)]),
    "nancumsum": lambda module, a: module.nancumsum(np.where(a == 0, np.nan, a)),
    "dot": lambda module, a: module.dot(a, a[::-1].copy()),
    "vdot": lambda module, a: module.vdot(a * 1j, a + 2j),
    "average": lambda module, a: module.average(a, weights=np.arange(1, len(a) + 1)),
    "diff": same_as("diff"),
    "histogram": lambda module, a: module.histogram(a, 7, (-10.0, 10.0))[0],
    "weighted histogram": lambda module, a: module.histogram(a, 7, (-10, 10), weights=a)[0],
    "edges": lambda module, a: module.histogram(a, [-9, -1, 0, 0.5, 8])[0],
    "bincount": lambda module, a: module.bincount((a + 10).astype("i8")),
    "sort": same_as("sort"),
    "sort of bytes": lambda module, a: module.sort(a.astype("i1")),
    "argsort": same_as("argsort", kind="stable"),
    "unique": lambda module, a: np.concatenate(module.unique(a, return_inverse=True)),
    "median": same_as("median"),
    "quantile": same_as("quantile", q=[0.1, 0.9], method="lower"),
    "searchsorted": lambda module, a: module.searchsorted(TABLE, a),
    "where": lambda module, a: module.where(a > 0, a, -1.0),
    "nonzero": lambda module, a: module.nonzero(a)[0],
    "flatnonzero": same_as("flatnonzero"),
    "compress": lambda module, a: module.compress(a > 0, a),
    "take": lambda module, a: module.take(a, (a * 4).astype("i8"), mode="wrap"),
    "clip": lambda module, a: module.clip(a, -2, 3),
    "any": lambda module, a: module.any(a == a[-1] + 1),
    "all": lambda module, a: module.all(a != a[-1] + 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_lines_of_all_lengths(name):
    call = CALLS[name]
    with sharedmem.MapReduce(np=1):
        for n in LENGTHS:
            for a in (NUMBERS[:n], np.sort(NUMBERS[:n])):
                np.testing.assert_array_equal(call(sharedmem, a), call(np, a), err_msg=f"{n}")


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "sort", "argsort", "median", "diff"])
@pytest.mark.parametrize("axis", [0, 1])
def test_tables_of_all_shapes(name, axis):
    data = SIGNS if name == "cumprod" else NUMBERS
    options = {"kind": "stable"} if name == "argsort" else {}
    widths = [1, 2, 3, 5, 8, 31, 32, 33]
    shapes = [(n, m) for n in widths for m in widths]
    for shape in [*shapes, (2, 511), (3, 512), (5, 513), (513, 3)]:
        a = data[: shape[0] * shape[1]].reshape(shape)
        result = getattr(sharedmem, name)(a, axis=axis, **options)
        expected = getattr(np, name)(a, axis=axis, **options)
        np.testing.assert_array_equal(result, expected, err_msg=f"{shape}")
