"""Array-likes as ndarrays; those that would lose a mask, units, or missing values are refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.arrays.shared_array import SharedArray

Array = NDArray[Any]

_SCALARS = frozenset({bool, int, float, complex, str, bytes})
_PLAIN = frozenset({np.ndarray, np.memmap, SharedArray}) | _SCALARS


def as_ndarray(a: Any, dtype: DTypeLike | None = None) -> Array:
    """Return an array-like as an ndarray, as `numpy.asarray` does.

    Parameters
    ----------
    a : array_like
    dtype : dtype, optional
        Another type, which the elements are cast to.

    Raises
    ------
    TypeError
        If `a` has a mask, units, or missing values, which an ndarray has not. Or if NumPy does not
        convert it to an array: a generator, a set, or a sparse matrix.
    """
    if type(a) in _PLAIN:
        return np.asarray(a, dtype)
    a = unwrapped(a)
    check_plain(a)
    array = np.asanyarray(a, dtype)  # keeps what an object's `__array__` returns
    check_plain(array)
    if array.ndim == 0 and array.dtype.kind == "O" and not isinstance(a, np.ndarray | np.generic):
        _check_scalar(a)
    return np.asarray(array)


def read_only(a: Array) -> Array:
    """Return a read-only view of an array; users' kernels are compiled once for all such views."""
    view = a.view(np.ndarray)
    view.flags.writeable = False
    return view


def is_labeled(a: Any) -> bool:
    """Return whether an array holds another one, and names its axes, as those of xarray do."""
    kind = type(a)
    has_data = hasattr(kind, "dims") and hasattr(kind, "data") and hasattr(kind, "__array_ufunc__")
    return has_data and not issubclass(kind, np.ndarray)


def unwrapped(a: Any) -> Any:
    """Return the array that one of xarray's holds, which may have to be loaded; others as is."""
    return a.data if is_labeled(a) else a


def has_rules(a: Any) -> bool:
    """Return whether an object overrides NumPy's functions.

    A masked array, a quantity with a unit or a matrix does: NumPy's functions respect its rules,
    kernels see nothing but its numbers.
    """
    kind = type(a)
    if kind in _PLAIN or issubclass(kind, SharedArray):
        return False
    if not issubclass(kind, np.ndarray):
        # Dask's arrays are read like files.
        return hasattr(kind, "__array_function__") and not hasattr(kind, "rechunk")
    return (
        issubclass(kind, np.ma.MaskedArray | np.matrix)
        or kind.__array_function__ is not np.ndarray.__array_function__
        or kind.__array_ufunc__ is not np.ndarray.__array_ufunc__
    )


def check_plain(a: Any) -> None:
    """Refuse an array-like that an ndarray does not fully describe."""
    kind = type(a)
    if kind in _PLAIN:
        return
    if issubclass(kind, np.ma.MaskedArray):
        raise TypeError(
            f"a {kind.__name__} has a mask, which would be lost here: give a.filled(value) or "
            "a.compressed(), leave elements out by where=, or use numpy.ma"
        )
    if has_rules(a):
        raise TypeError(
            f"{kind.__module__}.{kind.__qualname__} has its own rules, such as units, which would "
            "be lost here: give its values (numpy.asarray(a), a.magnitude, or a.value), or use "
            "NumPy's function"
        )
    if issubclass(kind, list | tuple):
        for part in a if {*map(type, a)} - _PLAIN else ():
            check_plain(part)
    elif not issubclass(kind, np.ndarray | np.generic):
        _check_container(a)


def _check_container(a: Any) -> None:
    """Refuse a container of pandas, polars, Arrow or xarray whose array would lose something."""
    if (held := unwrapped(a)) is not a:
        check_plain(held)
    elif hasattr(a, "__dask_graph__"):  # computed later: only its form is known
        check_plain(getattr(a, "_meta", None))
    elif _has_missing(a):
        kind = type(a)
        raise TypeError(
            f"a {kind.__module__}.{kind.__qualname__} has missing values, which are not NaN and "
            "would be lost here: fill them or drop them first, with a.fillna(value), a.dropna(), "
            "a.fill_null(value) or a.drop_nulls()"
        )
    elif (foreign := _foreign_dtype(a)) is not None:
        raise TypeError(
            f"dtype {foreign} of a {type(a).__name__} has its own rules, such as units, which "
            "would be lost here: convert it with astype()"
        )


def _foreign_dtype(a: Any) -> Any:
    """Return a dtype of a column that is neither NumPy's nor of pandas itself; None without one."""
    dtypes = (column.dtype for column in _extended_columns(a))
    packages = ((dtype, type(dtype).__module__.partition(".")[0]) for dtype in dtypes)
    return next((dtype for dtype, package in packages if package != "pandas"), None)


def _has_missing(a: Any) -> bool:
    if hasattr(a, "null_count"):  # of Arrow and polars
        return bool(np.any(a.null_count() if callable(a.null_count) else a.null_count))
    if hasattr(a, "itercolumns"):
        return any(map(_has_missing, a.itercolumns()))
    return any(column.isna().any() for column in _extended_columns(a))


def _extended_columns(a: Any) -> Iterator[Any]:
    """Yield columns of pandas whose dtype is not NumPy's: those know NA, and may have rules."""
    if not hasattr(a, "isna"):
        return
    if a.ndim == 2:
        dtypes = enumerate(a.dtypes)
        yield from (a.iloc[:, at] for at, each in dtypes if not isinstance(each, np.dtype))
    elif not isinstance(a.dtype, np.dtype):
        yield a


def _check_scalar(a: Any) -> None:
    """Refuse an object with elements that NumPy takes for a scalar."""
    kind = type(a)
    if isinstance(a, Iterable) or hasattr(kind, "shape"):
        way_out = "list(a), or sharedmem.fromiter"
        if hasattr(kind, "toarray"):
            way_out = "a.toarray(), or to share it as it is, sharedmem.share(a)"
        raise TypeError(f"a {kind.__name__} is not an array: give {way_out}")
