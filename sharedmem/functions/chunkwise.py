"""Custom kernels and reductions, and ufuncs, over the chunks of arrays, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import Grid
from sharedmem.engine.line_view import as_lines
from sharedmem.engine.reduce import Axis
from sharedmem.kernels import Reduction
from sharedmem.pool.mapreduce import current_pool


def map_chunks(
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
    return current_pool().map_chunks(
        kernel, *arrays, args=args, axis=axis, chunks=chunks, out=out, position=position
    )


def map_overlap(
    kernel: Callable[..., Any],
    a: Any,
    out: Any,
    *,
    depth: int | Sequence[int],
    boundary: Any = "reflect",
    args: tuple[Any, ...] = (),
    position: bool = False,
    chunks: Grid | None = None,
) -> Any:
    """Call a kernel on each chunk of arrays with a halo around it, in parallel: a stencil.

    Parameters
    ----------
    kernel : callable
        ``kernel(chunk_a, chunk_out, *args)``; for several arrays, the chunks of `a` come first,
        then those of `out`. Along each axis a chunk of `a` is longer by ``2 * depth``:
        ``chunk_a[i + depth]`` corresponds to ``chunk_out[i]``. Usually compiled with
        ``@numba.njit(nogil=True)``. :func:`map_chunks` says where it runs; it must return None.
    a : array_like, array in a file of zarr or h5py, or tuple of them
        Arrays to read, all of one shape, with at least one axis. Of an array in a file, each chunk
        is read with its halo.
    out : ndarray, array in a file, or tuple of them
        Arrays for the results, of the shape of `a` and any dtype. They must not share memory with
        `a`.
    depth : int or sequence of int
        How far the kernel looks along all axes, or along each of them. It may be 0, and larger
        than a chunk or the array.
    boundary : {"reflect", "periodic", "nearest", "none"} or number, or sequence of them, optional
        What the kernel sees beyond the ends of the array along all axes, or along each of them. To
        the right of ``a b c d``:

        - ``"reflect"``: ``d c b a a b``, like SciPy's and Dask's "reflect" and NumPy's "symmetric"
        - ``"periodic"``: ``a b c d a b``, like NumPy's and SciPy's "wrap"
        - ``"nearest"``: ``d d d d d d``, like NumPy's "edge"
        - a number: that number; in a corner, that of the last axis
        - ``"none"``: nothing. Elements of `out` that are nearer to an end than `depth` are not
          changed. (In Dask, the chunks at the ends lack their halo instead.)
    args : tuple
        Further arguments, passed whole to every call.
    position : bool, optional
        Whether to pass the index of the first element of the chunk in `out`, a tuple of ints,
        before `args`.
    chunks : Grid, optional
        Chunks of `out` made by :func:`sharedmem.chunks`. By default chunks of about 4 MiB. The
        caller itself computes an array of a single chunk.

    Returns
    -------
    ndarray or tuple of ndarray
        `out`.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or if `out` shares memory with `a`, is read-only, or
        is in private memory, where writes of worker processes are lost. Compiler errors are raised
        before any work is done.
    OverflowError
        If a constant boundary does not fit into the dtype.

    Notes
    -----
    Chunks inside the array are views, and so are all chunks along an axis with the boundary
    ``"none"``. Chunks that reach beyond an end are copied with their halo, in the memory order of
    the array.

    Examples
    --------
    >>> import numba, sharedmem
    >>> @numba.njit(nogil=True)
    ... def average_of_neighbors(x, result):
    ...     for i in range(len(result)):
    ...         result[i] = (x[i] + x[i + 2]) / 2
    >>> a = sharedmem.array([1.0, 2.0, 4.0, 8.0])
    >>> result = sharedmem.empty_like(a)
    >>> sharedmem.map_overlap(average_of_neighbors, a, result, depth=1).tolist()
    [1.5, 2.5, 5.0, 6.0]
    >>> sharedmem.map_overlap(average_of_neighbors, a, result, depth=1, boundary=0).tolist()
    [1.0, 2.5, 5.0, 2.0]
    """
    return current_pool().map_overlap(
        kernel,
        a,
        out,
        depth=depth,
        boundary=boundary,
        args=args,
        position=position,
        chunks=chunks,
    )


def apply_ufunc(ufunc: Any, *inputs: Any, out: Any = None, **options: Any) -> Any:
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
    **options
        NumPy's ``dtype``, ``casting``, ``signature``, and ``order``; and ``where``, which requires
        `out`, and which gufuncs do not take: where it is False, `out` keeps its values.

    Returns
    -------
    SharedArray, scalar, or tuple of them
        The results, or `out`.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or workers cannot write to `out`.

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
    """Reduce an array over axes with a custom reduction.

    Parameters
    ----------
    reduction : Reduction
        See :class:`sharedmem.Reduction`. It gets the elements in memory order.
    a : array_like, or array in a file of zarr or h5py
        The array. One in a file is read chunk by chunk.
    axis : int or tuple of int, optional
        Axes to reduce, by default all. With an axis, a reduction that is not made of lines is
        called from Python for each line.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.

    Returns
    -------
    object
        The result of the reduction; an array of results if there are several lines.

    Raises
    ------
    ValueError
        If there is nothing to reduce and the reduction has no identity.

    Notes
    -----
    The result depends on the array and its strides, not on the number of workers.

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


def any_chunk(a: NDArray[Any], test: Callable[[NDArray[Any]], Any]) -> bool:
    """Return whether a test is true of any chunk of an array; stop at the first that is found."""
    lines = as_lines(a, frozenset(range(a.ndim)))
    found: list[int] = []

    def look(index: int) -> None:
        if not found and test(lines.chunk(index)):
            found.append(index)

    look(0)
    if len(lines.grid) > 1 and not found:
        current_pool().runner.run(a.nbytes)(look, range(1, len(lines.grid)))
    return bool(found)
