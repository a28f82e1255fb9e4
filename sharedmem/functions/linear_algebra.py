"""Dot products and norms, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import Chunk, Grid, chunks
from sharedmem.arrays.labels import REDUCTION, Dims, check_aligned, with_labels
from sharedmem.engine.operands import check_disk, in_memory
from sharedmem.engine.reduce import Axis
from sharedmem.engine.runners import Run, run_serially
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import warn_nonfinite
from sharedmem.functions.outputs import store
from sharedmem.kernels import counts, dots, norms
from sharedmem.kernels.quiet import quiet, quietly
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]

# Sums of squares that overflow, or are below _TINY, are computed again from numbers scaled by this.
_SCALE = 2.0**600
_TINY = 2.0**-960


def dot(a: ArrayLike, b: ArrayLike, out: Array | None = None) -> Any:
    """Return the dot product of two arrays; see `numpy.dot`.

    Parameters
    ----------
    a, b : array_like
        The arrays. The products of two 1-D arrays of float32, float64, or complex numbers are
        summed as if in twice the precision. Those of other 1-D arrays are summed by NumPy, in
        parallel; all others are left to NumPy, whose BLAS has threads of its own.
    out : ndarray, optional
        Array for the result, with exactly its shape and dtype.

    Returns
    -------
    scalar or ndarray
        The dot product, or `out`. For 1-D arrays the bits do not depend on the number of workers.

    Raises
    ------
    ValueError
        If the shapes or `out` do not fit.

    See Also
    --------
    vdot : Conjugate the first vector.
    norm : Return the norm of a vector.
    apply_ufunc : Apply a gufunc such as ``np.matmul`` to stacks of matrices.

    Notes
    -----
    Barring underflow, the error is at most ``u |a.b| + n**2 u**2 |a|.|b|`` with the rounding unit u
    (2**-53, or 2**-24 in the first term for float32): half a unit in the last place, unless nearly
    all of the sum cancels.

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
    check_disk(out)
    if getattr(a, "ndim", 0) < 2:  # of matrices, columns meet rows
        check_aligned(a, b=b)
    a, b = in_memory(a), in_memory(b)
    if not a.ndim == b.ndim == 1 or len(a) != len(b) or not _are_numbers(a, b):
        return np.dot(a, b, out)
    if out is not None:
        np.dot(a[:0], b[:0], out)  # raises if `out` does not fit
    return store(line_dot(a, b, conjugate=False), out)


def vdot(a: ArrayLike, b: ArrayLike, /) -> Any:
    """Return the dot product of two vectors, of which the first is conjugated; see `numpy.vdot`.

    Parameters
    ----------
    a, b : array_like
        Arrays of the same size, which are flattened in C order.

    Returns
    -------
    scalar
        The dot product. It is as accurate as that of :func:`dot`, and its bits do not depend on
        the number of workers.

    Raises
    ------
    ValueError
        If the sizes differ.

    See Also
    --------
    dot : Do not conjugate.
    norm : Return the norm of a vector.

    Examples
    --------
    >>> import sharedmem
    >>> complex(sharedmem.vdot([[1 + 2j], [3j]], [[1j], [1]]))
    (2-2j)
    """
    check_aligned(a, b=b)
    a, b = in_memory(a), in_memory(b)
    if a.size != b.size or not _are_numbers(a, b):
        return np.vdot(a, b)
    return line_dot(a.reshape(-1), b.reshape(-1), conjugate=True)


def _are_numbers(*arrays: Array) -> bool:
    return all(x.dtype.kind in "biufc" for x in arrays)


def line_dot(a: Array, b: Array, conjugate: bool) -> Any:
    """Return the dot product of two 1-D arrays of the same length."""
    numpy_dot: Any = np.vdot if conjugate else np.dot
    dtype = np.result_type(a, b)
    grid = chunks(len(a), size=max(1, tuning.chunk_bytes // dtype.itemsize))
    if not len(grid):
        return numpy_dot(a, b)
    # The sum of a chunk of float16 might overflow where that of all chunks does not.
    wide = np.promote_types(dtype, np.float32) if dtype.kind == "f" else dtype
    has_kernel = dots.has_dot(wide)

    def chunk_dot(chunk: Chunk) -> Any:
        x, y = (np.ascontiguousarray(line[chunk], wide) for line in (a, b))
        return dots.dot(x, y) if has_kernel else numpy_dot(x, y)

    parts = run_over(grid, a.nbytes + b.nbytes)(chunk_dot, grid)
    if not has_kernel:
        return np.add.reduce(np.array(parts, dtype), dtype=dtype)
    total, lost = (np.stack(part) for part in zip(*parts, strict=True))
    value = quietly(dots.value(dots.combine((total, lost)), conjugate).astype, dtype)[()]
    return value if conjugate else warn_nonfinite(value, "dot", a, b)  # NumPy's vdot never warns


def run_over(grid: Grid, nbytes: int) -> Run:
    """Return what runs tasks over chunks that read `nbytes` bytes: serially if there is one."""
    return current_pool().runner.run(nbytes) if len(grid) > 1 else run_serially


@with_labels(REDUCTION, "x")
@one_call
def norm(
    x: ArrayLike,
    ord: float | str | None = None,
    axis: Axis = None,
    keepdims: bool = False,
    *,
    dim: Dims = None,
) -> Any:
    """Return the norm of a vector or matrix; see `numpy.linalg.norm`.

    Parameters
    ----------
    x : array_like
        The array. It may have any number of dimensions if `ord` and `axis` are None.
    ord : int, float, inf, -inf, 'fro' or 'nuc', optional
        Order of the norm. By default the square root of the sum of squares. NumPy computes norms
        of matrices other than 'fro'.
    axis : int or tuple of two ints, optional
        Axis of the vectors, or axes of the matrices.
    keepdims : bool, optional
        Whether these axes stay, with length one.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The norms. The bits do not depend on the number of workers.

    Raises
    ------
    TypeError, ValueError
        If there is no such norm of `x`, or `axis` does not fit.

    See Also
    --------
    dot : Return the dot product of two vectors.

    Notes
    -----
    Sums are compensated, and in float64 if `x` has a smaller type. Unlike NumPy's, the 2-norm and
    the Frobenius norm neither overflow nor lose precision if only the squares do: the norm of
    ``[1e200, 1e200]`` is not inf, and that of ``[1e-200]`` not zero.

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
    reduce_x = partial(reduce, a=x, axis=axes, keepdims=keepdims)
    if is_default or is_frobenius or ord == 2:
        return _euclidean(x, reduce_x, axes)
    return _vector_norm(x, reduce_x, axes, ord)


def _euclidean(x: Array, reduce_x: Callable[..., Any], axes: Axis) -> Any:
    values = _root(reduce_x(norms.sum_of_squares(x.dtype)), x, reduce_x)
    return warn_nonfinite(values, "dot", x, axis=axes)


@quiet
def _root(squares: Any, x: Array, reduce_x: Callable[..., Any]) -> Any:
    values = np.sqrt(squares)
    if x.dtype.char in "dD":
        for beyond, scale in ((squares == np.inf, 1 / _SCALE), (squares < _TINY, _SCALE)):
            if np.any(beyond):
                scaled = np.sqrt(reduce_x(norms.sum_of_squares(x.dtype, scale))) / scale
                values = np.where(beyond, scaled, values)
    return values.astype(norms.real_type(x.dtype))[()]


def _vector_norm(x: Array, reduce_x: Callable[..., Any], axes: Axis, order: Any) -> Any:
    result = norms.real_type(x.dtype)
    if order == np.inf:
        return reduce_x(norms.largest_magnitude(x.dtype))
    if order == -np.inf:
        return reduce_x(norms.smallest_magnitude(x.dtype))
    if order == 0:
        return reduce_x(counts.count_nonzero(x.dtype)).astype(result)[()]
    if order == 1:
        return warn_nonfinite(reduce_x(norms.sum_of_magnitudes(x.dtype)), "reduce", x, axis=axes)
    powers = reduce_x(norms.sum_of_powers(x.dtype, order))
    if order > 0:
        warn_nonfinite(powers, "reduce", x, axis=axes)
    return (powers ** np.reciprocal(order, dtype=powers.dtype)).astype(result)
