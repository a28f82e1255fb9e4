"""Users' kernels, reductions and ufuncs over the chunks of arrays, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from sharedmem.chunks import Grid
from sharedmem.kernels import Reduction
from sharedmem.mapreduce import current_pool
from sharedmem.reducing import Axis


def map_chunks(
    kernel: Callable[..., Any],
    *arrays: Any,
    args: tuple[Any, ...] = (),
    axis: int = 0,
    chunks: Grid | None = None,
    out: Any = None,
) -> Any:
    """Call a kernel on each chunk of arrays that are split together, in parallel.

    Parameters
    ----------
    kernel : callable
        ``kernel(chunk_a, chunk_b, ..., *args)`` changes its chunks in place, and with `out`
        ``kernel(chunk_a, chunk_b, ..., chunk_out, *args)`` writes to the chunk of `out`. Usually a
        function compiled with ``@numba.njit(nogil=True)``. What it returns is dropped.
    *arrays : array_like
        At least one; all as long as each other along `axis`.
    args : tuple
        Further arguments, given whole to every call.
    axis : int, optional
        The axis along which the arrays are split.
    chunks : Grid, optional
        Chunks made by :func:`sharedmem.chunks`, in place of the default ones: about 4 MiB of the
        first array along `axis`. An array of a single chunk is done by the caller.
    out : SharedArray or tuple of SharedArray, optional
        Where the kernel writes to. Without it, it works on the first array in place.

    Returns
    -------
    ndarray, or tuple of ndarray
        `out`, or the first array.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or if `out` (without it, the first array) is read-only
        or in private memory, where the writes of worker processes are lost. Errors of the
        compiler come as they are, before any work is done.

    Notes
    -----
    Other arrays in private memory are read-only for the kernel: no write is ever lost unseen.

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
    """
    pool = current_pool()
    return pool.map_chunks(kernel, *arrays, args=args, axis=axis, chunks=chunks, out=out)


def apply_ufunc(ufunc: Any, *inputs: Any, out: Any = None, **options: Any) -> Any:
    """Apply a ufunc or gufunc of NumPy, SciPy or numba, in parallel over its loop.

    Parameters
    ----------
    ufunc : ufunc
        For example ``np.exp``, ``scipy.special.erf``, ``np.matmul`` or a function compiled with
        ``@numba.vectorize``.
    *inputs : array_like
        Broadcast against each other.
    out : SharedArray or tuple of SharedArray, optional
        Where the results go; by default to new shared arrays. It may be one of the inputs.
    **options
        ``dtype``, ``casting`` and ``order``, as NumPy has them.

    Returns
    -------
    SharedArray, scalar, or tuple of them

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or `out` cannot be written to by workers.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = sharedmem.full((2, 3), 9.0)
    >>> sharedmem.apply_ufunc(np.sqrt, a, out=a).tolist()
    [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]]
    >>> sharedmem.apply_ufunc(np.add, a, np.arange(3)).tolist()
    [[3.0, 4.0, 5.0], [3.0, 4.0, 5.0]]
    """
    return current_pool().apply_ufunc(ufunc, *inputs, out=out, **options)


def reduce(reduction: Reduction, a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Reduce an array over some of its axes by a reduction of your own.

    Parameters
    ----------
    reduction : Reduction
        See :class:`sharedmem.Reduction`. It sees the elements in the order of memory.
    a : array_like
    axis : int or tuple of int, optional
        Axes to reduce; by default all. With an axis, a reduction that is not made of lines is
        called for each line in turn, at the speed of Python.
    keepdims : bool, optional
        Whether reduced axes stay, with length one.

    Returns
    -------
    object
        What the reduction gives; an array of that, for lines.

    Raises
    ------
    ValueError
        If there is nothing to reduce and no identity.

    Notes
    -----
    The result depends on the array and on its strides, and not on the number of workers.

    Examples
    --------
    >>> import numba, operator, sharedmem
    >>> @numba.njit(nogil=True)
    ... def count_negative(x):
    ...     return (x < 0).sum()
    >>> negative = sharedmem.Reduction(count_negative, operator.add, identity=0)
    >>> int(sharedmem.reduce(negative, [3.0, -1.0, -2.0]))
    2
    """
    return current_pool().reduce(reduction, a, axis=axis, keepdims=keepdims)
