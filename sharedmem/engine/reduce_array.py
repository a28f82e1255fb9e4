"""Reduce an array by a user's reduction, in memory or in a file."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from sharedmem.engine.operands import as_array, check_reduction, is_store
from sharedmem.engine.reduce import Axis, reduce
from sharedmem.engine.reduce_stored import reduce_store
from sharedmem.engine.runners import ArrayRunner
from sharedmem.engine.user_kernels import releases_gil
from sharedmem.kernels.reduction import LineReduction, Reduction


def reduce_array(
    runner: ArrayRunner,
    /,
    reduction: Reduction,
    a: ArrayLike,
    axis: Axis = None,
    keepdims: bool = False,
) -> Any:
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
        Whether to keep the reduced axes, with length one.

    Returns
    -------
    object
        The result of the reduction; an array of results if there are several lines.

    Raises
    ------
    ValueError
        If there is nothing to reduce and the reduction has no identity.

    See Also
    --------
    Reduction : Define a reduction.
    accumulate : Keep the results of all steps.

    Notes
    -----
    The result depends on the array and its strides, not on the number of workers.

    A reduction of a whole array whose `chunk` releases the GIL runs in threads of the calling
    process, as does one made of lines; others run on the workers of the pool.

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
    check_reduction(reduction, axis)
    array = as_array(a)
    is_of_lines = isinstance(reduction, LineReduction)
    if runner.sees(array) or is_store(array):
        stream, _, seen, _ = runner.stored(array, holds_gil=not is_of_lines)
        return reduce_store(stream, reduction, seen, axis, keepdims)
    # For several lines a user's kernel is called in a loop of Python, which holds the GIL.
    is_one_line = axis is None or array.ndim <= 1
    is_free = is_of_lines or (is_one_line and releases_gil(reduction.chunk))
    run = runner.run(array.nbytes) if is_free else runner.map
    share = runner.share(array.nbytes)
    return reduce(run, reduction, array, axis, keepdims, n_workers=runner.n_workers, share=share)
