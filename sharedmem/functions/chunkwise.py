"""Users' kernels, reductions and ufuncs over the chunks of arrays, on the pool in use."""

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
    """Call a kernel on each chunk of arrays that are split together, in parallel.

    Parameters
    ----------
    kernel : callable
        ``kernel(chunk_a, chunk_b, ..., *args)`` changes its chunks in place, and with `out`
        ``kernel(chunk_a, chunk_b, ..., chunk_out, *args)`` writes to the chunk of `out`, or those
        of several. Usually a function compiled with ``@numba.njit(nogil=True)``. It returns None:
        anything else would be lost, and is refused. (A Python function may return one of its
        arguments, as ``np.sqrt(x, out)`` does.)
    *arrays : array_like, or arrays in files of zarr or h5py
        At least one; all as long as each other along `axis`. An array in a file is cut between the
        chunks that it is stored in, read chunk by chunk, and written to likewise if it is `out`.
    args : tuple
        Further arguments, given whole to every call.
    axis : int, or tuple with an entry for each array, optional
        The axis along which the arrays are split. A negative one is counted from the end of each
        array. In arrays of different dimension, another number than 0 means different axes, and
        is refused: give a tuple of one number for each of `arrays` and then of `out`. So
        ``axis=(1, 0)`` splits the only array along axis 1, and `out` along axis 0. (To split along
        several axes, give `chunks`; then an entry of the tuple is a tuple, too.)
    chunks : Grid, optional
        Chunks made by :func:`sharedmem.chunks`, in place of the default ones: about 4 MiB of the
        largest array, `out` included. They say along which axes all arrays are split; with `axis`,
        where the chunks begin and end along those. An array of a single chunk is done by the
        caller.
    out : ndarray, or array in a file, or tuple of them, optional
        Where the kernel writes to. Without it, it works on the first array in place.
    position : bool, optional
        Whether the kernel gets, before `args`, the index in the first array of the first element of
        its chunk: a tuple of an int for each axis.

    Returns
    -------
    ndarray, or tuple of ndarray
        `out`, or the first array.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or if `out` (without it, the first array) is
        read-only, shares memory with another array, or is in private memory, where the writes of
        worker processes are lost. Errors of the compiler come as they are, before any work is done.
    TypeError
        If the kernel returns something: before any work is done if it is compiled, otherwise
        after its first chunk.
    OSError
        If `out` is in a mapped file for which the disk has no room.

    Warns
    -----
    RuntimeWarning
        The workers of the pool are threads, and a compiled kernel holds the interpreter's lock.

    Notes
    -----
    A kernel compiled by numba with ``nogil=True`` runs in threads of the caller: a call costs
    0.1 ms where forking workers takes 4, and private arrays may be written to. Its exceptions come
    as they are. Like all compiled code in the caller, it takes the process along if it crashes, and
    neither a pool's `timeout` nor its `initializer` applies. A kernel compiled with
    ``parallel=True`` is compiled again without it: its threads would end forked workers.

    All other kernels run on the workers of the pool. Where these are processes, arrays in private
    memory are read-only for the kernel: no write is ever lost unseen. So it is the absence of
    ``nogil=True`` that asks for the protection of processes.

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

    The mean over the first axis, split along the second one, which is the first of the result:

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
    """Call a kernel on each chunk of arrays and a halo around it, in parallel: a stencil.

    Parameters
    ----------
    kernel : callable
        ``kernel(chunk_a, chunk_out, *args)``; of several arrays, the chunks of `a` come first, then
        those of `out`. Along each axis a chunk of `a` is longer by ``2 * depth``: to
        ``chunk_out[i]`` belongs ``chunk_a[i + depth]``. Usually a function compiled with
        ``@numba.njit(nogil=True)``; :func:`map_chunks` says where it runs, and that it must not
        return anything.
    a : array_like, or array in a file of zarr or h5py, or tuple of them
        What is read. All arrays have one shape, with at least one axis. Of an array in a file,
        each chunk is read with its halo.
    out : ndarray, or array in a file, or tuple of them
        Where the kernel writes to, of the shape of `a` and of any dtype. It shares no memory with
        `a`: other chunks have yet to read that.
    depth : int or sequence of int
        How far the kernel looks, along all axes or along each of them. 0 is allowed, and so is
        more than a chunk or the array has.
    boundary : {"reflect", "periodic", "nearest", "none"} or number, or sequence of them, optional
        What the kernel sees beyond the ends of the array, along all axes or along each of them. For
        ``a b c d``, to the right of it:

        - ``"reflect"``: ``d c b a a b``, as SciPy's and Dask's "reflect", NumPy's "symmetric"
        - ``"periodic"``: ``a b c d a b``, NumPy's and SciPy's "wrap"
        - ``"nearest"``: ``d d d d d d``, NumPy's "edge"
        - a number: that number; in a corner, that of the last axis
        - ``"none"``: nothing. Elements of `out` that are nearer than `depth` to an end are left as
          they are. (In Dask, the chunks at the ends lack their halo instead.)
    args : tuple
        Further arguments, given whole to every call.
    position : bool, optional
        Whether the kernel gets, before `args`, the index in `out` of the first element of its
        chunk: a tuple of an int for each axis.
    chunks : Grid, optional
        Chunks of `out` made by :func:`sharedmem.chunks`, in place of the default ones of about
        4 MiB. An array of a single chunk is done by the caller.

    Returns
    -------
    ndarray, or tuple of ndarray
        `out`.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, if `out` shares memory with `a`, is read-only, or is
        in private memory where the writes of worker processes are lost. Errors of the compiler
        come as they are, before any work is done.
    OverflowError
        If a constant boundary does not fit into the dtype.

    Notes
    -----
    Chunks inside the array, and all of them along an axis without boundary, are views. Those that
    reach beyond an end are copied with what lies there, in the memory order of the array.

    Examples
    --------
    >>> import numba, sharedmem
    >>> @numba.njit(nogil=True)
    ... def average_of_neighbours(x, result):
    ...     for i in range(len(result)):
    ...         result[i] = (x[i] + x[i + 2]) / 2
    >>> a = sharedmem.array([1.0, 2.0, 4.0, 8.0])
    >>> result = sharedmem.empty_like(a)
    >>> sharedmem.map_overlap(average_of_neighbours, a, result, depth=1).tolist()
    [1.5, 2.5, 5.0, 6.0]
    >>> sharedmem.map_overlap(average_of_neighbours, a, result, depth=1, boundary=0).tolist()
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
    """Apply a ufunc or gufunc of NumPy, SciPy or numba, in parallel over its loop.

    Parameters
    ----------
    ufunc : ufunc
        For example ``np.exp``, ``scipy.special.erf``, ``np.matmul`` or a function compiled with
        ``@numba.vectorize``.
    *inputs : array_like, or arrays in files of zarr or h5py
        Broadcast against each other. Those in files are read chunk by chunk.
    out : SharedArray, ndarray, or array in a file, or tuple of them, optional
        Where the results go; by default to new shared arrays. It may be one of the inputs.
    **options
        ``dtype``, ``casting``, ``signature`` and ``order``, as NumPy has them, and ``where``, which
        needs `out`: where the mask is False, `out` keeps its values. NumPy's gufuncs take no
        ``where``. Other options are refused.

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
    a : array_like, or an array in a file of zarr or h5py
        One in a file is read chunk by chunk, and never as a whole.
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


def any_chunk(a: NDArray[Any], test: Callable[[NDArray[Any]], Any]) -> bool:
    """Return whether a test holds for any chunk of an array; chunks after it are left out."""
    lines = as_lines(a, frozenset(range(a.ndim)))
    found: list[int] = []

    def look(index: int) -> None:
        if not found and test(lines.chunk(index)):
            found.append(index)

    look(0)
    if len(lines.grid) > 1 and not found:
        current_pool().runner.run(a.nbytes)(look, range(1, len(lines.grid)))
    return bool(found)
