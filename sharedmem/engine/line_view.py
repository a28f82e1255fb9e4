"""Arrays as lines to reduce: their canonical views, and the grid of their chunks."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Grid, bytes_a_chunk, chunks
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


class Group(NamedTuple):
    """Axes of arrays that are walked as one: of the same role, and evenly strided in each array."""

    length: int
    strides: list[int]
    reduced: bool


class Order(NamedTuple):
    """The shape and the strides of an array, by which the axes of others are ordered."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Lines:
    """An array of shape (kept..., reduced..., kept...) after merging axes, and its chunks.

    Which element is in which chunk depends on the shape, the strides and the dtype of the
    array, and on the axes, and on nothing else; of several arrays, on those of all.

    Attributes
    ----------
    view : ndarray
        The array, its axes in the order of memory as far as their roles allow.
    n_outer, n_reduced : int
        Number of axes of `view` before the reduced ones, and number of these.
    grid : Grid
        The chunks of `view`, cut along all of its axes.
    others : tuple of ndarray
        Arrays that are reduced with it, viewed like it.
    """

    view: Array
    n_outer: int
    n_reduced: int
    grid: Grid
    others: tuple[Array, ...] = ()

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

    def chunks(self, index: int) -> list[Array]:
        """Return a chunk of each array, as :meth:`chunk` does."""
        first = self.chunk(index)
        if not self.others:
            return [first]
        where = self.grid[index]
        return [first, *(view[where].reshape(first.shape) for view in self.others)]

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


def order_of(arrays: Sequence[Array]) -> Array | Order:
    """Return the first of arrays of one shape that repeats no elements; else C order."""
    shape = arrays[0].shape
    for a in arrays:
        if all(stride or length <= 1 for stride, length in zip(a.strides, shape, strict=True)):
            return a
    steps = itertools.accumulate(shape[:0:-1], operator.mul, initial=1)
    return Order(shape, tuple(steps)[::-1])


def as_lines(a: Array, axes: frozenset[int], *others: Array) -> Lines:
    """View `a`, which is not empty, as lines along the reduced `axes`, and `others` of its shape.

    Several arrays are viewed in the order of :func:`order_of` them.
    """
    if others:
        return _as_lines_together((a, *others), axes)
    shape, (strides,), n_outer, n_reduced, grid = layout(a.shape, a.strides, a.itemsize, axes)
    if min(a.strides, default=0) < 0:
        a = _forward(a, a.strides)
    return Lines(as_strided(a, shape, strides), n_outer, n_reduced, grid)


def _as_lines_together(arrays: Sequence[Array], axes: frozenset[int]) -> Lines:
    order, itemsize = order_of(arrays).strides, max(a.itemsize for a in arrays)
    arrays = [_forward(a, order) for a in arrays]
    walked = (a.strides for a in arrays)
    shape, steps, n_outer, n_reduced, grid = layout(arrays[0].shape, order, itemsize, axes, *walked)
    view, *views = map(as_strided, arrays, itertools.repeat(shape), steps)
    return Lines(view, n_outer, n_reduced, grid, tuple(views))


def _forward(a: Array, order: tuple[int, ...]) -> Array:
    """Return an array with the axes reversed along which steps in memory are negative."""
    return a[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in order)]


# Otherwise computing it takes a large part of a small sum.
@functools.lru_cache(256)
def layout(
    shape: tuple[int, ...],
    order: tuple[int, ...],
    itemsize: int,
    axes: frozenset[int],
    *walked: tuple[int, ...],
) -> tuple[list[int], list[list[int]], int, int, Grid]:
    """Return the shape and the strides of lines, and their other attributes: see :class:`Lines`.

    Parameters
    ----------
    shape, itemsize, axes : tuple of int, int, frozenset of int
        The shape of the arrays, the largest size of an element, and the axes to reduce.
    order : tuple of int
        The strides that order the axes.
    *walked : tuple of int
        The strides of each array, walked in this order; by default those of one, `order`.
    """
    each = walked or (tuple(map(abs, order)),)
    groups: list[Group] = []
    for axis in memory_order(order):
        length, strides, is_reduced = shape[axis], [own[axis] for own in each], axis in axes
        if length == 1:
            continue
        if groups and groups[-1][1:] == ([length * stride for stride in strides], is_reduced):
            length *= groups.pop().length
        groups.append(Group(length, strides, is_reduced))
    kept = [group for group in groups if not group.reduced]
    reduced = [group for group in groups if group.reduced]
    # Lines of one element all lie side by side.
    n_outer = len(kept) - (bool(reduced) and not groups[-1].reduced)
    parts = kept[:n_outer], reduced, kept[n_outer:]
    lengths = [[group.length for group in part] for part in parts]
    whole = [*itertools.chain(*lengths)]
    ordered = [*itertools.chain(*parts)]
    steps = [[group.strides[at] for group in ordered] for at in range(len(each))]
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
