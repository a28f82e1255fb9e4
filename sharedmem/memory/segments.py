"""Segments: pieces of anonymous shared memory, on huge pages where the system allows that."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from sharedmem.machine.freeing import step_with
from sharedmem.machine.limits import total_memory
from sharedmem.machine.proc import mappings
from sharedmem.memory import spare_memory
from sharedmem.memory.memory_files import (
    HUGE_PAGE,
    Memory,
    by_identity,
    by_page,
    check_file,
    identify,
    mapped_bytes,
)
from sharedmem.memory.syscalls import advise

# Per call of MADV_COLLAPSE: the kernel drains its page lists once in each, so few calls are faster.
_COLLAPSE_BYTES = 16 << 20
_MADV_COLLAPSE = 25
# Whether that works; None until it is first tried. The number has another meaning elsewhere.
_collapse_works = None if sys.platform == "linux" else False


def _check_limit(nbytes: int) -> None:
    limit = total_memory()
    if nbytes > limit:
        raise MemoryError(
            f"cannot allocate {nbytes} bytes of shared memory: this machine, or the control "
            f"group of this process, has {limit} bytes; use numpy.memmap for an array in a "
            "file, which all functions of sharedmem accept"
        )


class Segment(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes of a piece of anonymous shared memory, freed with the last view of them.

    Parameters
    ----------
    nbytes : int
        Size in bytes. The system allocates a page of new memory when it is first touched.

    Attributes
    ----------
    nbytes : int
        Size in bytes.
    address : int
        Address of the first byte; a multiple of 2 MiB if the segment has 1 MiB or more.
    is_zero : bool
        Whether the segment was made with new memory, which is zero.
    blocks : Blocks, optional
        What is known of its blocks if it is an arena of this process; see `arenas`.

    Raises
    ------
    MemoryError
        If the machine or the control group has less memory.

    Notes
    -----
    A forked process inherits all segments at the same addresses. A segment is the base of each
    array on it, so that the last array frees the memory.
    """

    __slots__ = ("_memory", "_unseen", "address", "blocks", "is_zero")

    _memory: Memory
    # The memory, if it is kept when the segment is freed; empty if others may know it.
    _unseen: list[Memory]
    address: int
    is_zero: bool
    blocks: Any

    def __new__(cls, nbytes: int) -> Segment:
        """Return a segment with memory that was kept, or else with new memory."""
        length = mapped_bytes(nbytes)
        shelf = spare_memory.shelf_of(length)
        # Before there is memory, which a process forked from now on may see.
        moment = spare_memory.moment()
        memory = spare_memory.take(shelf, length) if shelf is not None else None
        is_zero = memory is None
        if memory is None:
            if length >= HUGE_PAGE and length > spare_memory.largest_kept():
                _check_limit(nbytes)
                spare_memory.release()
            memory = spare_memory.create(length)
        unseen = [memory] if shelf is not None else []
        keeping = iter(()) if shelf is None else spare_memory.keeping(unseen, shelf, moment)
        return cls._on(memory, nbytes, is_zero, unseen, keeping)

    @classmethod
    def attach(cls, fd: int, nbytes: int) -> Segment:
        """Return the segment behind a descriptor of another process, and take over `fd`.

        Raises
        ------
        ValueError
            If `fd` is not a memory file of the size that a segment of `nbytes` bytes has.
        """
        memory = Memory([fd])
        check_file(fd, nbytes)
        known = find_identity(identify(os.fstat(fd)))
        if known is not None:
            return known
        memory.map(mapped_bytes(nbytes))
        return cls._on(memory, nbytes, False, [], iter(()))

    @classmethod
    def _on(
        cls,
        memory: Memory,
        nbytes: int,
        is_zero: bool,
        unseen: list[Memory],
        keeping: Iterator[Any],
    ) -> Segment:
        segment = super().__new__(cls, nbytes, np.uint8, memory.bytes)
        segment.address, segment.is_zero = memory.address, is_zero
        segment._memory, segment._unseen, segment.blocks = memory, unseen, None
        memory.segment = step_with(segment, keeping)
        return segment

    @property
    def fd(self) -> int:
        """Descriptor of the memory file, or -1 if there is no file.

        Whoever asks for it may give it to another process, so that the memory is not kept for
        another segment. There is no file if the system has no memfd, or this process no descriptors
        to spare, or has closed this one.
        """
        self._unseen.clear()
        return self._memory.fd if self._memory.has_its_file() else -1

    @property
    def identity(self) -> tuple[int, int]:
        """The same in all processes that map the segment, and unique to it.

        Device and inode of the memory file; without a file, the process and the time at which it
        was made. Memory whose identity is known is not kept for another segment.
        """
        self._unseen.clear()
        return self._memory.identity

    @property
    def buffer(self) -> memoryview:
        """The bytes, writable; the memoryview keeps the segment alive."""
        return self.data

    def lacks_pages(self, start: int, stop: int) -> bool:
        """Return whether :meth:`populate` has something to do."""
        populated = self._memory.populated
        if not populated or _collapse_works is False:  # it is empty in segments < 1 MiB
            return False
        return 0 in populated[start // HUGE_PAGE : -(-stop // HUGE_PAGE)]

    def populate(self, start: int, stop: int) -> None:
        """Allocate the pages of bytes `start` to `stop`, as huge pages; keep their contents.

        Do nothing where the system has no huge pages, and in segments < 1 MiB: their pages are
        allocated one by one when they are touched.
        """
        global _collapse_works
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
                _collapse_works = True
                done = slice(first // HUGE_PAGE, last // HUGE_PAGE)
                self._memory.populated[done] = b"\1" * (done.stop - done.start)
            elif not supports_collapse():
                return


def find_segment(address: int, nbytes: int) -> Segment | None:
    """Return the live segment that contains `nbytes` bytes from `address`, or None."""
    for page in (HUGE_PAGE, mmap.PAGESIZE):
        reference = by_page.get(address - address % page)
        memory = reference and reference()
        segment: Segment | None = memory.segment() if memory else None
        if segment is not None:
            start = address - segment.address
            if 0 <= start <= segment.nbytes - nbytes:
                return segment
    return None


def find_identity(identity: tuple[int, int]) -> Segment | None:
    """Return the live segment of this process that has an identity, or None."""
    reference = by_identity.get(identity)
    memory = reference and reference()
    return memory.segment() if memory else None


def segment_descriptors() -> set[int]:
    """Return the descriptors of all segments, and of what is kept for others."""
    memories = (reference() for reference in list(by_identity.values()))
    return {memory.fd for memory in memories if memory is not None}


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


def supports_collapse() -> bool:
    """Return whether the system puts shared memory on huge pages by MADV_COLLAPSE."""
    global _collapse_works
    if _collapse_works is None:
        segment = Segment(HUGE_PAGE)
        np.asarray(segment)[0] = 0
        _collapse_works = advise(segment.address, HUGE_PAGE, _MADV_COLLAPSE)
    return _collapse_works
