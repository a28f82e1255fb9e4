"""Reducing the middle axis of (n_outer, n, n_inner) at memory speed, whatever is reduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import kernel

# A line of contiguous elements is reduced in this many lanes side by side, which are folded at
# its end: enough to fill the vector units of any machine and to hide the latency of additions.
LANES = 64
# Columns are reduced in panels of this width, so that their states stay in the L1 cache.
PANEL = 1024
# Lines shorter than this are turned, to be reduced side by side.
SHORT = 16

Array = NDArray[Any]
LineKernel = Callable[..., None]


def line_kernel(add_rows: Callable[..., None], fold: Callable[..., None]) -> LineKernel:
    """Make the kernel of a family from two kernels that work on lanes.

    Parameters
    ----------
    add_rows : kernel
        ``add_rows(x, start, n, stride, state, at, width, scratch)`` adds the `n` rows
        ``x[start + i * stride :][:width]`` to the lanes ``state[:, at : at + width]``.
        A row of `scratch` has room for `width` elements.
    fold : kernel
        ``fold(state, half)`` combines each lane below `half` with the lane `half` above it.
    """

    @kernel
    def reduce_lines(
        x: Array,
        start: int,
        outer_stride: int,
        n: int,
        stride: int,
        n_inner: int,
        groups: int,
        identity: Array,
        lanes: Array,
        scratch: Array,
        state: Array,
    ) -> None:
        for outer in range(state.shape[1] // n_inner):
            first = start + outer * outer_stride
            at = outer * n_inner
            if groups == 1:
                for column in range(0, n_inner, PANEL):
                    width = min(PANEL, n_inner - column)
                    add_rows(x, first + column, n, stride, state, at + column, width, scratch)
                continue
            width = groups * n_inner
            for s in range(len(identity)):
                lanes[s, :width] = identity[s]
            rows = n // groups
            add_rows(x, first, rows, width, lanes, 0, width, scratch)
            rest = n * n_inner - rows * width
            if rest > 0:
                add_rows(x, first + rows * width, 1, width, lanes, 0, rest, scratch)
            while width > n_inner:
                width //= 2
                fold(lanes, width)
            for s in range(len(identity)):
                state[s, at : at + n_inner] = lanes[s, :n_inner]

    return reduce_lines


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
    if n_inner == 1 and n < SHORT and n_outer >= PANEL:
        turned = reduce_lines(kernel, x.transpose(2, 1, 0), identity, dtype, n_scratch)
        return tuple(part.reshape(n_outer, 1) for part in turned)
    flat, start, outer_stride, stride = _flatten(x)
    groups = 1
    if stride == n_inner or n == 1:
        while 2 * groups * n_inner <= LANES and 16 * groups <= n:
            groups *= 2
    start_values = np.array(identity, dtype)
    state = np.empty((len(identity), n_outer * n_inner), dtype)
    state[...] = start_values[:, None]
    kernel(
        flat,
        start,
        outer_stride,
        n,
        stride,
        n_inner,
        groups,
        start_values,
        np.empty((len(identity), LANES), dtype),
        np.empty((n_scratch, PANEL), dtype),
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
