"""Test grids of chunks: they cover an array, are disjoint, and are made on demand."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import sharedmem
from sharedmem.arrays.chunks import Grid, chunks
from sharedmem.machine.tuning import tuning

shapes = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(tuple)
cuts = st.one_of(
    st.integers(1, 15).map(lambda value: {"size": value}),
    st.integers(1, 15).map(lambda value: {"n": value}),
    st.integers(1, 500).map(lambda value: {"nbytes": value}),
    st.just({}),
)


@st.composite
def grids(draw: st.DrawFn, overlap: st.SearchStrategy[int]) -> tuple[tuple[int, ...], Grid]:
    shape = draw(shapes)
    axes = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, max_size=len(shape)))
    return shape, chunks(shape, axes, **draw(cuts), overlap=draw(overlap))


@given(grids(st.integers(0, 4)))
def test_interiors_are_disjoint_and_cover(drawn: tuple[tuple[int, ...], Grid]) -> None:
    shape, grid = drawn
    visits = np.zeros(shape, int)
    for chunk in grid:
        visits[chunk.interior] += 1
    assert (visits == 1).all()
    assert [chunk.index for chunk in grid] == list(range(len(grid)))


@given(grids(st.just(0)))
def test_sizes_differ_by_at_most_one(drawn: tuple[tuple[int, ...], Grid]) -> None:
    _, grid = drawn
    for position in range(len(grid.extents)):
        sizes = {chunk.stop[position] - chunk.start[position] for chunk in grid}
        assert not sizes or (max(sizes) - min(sizes) <= 1 and min(sizes) > 0)


@given(grids(st.integers(1, 4)))
def test_overlap_ends_with_the_array(drawn: tuple[tuple[int, ...], Grid]) -> None:
    _, grid = drawn
    for chunk in grid:
        for position, (extent, width) in enumerate(zip(grid.extents, grid.overlap, strict=True)):
            inner = chunk.interior
            assert chunk.start[position] == max(inner.start[position] - width, 0)
            assert chunk.stop[position] == min(inner.stop[position] + width, extent)


@given(grids(st.integers(0, 2)))
def test_pickle_and_deepcopy(drawn: tuple[tuple[int, ...], Grid]) -> None:
    _, grid = drawn
    assert pickle.loads(pickle.dumps(grid)) == grid
    for chunk in grid[:3]:
        for twin in (pickle.loads(pickle.dumps(chunk)), copy.deepcopy(chunk)):
            assert twin == chunk
            assert (twin.index, twin.axis, twin.interior) == (
                chunk.index,
                chunk.axis,
                chunk.interior,
            )


@given(st.integers(1, 10**12), st.integers(1, 10**7))
def test_size_and_nbytes_are_upper_bounds(extent: int, limit: int) -> None:
    for grid, largest in (
        (chunks(extent, size=limit), limit),
        (chunks(extent, nbytes=limit), max(limit // 8, 1)),
        (chunks(extent), tuning.chunk_bytes // 8),
    ):
        assert grid[0].stop - grid[0].start <= largest
        assert grid[-1].stop == extent


def test_a_grid_of_a_billion_chunks_is_made_on_demand() -> None:
    grid = chunks(10**9, size=1)
    assert len(grid) == 10**9
    assert grid[123_456_789] == (slice(123_456_789, 123_456_790),)
    assert grid[-1].index == 10**9 - 1
    assert len(grid[::2]) == 5 * 10**8
    assert grid[::2][3].index == 6


def test_n_larger_than_the_axis_gives_one_chunk_per_index() -> None:
    assert [chunk.stop - chunk.start for chunk in chunks(3, n=7)] == [1, 1, 1]
    assert len(chunks(0, n=7)) == 0


def test_nbytes_counts_the_itemsize() -> None:
    assert len(chunks(np.zeros(64, "u1"), nbytes=16)) == 4
    assert len(chunks(np.zeros(64, "c16"), nbytes=16)) == 64
    assert len(chunks((64,), nbytes=16)) == 32


def test_chunk_ends_with_the_axis_that_is_cut() -> None:
    assert chunks((4, 6, 8), size=2)[1] == (slice(2, 4),)
    assert chunks((4, 6, 8), -2, size=2)[1] == (slice(None), slice(2, 4))
    assert chunks((4, 6, 8), (1, 0), n=(3, 1))[1] == (slice(0, 4), slice(2, 4))


def test_nbytes_cuts_the_first_axis_first() -> None:
    assert chunks((4, 8), (0, 1), nbytes=128).counts == (2, 1)
    assert chunks((4, 8), (0, 1), nbytes=32).counts == (4, 2)


def test_chunks_index_an_array() -> None:
    array = sharedmem.zeros((5, 4))
    for chunk in sharedmem.chunks(array, axis=1, n=2):
        array[chunk] += 1
    assert (array == 1).all()


def test_arrays_have_no_attribute_chunks() -> None:  # other packages take it for a chunked array
    assert not hasattr(sharedmem.zeros(3), "chunks")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 2, "n": 3}, "at most one of size=2, n=3, and nbytes=None"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"n": -1}, "n must be at least 1, got -1"),
        ({"nbytes": 0}, "nbytes must be at least 1, got 0"),
        ({"overlap": -1}, "overlap must be at least 0, got -1"),
        ({"size": (2, 2)}, "has 2 entries, but 1 axes are cut"),
        ({"axis": 1}, "axis 1 is out of bounds"),
        ({"axis": (0, 0)}, "repeated axis"),
    ],
)
def test_invalid_arguments_raise(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chunks(10, **arguments)  # type: ignore[arg-type]


def test_invalid_shapes_and_indices_raise() -> None:
    with pytest.raises(ValueError, match="negative dimensions are not allowed"):
        chunks((3, -1))
    with pytest.raises(TypeError, match="integer"):
        chunks(2.5)
    with pytest.raises(IndexError, match="chunk 3 is not in this grid of 3 chunks"):
        chunks(3, n=3)[3]
