"""Fill new segments with zeros, values, copies, and files, in threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.machine.helper_threads import in_threads
from sharedmem.machine.limits import cpu_count
from sharedmem.machine.tuning import tuning
from sharedmem.memory.memory_files import read_into
from sharedmem.memory.segments import Segment

_Index = tuple[int | slice, ...]
# NumPy sets elements of these sizes as fast as memory takes them, and others one by one.
_NUMBER_SIZES = 1, 2, 4, 8, 16


def clear(segment: Segment) -> None:
    """Fill a new segment with zeros."""
    step = tuning.clear_piece_bytes
    if segment.nbytes <= step:
        _clear_piece(segment, 0, segment.nbytes)
        return
    starts = range(0, segment.nbytes, step)
    n_threads = _n_threads(segment.nbytes // step)
    in_threads(lambda start: _clear_piece(segment, start, start + step), starts, n_threads)


def fill(segment: Segment, target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy `source`, broadcast, to `target`, a C-contiguous array in a new segment."""
    is_new = segment.lacks_pages(0, segment.nbytes)
    piece_bytes = tuning.fill_piece_bytes if is_new else tuning.clear_piece_bytes
    if target.nbytes <= piece_bytes:
        _fill_piece(segment, target, source)
        return
    if source.shape != target.shape:
        source = np.broadcast_to(source, target.shape)
    elif source.flags.c_contiguous:
        target, source = target.reshape(-1), source.reshape(-1)

    def fill_piece(index: _Index) -> None:
        _fill_piece(segment, target[(*index, ...)], source[index])

    n_threads = _n_threads(target.nbytes // piece_bytes)
    in_threads(fill_piece, pieces(target, piece_bytes), n_threads)


def fill_value(segment: Segment, target: NDArray[Any], value: Any) -> None:
    """Set all elements of `target`, a C-contiguous array in a new segment, to one value."""
    is_number = target.itemsize in _NUMBER_SIZES
    if target.nbytes <= (tuning.fill_piece_bytes if is_number else tuning.fill_row_bytes):
        _fill_piece(segment, target, value)
        return
    target = target.reshape(-1)
    length = 1 if is_number else max(tuning.fill_row_bytes // target.itemsize, 1)
    row = np.full(length, value, target.dtype)
    n_rows, rest = divmod(target.size, length)
    fill(segment, target[: target.size - rest].reshape(n_rows, length), row)
    target[target.size - rest :] = row[:rest]


def read(segment: Segment, fd: int, offset: int) -> None:
    """Fill a new segment with the bytes of an open file from byte `offset`.

    Raises
    ------
    EOFError
        If the file ends before.
    """
    buffer = segment.buffer

    def read_piece(start: int) -> None:
        stop = min(start + tuning.fill_piece_bytes, segment.nbytes)
        segment.populate(start, stop)
        read_into(fd, buffer[start:stop], offset + start)

    starts = range(0, segment.nbytes, tuning.fill_piece_bytes)
    in_threads(read_piece, starts, _n_threads(len(starts)))


def _clear_piece(segment: Segment, start: int, stop: int) -> None:
    segment.populate(start, stop)
    if not segment.is_zero:  # otherwise the kernel has cleared the pages
        np.asarray(segment)[start:stop].fill(0)


def _fill_piece(segment: Segment, target: NDArray[Any], source: Any) -> None:
    if segment.lacks_pages(0, segment.nbytes):
        start = target.__array_interface__["data"][0] - segment.address
        segment.populate(start, start + target.nbytes)
    np.copyto(target, source, casting="unsafe")


def _n_threads(n_pieces: int) -> int:
    return min(n_pieces, cpu_count()) if n_pieces > 1 else 1


def pieces(array: NDArray[Any], nbytes: int) -> Iterator[_Index]:
    """Yield the indices of pieces of a C-contiguous array, each contiguous and of `nbytes`."""
    axis = 0
    while axis < array.ndim and array.strides[axis] > nbytes:
        axis += 1
    if axis == array.ndim:
        yield from np.ndindex(array.shape)
        return
    step = nbytes // max(array.strides[axis], 1)
    for index in np.ndindex(array.shape[:axis]):
        for start in range(0, array.shape[axis], step):
            yield (*index, slice(start, start + step))
