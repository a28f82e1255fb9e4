"""Reductions of arrays on a team: chunks to states, states to a result, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.arrays.conversion import read_only
from sharedmem.engine.line_view import Lines, Order, as_lines, memory_order, order_of
from sharedmem.engine.operands import as_tuple
from sharedmem.engine.regions import broadcast_together
from sharedmem.engine.runners import Run
from sharedmem.engine.user_kernels import compile_for, serial_form, takes
from sharedmem.kernels.quiet import quietly
from sharedmem.kernels.reduction import LineReduction, Reduction
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
State = tuple[Array, ...]
Axis = int | tuple[int, ...] | None


class Request(NamedTuple):
    """A reduction of an array, or of a tuple of arrays together, over some of their axes."""

    reduction: Reduction
    a: Any
    axis: Axis = None
    keepdims: bool = False


def reduce(
    run: Run,
    reduction: Reduction,
    a: Any,
    axis: Axis = None,
    keepdims: bool = False,
    *,
    n_workers: int = 0,
    share: Callable[..., None] | None = None,
) -> Any:
    """Reduce an array over some of its axes.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from a team.
    reduction : Reduction
        How to reduce chunks to states, and how to combine the states.
    a : array_like or tuple of ndarray
        The array; or several, which are broadcast against each other.
    axis : int or tuple of int, optional
        Axes to reduce; by default all.
    keepdims : bool
        Whether to keep the reduced axes, with length one.
    n_workers : int
        How many workers there are; each gets a few tasks.
    share : callable, optional
        Calls a function in several threads; see `kernels.machine_code.Share`.

    Returns
    -------
    scalar, ndarray, or tuple of them
        The result of `reduction` for each line.

    Raises
    ------
    ValueError
        If lines are empty and the reduction has no identity.
    AxisError
        If an axis is out of bounds or repeated.
    """
    arrays = broadcast_together(a) if isinstance(a, tuple) else (np.asarray(a),)
    a, is_alone = arrays[0], len(arrays) == 1
    axes = frozenset(range(a.ndim) if axis is None else normalize_axis_tuple(axis, a.ndim, "axis"))
    of_lines = reduction
    if not isinstance(of_lines, LineReduction):
        of_lines = by_line(reduction, *(x.dtype for x in arrays))
    is_whole = of_lines.whole and is_alone
    if is_whole and len(axes) == a.ndim and a.flags.forc and a.size:
        state = of_lines.chunk(a.reshape((1, -1, 1), order="A"), share)
        shape = (1,) * a.ndim if keepdims else ()
        return map_parts(lambda part: part.reshape(shape)[()], of_lines.finalize(state))
    order = a if is_alone else order_of(arrays)

    def restored(result: Any) -> Any:
        return map_parts(lambda part: restore(part, order, axes, keepdims), result)

    if a.size == 0:
        state = _state_of_nothing(of_lines, arrays, axes)
    else:
        lines, direct = as_lines(a, axes, *arrays[1:]), of_lines.direct
        is_long = direct is not None or lines.length >= tuning.shared_line_length
        together = lines.together() if is_whole and is_long and len(lines.grid) > 1 else None
        if together is not None and direct is not None:
            return restored(direct(together, share))
        if together is not None:
            state = of_lines.chunk(together, share)
        elif of_lines is reduction:
            return restored(reduce_lines(run, of_lines, lines, n_workers))
        else:
            state = _reduce_chunks(run, of_lines, lines, n_workers)
    if of_lines is not reduction and len(axes) == a.ndim and not keepdims:
        return reduction.finalize(state[0].item())
    return restored(of_lines.finalize(state))


def reduce_lines(run: Run, reduction: Reduction, lines: Lines, n_workers: int) -> Any:
    """Return the results of lines, of shape (n_outer, n_inner, ...), reduced chunk by chunk."""
    # Users' functions may run in processes, whose results have to be sent.
    if len(lines.grid) > 1 and lines.n_pieces == 1 and not isinstance(reduction, ByLine):
        return _reduce_whole_lines(run, reduction, lines)
    return reduction.finalize(_reduce_chunks(run, reduction, lines, n_workers))


def _reduce_chunks(run: Run, reduction: Reduction, lines: Lines, n_workers: int) -> State:
    if len(lines.grid) == 1:
        return reduction.chunk(*lines.chunks(0))  # type: ignore[no-any-return]
    if lines.view.ndim == 1:
        return _reduce_line(run, reduction, lines, n_workers)
    return _reduce_pieces(run, reduction, lines)


def _reduce_whole_lines(run: Run, reduction: Reduction, lines: Lines) -> Any:
    trials = [np.zeros((1, 1, 1), view.dtype) for view in (lines.view, *lines.others)]
    result = quietly(lambda: reduction.finalize(reduction.chunk(*trials)))
    outs = [np.empty(lines.kept_shape + part.shape[2:], part.dtype) for part in as_tuple(result)]

    def reduce_chunk(index: int) -> None:
        parts = as_tuple(reduction.finalize(reduction.chunk(*lines.chunks(index))))
        _, place = lines.place(index)
        for out, part in zip(outs, parts, strict=True):
            here = out[place]
            here[...] = part.reshape(here.shape)

    run(reduce_chunk, range(len(lines.grid)))
    written = iter(outs)
    return map_parts(
        lambda part: next(written).reshape(*lines.n_lines, *part.shape[2:]).view(np.ndarray), result
    )


def _reduce_pieces(run: Run, reduction: Reduction, lines: Lines) -> State:
    reduced = run(lambda index: reduction.chunk(*lines.chunks(index)), range(len(lines.grid)))
    if not lines.kept_shape:
        return _combine_line(reduction, reduced)
    states = [
        np.empty((lines.n_pieces, *lines.kept_shape, *part.shape[2:]), part.dtype)
        for part in reduced[0]
    ]
    for index, parts in enumerate(reduced):
        piece, place = lines.place(index)
        for state, part in zip(states, parts, strict=True):
            here = state[(piece, *place)]
            here[...] = part.reshape(here.shape)
    n_before = 1 + len(lines.kept_shape)
    return _combine_pieces(
        reduction,
        tuple(part.reshape(-1, *lines.n_lines, *part.shape[n_before:]) for part in states),
    )


def _reduce_line(run: Run, reduction: Reduction, lines: Lines, n_workers: int) -> State:
    """Reduce a single line: a task takes several of its pieces, side by side as lines.

    For one small piece, the overhead of a task would take longer than the work.
    """
    size = lines.view.size
    length = -(-size // len(lines.grid))
    n_whole, rest = divmod(size, length)

    def reduce_some(pieces: slice) -> State:
        n = length if pieces.start < n_whole else rest
        where = slice(pieces.start * length, pieces.stop * length)
        parts = (view[where].reshape(-1, n, 1) for view in (lines.view, *lines.others))
        return reduction.chunk(*parts)  # type: ignore[no-any-return]

    n_tasks = max(1, tuning.tasks_per_worker * n_workers)
    tasks = [run_of_pieces[0] for run_of_pieces in chunks(n_whole, n=n_tasks)]
    if rest:
        tasks.append(slice(n_whole, n_whole + 1))
    return _combine_line(reduction, run(reduce_some, tasks))


def _combine_line(reduction: Reduction, states: list[State]) -> State:
    """Combine the states of neighboring pieces of one line."""
    parts = zip(*states, strict=True)
    return _combine_pieces(reduction, tuple(np.concatenate(part)[:, None] for part in parts))


def _combine_pieces(reduction: Reduction, states: State) -> State:
    """Combine the states of neighboring pieces in pairs, until one state is left."""
    while len(states[0]) > 1:
        even = len(states[0]) // 2 * 2
        pairs = reduction.combine(
            tuple(part[0:even:2] for part in states), tuple(part[1:even:2] for part in states)
        )
        states = tuple(
            np.concatenate([pair, part[even:]]) for pair, part in zip(pairs, states, strict=True)
        )
    return tuple(part[0] for part in states)


def _state_of_nothing(reduction: Reduction, arrays: Sequence[Array], axes: frozenset[int]) -> State:
    a = arrays[0]
    n_lines = math.prod(length for axis, length in enumerate(a.shape) if axis not in axes)
    if reduction.identity is None and any(a.shape[axis] == 0 for axis in axes):
        raise ValueError(
            f"an array without elements cannot be reduced by a reduction that has no identity: "
            f"shape {a.shape}, axes {tuple(sorted(axes))}"
        )
    trial = reduction.chunk(*(np.zeros((0, 1, 1), x.dtype) for x in arrays))
    state = tuple(np.empty((n_lines, 1, *part.shape[2:]), part.dtype) for part in trial)
    for part, value in zip(state, reduction.identity or (), strict=False):
        part.fill(value)  # also where an element is an object that is a sequence
    return state


def restore(part: Array, a: Array | Order, axes: frozenset[int], keepdims: bool) -> Any:
    """Return a result, of shape (n_outer, n_inner, ...) in memory order, with the axes of `a`."""
    kept = [axis for axis in memory_order(a.strides) if axis not in axes]
    part = part.reshape([a.shape[axis] for axis in kept] + list(part.shape[2:]))
    forward: Any = [slice(None, None, -1 if a.strides[axis] < 0 else 1) for axis in kept]
    part = part[(*forward, ...)]  # an array, also of no axes
    order = [kept.index(axis) for axis in sorted(kept)]
    part = part.transpose(order + list(range(len(kept), part.ndim)))
    return np.expand_dims(part, tuple(axes))[()] if keepdims else part[()]


def map_parts(func: Callable[..., Any], result: Any, *others: Any) -> Any:
    """Apply `func` to results, or to each of their parts, in a tuple of the same type."""
    if not isinstance(result, tuple):
        return func(result, *others)
    mapped = map(func, result, *others)
    return type(result)._make(mapped) if hasattr(result, "_make") else tuple(mapped)


class ByLine(LineReduction):
    """A user's reduction, called line by line: its states are objects."""


def by_line(reduction: Reduction, *dtypes: np.dtype[Any]) -> ByLine:
    """Convert a user's reduction to one of lines, compiled for arrays of these types."""
    nothing = [read_only(np.empty(0, dtype)) for dtype in dtypes]
    chunk_of_user = serial_form(reduction.chunk)
    # Its signature may be one of arrays that can be written to: it gets copies.
    is_copied = not takes(chunk_of_user, *nothing) and takes(
        chunk_of_user, *(x.copy() for x in nothing)
    )
    if not is_copied:
        compile_for(chunk_of_user, *nothing)

    def as_given(line: Array) -> Array:
        line = line.copy() if is_copied else np.ascontiguousarray(line)
        line.flags.writeable = is_copied
        return line

    def chunk(*arrays: Array) -> State:
        n_outer, _, n_inner = arrays[0].shape
        states = np.empty((n_outer, n_inner), object)
        for outer, inner in np.ndindex(states.shape):
            lines = [as_given(x[outer, :, inner]) for x in arrays]
            states[outer, inner] = chunk_of_user(*lines)
        return (states,)

    def combine(a: State, b: State) -> State:
        return (np.frompyfunc(reduction.combine, 2, 1)(a[0], b[0]),)

    def finalize(state: State) -> Array:
        results = np.array([reduction.finalize(value) for value in state[0].flat])
        return results.reshape(state[0].shape + results.shape[1:])

    identity = None if reduction.identity is None else (reduction.identity,)
    return ByLine(chunk, combine, finalize, identity)
