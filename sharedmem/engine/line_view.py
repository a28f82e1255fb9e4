"""An array as lines to reduce: its canonical view, and the grid of its chunks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Grid, bytes_a_chunk, chunks
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


class Group(NamedTuple):
    """Axes of an array that are walked as one: of the same role, and evenly strided."""

    length: int
    stride: int
    reduced: bool


@dataclass(frozen=True)
class Lines:
    """An array of shape (kept..., reduced..., kept...) after merging axes, and its chunks.

    Which element is in which chunk depends on the shape, the strides and the dtype of the
    array, and on the axes, and on nothing else.

    Attributes
    ----------
    view : ndarray
        The array, its axes in the order of memory as far as their roles allow.
    n_outer, n_reduced : int
        Number of axes of `view` before the reduced ones, and number of these.
    grid : Grid
        The chunks of `view`, cut along all of its axes.
    """

    view: Array
    n_outer: int
    n_reduced: int
    grid: Grid

    @property
    def n_pieces(self) -> int:
        """Number of chunks per line."""
        return self._lengths(self.grid.counts)[1]

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """The lengths of the axes that are kept."""
        outer, _, inner = self._split(self.view.shape)
        return outer + inner

    @property
    def n_lines(self) -> tuple[int, int]:
        """The canonical (n_outer, n_inner)."""
        n_outer, _, n_inner = self.lengths
        return n_outer, n_inner

    @property
    def lengths(self) -> tuple[int, int, int]:
        """The canonical (n_outer, n, n_inner)."""
        n_outer, n, n_inner = self._lengths(self.view.shape)
        return n_outer, n, n_inner

    @property
    def length(self) -> int:
        """Number of elements per line."""
        return self.lengths[1]

    def is_canonical(self) -> bool:
        """Return whether no more than one axis is outer, reduced, or inner."""
        return max(map(len, self._split(self.view.shape))) <= 1

    def together(self) -> Array | None:
        """Return all of the array in the shape (n_outer, n, n_inner); None if that is a copy."""
        itemsize, strides = self.view.itemsize, self.view.strides
        is_plain = self.view.flags.aligned and all(stride % itemsize == 0 for stride in strides)
        is_dense = strides[-1:] == (itemsize,)
        if not (self.is_canonical() and is_plain and is_dense):
            return None
        return self.view.reshape(self._lengths(self.view.shape))

    def chunk(self, index: int) -> Array:
        """Return a chunk in the shape (n_outer, n, n_inner), copied where that needs it."""
        chunk = self.view[self.grid[index]]
        return chunk.reshape(self._lengths(chunk.shape))

    def place(self, index: int) -> tuple[int, tuple[Any, ...]]:
        """Return the number of a chunk along its lines, and the region of these in `kept_shape`."""
        outer, _, inner = self._split(self.grid[index])
        _, n_pieces, n_inner_chunks = self._lengths(self.grid.counts)
        return index // n_inner_chunks % n_pieces, (*outer, *inner, ...)

    def _lengths(self, shape: tuple[int, ...]) -> list[int]:
        """Return the canonical (n_outer, n, n_inner) of the shape of a part of `view`."""
        return [math.prod(part) for part in self._split(shape)]

    def _split(self, per_axis: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
        """Split what belongs to the axes of `view` into that of outer, reduced, and inner ones."""
        first, last = self.n_outer, self.n_outer + self.n_reduced
        return tuple(per_axis[:first]), tuple(per_axis[first:last]), tuple(per_axis[last:])


def memory_order(strides: Sequence[int]) -> list[int]:
    """Return the axes from the one with the largest steps in memory to the smallest.

    Axes that repeat their elements come first: those after them can then be contiguous.
    """
    return sorted(range(len(strides)), key=lambda axis: -(abs(strides[axis]) or math.inf))


def as_lines(a: Array, axes: frozenset[int]) -> Lines:
    """View `a`, which is not empty, as lines along the reduced `axes`."""
    shape, strides, n_outer, n_reduced, grid = layout(a.shape, a.strides, a.itemsize, axes)
    if min(a.strides, default=0) < 0:
        a = a[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in a.strides)]
    return Lines(as_strided(a, shape, strides), n_outer, n_reduced, grid)


# Otherwise computing it takes a large part of a small sum.
@functools.lru_cache(256)
def layout(
    shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int, axes: frozenset[int]
) -> tuple[list[int], list[int], int, int, Grid]:
    """Return the shape and the strides of lines, and their other attributes: see :class:`Lines`."""
    groups: list[Group] = []
    for axis in memory_order(strides):
        length, stride, is_reduced = shape[axis], abs(strides[axis]), axis in axes
        if length == 1:
            continue
        if groups and groups[-1][1:] == (length * stride, is_reduced):
            length *= groups.pop().length
        groups.append(Group(length, stride, is_reduced))
    kept = [group for group in groups if not group.reduced]
    reduced = [group for group in groups if group.reduced]
    # Lines of one element all lie side by side.
    n_outer = len(kept) - (bool(reduced) and not groups[-1].reduced)
    parts = kept[:n_outer], reduced, kept[n_outer:]
    lengths = [[group.length for group in part] for part in parts]
    whole = [*itertools.chain(*lengths)]
    steps = [group.stride for group in itertools.chain(*parts)]
    grid = chunks(whole, range(len(whole)), size=_chunk_shape(lengths, itemsize))
    return whole, steps, n_outer, len(reduced), grid


def _chunk_shape(parts: list[list[int]], itemsize: int) -> list[int]:
    """Choose the lengths of a chunk along the outer, reduced and inner axes.

    Lines stay whole where a chunk has room for a line: then no states need to be combined.
    """
    n_outer, n, n_inner = (math.prod(part) for part in parts)
    elements = max(1, bytes_a_chunk(n_outer * n * n_inner * itemsize) // itemsize)
    if n * n_inner <= elements:
        wanted = (elements // (n * n_inner), n, n_inner)
    elif n * min(n_inner, tuning.lines_per_chunk) <= elements:
        wanted = (1, n, elements // n)
    else:
        width = min(n_inner, tuning.lines_per_chunk)
        wanted = (1, max(1, elements // width), width)
    shape = []
    for lengths, length in zip(parts, wanted, strict=True):
        for at, whole in enumerate(lengths):
            shape.append(max(1, min(whole, length // math.prod(lengths[at + 1 :]))))
    return shape
