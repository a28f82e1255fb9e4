"""Kernels over the chunks of arrays, on a team."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, Grid
from sharedmem.arrays.shared_array import populate
from sharedmem.engine.cuts import Placed, check_apart, check_cut, cut_placed, place
from sharedmem.engine.operands import as_array, as_input, as_tuple, check_grid, is_store
from sharedmem.engine.regions import Region, read, room, write
from sharedmem.engine.runners import ArrayRunner, run_serially
from sharedmem.engine.user_kernels import check_result, compile_kernel, run_kernel, serial_form

Array = NDArray[Any]


@dataclass(frozen=True)
class _KernelTask:
    """A task that calls a kernel on one chunk of the arrays."""

    kernel: Callable[..., Any]
    inputs: tuple[Placed, ...]
    outs: tuple[Placed, ...]
    args: tuple[Any, ...]
    with_position: bool

    def reads(self, chunk: Chunk) -> list[tuple[Any, Region]]:
        """Return what is read for a chunk."""
        return [(part.array, part.region(chunk)) for part in self.inputs]

    def __call__(self, chunk: Chunk) -> None:
        for part in self.outs:
            if not is_store(part.array):
                populate(part.array[part.region(chunk)])
        arguments = self.arguments(chunk)
        check_result(self.kernel, self.kernel(*arguments), arguments)
        first_out = len(self.inputs) if self.outs else 0
        for part, values in zip(self.outs or self.inputs[:1], arguments[first_out:], strict=False):
            write(part.array, part.region(chunk), values)

    def arguments(self, chunk: Chunk) -> tuple[Any, ...]:
        inputs = [read(part.array, part.region(chunk)) for part in self.inputs]
        for at, part in enumerate(self.inputs):
            if is_store(part.array):
                inputs[at].flags.writeable = at == 0 and not self.outs
        outs = [room(part.array, part.region(chunk)) for part in self.outs]
        position = [self._position(chunk)] if self.with_position else []
        return (*inputs, *outs, *position, *self.args)

    def _position(self, chunk: Chunk) -> tuple[int, ...]:
        first = self.inputs[0]
        starts = [part.start or 0 for part in first.region(chunk)]
        return (*starts, *[0] * (first.array.ndim - len(starts)))


def map_chunks(
    runner: ArrayRunner,
    /,
    kernel: Callable[..., Any],
    *arrays: Any,
    args: tuple[Any, ...] = (),
    axis: int | tuple[Any, ...] = 0,
    chunks: Grid | None = None,
    out: Any = None,
    position: bool = False,
) -> Any:
    """Call a kernel on each chunk of arrays that are cut together, in parallel.

    Parameters
    ----------
    kernel : callable
        ``kernel(chunk_a, chunk_b, ..., *args)`` changes the chunk of the first array in place.
        With `out`, ``kernel(chunk_a, chunk_b, ..., chunk_out, *args)`` writes to the chunk of
        `out`, or to the chunks of several. Usually compiled with ``@numba.njit(nogil=True)``. It
        must return None, since results would be lost; a Python function may also return one of
        its arguments, as ``np.sqrt(x, out)`` does.
    *arrays : array_like, or array in a file of zarr or h5py
        At least one array. All have the same length along `axis`. An array in a file is cut between
        its own chunks, and is read, or written if it is `out`, chunk by chunk.
    args : tuple
        Further arguments, passed whole to every call.
    axis : int or tuple, optional
        Axis to cut. A tuple has an entry for each of `arrays`, and then for `out`, and is required
        if the arrays have different dimensions and the axis is not 0. ``axis=(1, 0)`` cuts the only
        array along axis 1, and `out` along axis 0. With `chunks` along several axes, an entry is a
        tuple, too.
    chunks : Grid, optional
        Chunks made by :func:`sharedmem.chunks`. They also say which axes are cut, unless `axis` is
        given. By default chunks of about 4 MiB of the largest array, including `out`. The caller
        itself computes an array of a single chunk.
    out : ndarray, array in a file, or tuple of them, optional
        Array for the result. By default the first array is changed in place.
    position : bool, optional
        Whether to pass the index of the first element of the chunk in the first array, a tuple of
        ints, before `args`.

    Returns
    -------
    ndarray or tuple of ndarray
        `out`, or the first array.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or if `out` (without it, the first array) is
        read-only, shares memory with another array, or is in private memory, where writes of
        worker processes are lost. Compiler errors are raised before any work is done.
    TypeError
        If the kernel returns something: before any work is done if it is compiled, otherwise
        after its first chunk.
    OSError
        If `out` is a memory-mapped file for which the disk has no room.

    Warns
    -----
    RuntimeWarning
        If the workers of the pool are threads, and a compiled kernel holds the GIL.

    See Also
    --------
    map_overlap : Show the kernel the neighbors of a chunk, too.
    apply_ufunc : Apply a ufunc.
    reduce : Reduce an array to a state.
    chunks : Cut an array into chunks.

    Notes
    -----
    A kernel compiled by numba with ``nogil=True`` runs in threads of the caller. That costs much
    less than forking workers, and private arrays may be written. Its exceptions are raised
    unchanged. If it crashes, so does the process, and a pool's `timeout` and `initializer` have no
    effect. A kernel compiled with ``parallel=True`` is compiled again without it, because its
    threads would not survive a fork.

    Other kernels run on the workers of the pool. If these are processes, arrays in private memory
    are read-only for the kernel, so that no write is lost silently.

    Examples
    --------
    >>> import numba, numpy as np, sharedmem
    >>> @numba.njit(nogil=True)
    ... def scale(x, y, result, factor):
    ...     result[:] = factor * x + y
    >>> a = sharedmem.ones(5)
    >>> result = sharedmem.empty_like(a)
    >>> sharedmem.map_chunks(scale, a, np.arange(5.0), args=(10,), out=result).tolist()
    [10.0, 11.0, 12.0, 13.0, 14.0]

    The mean over the first axis, cut along the second one, which is the first of the result:

    >>> stack = sharedmem.full((3, 4, 2), 5.0)
    >>> image = sharedmem.empty((4, 2))
    >>> def mean(images, result):
    ...     result[:] = images.mean(axis=0)
    >>> sharedmem.map_chunks(mean, stack, axis=(1, 0), out=image)[0].tolist()
    [5.0, 5.0]
    """
    kernel = serial_form(kernel)
    if not arrays:
        raise TypeError("map_chunks needs at least one array")
    role = "out" if as_tuple(out) else "an array to be worked on in place"
    run, inputs, outs, private_ok = runner.kernel_call(kernel, arrays, as_tuple(out), role)
    views = [as_input(a, private_ok) for a in inputs] + [as_array(part) for part in outs]
    placed = place(views, axis, None if chunks is None else check_grid(chunks))
    read_from, targets = tuple(placed[: len(arrays)]), tuple(placed[len(arrays) :])
    written, others = (targets, read_from) if targets else (read_from[:1], read_from[1:])
    check_apart(others, written)
    if chunks is None:  # about 4 MiB of the array that is largest
        largest = max(placed, key=lambda part: part.nbytes_of(part.lengths))
        chunks = cut_placed(largest, written, others)
    else:
        check_cut(chunks, written)
    task = _KernelTask(kernel, read_from, targets, args, position)
    for chunk in (chunks[0], chunks[-1]) if chunks else ():  # chunks are of one size or of two
        compile_kernel(kernel, *task.arguments(chunk))
    run_kernel(run if len(chunks) > 1 else run_serially, task, chunks)
    return arrays[0] if out is None else out
