"""Regions of arrays in memory and in files: read for a kernel, cut together, and written once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.chunks import DEFAULT_CHUNK_BYTES, Grid, chunks, units_of
from sharedmem.operands import is_store

Array = NDArray[Any]
Region = tuple[slice, ...]

# Files with chunks of different shapes are cut where all of them are, unless that takes this much.
_LARGEST_JOINT_CHUNK = 8 * DEFAULT_CHUNK_BYTES


def read(part: Any, region: Region) -> Any:
    """Return a region of an array: a view, or what is read from its file."""
    if not is_store(part):
        return part[(*region, ...)]
    if not all(_lengths(part, region)):  # which not all formats can read
        return np.empty(_lengths(part, region), part.dtype)
    values = np.asarray(part[tuple(map(forward, region))])
    steps: Any = [slice(None, None, part.step) for part in region]
    return values[(*steps, ...)]


def room(part: Any, region: Region) -> Any:
    """Return where a kernel writes: a view, or what is then written to the file."""
    if not is_store(part):
        return part[(*region, ...)]
    return np.empty(_lengths(part, region), part.dtype)


def write(part: Any, region: Region, values: Any) -> None:
    """Write what is in a :func:`room` to the file, if it is one of a file."""
    if is_store(part) and values.size:
        part[tuple(region)] = values


@dataclass(frozen=True)
class Spread:
    """An array in a file, broadcast: what is read of it is no more than it has."""

    store: Any
    shape: tuple[int, ...]

    def __getitem__(self, region: Region) -> Array:
        """Read a region."""
        return np.broadcast_to(read(self.store, self.own(region)), _lengths(self, region))

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return what is read for a region."""
        return [(self.store, self.own(region))]

    def own(self, region: Region) -> Region:
        """Return what is read of the file for a region."""
        whole = (*region, *[slice(None)] * (self.ndim - len(region)))
        return tuple(
            slice(None) if n == 1 else part
            for n, part in zip(self.store.shape, whole[self._n_added :], strict=True)
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        dtype: np.dtype[Any] = np.dtype(self.store.dtype)
        return dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of what the array is broadcast to."""
        return int(math.prod(self.shape) * self.dtype.itemsize)

    @cached_property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the chunks in the file; 1 along the axes that it is broadcast along."""
        return (1,) * self._n_added + units_of(self.store, self.store.shape)

    @property
    def _n_added(self) -> int:
        return len(self.shape) - len(self.store.shape)


def broadcast(a: Any, shape: tuple[int, ...]) -> Any:
    """Return an array with the shape `shape`."""
    if is_store(a):
        return Spread(a, shape)
    return a if a.shape == shape else np.broadcast_to(a, shape)


def is_same_store(a: Any, b: Any) -> bool:
    """Say whether two objects are one array in a file."""
    if not (is_store(a) and is_store(b)):
        return False
    paths = [getattr(store, "store_path", None) for store in (a, b)]  # of zarr
    if None not in paths:
        return bool(paths[0] == paths[1])
    return a is b or (type(a) is type(b) and bool(a == b))


@dataclass(frozen=True)
class _Cut:
    """An array as :func:`sharedmem.chunks` sees it, with chunks that suit several files."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]


def cut(
    first: Any,
    axis: int | Sequence[int],
    outs: Iterable[Any],
    inputs: Iterable[Any],
    nbytes: int | None = None,
) -> Grid:
    """Cut arrays together between the chunks of the files that they are in.

    Parameters
    ----------
    first : array
        The one that `nbytes` is about.
    axis : int or sequence of int
        What is cut, in all arrays.
    outs : iterable of array
        What is written: no chunk of a file by two tasks.
    inputs : iterable of array
        What is read: each chunk of a file once, if that does not make chunks too large.
    nbytes : int, optional
        As for :func:`sharedmem.chunks`.

    Raises
    ------
    ValueError
        If two outputs are stored in chunks so different that tasks would be huge.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    units = (1,) * len(first.shape)
    for is_out, part in [(True, a) for a in outs] + [(False, a) for a in inputs]:
        if not is_store(part):
            continue
        own = units_of(part, part.shape)
        joint = list(units)
        for at in axes:
            joint[at] = min(math.lcm(units[at], own[at]), max(first.shape[at], 1))
        if _nbytes(first, axes, joint) <= max(
            _LARGEST_JOINT_CHUNK, _nbytes(first, axes, own), _nbytes(first, axes, units)
        ):
            units = tuple(joint)
        elif is_out:
            raise ValueError(
                f"outputs in files that are stored in chunks of {own} and others have no common "
                f"chunks below {_LARGEST_JOINT_CHUNK} bytes; store them in chunks of one shape"
            )
    guide = _Cut(tuple(first.shape), np.dtype(first.dtype), units)
    return _grid(guide, axis if isinstance(axis, int) else axes, nbytes)


# Under a profiler, to cut takes 18 us of a small call with this, and 57 of 378 without.
@lru_cache(256)
def _grid(guide: _Cut, axis: int | tuple[int, ...], nbytes: int | None) -> Grid:
    return chunks(guide, axis, nbytes=nbytes)


def check_cut(grid: Grid, outs: Iterable[Any]) -> None:
    """Refuse a user's grid by which two tasks would write to one chunk of a file."""
    axes = (grid.axis,) if isinstance(grid.axis, int) else grid.axis
    for out in filter(is_store, outs):
        own = units_of(out, out.shape)
        for at, count, unit in zip(axes, grid.counts, grid.units, strict=True):
            if count > 1 and unit % own[at]:
                raise ValueError(
                    f"the chunks cut those of a file, {own}, along axis {at}, so that two tasks "
                    "would write to one; make them by sharedmem.chunks(out, ...) of that array"
                )


def _nbytes(first: Any, axes: Sequence[int], units: Sequence[int]) -> int:
    shape = [units[at] if at in axes else n for at, n in enumerate(first.shape)]
    return int(math.prod(map(min, shape, first.shape)) * first.dtype.itemsize)


def _lengths(part: Any, region: Region) -> tuple[int, ...]:
    lengths = [len(range(n)[where]) for n, where in zip(part.shape, region, strict=False)]
    return (*lengths, *part.shape[len(lengths) :])


def forward(part: slice) -> slice:
    """Return the same elements with a step forward, which is how files are read."""
    if part.step != -1:
        return part
    return slice(0 if part.stop is None else part.stop + 1, part.start + 1)
