"""Reducing the middle axis of (n_outer, n, n_inner) at memory speed, whatever is reduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import kernel

# A long line of contiguous elements is reduced in this many lanes side by side, which are folded at
# its end: enough to fill the vector units of any machine and to hide the latency of additions.
LANES = 64
# Shorter lines are reduced in this many lanes, which are folded for a batch of lines at once.
NARROW = 8
BATCH = 64
LONG = 1024
# Lines shorter than this are turned in batches, to be reduced side by side.
SHORT = 32

Array = NDArray[Any]
# An index of this type is never negative: the compiler need not look whether it counts from the
# end. It costs a third of the time of a slice, both to run and to compile.
index = np.uint64


class LineKernel(NamedTuple):
    """The kernels of a family: for lines side by side, and for lines of contiguous elements."""

    columns: Callable[..., None]
    rows: Callable[..., None]


def line_kernel(
    adder: Callable[[int], Callable[..., None]], fold: Callable[..., None], n_rows: int = 16
) -> LineKernel:
    """Make the kernels of a family from kernels that work on lanes.

    Parameters
    ----------
    adder : callable
        Makes the kernel ``add_rows(x, start, n, stride, state, at, width, scratch)``, which adds
        the `n` rows ``x[start + i * stride :][:width]`` to the lanes ``state[:, at : at + width]``,
        for a known `width` or, if that is zero, for any up to LANES. Where the compiler knows the
        width, it needs no loops over what vectors leave over. A row of `scratch` has room for
        LANES elements.
    fold : kernel
        ``fold(state, half)`` combines each lane below `half` with the lane `half` above it.
    n_rows : int
        Columns are reduced in blocks of so many rows, so that memory is read in long runs.
    """
    return LineKernel(_column_kernel(adder, fold, n_rows), _row_kernel(adder, fold))


@kernel
def _fill(lanes: Array, n: int, state: Array, at: int) -> None:
    """Give the first `n` lanes a state."""
    for s in range(len(state)):
        for lane in range(n):
            lanes[s, lane] = state[s, at]


@kernel
def _copy(lanes: Array, n: int, state: Array, at: int) -> None:
    """Give the `n` states from `at` on the first lanes."""
    for s in range(len(state)):
        for lane in range(n):
            state[s, at + lane] = lanes[s, lane]


@kernel
def _turn(x: Array, p: int, outer_stride: int, n: int, n_lines: int, turned: Array) -> None:
    """Put lines of `n` elements from `p` on side by side."""
    for line in range(n_lines):
        for i in range(n):
            turned[i * BATCH + line] = x[index(p + i)]
        p += outer_stride


def _column_kernel(
    adder: Callable[[int], Callable[..., None]], fold: Callable[..., None], n_rows: int
) -> Callable[..., None]:
    """Make the kernel for lines that lie side by side, as columns do."""
    add_wide, add_any = adder(LANES), adder(0)

    @kernel
    def reduce_columns(
        x: Array,
        start: int,
        outer_stride: int,
        n: int,
        stride: int,
        n_inner: int,
        groups: int,
        lanes: Array,
        scratch: Array,
        state: Array,
    ) -> None:
        for outer in range(state.shape[1] // n_inner):
            first = start + outer * outer_stride
            at = outer * n_inner
            if groups == 1:
                for row in range(0, n, n_rows):
                    rows = min(n_rows, n - row)
                    p = first + row * stride
                    for column in range(0, n_inner, LANES):
                        width = min(LANES, n_inner - column)
                        if width == LANES:
                            add_wide(
                                x, p + column, rows, stride, state, at + column, width, scratch
                            )
                        else:
                            add_any(x, p + column, rows, stride, state, at + column, width, scratch)
                continue
            width = groups * n_inner
            _fill(lanes, width, state, at)
            rows = n // groups
            add_any(x, first, rows, width, lanes, 0, width, scratch)
            rest = n * n_inner - rows * width
            if rest > 0:
                add_any(x, first + rows * width, 1, width, lanes, 0, rest, scratch)
            while width > n_inner:
                width //= 2
                fold(lanes, width)
            _copy(lanes, n_inner, state, at)

    return reduce_columns


def _row_kernel(
    adder: Callable[[int], Callable[..., None]], fold: Callable[..., None]
) -> Callable[..., None]:
    """Make the kernel for lines of contiguous elements."""
    add_wide, add_narrow = adder(LANES), adder(NARROW)

    @kernel
    def reduce_rows(
        x: Array,
        start: int,
        outer_stride: int,
        n: int,
        wide: Array,
        lanes: Array,
        batch: Array,
        turned: Array,
        readable: Array,
        scratch: Array,
        state: Array,
    ) -> None:
        n_outer = state.shape[1]
        width = LANES if n >= LONG else NARROW
        rows = n // width if n >= SHORT else 0
        for first in range(0, n_outer, BATCH):
            n_lines = min(BATCH, n_outer - first)
            p = start + first * outer_stride
            _fill(batch, BATCH, state, first)
            _fill(lanes, NARROW * BATCH if rows else 0, state, first)
            for line in range(n_lines if rows else 0):
                q = p + line * outer_stride
                if width == NARROW:
                    add_narrow(x, q, rows, NARROW, lanes, line * NARROW, NARROW, scratch)
                    continue
                _fill(wide, LANES, state, first)
                add_wide(x, q, rows, LANES, wide, 0, LANES, scratch)
                half = LANES
                while half > NARROW:
                    half //= 2
                    fold(wide, half)
                _copy(wide, NARROW, lanes, line * NARROW)
            if rows:
                for s in range(len(state)):
                    _turn(lanes[s], 0, NARROW, NARROW, n_lines, batch[s])
                half = NARROW * BATCH
                while half > BATCH:
                    half //= 2
                    fold(batch, half)
            for done in range(rows * width, n, SHORT):
                some = min(n - done, SHORT)
                _turn(x, p + done, outer_stride, some, n_lines, turned)
                add_wide(readable, 0, some, BATCH, batch, 0, BATCH, scratch)
            _copy(batch, n_lines, state, first)

    return reduce_rows


def reduce_lines(
    kernel: LineKernel, x: Array, identity: Sequence[float], dtype: DTypeLike, n_scratch: int = 0
) -> tuple[Array, ...]:
    """Reduce the middle axis of `x` by a line kernel.

    Parameters
    ----------
    kernel : kernel
        Made by :func:`line_kernel`.
    x : ndarray, shape (n_outer, n, n_inner)
        Of a dtype that numba knows; any strides. `n` is at least one.
    identity : sequence of float
        What each part of the state starts from.
    dtype : dtype
        The type of the state.
    n_scratch : int
        Rows of scratch space that the kernel asks for.

    Returns
    -------
    tuple of ndarray, each of shape (n_outer, n_inner)
    """
    n_outer, n, n_inner = x.shape
    flat, start, outer_stride, stride = _flatten(x)
    state = np.empty((len(identity), n_outer * n_inner), dtype)
    state[...] = np.array(identity, dtype)[:, None]
    scratch = np.empty((n_scratch, LANES), dtype)
    lanes = np.empty((len(identity), NARROW * BATCH), dtype)
    if n_inner > 1:
        groups = 1
        while stride == n_inner and 2 * groups * n_inner <= LANES and 16 * groups <= n:
            groups *= 2
        kernel.columns(flat, start, outer_stride, n, stride, n_inner, groups, lanes, scratch, state)
    else:
        turned = np.zeros(SHORT * BATCH, flat.dtype)
        readable = turned.view()
        readable.flags.writeable = False
        wide = np.empty((len(identity), LANES), dtype)
        kernel.rows(
            flat,
            start,
            outer_stride,
            n,
            wide,
            lanes,
            lanes.copy(),
            turned,
            readable,
            scratch,
            state,
        )
    return tuple(state.reshape(len(identity), n_outer, n_inner))


def has_kernel(dtype: np.dtype[Any], kinds: str) -> bool:
    """Say whether `dtype` is of one of the kinds, and numba can work on it once converted."""
    return dtype.kind in kinds and dtype.char not in "gG"


def as_numbers(x: Array) -> Array:
    """Return `x` as numbers that kernels are compiled for; a complex one is two neighbours."""
    if x.dtype.kind == "b":
        return x.view(np.uint8)
    if x.dtype.char == "e":
        return x.astype(np.float32)
    if x.dtype.kind == "c":
        x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
        return x.reshape(-1).view(x.real.dtype).reshape(*x.shape[:2], 2 * x.shape[2])
    return x


def _flatten(x: Array) -> tuple[Array, int, int, int]:
    """Return a flat read-only view that spans `x`, where it starts, and its two outer strides.

    A single layout keeps kernels to one compilation a dtype, and lets the compiler see that rows
    are contiguous, which it cannot in a strided array. Where the innermost axis is not
    contiguous, `x` is copied.
    """
    itemsize = x.itemsize
    innermost = 2 if x.shape[2] > 1 else 1
    if (
        not x.flags.aligned
        or not x.dtype.isnative
        or (x.strides[innermost] != itemsize and x.shape[innermost] > 1)
        or any(stride % itemsize for stride in x.strides)
    ):
        x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    if x.flags.c_contiguous:
        flat = x.reshape(-1)
        strides = [x.shape[1] * x.shape[2], x.shape[2]]
        start = 0
    else:
        strides = [stride // itemsize for stride in x.strides[:2]]
        reach = [(length - 1) * stride for length, stride in zip(x.shape, strides, strict=False)]
        start = -sum(min(0, distance) for distance in reach)
        span = 1 + start + sum(max(0, distance) for distance in reach) + x.shape[2] - 1
        lowest = x[tuple(slice(None, None, -1 if d < 0 else 1) for d in reach)]
        flat = np.lib.stride_tricks.as_strided(lowest, (span,), (itemsize,))
    flat = flat.view()
    flat.flags.writeable = False
    return flat, start, strides[0], strides[1]
