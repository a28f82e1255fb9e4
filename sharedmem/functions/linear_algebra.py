"""Dot products and norms, on the pool in use."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import DEFAULT_CHUNK_BYTES, Chunk, Grid, chunks
from sharedmem.engine.operands import in_memory
from sharedmem.engine.reduce import Axis
from sharedmem.engine.runners import Run, run_serially
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import told
from sharedmem.functions.reductions import count_nonzero
from sharedmem.kernels import dots, norms
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]

# Squares of numbers beyond 2**512, and below 2**-480 or so, are worked out once more at this scale.
_SCALE = 2.0**600
_TINY = 2.0**-960


def dot(a: ArrayLike, b: ArrayLike, out: Array | None = None) -> Any:
    """Return the dot product of two arrays, as `numpy.dot` does.

    Parameters
    ----------
    a, b : array_like
        Of two lines, of float32, float64 or complex numbers, the products are summed as if in
        twice the precision; all others are NumPy's dot products, of lines in parallel.
        Those of matrices have the threads of NumPy's BLAS.
    out : ndarray, optional
        Where the result goes; of the very shape and type that it has.

    Returns
    -------
    scalar or ndarray
        Of lines, the same bits for any number of workers.

    Raises
    ------
    ValueError
        If shapes or `out` do not fit.

    Notes
    -----
    Barring underflow, the error is at most ``u |a.b| + n**2 u**2 |a|.|b|`` with the rounding unit u
    (2**-53, or 2**-24 in the first term for float32): half a unit in the last place, unless nearly
    all of it cancels.

    References
    ----------
    T. Ogita, S. M. Rump and S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26, 2005,
    algorithm 5.3.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.dot([1e20, 1.0, -1e20], [1.0, 0.5, 1.0]))
    0.5
    """
    a, b = in_memory(a), in_memory(b)
    if not a.ndim == b.ndim == 1 or len(a) != len(b) or not _are_numbers(a, b):
        return np.dot(a, b, out)
    if out is None:
        return line_dot(a, b, conjugate=False)
    np.dot(a[:0], b[:0], out)
    out[...] = line_dot(a, b, conjugate=False)
    return out


def vdot(a: ArrayLike, b: ArrayLike, /) -> Any:
    """Return the dot product of all elements, the first ones conjugated, as `numpy.vdot` does.

    Parameters
    ----------
    a, b : array_like
        Of the same size; the elements are taken in C order.

    Returns
    -------
    scalar
        As accurate as that of :func:`dot`, and with the same bits for any number of workers.

    Raises
    ------
    ValueError
        If the sizes differ.

    Examples
    --------
    >>> import sharedmem
    >>> complex(sharedmem.vdot([[1 + 2j], [3j]], [[1j], [1]]))
    (2-2j)
    """
    a, b = in_memory(a), in_memory(b)
    if a.size != b.size or not _are_numbers(a, b):
        return np.vdot(a, b)
    return line_dot(a.reshape(-1), b.reshape(-1), conjugate=True)


def _are_numbers(*arrays: Array) -> bool:
    return all(x.dtype.kind in "biufc" for x in arrays)


def line_dot(a: Array, b: Array, conjugate: bool) -> Any:
    """Return the dot product of two lines of the same length."""
    numpy_dot: Any = np.vdot if conjugate else np.dot
    dtype = np.result_type(a, b)
    grid = chunks(len(a), size=max(1, DEFAULT_CHUNK_BYTES // dtype.itemsize))
    if not len(grid):
        return numpy_dot(a, b)
    # Chunks of float16 would be rounded each, and overflow where their sum does not.
    wide = np.promote_types(dtype, np.float32) if dtype.kind == "f" else dtype
    has_kernel = dots.has_dot(wide)

    def chunk_dot(chunk: Chunk) -> Any:
        x, y = (np.ascontiguousarray(line[chunk], wide) for line in (a, b))
        return dots.dot(x, y) if has_kernel else numpy_dot(x, y)

    parts = run_over(grid, a.nbytes + b.nbytes)(chunk_dot, grid)
    if not has_kernel:
        return np.add.reduce(np.array(parts, dtype), dtype=dtype)
    total, lost = (np.stack(part) for part in zip(*parts, strict=True))
    with np.errstate(all="ignore"):
        value = dots.value(dots.combine((total, lost)), conjugate).astype(dtype)[()]
    return value if conjugate else told(value, "dot", a, b)  # NumPy's vdot tells of nothing


def run_over(grid: Grid, nbytes: int) -> Run:
    """Return what runs tasks over chunks of so many bytes: threads, if there are several."""
    return current_pool().runner.run(nbytes) if len(grid) > 1 else run_serially


def norm(
    x: ArrayLike,
    ord: float | str | None = None,
    axis: Axis = None,
    keepdims: bool = False,
) -> Any:
    """Return the norm of a vector or a matrix, as `numpy.linalg.norm` does.

    Parameters
    ----------
    x : array_like
    ord : int, float, inf, -inf, 'fro' or 'nuc', optional
        Which norm; by default the root of the sum of squares, of an array of any shape. Norms of
        matrices other than 'fro' are left to NumPy.
    axis : int or tuple of two ints, optional
        The axis of vectors, or the axes of matrices.
    keepdims : bool, optional
        Whether the axes of vectors or matrices stay, with length one.

    Returns
    -------
    scalar or ndarray
        With the same bits for any number of workers.

    Raises
    ------
    ValueError, TypeError
        Where NumPy does.

    Notes
    -----
    Sums are compensated, and in float64 where `x` is of a smaller type. The 2-norm and that of
    Frobenius neither overflow nor lose precision where only the squares are too large or too small,
    unlike NumPy's, whose norm of ``[1e200, 1e200]`` is inf, and of ``[1e-200]`` zero.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.norm([1e200] * 4))
    2e+200
    >>> sharedmem.norm([[3, 4], [0, 1]], 1, axis=1).tolist()
    [7.0, 1.0]
    """
    x = in_memory(x)
    axes = axis if axis is None or isinstance(axis, tuple) else (axis,)
    n_axes = x.ndim if axes is None else len(axes)
    is_default = ord is None and (axes is None or n_axes in {1, 2})
    is_frobenius = ord in ("fro", "f") and n_axes == 2
    is_vector = n_axes == 1 and not isinstance(ord, str)
    if not (is_default or is_frobenius or is_vector) or x.dtype.kind not in "biufc" or not x.size:
        return np.linalg.norm(x, cast(Any, ord), axis, keepdims)
    x = x.astype(float) if x.dtype.kind in "biu" else x
    if is_default or is_frobenius or ord == 2:
        return _euclidean(x, axes, keepdims)
    return _vector_norm(x, ord, axes, keepdims)


def _euclidean(x: Array, axes: Axis, keepdims: bool) -> Any:
    result = norms.real_type(x.dtype)
    square = partial(reduce, a=x, axis=axes, keepdims=keepdims)
    squares = square(norms.sum_of_squares(x.dtype))
    with np.errstate(all="ignore"):
        values = np.sqrt(squares)
        if x.dtype.char in "dD":
            for beyond, scale in ((squares == np.inf, 1 / _SCALE), (squares < _TINY, _SCALE)):
                if np.any(beyond):
                    scaled = np.sqrt(square(norms.sum_of_squares(x.dtype, scale))) / scale
                    values = np.where(beyond, scaled, values)
        values = values.astype(result)[()]
    return told(values, "dot", x, axis=axes)


def _vector_norm(x: Array, order: Any, axes: Axis, keepdims: bool) -> Any:
    result = norms.real_type(x.dtype)
    if order == np.inf:
        return reduce(norms.largest_magnitude(x.dtype), x, axes, keepdims=keepdims)
    if order == -np.inf:
        return reduce(norms.smallest_magnitude(x.dtype), x, axes, keepdims=keepdims)
    if order == 0:
        return np.asarray(count_nonzero(x, axes, keepdims=keepdims)).astype(result)[()]
    if order == 1:
        total = reduce(norms.sum_of_magnitudes(x.dtype), x, axes, keepdims=keepdims)
        return told(total, "reduce", x, axis=axes)
    powers = reduce(norms.sum_of_powers(x.dtype, order), x, axes, keepdims=keepdims)
    if order > 0:
        told(powers, "reduce", x, axis=axes)
    return (powers ** np.reciprocal(order, dtype=powers.dtype)).astype(result)
