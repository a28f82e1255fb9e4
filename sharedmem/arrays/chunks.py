"""Grids of chunks: the axes of an array cut into slices, each for one task."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, overload

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from sharedmem.arrays.conversion import is_labeled
from sharedmem.machine.arguments import check_shape
from sharedmem.machine.tuning import tuning

Axes = int | tuple[int, ...]


class Chunk(tuple[slice, ...]):
    """A tuple of slices that indexes part of an array: ``a[chunk]``.

    The tuple ends with the last axis that is cut, so a chunk of rows indexes all arrays with that
    many rows. Datasets of h5py need a plain tuple: ``dataset[tuple(chunk)]``. :func:`chunks` makes
    chunks.

    Attributes
    ----------
    index : int
        Number of the chunk in its grid, from 0.
    axis : int or tuple of ints
        The axis or axes that are cut.

    See Also
    --------
    chunks : Cut an array into chunks.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros((10, 3))
    >>> chunk = sharedmem.chunks(a, n=4)[1]
    >>> a[chunk].shape, chunk.index, chunk.start, chunk.stop
    ((3, 3), 1, 3, 6)
    """

    # The name that users expect hides tuple.index, and the value its docstring.
    index: int = 0  # type: ignore[assignment]
    axis: Axes
    _interior: Chunk | None

    def __new__(
        cls, slices: Iterable[slice], index: int, axis: Axes, interior: Chunk | None = None
    ) -> Chunk:
        """Make a chunk; `interior` is None if that is the chunk itself."""
        chunk = super().__new__(cls, slices)
        chunk.index, chunk.axis, chunk._interior = index, axis, interior
        return chunk

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return the arguments of `__new__` for pickle."""
        return tuple(self), self.index, self.axis, self._interior

    @property
    def start(self) -> Any:
        """First index along the axis that is cut: an int, or a tuple of ints if `axis` is one.

        See Also
        --------
        Chunk.interior : The chunk without its overlap.

        Examples
        --------
        >>> import sharedmem
        >>> [chunk.start for chunk in sharedmem.chunks(10, size=4)]
        [0, 4, 7]
        """
        if isinstance(self.axis, int):
            return self[self.axis].start
        return tuple(self[axis].start for axis in self.axis)

    @property
    def stop(self) -> Any:
        """One past the last index along the axis that is cut: an int, or a tuple of ints.

        See Also
        --------
        Chunk.interior : The chunk without its overlap.

        Examples
        --------
        >>> import sharedmem
        >>> [chunk.stop for chunk in sharedmem.chunks(10, size=4)]
        [4, 7, 10]
        """
        if isinstance(self.axis, int):
            return self[self.axis].stop
        return tuple(self[axis].stop for axis in self.axis)

    @property
    def interior(self) -> Chunk:
        """The chunk without its overlap.

        The interiors of a grid are disjoint and cover the array. They index the array, like the
        chunk itself; ``chunk.interior.start - chunk.start`` is the width of the halo before it.

        See Also
        --------
        chunks : Cut an array into chunks that overlap.

        Examples
        --------
        >>> import sharedmem
        >>> chunk = sharedmem.chunks(10, size=5, overlap=2)[1]
        >>> chunk.start, chunk.interior.start
        (3, 5)
        """
        return self if self._interior is None else self._interior


@dataclass(frozen=True)
class Grid(Sequence[Chunk]):
    """An immutable sequence of chunks, which are made on demand.

    Attributes
    ----------
    axis : int or tuple of ints
        The axis or axes that are cut. The last one runs fastest.
    extents : tuple of ints
        Length of the array along each of them.
    counts : tuple of ints
        Number of chunks along each of them.
    overlap : tuple of ints
        How far a chunk reaches into its neighbors along each of them.
    units : tuple of ints
        Chunks begin at multiples of these: 1, or the lengths of the chunks of a file.
    indices : range
        Indices of the chunks that are in this sequence. Slicing selects some of them.

    See Also
    --------
    sharedmem.chunks : Make a grid.

    Examples
    --------
    >>> import sharedmem
    >>> grid = sharedmem.chunks((100, 200), (0, 1), n=(2, 4))
    >>> len(grid), grid.counts, grid[-1].start, len(grid[2:5])
    (8, (2, 4), (50, 150), 3)
    """

    axis: Axes
    extents: tuple[int, ...]
    counts: tuple[int, ...]
    overlap: tuple[int, ...]
    units: tuple[int, ...]
    indices: range

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self.indices)

    @overload
    def __getitem__(self, key: int) -> Chunk: ...
    @overload
    def __getitem__(self, key: slice) -> Grid: ...
    def __getitem__(self, key: int | slice) -> Chunk | Grid:
        """Return a chunk, or for a slice a grid of these chunks."""
        if isinstance(key, slice):
            return dataclasses.replace(self, indices=self.indices[key])
        try:
            index = self.indices[key]
        except IndexError:
            raise IndexError(f"chunk {key} is not in this grid of {len(self)} chunks") from None
        bounds: list[tuple[int, int]] = []
        position = index
        axes = zip(self.extents, self.counts, self.units, strict=True)
        for extent, count, unit in reversed(list(axes)):
            position, coordinate = divmod(position, count)
            bounds.insert(0, _bounds(extent, count, unit, coordinate))
        interior = self._chunk(index, bounds, None)
        if not any(self.overlap):
            return interior
        halo = [
            (max(start - width, 0), min(stop + width, extent))
            for (start, stop), width, extent in zip(bounds, self.overlap, self.extents, strict=True)
        ]
        return self._chunk(index, halo, interior)

    def _repr_html_(self) -> str:
        """Return the figures and a picture, for notebooks."""
        from sharedmem.arrays import pictures  # which needs this module

        return pictures.of_grid(self)

    def _chunk(self, index: int, bounds: list[tuple[int, int]], interior: Chunk | None) -> Chunk:
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        slices = [slice(None)] * (max(axes, default=-1) + 1)
        for axis, (start, stop) in zip(axes, bounds, strict=True):
            slices[axis] = slice(start, stop)
        return Chunk(slices, index, self.axis, interior)


def _bounds(extent: int, count: int, unit: int, coordinate: int) -> tuple[int, int]:
    """Return where a chunk along an axis starts and stops."""
    size, longer = divmod(-(-extent // unit), count)
    start = coordinate * size + min(coordinate, longer)
    stop = start + size + (coordinate < longer)
    return start * unit, min(stop * unit, extent)


def cuts_of(grid: Grid, most: int) -> dict[int, list[int]]:
    """Return where a grid cuts its axes, ends included: each chunk, or of many some."""
    axes = (grid.axis,) if isinstance(grid.axis, int) else grid.axis
    found = {}
    along = zip(axes, grid.extents, grid.counts, grid.units, strict=True)
    for axis, extent, count, unit in along:
        step = max(-(-count // most), 1)
        starts = [_bounds(extent, count, unit, at)[0] for at in range(0, count, step)]
        found[axis] = [*(starts or [0]), extent]
    return found


def chunks(
    shape_or_array: Any,
    axis: int | Sequence[int] = 0,
    *,
    size: int | Sequence[int] | None = None,
    n: int | Sequence[int] | None = None,
    nbytes: int | None = None,
    overlap: int | Sequence[int] = 0,
) -> Grid:
    """Cut an array into chunks along one axis or several axes.

    The chunks cover the array, and are disjoint without overlap. Along an axis their sizes differ
    by at most one. Nothing is stored per chunk, so a grid may have any number of chunks. A grid can
    be the sequence of :meth:`sharedmem.MapReduce.map`.

    An array in a file of zarr or h5py is cut only between the chunks or shards that it is stored
    in, so each of these is read or written once. Sizes then differ by at most one of them.

    Parameters
    ----------
    shape_or_array : array, int or sequence of int
        An array (anything with ``shape`` and ``dtype``, and perhaps ``chunks``), or a shape.
    axis : int or sequence of int, optional
        Axis or axes to cut. Of several axes, the last one runs fastest.
    size : int or sequence of int, optional
        Maximum size of a chunk along the axis, or along each of the axes.
    n : int or sequence of int, optional
        Number of chunks along the axis, or along each of the axes. A shorter axis has one chunk per
        index.
    nbytes : int, optional
        Maximum size of a chunk in bytes, but a chunk has at least one index along each axis. The
        first axis is cut first. Elements of a bare shape count 8 bytes. By default, without `size`
        and `n`, 4 MiB.
    overlap : int or sequence of int, optional
        How far a chunk reaches into its neighbors along the axis, or along each of the axes; see
        :attr:`Chunk.interior`.

    Returns
    -------
    Grid
        An immutable sequence of :class:`Chunk`.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If a shape, size, or number is not an integer.
    ValueError
        If more than one of `size`, `n`, and `nbytes` is given, one of them is not positive, or
        `overlap` is negative.

    See Also
    --------
    Chunk : A chunk.
    map_chunks : Call a kernel on each chunk.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones((10, 3))
    >>> [(chunk.start, chunk.stop) for chunk in sharedmem.chunks(a, n=4)]
    [(0, 3), (3, 6), (6, 8), (8, 10)]
    >>> for chunk in sharedmem.chunks(a, size=5):
    ...     a[chunk] *= 2
    >>> chunk = sharedmem.chunks(10, size=5, overlap=1)[1]
    >>> chunk.start, chunk.interior.start
    (4, 5)
    """
    shape = check_shape(getattr(shape_or_array, "shape", shape_or_array))
    axes = normalize_axis_tuple(axis, len(shape))
    extents = tuple(shape[a] for a in axes)
    if sum(option is not None for option in (size, n, nbytes)) > 1:
        raise ValueError(f"give at most one of size={size}, n={n}, and nbytes={nbytes}")
    units = tuple(units_of(shape_or_array, shape)[a] for a in axes)
    lengths = tuple(-(-extent // unit) for extent, unit in zip(extents, units, strict=True))
    if n is not None:
        wanted = _check_per_axis("n", n, len(axes), 1)
        counts = tuple(map(min, wanted, lengths))
    else:
        if size is not None:
            sizes = _check_per_axis("size", size, len(axes), 1)
        else:
            nbytes = tuning.chunk_bytes if nbytes is None else nbytes
            (limit,) = _check_per_axis("nbytes", nbytes, 1, 1)
            itemsize = getattr(getattr(shape_or_array, "dtype", None), "itemsize", 8)
            sizes = _sizes_within(limit, extents, units, math.prod(shape) * itemsize)
        counts = tuple(
            -(-length // max(s // unit, 1))
            for length, unit, s in zip(lengths, units, sizes, strict=True)
        )
    return Grid(
        axes if isinstance(axis, Iterable) else axes[0],
        extents,
        counts,
        _check_per_axis("overlap", overlap, len(axes), 0),
        units,
        range(math.prod(counts)),
    )


def bytes_a_chunk(nbytes: int) -> int:
    """Return the size of chunks of an array of `nbytes` bytes, if users do not see the chunks."""
    return min(max(nbytes // tuning.many_chunks, tuning.chunk_bytes), tuning.largest_chunk_bytes)


def has_chunks(a: Any) -> bool:
    """Return whether `a` has `chunks` as arrays in files do: None, or an integer for each axis."""
    if is_labeled(a) or not hasattr(a, "chunks"):
        return False
    return a.chunks is None or _is_chunk_shape(a.chunks, len(a.shape))


def units_of(shape_or_array: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the chunks, or shards, that a file stores an array in."""
    stored = getattr(shape_or_array, "shards", None) or getattr(shape_or_array, "chunks", None)
    # Other classes have methods of this name, or the lengths of all chunks along each axis.
    return tuple(stored) if _is_chunk_shape(stored, len(shape)) else (1,) * len(shape)


def _is_chunk_shape(stored: Any, n_axes: int) -> TypeGuard[tuple[int, ...]]:
    return (
        isinstance(stored, tuple | list)
        and len(stored) == n_axes
        and all(isinstance(length, int | np.integer) for length in stored)
    )


def _sizes_within(
    limit: int, extents: Sequence[int], units: Sequence[int], nbytes: int
) -> tuple[int, ...]:
    """Return the size along each axis of a chunk of at most `limit` bytes."""
    sizes = []
    for extent, unit in zip(extents, units, strict=True):
        size = extent
        if nbytes > limit:
            row = nbytes // extent
            size = max(limit // row // unit, 1) * unit
            nbytes = row * size
        sizes.append(max(size, 1))
    return tuple(sizes)


def _check_per_axis(
    name: str, value: int | Sequence[int], n_axes: int, least: int
) -> tuple[int, ...]:
    """Return one value for each axis; raise if one is below `least`."""
    given = value if isinstance(value, Sequence) else [value] * n_axes
    values = tuple(map(operator.index, given))
    if len(values) != n_axes:
        raise ValueError(f"{name}={value} has {len(values)} entries, but {n_axes} axes are cut")
    if min(values, default=least) < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return values
