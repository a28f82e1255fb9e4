"""Stencils: kernels over chunks of arrays, each with a halo of its neighbors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Grid
from sharedmem.engine.cuts import check_cut, cut, place
from sharedmem.engine.halos import Axis, StencilTask
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import as_array, as_input, as_tuple, check_grid
from sharedmem.engine.regions import overlap
from sharedmem.engine.runners import ArrayRunner, run_serially
from sharedmem.engine.user_kernels import run_kernel, serial_form
from sharedmem.machine.arguments import check_count

Array = NDArray[Any]

BOUNDARIES = ("reflect", "periodic", "nearest", "none")


def map_overlap(
    runner: ArrayRunner,
    /,
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

    See Also
    --------
    map_chunks : Call a kernel on chunks without a halo.
    chunks : Cut an array into chunks.

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
    kernel = serial_form(kernel)
    targets = as_tuple(out) or (out,)
    run, given, targets, private_ok = runner.kernel_call(kernel, as_tuple(a), targets)
    inputs = tuple(as_input(x, private_ok) for x in given)
    outs = tuple(map(as_array, targets))
    _check_arrays(inputs, outs)
    axes = _axes_of(inputs, depth, boundary)
    if chunks is None:
        chunks = _default_grid(inputs, outs)
    else:
        check_cut(chunks, place(outs, 0, check_grid(chunks)))
    if not all(outs[0].shape):
        return out
    task = StencilTask(kernel, inputs, outs, axes, args, position)
    task.compile(chunks)
    run_kernel(run if len(chunks) > 1 else run_serially, task, chunks)
    return out


def _default_grid(inputs: Sequence[Array], outs: Sequence[Array]) -> Grid:
    strides = getattr(inputs[0], "strides", None)  # a file is read in C order
    axes = range(inputs[0].ndim) if strides is None else memory_order(strides)
    widest = max((*inputs, *outs), key=lambda part: part.dtype.itemsize)
    return cut(widest, axes, outs, inputs)


def _check_arrays(inputs: Sequence[Array], outs: Sequence[Array]) -> None:
    if not inputs:
        raise TypeError("map_overlap needs at least one array")
    shapes = {x.shape for x in (*inputs, *outs)}
    if len(shapes) > 1 or shapes == {()}:
        listed = ", ".join(str(x.shape) for x in (*inputs, *outs))
        raise ValueError(f"a and out must have one shape, of at least one axis, got {listed}")
    for a, out in itertools.product(inputs, outs):
        if overlap(a, out):
            raise ValueError(
                "out shares memory with a, which other chunks still have to read; give another "
                "array as out, such as sharedmem.empty_like(a), and swap the two after each call"
            )


def _axes_of(inputs: Sequence[Array], depth: Any, boundary: Any) -> tuple[Axis, ...]:
    shape = inputs[0].shape
    depths = [check_count("depth", d, 0) for d in _per_axis("depth", depth, len(shape))]
    boundaries = _per_axis("boundary", boundary, len(shape))
    for value, a in itertools.product(boundaries, inputs):
        _check_boundary(value, a.dtype)
    return tuple(map(Axis, shape, depths, boundaries))


def _per_axis(name: str, value: Any, n_axes: int) -> Sequence[Any]:
    values = value if isinstance(value, tuple | list) else [value] * n_axes
    if len(values) != n_axes:
        raise ValueError(f"{name}={value!r} has {len(values)} entries for arrays of {n_axes} axes")
    return values


def _check_boundary(value: Any, dtype: np.dtype[Any]) -> None:
    if isinstance(value, str):
        if value not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {BOUNDARIES} or a number, got {value!r}")
    elif not np.can_cast(np.min_scalar_type(value), dtype, "same_kind"):
        raise TypeError(f"the boundary {value!r} cannot be cast to dtype {dtype}")
    else:
        np.full(1, value, dtype)  # raises OverflowError
