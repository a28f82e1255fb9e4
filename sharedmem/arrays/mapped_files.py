"""Arrays in .npy and raw files, by where they are: for machines that see the same storage."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.arrays.strides import root_of
from sharedmem.machine.proc import mappings
from sharedmem.memory.segment_keys import boot
from sharedmem.memory.syscalls import allocate_on_disk

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
        Whether the mapping is writable.
    chunks : tuple of int
        Regions should start at multiples of these.
    boot, inode : str, int
        The machine that has mapped the file, and what it calls the file, whose name may be given to
        another one.
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
    boot: str
    inode: int

    @classmethod
    def of(cls, array: Array) -> Self | None:
        """Return where an array, or a view of one, is mapped from; None if it is in memory.

        Raises
        ------
        ValueError
            If another file has taken the name of the one that it is mapped from.
        """
        mapped = root_of(array)
        if not isinstance(mapped, np.memmap) or not isinstance(mapped.filename, str | os.PathLike):
            return None
        # Writes to a copy-on-write mapping do not reach the file.
        if mapped.mode == "c" or array.size == 0 or array.dtype.hasobject:
            return None
        (low, high), start = byte_bounds(array), byte_bounds(mapped)[0]
        first = array.__array_interface__["data"][0] - low
        path = os.path.abspath(mapped.filename)  # noqa: PTH100 - the name may be bytes of no path
        return cls(
            path,
            mapped.offset + low - start,
            high - low,
            first,
            array.shape,
            array.strides,
            array.dtype,
            array.flags.writeable,
            (1,) * array.ndim,
            boot(),
            _inode_of(path, low),
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
        ValueError
            If another file has taken its name.
        """
        mode: Any = "r+" if self.is_writable else "r"
        try:
            with open(self.path, "rb+" if self.is_writable else "rb") as file:
                if boot() == self.boot and os.fstat(file.fileno()).st_ino != self.inode:
                    raise _replaced(self.path)
                mapped = np.memmap(file, np.uint8, mode, self.offset, (self.nbytes,))
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
        return read_only(self.map()[region])

    def __setitem__(self, region: Any, values: Any) -> None:
        """Write a region, so that other machines see it."""
        array: Any = self.map()
        array[region] = values
        array.base.flush()

    def line(self, unit: int) -> Self | None:
        """Return the array as one axis, in the order of the file, if it has no gaps."""
        step = self.dtype.itemsize
        for stride, length in sorted(zip(self.strides, self.shape, strict=True)):
            if length > 1 and stride != step:
                return None
            step *= length
        itemsize = self.dtype.itemsize
        return replace(self, shape=(self.size,), strides=(itemsize,), chunks=(unit,), first=0)


def _inode_of(path: str, address: int) -> int:
    """Return the inode of a file, and refuse one that is not the one that is mapped."""
    try:
        inode = Path(path).stat().st_ino
    except OSError:  # removed, as far as we see: whoever maps it says so
        return 0
    for first, end, _, rest in mappings():
        if first <= address < end:
            _, _, mapped, *name = rest.split(maxsplit=3)
            # Either may differ for one file: some file systems have numbers, or names, for layers.
            is_named = os.fsdecode(b"".join(name).strip()) == os.path.realpath(path)
            if int(mapped) != inode and not is_named:
                raise _replaced(path)
    return inode


def _replaced(path: str) -> ValueError:
    return ValueError(
        f"{path} has been replaced by another file since an array was mapped from it, which "
        "workers would read instead: map it again"
    )


def reserve(array: Any) -> None:
    """Allocate the disk space of an array in a mapped file; do nothing for other objects.

    Writing to a page for which a full disk has no space raises SIGBUS, which ends the process.

    Raises
    ------
    OSError
        If there is no space.
    """
    root = root_of(array) if isinstance(array, np.ndarray) else None
    if not isinstance(root, np.memmap) or not root.filename or root.mode not in ("r+", "w+"):
        return
    first, last = (end - byte_bounds(root)[0] + root.offset for end in byte_bounds(array))
    try:
        with open(root.filename, "rb+") as file:
            status = os.fstat(file.fileno())
            if status.st_blocks * 512 < status.st_size and first < last <= status.st_size:
                allocate_on_disk(file.fileno(), first, last - first)
    except OSError as error:  # The file may have moved, or the file system not support this.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
