"""Elements chosen or clipped one by one, on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import Chunk, bytes_a_chunk, chunks
from sharedmem.arrays.conversion import check_plain
from sharedmem.arrays.labels import ELEMENTWISE, with_labels
from sharedmem.arrays.shared_array import populate
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import check_disk, in_memory
from sharedmem.functions.outputs import store
from sharedmem.functions.selection import can_write, nonzero
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]


def where(condition: ArrayLike, *choices: ArrayLike) -> Any:
    """Return elements chosen from `x` or `y` depending on a condition; see `numpy.where`.

    Parameters
    ----------
    condition : array_like
        Where true, yield `x`, otherwise `y`.
    *choices : array_like
        `x` and `y`, broadcast against `condition` and each other; or nothing.

    Returns
    -------
    ndarray, or tuple of ndarray
        The chosen elements; without `x` and `y` the result of :func:`nonzero`.

    Raises
    ------
    ValueError
        If only one of `x` and `y` is given, or the shapes do not fit.

    See Also
    --------
    nonzero : Return the indices where a condition is true.
    clip : Limit values.
    evaluate : Evaluate an expression, of which ``where`` may be a part.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.where([True, False], [1, 2], 7).tolist()
    [1, 7]
    """
    if not choices:
        return nonzero(condition)
    if len(choices) != 2:
        raise ValueError(f"got {len(choices)} of x and y: give both or neither")
    return _chosen(condition, *choices)


@with_labels(ELEMENTWISE, "condition", "x", "y")
def _chosen(condition: Any, x: Any, y: Any) -> Any:
    return by_chunk(_choose, (condition, x, y))


def _choose(condition: Any, x: Any, y: Any, out: Array | None = None) -> Any:
    return store(np.where(condition, x, y), out)


@with_labels(ELEMENTWISE, "a", "a_min", "a_max", "min", "max")
def clip(
    a: ArrayLike,
    a_min: ArrayLike | None = None,
    a_max: ArrayLike | None = None,
    out: Array | None = None,
    *,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
    **options: Any,
) -> Any:
    """Clip (limit) the values in an array; see `numpy.clip`.

    Parameters
    ----------
    a : array_like
        The array.
    a_min, a_max : array_like, optional
        Minimum and maximum value, broadcast against `a`. None means no limit.
    out : ndarray, optional
        Array for the result. It may be `a` itself.
    min, max : array_like, optional
        Other names of `a_min` and `a_max`.
    **options
        Other options of :class:`numpy.ufunc`: ``where``, ``dtype``, ``casting``, and so on. With
        any of them the call is left to NumPy, which is serial.

    Returns
    -------
    ndarray or scalar
        The clipped values, or `out`.

    Raises
    ------
    ValueError
        If limits are given by both names, or do not fit.

    See Also
    --------
    where : Choose between elements.
    evaluate : Evaluate an expression, of which ``clip`` may be a part.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.clip([1, 5, 9], 3, 7).tolist()
    [3, 5, 7]
    """
    if min is not None or max is not None:
        if a_min is not None or a_max is not None:
            raise ValueError("min and max are other names of a_min and a_max: give one pair")
        a_min, a_max = min, max
    if options:
        for x in (a_min, a_max, options.get("where")):
            check_plain(x)
        return cast(Any, np.clip)(in_memory(a), a_min, a_max, out, **options)
    return by_chunk(np.clip, (a, a_min, a_max), out)


def by_chunk(function: Callable[..., Any], given: tuple[Any, ...], out: Array | None = None) -> Any:
    """Apply an elementwise function of NumPy chunk by chunk; the result is private memory."""
    check_disk(out)
    operands: list[Any] = [x if x is None or np.isscalar(x) else in_memory(x) for x in given]
    arrays = [in_memory(x) for x in operands if x is not None]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        return function(*operands, out=out)  # raises that or another error of NumPy
    is_small = math.prod(shape) * max(x.itemsize for x in arrays) <= tuning.chunk_bytes // 2
    others = [x for x in arrays if x is not out]
    if is_small or not can_write(out, shape, getattr(out, "dtype", None), *others):
        return function(*operands, out=out)
    views = [np.broadcast_to(x, shape) if np.ndim(x) else x for x in operands]

    def apply(chunk: tuple[slice, ...], target: Array | None) -> Any:
        return function(*(x[chunk] if np.ndim(x) else x for x in views), out=target)

    # Without elements, NumPy returns the dtype, or raises if there is none.
    nothing = (slice(0, 0),) * len(shape)
    dtype = apply(nothing, None if out is None else np.asarray(out)[nothing]).dtype
    if dtype.hasobject:
        return function(*operands, out=out)
    result: Any = out if out is not None else _empty_like([x for x in arrays if x.ndim], dtype)
    target = np.asarray(result)
    grid = chunks(target, memory_order(target.strides), nbytes=bytes_a_chunk(target.nbytes))

    def apply_to_chunk(chunk: Chunk) -> None:
        part = target[chunk]
        populate(part)
        apply(chunk, part)

    current_pool().runner.run(2 * target.nbytes)(apply_to_chunk, grid)
    return result


def _empty_like(arrays: list[Array], dtype: np.dtype[Any]) -> Array:
    """Return a new array of the broadcast shape, in the memory order of NumPy's results."""
    flags: Any = [["readonly"]] * len(arrays) + [["writeonly", "allocate"]]
    dtypes = [*(x.dtype for x in arrays), dtype]
    return np.nditer([*arrays, None], None, flags, dtypes).operands[-1]
