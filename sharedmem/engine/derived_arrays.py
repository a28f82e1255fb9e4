"""Arrays computed from others as their chunks are read: masked elements, magnitudes, squares."""

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
    """An array that is computed from `values`, and read like an array in a file."""

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
        """Shape of the chunks in the file of `values`; ones for an array in memory."""
        return units_of(self.values, self.shape) if is_store(self.values) else (1,) * self.ndim

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return the arrays that are read for a region, each with its region."""
        return [(self.values, region)]


@dataclass(frozen=True)
class Masked(_Derived):
    """An array with `fill` in place of the elements for which `mask` is False."""

    mask: Any
    fill: Any

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return the arrays that are read for a region, each with its region."""
        return [(self.values, region), (self.mask, region)]

    def __getitem__(self, region: Region) -> Array:
        """Read a region."""
        chunk: Array = np.where(read(self.mask, region), read(self.values, region), self.fill)
        return chunk


@dataclass(frozen=True)
class Magnitudes(_Derived):
    """The larger magnitude of the real and the imaginary part; NaN if one of them is NaN."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a part."""
        return np.zeros(0, self.values.dtype).real.dtype

    def __getitem__(self, region: Region) -> Array:
        """Read a region."""
        chunk = read(self.values, region)
        magnitudes: Array = np.maximum(np.abs(chunk.real), np.abs(chunk.imag))
        return magnitudes


@dataclass(frozen=True)
class Squares(_Derived):
    """The squares of deviations from a mean."""

    mean: Array

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the squares, which are real."""
        return self.mean.real.dtype

    def reads(self, region: Region) -> list[tuple[Any, Region]]:
        """Return the arrays that are read for a region, each with its region."""
        return [(self.values, region), (self.mean, region)]

    def __getitem__(self, region: Region) -> Array:
        """Read a region."""
        deviations = read(self.values, region) - read(self.mean, region)
        squares: Array = (deviations * deviations.conj()).real
        return squares


def masked(a: Any, where: Any, fill: Any) -> Any:
    """Return `a` with `fill` in place of the elements that the mask `where` leaves out."""
    return Masked(a, as_mask(where, a.shape), np.dtype(a.dtype).type(fill))


def as_mask(where: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask, broadcast to a shape."""
    if getattr(where, "dtype", np.dtype(bool)).kind != "b":
        raise TypeError(f"where must have dtype bool, got {where.dtype}")
    return broadcast(where if is_store(where) else as_ndarray(where, bool), shape)
