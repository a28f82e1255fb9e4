"""Segments: pieces of anonymous shared memory, on huge pages where the system allows that."""

from __future__ import annotations

import functools
import mmap
import os
import sys
import time
import weakref
from itertools import repeat, starmap
from typing import Any

import numpy as np

from sharedmem.machine.cpython import remove_if_dead
from sharedmem.machine.freeing import free_with
from sharedmem.machine.limits import total_memory
from sharedmem.machine.proc import mappings
from sharedmem.memory.memory_files import (
    HUGE_PAGE,
    check_file,
    closing,
    create_file,
    map_file,
    mapped_bytes,
)
from sharedmem.memory.syscalls import Mappings, advise, byte_interface, unmap

# Per call of MADV_COLLAPSE: the kernel drains its page lists once in each, so few calls are faster.
_COLLAPSE_BYTES = 16 << 20
_MADV_COLLAPSE = 25

# The live segments of this process, by identity, and by the address of each page (each 2 MiB in
# segments >= 1 MiB), so that a look-up takes two steps. Entries change at any moment and in any
# thread: each step must be a single operation on a dict.
_by_identity: dict[tuple[int, int], weakref.ref[Segment]] = {}
_by_page: dict[int, weakref.ref[Segment]] = {}


class Segment:
    """A piece of anonymous shared memory, freed with the last reference to it.

    Parameters
    ----------
    nbytes : int
        Size in bytes. The memory is zero; the system allocates a page when it is first touched.

    Attributes
    ----------
    nbytes : int
        Size in bytes.
    fd : int
        Descriptor of the memory file. -1 if there is no file: the system has no memfd, or this
        process has no descriptors to spare.
    address : int
        Address of the first byte; a multiple of 2 MiB if the segment has 1 MiB or more.
    identity : tuple of two ints
        The same in all processes that map the segment, and unique to it: device and inode of the
        memory file; without a file, the process and the time at which it was made.

    Raises
    ------
    MemoryError
        If the machine or the control group has less memory.

    Notes
    -----
    A forked process inherits all segments at the same addresses. By the array interface a segment
    is the base of each array on it, so that the last array frees the memory.
    """

    _mappings: Mappings

    def __init__(self, nbytes: int) -> None:
        limit = total_memory() if nbytes >= HUGE_PAGE else nbytes
        if nbytes > limit:
            raise MemoryError(
                f"cannot allocate {nbytes} bytes of shared memory: this machine, or the control "
                f"group of this process, has {limit} bytes; use numpy.memmap for an array in a "
                "file, which all functions of sharedmem accept"
            )
        create_file(self._hold([]), mapped_bytes(nbytes))
        self._map(nbytes)

    @classmethod
    def attach(cls, fd: int, nbytes: int) -> Segment:
        """Return the segment behind a descriptor of another process, and take over `fd`.

        Raises
        ------
        ValueError
            If `fd` is not a memory file of the size that a segment of `nbytes` bytes has.
        """
        segment = cls.__new__(cls)
        cls._hold(segment, [fd])
        check_file(fd, nbytes)
        known = find_identity(identify(os.fstat(fd)))
        if known is not None:
            return known
        cls._map(segment, nbytes)
        return segment

    def _hold(self, descriptors: list[int]) -> list[int]:
        """Arrange that all that the segment will hold of the system is freed with it.

        A signal handler may raise while the segment is made; where Python frees it, what a handler
        raises is lost.
        """
        self._descriptors, self._mappings = descriptors, []
        self._ending = [starmap(unmap, self._mappings), map(os.close, self._descriptors)]
        free_with(self, self._ending)
        return descriptors

    def _map(self, nbytes: int) -> None:
        """Map the file and list the segment."""
        length = mapped_bytes(nbytes)
        self.fd = fd = self._descriptors[0] if self._descriptors else -1
        self.address = map_file(self._mappings, fd, length)
        self.nbytes = nbytes
        self._populated = bytearray(length // HUGE_PAGE)
        self.identity = identify(os.fstat(fd)) if fd >= 0 else (-os.getpid(), time.monotonic_ns())
        step = mmap.PAGESIZE if length % HUGE_PAGE else HUGE_PAGE
        pages = range(self.address, self.address + length, step)
        # Unlisted first: the kernel may give the address to another mapping immediately.
        self._ending[:] = (
            map(remove_if_dead, repeat(_by_page), pages),
            map(remove_if_dead, (_by_identity,), (self.identity,)),
            starmap(unmap, self._mappings),
            *((closing(fd),) if fd >= 0 else ()),
        )
        reference = weakref.ref(self)
        _by_identity[self.identity] = reference
        _by_page.update(dict.fromkeys(pages, reference))

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return byte_interface(self.address, self.nbytes)

    @property
    def buffer(self) -> memoryview:
        """The bytes, writable; the memoryview keeps the segment alive."""
        return np.asarray(self).data

    def lacks_pages(self, start: int, stop: int) -> bool:
        """Return whether :meth:`populate` has something to do."""
        if not self._populated or not supports_collapse():  # it is empty in segments < 1 MiB
            return False
        return 0 in self._populated[start // HUGE_PAGE : -(-stop // HUGE_PAGE)]

    def populate(self, start: int, stop: int) -> None:
        """Allocate the pages of bytes `start` to `stop`, as huge pages; keep their contents.

        Do nothing where the system has no huge pages, and in segments < 1 MiB: their pages are
        allocated one by one when they are touched.
        """
        # Tested first, since the system call waits for all cores.
        if not self.lacks_pages(start, stop):
            return
        stop = min(-(-stop // HUGE_PAGE) * HUGE_PAGE, mapped_bytes(self.nbytes))
        pages = np.asarray(self)
        for first in range(start // HUGE_PAGE * HUGE_PAGE, stop, _COLLAPSE_BYTES):
            last = min(first + _COLLAPSE_BYTES, stop)
            # The kernel refuses a range without any page; reading allocates one.
            pages[first:last:HUGE_PAGE].max()
            if advise(self.address + first, last - first, _MADV_COLLAPSE):
                done = slice(first // HUGE_PAGE, last // HUGE_PAGE)
                self._populated[done] = b"\1" * (done.stop - done.start)


def find_segment(address: int, nbytes: int) -> Segment | None:
    """Return the live segment that contains `nbytes` bytes from `address`, or None."""
    for page in (HUGE_PAGE, mmap.PAGESIZE):
        reference = _by_page.get(address - address % page)
        segment = reference and reference()
        if segment and segment.address <= address <= segment.address + segment.nbytes - nbytes:
            return segment
    return None


def find_identity(identity: tuple[int, int]) -> Segment | None:
    """Return the live segment of this process that has an identity, or None."""
    reference = _by_identity.get(identity)
    return None if reference is None else reference()


def segment_descriptors() -> set[int]:
    """Return the descriptors of all live segments."""
    segments = (reference() for reference in list(_by_identity.values()))
    return {segment.fd for segment in segments if segment is not None}


def identify(status: os.stat_result) -> tuple[int, int]:
    """Return device and inode, which identify a memory file."""
    return status.st_dev, status.st_ino


def is_mapped_shared(start: int, stop: int) -> bool:
    """Return whether writes to these addresses reach other processes, by ``/proc/self/maps``."""
    for first, end, flags, _ in mappings():
        if first <= start < end:
            if b"w" not in flags or b"s" not in flags:
                return False
            start = end
            if stop <= end:
                return True
    return False


@functools.cache
def supports_collapse() -> bool:
    """Return whether the system puts shared memory on huge pages by MADV_COLLAPSE."""
    if sys.platform != "linux":  # the number has another meaning there
        return False
    segment = Segment(HUGE_PAGE)
    np.asarray(segment)[0] = 0
    return advise(segment.address, HUGE_PAGE, _MADV_COLLAPSE)
