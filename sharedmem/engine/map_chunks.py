"""Kernels over the chunks of arrays, on a team."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, Grid
from sharedmem.arrays.shared_array import populate
from sharedmem.engine.operands import (
    as_array,
    as_input,
    as_tuple,
    check_grid,
    check_kernel,
    check_stored,
    check_writable,
    is_store,
)
from sharedmem.engine.regions import (
    Placed,
    check_apart,
    check_cut,
    cut_placed,
    place,
    read,
    room,
    write,
)
from sharedmem.engine.runners import Run, run_serially
from sharedmem.engine.user_kernels import check_result, compile_kernel, run_kernel

if TYPE_CHECKING:  # which would import numba
    pass

Array = NDArray[Any]
Slices = tuple[slice, ...]
# Python's numbers stay as they are: they take the type of the arrays.
Number = int | float | complex


@dataclass(frozen=True)
class _KernelTask:
    """A task that calls a kernel on one chunk of the arrays."""

    kernel: Callable[..., Any]
    inputs: tuple[Placed, ...]
    outs: tuple[Placed, ...]
    args: tuple[Any, ...]
    with_position: bool

    def reads(self, chunk: Chunk) -> list[tuple[Any, Slices]]:
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
        position = (self._position(chunk),) if self.with_position else ()
        return (
            *(self._read(at, chunk) for at in range(len(self.inputs))),
            *(room(part.array, part.region(chunk)) for part in self.outs),
            *position,
            *self.args,
        )

    def _read(self, at: int, chunk: Chunk) -> Any:
        part = self.inputs[at]
        values = read(part.array, part.region(chunk))
        if is_store(part.array):
            values.flags.writeable = at == 0 and not self.outs
        return values

    def _position(self, chunk: Chunk) -> tuple[int, ...]:
        first = self.inputs[0]
        starts = [part.start or 0 for part in first.region(chunk)]
        return (*starts, *[0] * (first.array.ndim - len(starts)))


def map_chunks(
    run: Run,
    kernel: Callable[..., Any],
    *arrays: Any,
    args: tuple[Any, ...] = (),
    axis: int | tuple[Any, ...] = 0,
    chunks: Grid | None = None,
    out: Any = None,
    position: bool = False,
    private_ok: bool = False,
) -> Any:
    """Call a kernel on each chunk of arrays that are split together.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from a team.
    kernel, arrays, args, axis, chunks, out, position
        See :func:`sharedmem.map_chunks`.
    private_ok : bool
        Whether the workers share all memory with the coordinator.

    Returns
    -------
    ndarray, or tuple of ndarray
        `out`, or the first array.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or workers could not write where they have to.
    """
    check_kernel(kernel)
    if not arrays:
        raise TypeError("map_chunks needs at least one array")
    outs = as_tuple(out)
    role = "out" if outs else "an array to be worked on in place"
    for target in outs or arrays[:1]:
        (check_stored if is_store(target) else check_writable)(target, role, private_ok)
    views = [as_input(a, private_ok) for a in arrays]
    views += [as_array(part) for part in outs]
    placed = place(views, axis, None if chunks is None else check_grid(chunks))
    inputs, targets = tuple(placed[: len(arrays)]), tuple(placed[len(arrays) :])
    written, others = (targets, inputs) if targets else (inputs[:1], inputs[1:])
    check_apart(others, written)
    if chunks is None:  # about 4 MiB of the array that is largest
        grid = cut_placed(max(placed, key=lambda part: part.nbytes), written, others)
    else:
        grid = chunks
        check_cut(grid, written)
    task = _KernelTask(kernel, inputs, targets, args, position)
    for chunk in (grid[0], grid[-1]) if len(grid) else ():  # chunks are of one size or of two
        compile_kernel(kernel, *task.arguments(chunk))
    run_kernel(run if len(grid) > 1 else run_serially, task, grid)
    return arrays[0] if out is None else out
