"""Regions of arrays in memory and in files: read for a kernel, and written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import units_of
from sharedmem.arrays.conversion import as_ndarray
from sharedmem.engine.operands import common_shape, is_dask, is_store

Array = NDArray[Any]
Region = tuple[slice, ...]


def read(part: Any, region: Region) -> Any:
    """Return a region of an array: a view, or the values read from its file."""
    if not is_store(part):
        return part[(*region, ...)]
    if not all(_lengths(part, region)):  # not all formats can read empty regions
        return np.empty(_lengths(part, region), part.dtype)
    values = as_ndarray(part[tuple(map(forward, region))])
    steps: Any = [slice(None, None, part.step) for part in region]
    return values[(*steps, ...)]


def as_given(a: Array, n_loop: int) -> Array:
    """Return an input without its repeated elements, which NumPy would cast one by one.

    NumPy's ``power(x, [2])`` has other bits than a power of as many exponents.
    """
    if 0 not in a.strides[:n_loop]:
        return a
    steps = zip(a.strides[:n_loop], a.shape, strict=False)
    return a[tuple(slice(1 if step == 0 and n else None) for step, n in steps)]


def room(part: Any, region: Region) -> Any:
    """Return the array that a kernel writes to: a view, or a buffer for :func:`write`."""
    if not is_store(part):
        return part[(*region, ...)]
    return np.empty(_lengths(part, region), part.dtype)


def write(part: Any, region: Region, values: Any) -> None:
    """Write the buffer of a :func:`room` to the file, if there is one."""
    if is_store(part) and values.size:
        part[tuple(region)] = values


@dataclass(frozen=True)
class Derived:
    """An array computed from others as its regions are read, and read like an array in a file.

    Attributes
    ----------
    func : callable
        Returns a region, given those of the sources.
    sources : tuple of array
        What it is computed from.
    shape, dtype
        Those of an array.
    """

    func: Callable[..., Any]
    sources: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, region: Region) -> Any:
        """Read a region."""
        return self.computed(region, [read(a, own) for a, own in self.reads(region)])

    def computed(self, region: Region, values: Sequence[Array]) -> Any:
        """Return a region, given what is read for it."""
        return self.func(*values)

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return the arrays that are read for a region, each with its region."""
        return [(a, region) for a in self.sources]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the chunks in the file of the first source; 1 along axes that it lacks."""
        shape = self.sources[0].shape
        return (1,) * (self.ndim - len(shape)) + units_of(self.sources[0], shape)


class Spread(Derived):
    """An array in a file, broadcast: each element is read from the file once."""

    def computed(self, region: Region, values: Sequence[Array]) -> Array:
        """Return a region, given what is read for it."""
        return np.broadcast_to(super().computed(region, values), _lengths(self, region))

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return the array in the file, and the region of it that is read for a region."""
        (store,) = self.sources
        whole = (*region, *[slice(None)] * (self.ndim - len(region)))
        parts = zip(store.shape, whole[self.ndim - len(store.shape) :], strict=True)
        return [(store, tuple(slice(None) if n == 1 else part for n, part in parts))]


class Reader:
    """Reads regions of arrays, each region once, for a task that needs some several times."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def __call__(self, part: Any, region: Region) -> Any:
        """Return a region of an array, which must live as long as this reader."""
        key = id(part), *((where.start, where.stop, where.step) for where in region)
        if key not in self._known:
            if isinstance(part, Derived):
                values = [self(source, own) for source, own in part.reads(region)]
                self._known[key] = as_ndarray(part.computed(region, values))
            else:
                self._known[key] = read(part, region)
        return self._known[key]


def reads_dask(a: Any) -> bool:
    """Return whether `a` is a dask array, or derived from one."""
    return is_dask(a) or (isinstance(a, Derived) and any(map(reads_dask, a.sources)))


def broadcast(a: Any, shape: tuple[int, ...]) -> Any:
    """Return an array with the shape `shape`."""
    if is_store(a):
        return Spread(np.asarray, (a,), shape, np.dtype(a.dtype))
    return a if a.shape == shape else np.broadcast_to(a, shape)


def broadcast_together(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Return arrays, broadcast against each other; raise ValueError if their shapes differ."""
    if len(arrays) == 1:
        return tuple(arrays)
    shape = common_shape([tuple(a.shape) for a in arrays])
    return tuple(a if a.shape == shape else broadcast(a, shape) for a in arrays)


def overlap(a: Any, b: Any) -> bool:
    """Return whether two arrays share memory, or are the same array in a file."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.shares_memory(a, b)
    return is_same_store(a, b)


def is_same_store(a: Any, b: Any) -> bool:
    """Return whether two objects are the same array in a file."""
    if not (is_store(a) and is_store(b)):
        return False
    paths = [getattr(store, "store_path", None) for store in (a, b)]  # of zarr
    if None not in paths:
        return bool(paths[0] == paths[1])
    equal = a is b or (type(a) is type(b) and a == b)
    return equal is True  # and not an array of comparisons


def _lengths(part: Any, region: Region) -> tuple[int, ...]:
    lengths = [len(range(n)[where]) for n, where in zip(part.shape, region, strict=False)]
    return (*lengths, *part.shape[len(lengths) :])


def forward(part: slice) -> slice:
    """Return a slice of the same elements with a positive step, as files need it."""
    if part.step != -1:
        return part
    return slice(0 if part.stop is None else part.stop + 1, part.start + 1)
