"""Arrays in files accumulated along an axis: chunks are reduced, and then scanned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import DTypeLike, NDArray

from sharedmem.arrays.chunks import Chunk
from sharedmem.arrays.constructors import empty
from sharedmem.engine import accumulate
from sharedmem.engine.cuts import cut
from sharedmem.engine.reduce import Request, State
from sharedmem.engine.reduce_stored import ChunkTask
from sharedmem.engine.reduce_together import Checked
from sharedmem.engine.regions import read
from sharedmem.engine.runners import Run, Stream, run_serially
from sharedmem.kernels.machine_code import alone
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.reduction import LineReduction

Array = NDArray[Any]


def accumulate_stored(
    stream: Stream,
    run: Run,
    ufunc: Any,
    a: Any,
    axis: int = 0,
    dtype: DTypeLike | None = None,
    out: Any = None,
) -> Any:
    """Accumulate the elements of an array in a file along an axis.

    It is read twice: once for what comes before each chunk, and once to scan the chunks.

    Parameters
    ----------
    stream : callable
        ``stream(func, sequence)`` yields ``func(item)``, in order.
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``.
    ufunc, a, axis, dtype, out
        See :func:`sharedmem.accumulate`.

    Returns
    -------
    array
        `out`, or a shared array.

    Raises
    ------
    TypeError, ValueError
        If the ufunc cannot continue from the result of a chunk, or `out` does not fit.
    """
    sample = np.empty((0,) * a.ndim, a.dtype)
    if dtype is None and out is not None:
        dtype = out.dtype
    result_type = np.asarray(ufunc.accumulate(sample, axis, dtype)).dtype
    axis = normalize_axis_index(axis, a.ndim)
    reduction = _reduction(ufunc, np.dtype(a.dtype), result_type)
    if out is None:
        out = empty(a.shape, result_type)
    elif out.shape != a.shape or not np.can_cast(result_type, out.dtype, "same_kind"):
        raise ValueError(
            f"out, of shape {out.shape} and dtype {out.dtype}, cannot store the result, of shape "
            f"{a.shape} and dtype {result_type}"
        )
    grid = cut(a, range(a.ndim), [out], [a])
    before: dict[tuple[int, ...], State] = {}
    starts: list[State | None] = []
    reduce_chunk = ChunkTask([Checked.of(Request(reduction, a, axis))])
    for chunk, (state,) in zip(grid, stream(reduce_chunk, grid), strict=True):
        place = tuple(part.start for part in (*chunk[:axis], *chunk[axis + 1 :]))
        start = before.get(place)
        starts.append(start)
        before[place] = state if start is None else reduction.combine(start, state)
    task = _ScanTask(ufunc, a, out, axis, result_type, reduction)
    run(task, list(zip(grid, starts, strict=True)))
    return out


def _reduction(ufunc: Any, dtype: np.dtype[Any], result: np.dtype[Any]) -> LineReduction:
    """Return the reduction whose states a scan can go on from."""
    from sharedmem.kernels import extrema, products, sums

    if ufunc is np.add and result.kind in "biufc":
        return sums.add(dtype, result)
    if ufunc is np.multiply and result.kind in "iu":
        return products.multiply(dtype, result)
    if ufunc in (np.maximum, np.minimum) and dtype.kind in "biuf" and dtype == result:
        return (extrema.maximum if ufunc is np.maximum else extrema.minimum)(dtype)
    raise TypeError(
        f"an array in a file can be accumulated by add, maximum, minimum, or multiply of "
        f"integers, not by {ufunc!r} of {dtype} as {result}; give a[...] to load it"
    )


@dataclass(frozen=True)
class _ScanTask:
    """A task that scans a chunk from the state of all that comes before it."""

    ufunc: Any
    store: Any
    out: Any
    axis: int
    result_type: np.dtype[Any]
    reduction: LineReduction

    def reads(self, item: tuple[Chunk, State | None]) -> Sequence[tuple[Any, Chunk]]:
        """Return the arrays and regions that are read for a chunk."""
        return [(self.store, item[0])]

    def __call__(self, item: tuple[Chunk, State | None]) -> None:
        chunk, start = item
        values = read(self.store, chunk)
        # The sum of a start and a scanned element is rounded once.
        is_summed = self.ufunc is np.add and self.result_type.char in "fdFD"
        dtype = np.result_type(self.result_type, np.float64) if is_summed else self.result_type
        scanned = accumulate.accumulate(run_serially, alone, self.ufunc, values, self.axis, dtype)
        if start is not None and is_summed:
            scanned = _added(start, scanned)
        elif start is not None:
            scanned = self.ufunc(self.reduction.finalize(start), scanned, dtype=dtype)
        self.out[tuple(chunk)] = np.asarray(scanned, self.out.dtype)


@quiet
def _added(start: State, scanned: Array) -> Array:
    total, lost = start
    plain = total + scanned
    back = plain - total
    error = (total - (plain - back)) + (scanned - back) + lost
    return np.where(np.isfinite(error), plain + error, plain)
