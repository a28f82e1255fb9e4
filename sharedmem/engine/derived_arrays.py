"""Arrays computed from others as their chunks are read: masked elements, magnitudes, squares."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import as_ndarray
from sharedmem.engine.operands import is_store
from sharedmem.engine.regions import Derived, Region, broadcast

Array = NDArray[Any]


def masked(a: Any, where: Any, fill: Any) -> Any:
    """Return `a` with `fill` in place of the elements that the mask `where` leaves out, if any."""
    if where is True:
        return a
    dtype = np.dtype(a.dtype)
    mask = as_mask(where, a.shape)
    return Derived(partial(_masked, dtype.type(fill)), (a, mask), a.shape, dtype)


def _masked(fill: Any, values: Array, mask: Array) -> Array:
    return np.where(mask, values, fill)


def magnitudes(a: Any) -> Any:
    """Return the larger magnitudes of real and imaginary parts; NaN where one of them is NaN."""
    return Derived(_magnitudes, (a,), a.shape, np.zeros(0, a.dtype).real.dtype)


def _magnitudes(values: Array) -> Any:
    return np.maximum(np.abs(values.real), np.abs(values.imag))


def squares(a: Any, mean: Array) -> Any:
    """Return the squares of deviations from the mean, of the same shape as `a`."""
    return Derived(_squares, (a, mean), a.shape, mean.real.dtype)


def _squares(values: Array, mean: Array) -> Any:
    deviations = values - mean
    return (deviations * deviations.conj()).real


class Numbered(Derived):
    """Elements of an array with their numbers in C order, in fields of these names."""

    @classmethod
    def of(cls, a: Any, value: str, number: str) -> Numbered:
        """Return the elements of `a`, numbered."""
        return cls(np.asarray, (a,), a.shape, np.dtype([(value, a.dtype), (number, np.intp)]))

    def computed(self, region: Region, values: Sequence[Array]) -> Array:
        """Return a region, given the values of its elements."""
        pairs = zip(region, self.shape, strict=True)
        starts = [part.indices(n)[0] for part, n in pairs]
        places = np.ogrid[tuple(map(slice, starts, np.add(starts, values[0].shape)))]
        numbered = np.empty(values[0].shape, self.dtype)
        value, number = self.dtype.names or ()
        numbered[value] = values[0]
        numbered[number] = np.ravel_multi_index(places, self.shape)
        return numbered


def as_mask(where: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask, broadcast to a shape."""
    if getattr(where, "dtype", np.dtype(bool)).kind != "b":
        raise TypeError(f"where must have dtype bool, got {where.dtype}")
    return broadcast(where if is_store(where) else as_ndarray(where, bool), shape)
