"""Arrays in .npy and raw files, by where they are: for machines that see the same storage."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class ArrayFile:
    """An array that is mapped from a file, which any process can map again.

    It is read and written like an array of zarr, region by region.

    Attributes
    ----------
    path : str
        The file.
    offset, nbytes : int
        The bytes of the file that the array spans.
    first : int
        Where its first element is in them.
    shape, strides, dtype
        How it lies there.
    is_writable : bool
        Whether it was mapped to be written to.
    chunks : tuple of int
        What regions should begin at multiples of.
    """

    path: str
    offset: int
    nbytes: int
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    is_writable: bool
    chunks: tuple[int, ...]

    @classmethod
    def of(cls, array: Array) -> Self | None:
        """Return where an array, or a view of one, is mapped from; None if it is in memory."""
        owner: Any = array
        mapped = None
        while isinstance(owner, np.ndarray):
            mapped = owner if isinstance(owner, np.memmap) else mapped
            owner = owner.base
        # What is written to a copy-on-write mapping is in no file.
        if mapped is None or not isinstance(mapped.filename, str | os.PathLike):
            return None
        if mapped.mode == "c" or array.size == 0 or array.dtype.hasobject:
            return None
        (low, high), start = byte_bounds(array), byte_bounds(mapped)[0]
        first = array.__array_interface__["data"][0] - low
        return cls(
            os.path.abspath(mapped.filename),  # noqa: PTH100 - the name may be bytes of no path
            mapped.offset + low - start,
            high - low,
            first,
            array.shape,
            array.strides,
            array.dtype,
            array.flags.writeable,
            (1,) * array.ndim,
        )

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=int))

    def map(self) -> Array:
        """Return the array, mapped in this process.

        Raises
        ------
        FileNotFoundError
            If this machine does not see the file.
        """
        mode: Any = "r+" if self.is_writable else "r"
        try:
            mapped = np.memmap(self.path, np.uint8, mode, self.offset, (self.nbytes,))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                errno.ENOENT,
                f"{socket.gethostname()} does not see this file; put it on storage that all "
                "machines of the cluster share, under the same name",
                self.path,
            ) from error
        return np.ndarray(self.shape, self.dtype, mapped, self.first, self.strides)

    def __getitem__(self, region: Any) -> Array:
        """Return a region; its pages are read when they are needed."""
        values: Array = self.map()[region]
        values.flags.writeable = False
        return values

    def __setitem__(self, region: Any, values: Any) -> None:
        """Write a region, so that other machines see it."""
        array: Any = self.map()
        array[region] = values
        array.base.flush()

    def line(self, unit: int) -> Self | None:
        """Return the array as one axis, in the order of the file, if it has no gaps."""
        size = self.size
        if self.nbytes != size * self.dtype.itemsize or min(self.strides, default=0) < 0:
            return None
        return replace(self, shape=(size,), strides=(self.dtype.itemsize,), chunks=(unit,), first=0)
