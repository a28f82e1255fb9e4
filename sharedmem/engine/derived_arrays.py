"""Arrays of which only some elements take part in a reduction, read chunk by chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import units_of
from sharedmem.arrays.conversion import as_ndarray
from sharedmem.engine.operands import is_store
from sharedmem.engine.regions import Region, broadcast, read

Array = NDArray[Any]


@dataclass(frozen=True)
class _Derived:
    """What is computed from an array when a chunk of it is read, like a file."""

    values: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of elements along each axis."""
        shape: tuple[int, ...] = self.values.shape
        return shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        dtype: np.dtype[Any] = np.dtype(self.values.dtype)
        return dtype

    @property
    def nbytes(self) -> int:
        """Size of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the chunks in the file that the values come from; ones without a file."""
        return units_of(self.values, self.shape) if is_store(self.values) else (1,) * self.ndim


@dataclass(frozen=True)
class Masked(_Derived):
    """An array with `fill` in the place of the elements that take no part."""

    mask: Any
    fill: Any

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return what is read for a region."""
        return [(self.values, region), (self.mask, region)]

    def __getitem__(self, region: Region) -> Array:
        """Read a region."""
        chunk: Array = np.where(read(self.mask, region), read(self.values, region), self.fill)
        return chunk


@dataclass(frozen=True)
class Sizes(_Derived):
    """The larger part of each complex number, without its sign; NaN where one part is."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a part."""
        return np.zeros(0, self.values.dtype).real.dtype

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return what is read for a region."""
        return [(self.values, region)]

    def __getitem__(self, region: Region) -> Array:
        """Read a region."""
        chunk = read(self.values, region)
        sizes: Array = np.maximum(np.abs(chunk.real), np.abs(chunk.imag))
        return sizes


@dataclass(frozen=True)
class Squares(_Derived):
    """The squared distances of elements from their mean."""

    mean: Array

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the squares: a real one."""
        return self.mean.real.dtype

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return what is read for a region."""
        return [(self.values, region), (self.mean, region)]

    def __getitem__(self, region: Region) -> Array:
        """Read a region."""
        distances = read(self.values, region) - read(self.mean, region)
        squares: Array = (distances * distances.conj()).real
        return squares


def masked(a: Array, where: Any, fill: Any) -> Array:
    """Return `a` with `fill` where the mask is False; `a` itself if the mask is ``True``."""
    if where is True:
        return a
    # It is read like an array in a file, which is what as_array calls an Array, too.
    part: Array = Masked(a, as_mask(where, a.shape), np.dtype(a.dtype).type(fill))  # type: ignore[assignment]
    return part


def as_mask(where: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask with the shape `shape`."""
    if getattr(where, "dtype", np.dtype(bool)).kind != "b":
        raise TypeError(f"where must be an array of bool, got one of {where.dtype}")
    return broadcast(where if is_store(where) else as_ndarray(where, bool), shape)
