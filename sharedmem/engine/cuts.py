"""Arrays cut into chunks together: along which axes, and between the chunks of files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from sharedmem.arrays.chunks import Chunk, Grid, chunks, units_of
from sharedmem.engine.operands import is_same_view, named
from sharedmem.engine.regions import Region, overlap
from sharedmem.machine.tuning import tuning

Ints = tuple[int, ...]


class Placed(NamedTuple):
    """An array, and which of its axes are cut.

    Attributes
    ----------
    array : array
    axes : tuple of int
    """

    array: Any
    axes: Ints

    @property
    def lengths(self) -> Ints:
        """Lengths of the axes that are cut."""
        return tuple(self.array.shape[axis] for axis in self.axes)

    @property
    def units(self) -> Ints:
        """Lengths of the chunks of the file along them, 1 for an array in memory."""
        own = units_of(self.array, self.array.shape)
        return tuple(own[axis] for axis in self.axes)

    def nbytes_of(self, sizes: Sequence[int]) -> int:
        """Return how many bytes a chunk of these sizes has."""
        shape = list(self.array.shape)
        for axis, size in zip(self.axes, sizes, strict=True):
            shape[axis] = min(size, shape[axis])
        return int(math.prod(shape) * self.array.dtype.itemsize)

    def region(self, chunk: Chunk) -> Region:
        """Return where a chunk of a grid is in this array."""
        axes = _axes_of(chunk)
        if axes == self.axes:
            return chunk
        region = [slice(None)] * (max(self.axes, default=-1) + 1)
        for axis, at in zip(self.axes, axes, strict=True):
            region[axis] = chunk[at]
        return tuple(region)


def place(arrays: Sequence[Any], axis: Any, grid: Grid | None = None) -> list[Placed]:
    """Return the axes along which each of several arrays is cut, so that their chunks correspond.

    Parameters
    ----------
    arrays : sequence of array
    axis : int, or tuple with an entry for each array
        An entry is an axis, or a tuple of them for a grid that cuts several.
    grid : Grid, optional
        Chunks that the user has made. With ``axis=0``, all arrays are cut along its axes.

    Raises
    ------
    ValueError
        If the arrays cannot be cut together: one number means different things in arrays of
        different dimension, unless they have the first axes, or counted from the end the last
        ones, in common.
    """
    by_grid = grid is not None and isinstance(axis, int) and axis == 0
    entries = axis
    if not isinstance(axis, tuple):
        entries = (_axes_of(grid) if by_grid else axis,) * len(arrays)  # type: ignore[arg-type]
        _check_dimensions(arrays, entries[0])
    elif len(axis) != len(arrays):
        raise ValueError(
            f"axis={axis} has {len(axis)} entries for {len(arrays)} arrays: give an entry for "
            "each array, those of out last; to cut along several axes, give "
            "chunks=sharedmem.chunks(a, axes)"
        )
    placed = [_placed(a, entry) for a, entry in zip(arrays, entries, strict=True)]
    if len({part.lengths for part in placed}) > 1 and not by_grid:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(
            f"arrays of shapes {shapes} cannot be cut together along axis {axis}: they must have "
            "the same length along it"
        )
    for part in placed:
        if grid is not None and part.lengths != grid.extents:
            raise ValueError(
                f"the chunks are those of lengths {grid.extents} along axes {part.axes}, not of "
                f"an array of shape {part.array.shape}; make them with sharedmem.chunks(a)"
            )
    if grid is not None and isinstance(axis, int) and _axes_of(grid) != placed[0].axes:
        raise ValueError(f"axis={axis}, but the chunks are cut along {_axes_of(grid)}")
    return placed


def check_apart(inputs: Sequence[Placed], outs: Sequence[Placed]) -> None:
    """Refuse outputs that share memory with each other, or with an input cut at other places."""
    for at, out in enumerate(outs):
        for other in (*inputs, *outs[:at]):
            if not _is_same(other, out) and overlap(other.array, out.array):
                raise ValueError(
                    f"{named(out.array, 'an array that is written to')} shares memory with another "
                    f"array, of shape {other.array.shape}, whose chunks are at other places; give "
                    "a separate array as out, such as sharedmem.empty_like(a)"
                )


def _is_same(a: Placed, b: Placed) -> bool:
    """Return whether two arrays with elements in common have the same in each chunk."""
    is_view = isinstance(a.array, np.ndarray) and isinstance(b.array, np.ndarray)
    return a.axes == b.axes and (not is_view or is_same_view(a.array, b.array))


def _placed(a: Any, entry: Any) -> Placed:
    try:
        return Placed(a, normalize_axis_tuple(entry, len(a.shape)))
    except ValueError:
        raise ValueError(f"axis {entry} is not in an array of shape {a.shape}") from None


def _check_dimensions(arrays: Sequence[Any], entry: Any) -> None:
    """Refuse one number for arrays in which it means different axes."""
    axes = entry if isinstance(entry, tuple) else (entry,)
    are_common = {*axes} == {*range(len(axes))} or all(axis < 0 for axis in axes)
    if len({len(a.shape) for a in arrays}) > 1 and not are_common:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(
            f"axis {entry} is ambiguous for arrays of different dimensions, of shapes {shapes}: "
            "give an axis for each, those of out last, such as axis=(1, 0), or a negative axis, "
            "which is counted from the end of each shape"
        )


def _axes_of(grid: Grid | Chunk) -> Ints:
    return (grid.axis,) if isinstance(grid.axis, int) else grid.axis


def cut(
    guide: Any,
    axes: Iterable[int],
    outs: Iterable[Any],
    inputs: Iterable[Any],
    nbytes: int | None = None,
) -> Grid:
    """Cut arrays of one shape along the same axes; see :func:`cut_placed`."""
    axes = tuple(axes)
    written, seen = ([Placed(part, axes) for part in parts] for parts in (outs, inputs))
    return cut_placed(Placed(guide, axes), written, seen, nbytes)


def cut_placed(
    guide: Placed, outs: Iterable[Placed], inputs: Iterable[Placed], nbytes: int | None = None
) -> Grid:
    """Cut arrays together between the chunks of the files that they are in.

    Parameters
    ----------
    guide : Placed
        The one that `nbytes` is about, which the grid is one of.
    outs : iterable of Placed
        The arrays to write: no two tasks write the same chunk of a file.
    inputs : iterable of Placed
        The arrays to read: each chunk of a file once, if chunks do not get too large.
    nbytes : int, optional
        As for :func:`sharedmem.chunks`.

    Raises
    ------
    ValueError
        If two outputs are stored in chunks so different that tasks would be huge.
    """
    units = (1,) * len(guide.axes)
    for is_out, part in [(True, part) for part in outs] + [(False, part) for part in inputs]:
        joint = tuple(
            min(math.lcm(unit, own), max(length, 1))
            for unit, own, length in zip(units, part.units, guide.lengths, strict=True)
        )
        largest = max(tuning.joint_chunk_bytes, *map(guide.nbytes_of, (part.units, units)))
        if guide.nbytes_of(joint) <= largest:
            units = joint
        elif is_out:
            own = units_of(part.array, part.array.shape)
            raise ValueError(
                f"outputs in files with chunks of {own} and of other shapes have no common chunks "
                f"below {tuning.joint_chunk_bytes} bytes; store them in chunks of the same shape"
            )
    return _grid(tuple(guide.array.shape), np.dtype(guide.array.dtype), guide.axes, units, nbytes)


# Otherwise cutting takes a large part of a small call.
@lru_cache(256)
def _grid(shape: Ints, dtype: np.dtype[Any], axes: Ints, units: Ints, nbytes: int | None) -> Grid:
    whole = [1] * len(shape)
    for at, unit in zip(axes, units, strict=True):
        whole[at] = unit
    seen = SimpleNamespace(shape=shape, dtype=dtype, chunks=whole)
    return chunks(seen, axes, nbytes=nbytes)


def check_cut(grid: Grid, outs: Iterable[Placed]) -> None:
    """Refuse a user's grid by which two tasks would write to one chunk of a file."""
    for out in outs:
        steps = map(_steps, grid.extents, grid.counts, grid.units)
        for at, own, sizes in zip(out.axes, out.units, steps, strict=True):
            if any(size % own for size in sizes):
                raise ValueError(
                    f"the chunks cut those of a file, {units_of(out.array, out.array.shape)}, "
                    f"along axis {at}, so that two tasks would write to the same one; make them "
                    "with sharedmem.chunks(out, ...)"
                )


def _steps(extent: int, count: int, unit: int) -> set[int]:
    """Return the sizes along an axis of all chunks of a grid but the last."""
    size, n_longer = divmod(-(-extent // unit), max(count, 1))
    return {(size + (at < n_longer)) * unit for at in {0, count - 2} if at in range(count - 1)}
