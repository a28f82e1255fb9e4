"""Accumulations of arrays along an axis: cumulative sums, products, and extrema."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import DTypeLike, NDArray

from sharedmem.arrays.chunks import Chunk, bytes_a_chunk, chunks
from sharedmem.engine.operands import PLAIN, check_target
from sharedmem.engine.runners import Run
from sharedmem.kernels import scans
from sharedmem.kernels.loops.scan_kernels import COLUMNS
from sharedmem.kernels.machine_code import Share, alone
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


def accumulate(
    run: Run,
    share: Share,
    ufunc: Any,
    a: Array,
    axis: int = 0,
    dtype: DTypeLike | None = None,
    out: Any = None,
) -> Any:
    """Accumulate the elements of an array along an axis.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    share : callable
        Calls a function in several threads: see `sharedmem.kernels.machine_code.Share`.
    ufunc, a, axis, dtype, out
        See :func:`sharedmem.accumulate`.

    Returns
    -------
    ndarray
    """
    if isinstance(out, tuple) and len(out) == 1:
        (out,) = out
    natural = _check(ufunc, a, axis, dtype, out)
    scan = scans.find(ufunc, natural) if out is None or out.dtype == natural else None
    is_small = a.nbytes <= tuning.scan_chunk_bytes and not (scan and scan.is_compensated)
    if a.size == 0 or is_small or (scan is None and a.ndim == 1):
        return ufunc.accumulate(a, axis, dtype, out)
    axis = normalize_axis_index(axis, a.ndim)
    result = np.empty_like(a, natural, subok=False) if out is None else np.asarray(out)
    is_same = a.__array_interface__ == result.__array_interface__
    if out is not None and not is_same and np.may_share_memory(a, result):
        a = a.copy()
    is_line = scan is not None and not scan.has_line and a.size == a.shape[axis]
    if scan is None or is_line:
        _by_lines(run, ufunc, a, axis, dtype, result)
    else:
        is_dense = result.transpose(_axes(result)).flags.c_contiguous
        dense = result if is_dense else np.empty_like(a, natural)
        _scan(run, share, scan, a, axis, dense)
        if dense is not result:
            np.copyto(result, dense)
    return result if out is None else out


# Flags of an array: aligned, and in C order.
_DENSE = 0x100 | 0x1


def sum_small(a: Array) -> Array | None:
    """Return the cumulative sum of a short line of floats; None if it has to be looked at closer.

    It may not be contiguous, or may need a warning.
    """
    is_plain = type(a) in PLAIN and a.ndim == 1 and a.dtype.char in "fd" and a.dtype.isnative
    if not (
        is_plain and 0 < a.nbytes <= tuning.scan_chunk_bytes and a.flags.num & _DENSE == _DENSE
    ):
        return None
    result = np.empty(a.size, a.dtype)
    grain = tuning.scan_chunk_bytes // a.itemsize
    scan: Any = scans.find(np.add, a.dtype)
    scan.line(a, result, 0, a.size, grain, alone)
    return result if math.isfinite(result[-1]) else None


def _check(ufunc: Any, a: Array, axis: int, dtype: DTypeLike | None, out: Any) -> np.dtype[Any]:
    """Raise what NumPy raises; return the dtype of a result without `out`."""
    if not isinstance(ufunc, np.ufunc):
        raise TypeError(f"accumulate needs a ufunc, got {ufunc!r}")
    sample = np.empty((0,) * a.ndim, a.dtype)
    if out is not None:
        check_target(out, "out", a.shape)  # of other dimensions, NumPy 2.4 would crash
        ufunc.accumulate(sample, axis, dtype, np.empty_like(sample, out.dtype))
    return np.asarray(ufunc.accumulate(sample, axis, dtype)).dtype


def _axes(a: Array) -> list[int]:
    """Return the axes of an array as they follow each other in memory."""
    return sorted(range(a.ndim), key=lambda axis: -a.strides[axis])


def _by_lines(
    run: Run, ufunc: Any, a: Array, axis: int, dtype: DTypeLike | None, result: Array
) -> None:
    """Accumulate many lines per task, by NumPy."""
    lines, results = np.moveaxis(a, axis, -1), np.moveaxis(result, axis, -1)

    def do(chunk: Chunk) -> None:
        ufunc.accumulate(lines[chunk], -1, dtype, results[chunk])

    run(do, chunks(lines, range(lines.ndim - 1), nbytes=tuning.sort_piece_bytes))


def _scan(run: Run, share: Share, scan: scans.Scan, a: Array, axis: int, result: Array) -> None:
    """Scan an array into one that is dense in memory, of the scan's type."""
    order = _axes(result)
    source, target = a.transpose(order), result.transpose(order)
    x = out = target.reshape(-1)
    if source.dtype == target.dtype and source.flags.carray:
        x = source.reshape(-1)
    else:
        grid = chunks(target, range(target.ndim), nbytes=tuning.chunk_bytes)
        run(lambda chunk: np.copyto(target[chunk], source[chunk], casting="unsafe"), grid)
    at = order.index(axis)
    n_inner = math.prod(target.shape[at + 1 :])
    if out.dtype.kind == "c":
        x, out, n_inner = x.view(x.real.dtype), out.view(out.real.dtype), 2 * n_inner
    n = target.shape[at]
    if n_inner > 1:
        _scan_columns(run, scan, x, out, n, n_inner)
    elif scan.has_line and (n * out.itemsize >= tuning.scan_line_bytes or n == out.size):
        grain = max(1, tuning.scan_chunk_bytes // out.itemsize)
        for p in range(0, out.size, n):
            scan.line(x, out, p, n, grain, share)
    else:
        _scan_rows(run, scan, x, out, n)


def _scan_rows(run: Run, scan: scans.Scan, x: Array, out: Array, n: int) -> None:
    def do(chunk: Chunk) -> None:
        (lines,) = chunk
        scan.rows(x, out, lines.start * n, n, lines.stop - lines.start)

    size = max(1, bytes_a_chunk(out.nbytes) // (n * out.itemsize))
    run(do, chunks(out.size // n, size=size))


def _scan_columns(run: Run, scan: scans.Scan, x: Array, out: Array, n: int, n_inner: int) -> None:
    def do(chunk: Chunk) -> None:
        outer, columns = chunk
        p = outer.start * n * n_inner + columns.start
        n_outer, width = outer.stop - outer.start, columns.stop - columns.start
        scan.columns(x, out, p, n_outer, n, n_inner, width)

    n_columns = max(COLUMNS, tuning.scan_chunk_bytes // (n * out.itemsize))
    n_outer = max(1, tuning.scan_chunk_bytes // (n * min(n_columns, n_inner) * out.itemsize))
    run(do, chunks((out.size // (n * n_inner), n_inner), (0, 1), size=(n_outer, n_columns)))
