"""The arrays of a call on chunks: checked before any work, and as workers see them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Grid, has_chunks
from sharedmem.arrays.conversion import as_ndarray, check_plain, has_rules, read_only, unwrapped
from sharedmem.arrays.mapped_files import reserve
from sharedmem.arrays.shared_array import SharedArray, is_shared_array
from sharedmem.kernels import Reduction
from sharedmem.kernels.loops.layout import address_of

Array = NDArray[Any]

# The types of arrays that have no rules of their own.
PLAIN = frozenset({np.ndarray, SharedArray})
_PYTHON_NUMBERS = frozenset({bool, int, float, complex})


def is_store(a: Any) -> bool:
    """Return whether an array is read region by region, as those of h5py, zarr, and Dask are.

    It has what `h5py.Dataset` and `zarr.Array` have: `shape`, `dtype`, `ndim`, `__getitem__`, and
    `chunks`, which is None or has an integer for each axis, but for Dask's. The arrays of xarray
    are those that they hold.
    """
    if isinstance(a, np.ndarray):
        return False
    names = "shape", "dtype", "ndim", "__getitem__"  # of which lists have one, but no chunks
    has_protocol = hasattr(a, "chunks") and all(hasattr(a, name) for name in names)
    return has_protocol and (has_chunks(a) or is_dask(a))


def as_array(a: Any) -> Array:
    """Return `a` as an ndarray, or as what is read like one: an array in a file."""
    if isinstance(a, np.ndarray):
        return a if type(a) is np.ndarray else as_ndarray(a)
    a = unwrapped(a)
    if not is_store(a):
        return as_ndarray(a)
    check_plain(a)
    array: Array = a
    return array


def is_plain(a: Array) -> bool:
    """Return whether an array is C-contiguous, aligned, and native."""
    return a.flags.c_contiguous and a.flags.aligned and bool(a.dtype.isnative)


def is_number(x: Any) -> bool:
    """Return whether `x` is a number of Python's or NumPy's, and of no type derived from these."""
    is_numpys = isinstance(x, np.number | np.bool_) and not isinstance(x, np.timedelta64)
    return type(x) in _PYTHON_NUMBERS or is_numpys


def as_arrays(a: Any) -> tuple[Array, ...]:
    """Return the arrays of a tuple with at least one, else the only array, as `as_array` does.

    A tuple of numbers, and each list, is one array_like.
    """
    if isinstance(a, tuple) and any(getattr(part, "ndim", 0) for part in a):
        return tuple(map(as_array, a))
    return (as_array(a),)


def as_operand(a: Any) -> Array:
    """Return `a` as :func:`as_array` does, or unchanged if it overrides NumPy's functions.

    NumPy's functions respect such overrides.
    """
    if has_rules(a) and all(hasattr(a, name) for name in ("shape", "dtype", "ndim", "size")):
        array: Array = a
        return array
    return as_array(a)


def in_memory(a: Any) -> Array:
    """Return `a` as an ndarray; refuse to read an array in a file as a whole."""
    if is_store(a):
        check_plain(a)
        if 0 in a.shape:
            return as_ndarray(a[...])
        raise TypeError(
            f"an array in a file, of shape {a.shape} and dtype {a.dtype}, would have to be read as "
            "a whole here; give a[...] to load it, or use sharedmem.map_chunks"
        )
    return as_ndarray(a)


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return one array, or several, or none, as a tuple."""
    return () if value is None else value if isinstance(value, tuple) else (value,)


def common_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the common shape of broadcasting; refuse shapes without one."""
    if len(set(shapes)) == 1:  # the common case, faster than by NumPy
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        given = ", ".join(map(str, shapes))
        raise ValueError(
            f"the shapes {given} cannot be broadcast together: compared from the last axis, "
            "lengths must be equal or 1"
        ) from None


def result_axes(
    order: str, inputs: Sequence[Any], operands: Sequence[Any], n_loop: int, n_axes: int
) -> Sequence[int]:
    """Return the axes of a ufunc's result from slowest to fastest, as NumPy reads `order`.

    Parameters
    ----------
    order : {'C', 'F', 'A', 'K'}
    inputs, operands : sequence of array and number
        As they are given, and with the axes of the loop broadcast.
    n_loop, n_axes : int
        Axes of the loop, which come first, and of the result.
    """
    if order == "A":
        flags = [x.flags.f_contiguous for x in inputs if isinstance(x, np.ndarray)]
        order = "F" if flags and all(flags) else "C"
    if order == "F":
        return range(n_axes)[::-1]
    loop = _axes_as_read(operands, n_loop) if order == "K" else range(n_loop)
    return [*loop, *range(n_loop, n_axes)]


def _axes_as_read(operands: Sequence[Any], n_loop: int) -> Sequence[int]:
    """Return the axes of a loop in the order in which NumPy reads arrays; files are in C order."""
    axes = range(n_loop)
    if n_loop < 2 or any(map(is_store, operands)):
        return axes
    # The steps count, and where there is more than one; 64 arrays are too many for some versions.
    corner = (slice(2),) * n_loop
    views = [x[corner] for x in operands if isinstance(x, np.ndarray)]
    views = [*{(x.shape[:n_loop], x.strides[:n_loop]): x for x in views}.values()][:60]
    flags = [["readonly"]] * len(views) + [["writeonly", "allocate"]]
    dtypes = [None] * len(views) + ["b"]
    loop = [[*axes]] * len(flags)
    nditer: Any = np.nditer
    read = nditer((*views, None), ["refs_ok", "zerosize_ok"], flags, dtypes, op_axes=loop)
    steps = read.operands[-1].strides
    return sorted(axes, key=lambda axis: -steps[axis])


def as_input(a: Any, private_ok: bool) -> Array:
    """Return an array that is read-only if writes to it would be lost."""
    if is_store(a):
        return as_array(a)
    view = as_ndarray(a).view()
    return view if private_ok or is_shared_array(view) else read_only(view)


def check_outs(outs: Iterable[Any], role: str, private_ok: bool) -> None:
    """Refuse arrays, in memory or in files, that workers could not write to."""
    for out in outs:
        (check_stored if is_store(out) else check_writable)(out, role, private_ok)


def check_writable(target: Any, role: str, private_ok: bool) -> None:
    """Refuse an array that workers could not write to, or whose changes would be lost."""
    check_target(target, role)
    if not private_ok and not is_shared_array(target):
        raise ValueError(
            f"{named(target, role)} is in private memory, where the writes of worker processes "
            "are lost; make it with sharedmem.copy(a) or sharedmem.empty_like(a), or use threads: "
            "MapReduceByThread, or a kernel compiled with numba.njit(nogil=True)"
        )


def check_target(target: Any, role: str, shape: tuple[int, ...] | None = None) -> None:
    """Raise if an array cannot be written to, or has not the shape of the result.

    It is not an ndarray, is read-only, or is in a file on a full disk.
    """
    if not isinstance(target, np.ndarray):
        raise TypeError(f"{role} must be an ndarray, got {type(target).__name__}")
    check_plain(target)
    if shape is not None and target.shape != shape:
        raise ValueError(f"{role} has shape {target.shape}, but the result has {shape}")
    if not target.flags.writeable:
        raise ValueError(f"{named(target, role)} is read-only; give a writable array as out")
    check_disk(target, role)


def check_disk(target: Any, role: str = "out") -> None:
    """Raise if an array is in a file on a full disk, where writing to it would end the process."""
    try:
        reserve(target)
    except OSError as error:
        error.add_note(f"{named(target, role)} needs {target.nbytes} bytes on the disk.")
        raise


def named(target: Any, role: str) -> str:
    """Return the name of an array in an error: its role in the call, its shape, and its dtype."""
    return f"{role}, of shape {target.shape} and dtype {target.dtype},"


def is_same_view(a: Array, b: Array) -> bool:
    """Return whether two arrays have their elements at the same places in memory."""
    return a.shape == b.shape and a.strides == b.strides and address_of(a) == address_of(b)


def check_stored(target: Any, role: str, private_ok: bool) -> None:
    """Refuse an array in a file that cannot be written to, or not by several processes."""
    what = named(target, role)
    file = getattr(target, "file", None)  # of h5py
    if getattr(target, "read_only", False) or getattr(file, "mode", "r+") == "r":
        raise ValueError(f"{what} is in a file that was opened for reading: open it with mode 'r+'")
    if not private_ok:
        raise ValueError(
            f"{what} is in a file, to which several processes must not write: use threads, with "
            "MapReduceByThread, or with a kernel compiled with numba.njit(nogil=True)"
        )


def check_reduction(reduction: Any, n_arrays: int, rule: str) -> None:
    """Refuse an object that is not a reduction, by a rule, or one of another number of arrays."""
    if not isinstance(reduction, Reduction):
        given = f"the ufunc {reduction!r}" if isinstance(reduction, np.ufunc) else repr(reduction)
        if isinstance(reduction, np.ndarray) or is_store(reduction):
            given = f"an array of shape {reduction.shape}"
        raise TypeError(
            f"{rule}; got {given}. Make a Reduction(chunk, combine) from two functions; instead of "
            "a ufunc, use its function, such as sharedmem.sum for numpy.add"
        )
    function = getattr(reduction.chunk, "py_func", reduction.chunk)
    # A signature takes as long as a small reduction: it is not looked at where none is needed.
    if isinstance(function, FunctionType):
        most = function.__code__.co_argcount
        if most - len(function.__defaults__ or ()) <= n_arrays <= most:
            return
    elif n_arrays == 1:  # as of the package's own, which are partial
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # as of some functions written in C
        return
    try:
        signature.bind(*[None] * n_arrays)
    except TypeError:
        name = getattr(function, "__name__", "chunk")
        raise TypeError(
            f"the reduction's {name}{signature} would be called with {n_arrays} "
            f"array{'s'[: n_arrays > 1]}: it must take a piece of each array that is reduced; "
            "several arrays are given as a tuple, reduce(reduction, (x, w))"
        ) from None


def check_axis(axis: Any) -> None:
    """Refuse an array in the place of the axis."""
    if isinstance(axis, np.ndarray) and axis.ndim:
        raise TypeError(
            f"axis must be an integer, a tuple of integers, or None, got an array of shape "
            f"{axis.shape}; several arrays are given as a tuple, reduce(reduction, (x, w))"
        )


def check_options(order: Any, options: Iterable[str]) -> None:
    """Refuse options that do not work chunk by chunk; NumPy checks the others."""
    if order not in ("C", "F", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K', got {order!r}")
    refused = sorted({"axes", "axis", "keepdims", "subok"} & set(options))
    if refused:
        raise TypeError(
            f"apply_ufunc does not take {', '.join(refused)}; it takes out, where, order, dtype, "
            "casting, and signature"
        )


def check_grid(grid: Any) -> Grid:
    """Refuse an object that is not a grid, or a grid whose chunks overlap."""
    if not isinstance(grid, Grid):
        raise TypeError(f"chunks must come from sharedmem.chunks, got {type(grid).__name__}")
    if any(grid.overlap):
        raise ValueError(f"chunks that are written to must not overlap, got overlap {grid.overlap}")
    return grid


def is_dask(a: Any) -> bool:
    """Return whether `a` is a dask array."""
    return hasattr(a, "__dask_graph__") and hasattr(a, "rechunk")
