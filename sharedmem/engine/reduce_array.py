"""Reduce arrays by users' reductions, in memory or in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from sharedmem.engine.operands import as_arrays, check_axis, check_reduction, is_store
from sharedmem.engine.reduce import Axis, Request, reduce
from sharedmem.engine.reduce_stored import reduce_stores
from sharedmem.engine.reduce_together import reduce_together
from sharedmem.engine.regions import broadcast_together
from sharedmem.engine.runners import ArrayRunner, Run
from sharedmem.engine.user_kernels import releases_gil
from sharedmem.kernels.reduction import LineReduction, Reduction


def reduce_array(
    runner: ArrayRunner,
    /,
    reduction: Reduction | Mapping[Any, Reduction],
    a: ArrayLike | tuple[Any, ...],
    axis: Axis = None,
    keepdims: bool = False,
) -> Any:
    """Reduce arrays over axes with custom reductions, in one pass.

    Parameters
    ----------
    reduction : Reduction or mapping of Reduction
        See :class:`sharedmem.Reduction`. Each of a mapping reduces the same chunks, which are read
        once.
    a : array_like, array in a file of zarr or h5py, or tuple of them
        The array, or several, which are broadcast against each other: ``chunk(x, w)`` gets a piece
        of each. A tuple with an array of at least one axis is several arrays; a tuple of numbers,
        and every list, is one array_like. Arrays in files are read chunk by chunk.
    axis : int or tuple of int, optional
        Axes to reduce, by default all. With an axis, a reduction that is not made of lines is
        called from Python for each line.
    keepdims : bool, optional
        Whether to keep the reduced axes, with length one.

    Returns
    -------
    object
        The result of the reduction; an array of results if there are several lines. For a mapping,
        a dict with the result of each.

    Raises
    ------
    ValueError
        If there is nothing to reduce and a reduction has no identity, the shapes cannot be
        broadcast together, or the mapping is empty.
    TypeError
        If an argument is not a reduction, or takes another number of arrays.
    AxisError
        If an axis is out of bounds or repeated.

    See Also
    --------
    Reduction : Define a reduction.
    accumulate : Keep the results of all steps.

    Notes
    -----
    The result depends on the arrays and their strides, not on the number of workers.

    Elements are passed in memory order; those of several arrays in the order of the first one that
    has all elements, none of them repeated, and in C order if all are broadcast. Arrays in files,
    and what is reduced with them, are in C order chunk by chunk.

    Reductions of whole arrays run in threads of the calling process if each `chunk` releases the
    GIL, as do reductions of lines; others run on the workers of the pool.

    Examples
    --------
    >>> import numba, numpy as np, operator, sharedmem
    >>> @numba.njit(nogil=True)
    ... def count_negative(x):
    ...     return (x < 0).sum()
    >>> negative = sharedmem.Reduction(count_negative, operator.add, identity=0)
    >>> int(sharedmem.reduce(negative, [3.0, -1.0, -2.0]))
    2

    A weighted mean, of two arrays:

    >>> @numba.njit(nogil=True)
    ... def weighted_sum(x, w):
    ...     return (w * x).sum(), w.sum()
    >>> def add(a, b):
    ...     return a[0] + b[0], a[1] + b[1]
    >>> mean = sharedmem.Reduction(weighted_sum, add, lambda state: state[0] / state[1])
    >>> x, w = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 3.0])
    >>> float(sharedmem.reduce(mean, (x, w)))
    2.75

    Several results, which read the array once:

    >>> largest = sharedmem.Reduction(np.max, max)
    >>> found = sharedmem.reduce({"negative": negative, "largest": largest}, x, axis=0)
    >>> found["negative"], found["largest"]
    (array([0, 0]), array([3., 4.]))
    """
    check_axis(axis)
    arrays = as_arrays(a)
    if isinstance(reduction, Mapping):
        if not reduction:
            raise ValueError(
                "the mapping of reductions is empty: give at least one, such as {'rms': reduction}"
            )
        for name, one in reduction.items():
            check_reduction(one, len(arrays), f"the mapping of reductions has none under {name!r}")
        results = _reduce_several(runner, [*reduction.values()], arrays, axis, keepdims)
        return dict(zip(reduction, results, strict=True))
    check_reduction(reduction, len(arrays), _RULE)
    if len(arrays) > 1 or runner.sees(*arrays) or is_store(arrays[0]):
        return _reduce_several(runner, [reduction], arrays, axis, keepdims)[0]
    (array,) = arrays
    run, share = _run(runner, [reduction], arrays, axis), runner.share(array.nbytes)
    return reduce(run, reduction, array, axis, keepdims, n_workers=runner.n_workers, share=share)


_RULE = (
    "the first argument of reduce must be a sharedmem.Reduction or a mapping of them, and the "
    "second the array"
)


def _reduce_several(
    runner: ArrayRunner,
    reductions: Sequence[Reduction],
    arrays: tuple[Any, ...],
    axis: Axis,
    keepdims: bool,
) -> list[Any]:
    """Return the results of reductions of the same arrays, in one pass over them."""
    arrays = broadcast_together(arrays)
    is_stored = runner.sees(*arrays) or any(map(is_store, arrays))
    if is_stored:
        holds_gil = not all(isinstance(one, LineReduction) for one in reductions)
        stream, _, arrays, _ = runner.stored(arrays, holds_gil=holds_gil)
    requests = [Request(one, arrays, axis, keepdims) for one in reductions]
    with runner.one_call():
        if is_stored:
            return reduce_stores(stream, requests)
        run = _run(runner, reductions, arrays, axis)
        return reduce_together(run, requests, runner.n_workers)


def _run(
    runner: ArrayRunner, reductions: Sequence[Reduction], arrays: Sequence[Any], axis: Axis
) -> Run:
    """Return what runs the tasks: threads of the caller, or the workers of the pool."""
    # For several lines a user's kernel is called in a loop of Python, which holds the GIL.
    is_one_line = axis is None or arrays[0].ndim <= 1
    for one in reductions:
        if not (isinstance(one, LineReduction) or (is_one_line and releases_gil(one.chunk))):
            return runner.map
    return runner.run(sum([a.nbytes for a in arrays]))
