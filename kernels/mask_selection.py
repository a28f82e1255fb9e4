"""Elements and indices selected by a mask, of which parts are written independently."""

from __future__ import annotations

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import on_stack
from sharedmem.kernels.loops.layout import Array

# The number of elements of a mask that are skipped together if none of them is set.
RUN = 32
# Elements of these sizes are copied as unsigned integers.
WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@kernel
def count(mask: Array) -> int:
    """Return the number of nonzero elements of a mask."""
    total = 0
    for i in range(len(mask)):
        total += mask[i] != 0
    return total


@part
def _is_empty(mask: Array) -> bool:
    bits = np.uint8(0)
    for i in range(len(mask)):
        bits |= mask[i]
    return bits == 0  # type: ignore[no-any-return, unused-ignore]


@kernel
def keep(mask: Array, x: Array, out: Array) -> None:
    """Write the elements that the mask selects to `out`, which has exactly that size.

    An element that is not selected is overwritten by the next one: there is no branch, which would
    be mispredicted for every second element of a random mask.
    """
    at = 0
    for first in range(0, len(mask), RUN):
        run, elements = mask[first : first + RUN], x[first : first + RUN]
        if _is_empty(run):
            continue
        if at + len(run) <= len(out):
            target = out[at : at + len(run)]
            n_kept = np.uintp(0)
            for i in range(len(run)):
                target[n_kept] = elements[i]
                n_kept += np.uintp(run[i] != 0)
            at += int(n_kept)
        else:
            for i in range(len(run)):
                if run[i] and at < len(out):
                    out[at] = elements[i]
                    at += 1


_axes = on_stack(64)  # the most axes that NumPy allows


@kernel
def locate(mask: Array, first: int, shape: Array, out: Array) -> None:
    """Write the indices that a part of a mask selects, those of one axis to each row of `out`.

    Parameters
    ----------
    mask : ndarray
        Part of the flat mask.
    first : int
        The flat index of its first element.
    shape : ndarray of int
        The shape of the whole mask.
    out : ndarray, shape (n_axes, n_selected)
    """
    last = len(shape) - 1
    index = _axes(np.int64)
    for axis in range(last, -1, -1):
        index[axis] = first % shape[axis]
        first //= shape[axis]
    at = i = 0
    while i < len(mask):
        stop = min(len(mask), i + shape[last] - index[last])
        before = at
        at = _locate_in_row(mask[i:stop], index[last], out[last], at)
        for axis in range(last):
            out[axis, before:at] = index[axis]
        i = stop
        index[last] = 0
        axis = last - 1
        while axis >= 0:
            index[axis] += 1
            if index[axis] < shape[axis]:
                break
            index[axis] = 0
            axis -= 1


@part
def _locate_in_row(mask: Array, first_index: int, out: Array, at: int) -> int:
    for first in range(0, len(mask), RUN):
        run = mask[first : first + RUN]
        if _is_empty(run):
            continue
        index = first_index + first
        if at + len(run) <= len(out):
            target = out[at : at + len(run)]
            n_found = np.uintp(0)
            for i in range(len(run)):
                target[n_found] = index + i
                n_found += np.uintp(run[i] != 0)
            at += int(n_found)
        else:
            for i in range(len(run)):
                if run[i] and at < len(out):
                    out[at] = index + i
                    at += 1
    return at
