"""Ufuncs over the chunks of arrays, on a team."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Grid, bytes_a_chunk
from sharedmem.arrays.labels import ELEMENTWISE, with_labels
from sharedmem.arrays.shared_array import allocate, populate
from sharedmem.engine.cuts import cut
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import (
    as_array,
    as_tuple,
    check_options,
    common_shape,
    is_same_view,
    is_store,
    result_axes,
)
from sharedmem.engine.regions import (
    Region,
    Spread,
    as_given,
    broadcast,
    is_same_store,
    read,
    room,
    write,
)
from sharedmem.engine.runners import ArrayRunner, run_serially
from sharedmem.engine.whole_arrays import apply_whole, compute_together
from sharedmem.machine.float_flags import warned_at_caller
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
# Python's numbers stay as they are: they take the type of the arrays.
Number = int | float | complex


@dataclass(frozen=True)
class _UfuncTask:
    """A task that applies a ufunc to one chunk of its loop."""

    ufunc: Any
    inputs: tuple[Any, ...]
    outs: tuple[Array, ...]
    options: dict[str, Any]
    mask: Array | None = None

    def reads(self, chunk: Region) -> list[tuple[Any, Region]]:
        """Return what is read for a chunk."""
        return [(part, chunk) for part in (*self.inputs, self.mask)]

    def __call__(self, chunk: Region) -> Any:
        # A list: where a generator fails in a call, Python 3.11 loses a reference to `options`.
        inputs = [
            part if isinstance(part, Number) else as_given(read(part, chunk), len(chunk))
            for part in self.inputs
        ]
        is_kept = self.mask is not None
        outs = tuple((read if is_kept else room)(part, chunk) for part in self.outs)
        for values in outs:
            populate(values)
        options = {"out": outs, **self.options} if outs else self.options
        if is_kept:
            options = {"where": read(self.mask, chunk), **options}
        result = self.ufunc(*inputs, **options)
        for part, values in zip(self.outs, outs, strict=True):
            write(part, chunk, values)
        return None if outs else result


def apply_ufunc(
    runner: ArrayRunner,
    /,
    ufunc: Any,
    *inputs: Any,
    out: Any = None,
    where: Any = True,
    order: str = "K",
    **options: Any,
) -> Any:
    """Apply a ufunc or gufunc of NumPy, SciPy, or numba, in parallel over its loop.

    Parameters
    ----------
    ufunc : ufunc
        For example ``np.exp``, ``scipy.special.erf``, ``np.matmul``, or a function compiled with
        ``@numba.vectorize``.
    *inputs : array_like, or array in a file of zarr or h5py
        Inputs, broadcast against each other. Those in files are read chunk by chunk.
    out : SharedArray, ndarray, array in a file, or tuple of them, optional
        Arrays for the results. By default new shared arrays. They may be inputs.
    where : array_like of bool, optional
        Mask, which requires `out`: where it is False, `out` keeps its values. Gufuncs take none.
    order : {'K', 'C', 'F', 'A'}, optional
        Memory layout of new arrays.
    **options
        NumPy's ``dtype``, ``casting``, and ``signature``.

    Returns
    -------
    SharedArray, scalar, or tuple of them
        The results, or `out`.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or workers cannot write to `out`.

    See Also
    --------
    evaluate : Evaluate an expression in one pass.
    map_chunks : Call a function on chunks.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = sharedmem.full((2, 3), 9.0)
    >>> sharedmem.apply_ufunc(np.sqrt, a, out=a).tolist()
    [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]]
    >>> sharedmem.apply_ufunc(np.add, a, np.arange(3)).tolist()
    [[3.0, 4.0, 5.0], [3.0, 4.0, 5.0]]
    """
    if where is True and order == "K" and not options and type(runner) is ArrayRunner:
        out, is_done = apply_whole(runner, ufunc, inputs, out)
        if is_done:
            return out
    return _apply_to_chunks(runner, ufunc, inputs, out, where, order, options)


@with_labels(ELEMENTWISE, "*inputs")
def _apply_to_chunks(
    runner: ArrayRunner,
    ufunc: Any,
    inputs: tuple[Any, ...],
    out: Any,
    where: Any,
    order: str,
    options: dict[str, Any],
) -> Any:
    n_core_axes = _core_axes(ufunc)
    name = str(getattr(ufunc, "__name__", ufunc))
    if len(inputs) != ufunc.nin:
        raise TypeError(f"{name} takes {ufunc.nin} inputs, got {len(inputs)}")
    check_options(order, options)
    targets = as_tuple(out)
    if targets and len(targets) != ufunc.nout:
        raise TypeError(f"{name} has {ufunc.nout} outputs, got {len(targets)} in out")
    is_local, run, inputs, given = runner.ufunc_call(inputs, targets)
    given = tuple(map(as_array, given))
    inputs = tuple(x if isinstance(x, Number) else as_array(x) for x in inputs)
    operands, loop = _broadcast(inputs, given, n_core_axes)
    mask = None
    if where is not True:
        if not given:
            raise ValueError("where= needs out=, which keeps its values where the mask is False")
        mask = broadcast(_apart(as_array(where), given), loop)
    # No elements are enough to compile a ufunc of numba's, and to know or refuse the types. A loop
    # without axes always has one: so that is done, not tried.
    task = _UfuncTask(ufunc, operands, given, options, mask)
    nothing = (slice(0, 0),) * len(loop)
    results = as_tuple(task(nothing) if loop else warned_at_caller(name, task, ()))

    def room_for(part: Any) -> Any:
        axes = result_axes(order, inputs, operands, len(loop), part.ndim)
        return allocate(loop + part.shape[len(loop) :], part.dtype, axes)

    outs = given or tuple(room_for(part) if loop or np.ndim(part) else part for part in results)
    if loop:
        task = replace(task, inputs=tuple(_apart(x, outs) for x in operands), outs=outs)
        arrays = [part for part in (*task.inputs, *outs) if not isinstance(part, Number)]
        # Broadcast operands count as often as they are read: rows and columns make large tables.
        total = sum(part.nbytes for part in arrays)
        has_files = any(map(is_store, arrays))
        is_plain = is_local and not (options or mask is not None or has_files)
        if not (is_plain and compute_together(runner, ufunc, total, task.inputs, outs[0])):
            is_small = total <= tuning.chunk_bytes and not has_files
            grid = [(slice(None),) * len(loop)] if is_small else _cut(arrays, outs, len(loop))
            warned_at_caller(name, run(total) if len(grid) > 1 else run_serially, task, grid)
    else:
        for target, part in zip(outs, results, strict=False):
            if target is not part:
                target[...] = part
    outs = targets or outs
    return outs if len(outs) > 1 else outs[0]


def _cut(arrays: Sequence[Any], outs: Sequence[Any], n_loop: int) -> Grid:
    """Cut a loop into chunks of the usual size of the array that is widest."""
    # Otherwise chunks of float64 whose results are flags would be eight times too large.
    n_steps = max(1, math.prod(outs[0].shape[:n_loop]))
    widest = max(1, *(_width(part, n_steps) for part in arrays))
    in_files = any(map(is_store, arrays))  # each worker holds what it reads of those
    nbytes = 0 if in_files else max(part.nbytes for part in arrays)
    nbytes = max(1, bytes_a_chunk(nbytes) * _width(outs[0], n_steps) // widest)
    strides = getattr(outs[0], "strides", None)  # a file is read in C order
    axes = range(n_loop) if strides is None else memory_order(strides[:n_loop])
    return cut(outs[0], axes, outs, arrays, nbytes)


def _width(part: Any, n_steps: int) -> int:
    """Return how many bytes a step of the loop reads of an array, or writes to it."""
    whole = part.sources[0] if isinstance(part, Spread) else part
    strides = getattr(whole, "strides", (1,) * len(whole.shape))  # 0 where it is broadcast
    lengths = (n for n, stride in zip(whole.shape, strides, strict=True) if stride)
    itemsize: int = whole.dtype.itemsize
    return max(itemsize, int(math.prod(lengths)) * itemsize // n_steps)


def _core_axes(ufunc: Any) -> list[int]:
    """Return the number of core axes of each input and output of a ufunc."""
    if not (callable(ufunc) and hasattr(ufunc, "nin") and hasattr(ufunc, "nout")):
        raise TypeError(f"apply_ufunc needs a ufunc, got {ufunc!r}; for functions, see map_chunks")
    signature = getattr(ufunc, "signature", None)
    if signature is None:
        return [0] * (ufunc.nin + ufunc.nout)
    return [len(re.findall(r"[^\s,]+", part)) for part in re.findall(r"\(([^()]*)\)", signature)]


def _broadcast(
    inputs: Sequence[Any], outs: Sequence[Array], n_core_axes: Sequence[int]
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Broadcast the loop axes of the inputs, and return them with the shape of the loop."""
    loops, cores = [], []
    for operand, n_core in zip([*inputs, *outs], n_core_axes, strict=False):
        shape = np.shape(operand)
        if len(shape) < n_core:
            raise ValueError(f"an operand of shape {shape} must have at least {n_core} axes")
        loops.append(shape[: len(shape) - n_core])
        cores.append(shape[len(shape) - n_core :])
    loop = common_shape(loops)
    for out, out_loop in zip(outs, loops[len(inputs) :], strict=True):
        if out_loop != loop:
            raise ValueError(f"out has shape {out.shape}, but the inputs broadcast to {loop}")
    return tuple(
        x if isinstance(x, Number) else broadcast(x, loop + core)
        for x, core in zip(inputs, cores, strict=False)
    ), loop


def _apart(operand: Any, outs: Sequence[Array]) -> Any:
    """Return an input that no chunk of the outputs overlaps, but for the same chunk of it."""
    for out in outs:
        is_stored = isinstance(operand, Spread) and is_same_store(operand.sources[0], out)
        if is_stored and operand.shape != out.shape:
            raise ValueError(
                f"out, in a file, is also an input, of shape {operand.shape} instead of "
                f"{out.shape}, which other chunks still have to read; give another out"
            )
        are_arrays = isinstance(operand, np.ndarray) and isinstance(out, np.ndarray)
        if are_arrays and not is_same_view(operand, out) and np.may_share_memory(operand, out):
            return operand.copy()
    return operand
