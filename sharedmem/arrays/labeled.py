"""Arrays with labels, of pandas and xarray: their elements, and results with their labels."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import check_plain

Array = NDArray[Any]
Axes = tuple[int, ...]


class Labeled(Protocol):
    """An array with labels.

    Attributes
    ----------
    given : object
        The object of pandas or xarray.
    shape : tuple of int
    """

    given: Any
    shape: tuple[int, ...]

    @property
    def array(self) -> Any:
        """The elements."""

    def axis_of(self, dim: Any) -> Any:
        """Return the axis or the axes of these names."""

    def check(self, other: Labeled, axes: Axes, name: str) -> None:
        """Refuse an argument whose labels differ from those of these axes."""

    def reduced(self, value: Any, axes: Axes, keepdims: bool) -> Any:
        """Return results, over these axes, with the labels of the others."""

    def renamed(self, result: Any, others: Sequence[Labeled]) -> Any:
        """Return the result of several arrays without a name, unless all have the same."""

    def quantiles(self, value: Any, axes: Axes, keepdims: bool, name: str, q: Array) -> Any:
        """Return quantiles, over these axes, with the labels of the others and of `q`."""

    def without(self, axis: int, n: int) -> Labeled:
        """Return the array without its first `n` elements along an axis."""

    def parts(self, axes: Axes, others: Sequence[Labeled]) -> list[Any]:
        """Return lists of columns that have a dtype of their own; none if all columns have one."""

    def joined(self, results: list[Any], parts: list[Any]) -> Any:
        """Return one result of those of all parts."""


def labeled(a: Any, *, with_elements: bool = True) -> Labeled | None:
    """Return an array of pandas or xarray; None for other objects.

    Raises
    ------
    TypeError
        If an ndarray cannot have its elements, unless only its labels are needed.
    """
    given: Any = type(a)
    kind = _kind_for(given)
    return None if kind is None else kind(a, with_elements)


@functools.lru_cache(256)
def _kind_for(given: type) -> Callable[[Any, bool], Labeled] | None:
    """Return what holds objects of a type, if its package is loaded: else there are none."""
    for package, (names, kind) in _KINDS.items():
        module = sys.modules.get(package)
        if module is not None and issubclass(given, tuple(getattr(module, n, ()) for n in names)):
            return kind
    return None


class _OfPandas:
    """A Series or a DataFrame."""

    def __init__(self, given: Any, with_elements: bool = True) -> None:
        self.given, self.shape, self.labels = given, given.shape, given.axes
        self.dtypes = [*given.dtypes] if given.ndim == 2 else [given.dtype]
        if with_elements:
            self._check_elements()

    def _check_elements(self) -> None:
        given = self.given
        check_plain(given)
        for at, dtype in enumerate(self.dtypes):
            if not _has_numbers(dtype):
                what = f"column {given.columns[at]!r}" if given.ndim == 2 else "a Series"
                raise TypeError(
                    f"{what} has dtype {dtype}, which would be lost here: convert it with "
                    "astype() to a dtype of numbers or times, or leave it out"
                )

    @property
    def array(self) -> Any:
        """The elements; those of columns of several dtypes in the common one."""
        numpys = {*map(_numpy_dtype, self.dtypes)}
        if len(numpys) < 2:
            return self.given.to_numpy(dtype=numpys.pop() if numpys else float)
        try:
            return self.given.to_numpy(dtype=np.result_type(*numpys))
        except TypeError:
            found = ", ".join(sorted(map(str, numpys)))
            raise TypeError(f"columns of dtypes {found} have no common dtype: give one") from None

    def axis_of(self, dim: Any) -> Any:
        kind = type(self.given).__name__
        raise TypeError(f"dim={dim!r} names axes of xarray's arrays, got a {kind}: give axis")

    def check(self, other: Labeled, axes: Axes, name: str) -> None:
        if not isinstance(other, _OfPandas):
            raise _mixed(self.given, other.given)
        for own, theirs in zip((self.labels[at] for at in axes), other.labels, strict=True):
            if own is not theirs and not (own.equals(theirs) and own.names == theirs.names):
                raise _different(name, own, theirs, "b.reindex_like(a)")

    def reduced(self, value: Any, axes: Axes, keepdims: bool) -> Any:
        if keepdims:
            raise TypeError(
                "keepdims=True would leave an axis without labels: give a.to_numpy() instead of a "
                f"{type(self.given).__name__}, or keepdims=False"
            )
        kept = [labels for at, labels in enumerate(self.labels) if at not in axes]
        return self._made(value, kept, None if axes else getattr(self.given, "name", None))

    def renamed(self, result: Any, others: Sequence[Labeled]) -> Any:
        names = [x.given.name for x in (self, *others) if hasattr(x.given, "name")]
        is_series = len(self.shape) == 1 and hasattr(result, "rename")
        return result.rename(None) if is_series and len({*names}) > 1 else result

    def quantiles(self, value: Any, axes: Axes, keepdims: bool, name: str, q: Array) -> Any:
        if not q.ndim:
            result = self.reduced(value, axes, keepdims)
            return result.rename(float(q)) if hasattr(result, "rename") else result
        rest = [labels for at, labels in enumerate(self.labels) if at not in axes]
        index = sys.modules["pandas"].Index(q, dtype=float)
        return self._made(value, [index, *rest], getattr(self.given, "name", None))

    def without(self, axis: int, n: int) -> Labeled:
        return _OfPandas(self.given.iloc[(slice(None),) * axis + (slice(n, None),)])

    def parts(self, axes: Axes, others: Sequence[Labeled]) -> list[Any]:
        if len(self.shape) == 1 or 1 in axes:
            return []
        pandas = (x for x in (self, *others) if isinstance(x, _OfPandas))
        frames = [x.dtypes for x in pandas if len(x.shape) == 2]
        parts: dict[Any, list[int]] = {}
        for at, dtypes in enumerate(zip(*frames, strict=True)):
            parts.setdefault(dtypes, []).append(at)
        return [*parts.values()] if len(parts) > 1 else []

    def joined(self, results: list[Any], parts: list[Any]) -> Any:
        if isinstance(results[0], tuple):
            each = [self.joined([*same], parts) for same in zip(*results, strict=True)]
            return remade(results[0], each)
        order = np.argsort(np.concatenate(parts))
        axis = results[0].ndim - 1
        whole = sys.modules["pandas"].concat(results, axis=axis)
        whole = whole.iloc[(slice(None),) * axis + (order,)]
        return whole.set_axis(self.labels[1], axis=axis).__finalize__(self.given)

    def _made(self, value: Any, labels: list[Any], name: Any) -> Any:
        """Return a Series or a DataFrame of a new array, or a number."""
        if not labels:
            return value
        given, named = self.given, {"name": name} if len(labels) == 1 else {}
        # As pandas documents for subclasses.
        make = given._constructor if len(labels) == given.ndim else given._constructor_sliced  # noqa: SLF001
        return make(value, *labels, copy=False, **named).__finalize__(given)


def _has_numbers(dtype: Any) -> bool:
    """Return whether an array of NumPy has what a column of this dtype has, if nothing is missing.

    Of the dtypes of pandas itself these are numbers that may be missing, and sparse ones. Others
    stand for categories, time zones, objects, or units.
    """
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufcmM"
    is_own = type(dtype).__module__.partition(".")[0] == "pandas"
    return is_own and str(dtype.kind) in "biuf"


def _numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of elements; those of pandas have names of their own for it."""
    numpys = getattr(dtype, "numpy_dtype", None) or getattr(dtype, "subtype", dtype)
    found: np.dtype[Any] = np.dtype(numpys)
    return found


class _OfXarray:
    """A DataArray, or a Dataset of one variable."""

    def __init__(self, given: Any, with_elements: bool = True) -> None:
        names = [*given.data_vars] if hasattr(given, "data_vars") else [None]
        if len(names) != 1:
            raise TypeError(
                f"a Dataset of the variables {names} is not one array: give one of them, or "
                "dataset.to_dataarray()"
            )
        self.given, self.name = given, names[0]
        self.variable = given if names == [None] else given[names[0]]
        self.shape, self.dims = self.variable.shape, self.variable.dims
        if with_elements and self.variable.dtype.kind == "O":
            raise TypeError(
                f"a {type(given).__name__} has dtype object: convert it with astype() to a dtype "
                "of numbers or times"
            )

    @property
    def array(self) -> Any:
        """The elements, which may have to be loaded."""
        return self.variable.data

    def axis_of(self, dim: Any) -> Any:
        return None if dim is ... else self.variable.get_axis_num(dim)  # as xarray's methods

    def check(self, other: Labeled, axes: Axes, name: str) -> None:
        if not isinstance(other, _OfXarray) or (self.name is None) != (other.name is None):
            raise _mixed(self.given, other.given)
        if self.name != other.name:
            raise _different(name, self.name, other.name, "b.rename(...)")
        dims = tuple(self.dims[at] for at in axes)
        if dims != other.dims:
            raise _different(name, dims, other.dims, "b.transpose(*a.dims)")
        lengths = zip(axes, other.dims, other.shape, strict=True)
        shared = {dim for at, dim, length in lengths if length == self.shape[at]}
        own, theirs = self.variable.coords, other.variable.coords
        expected = {key for key in own if {*own[key].dims} <= shared}
        way_out = "xarray.align, b.reindex_like(a), or b.drop_vars(...)"
        if expected != {*theirs}:
            raise _different(name, sorted(map(str, expected)), sorted(map(str, theirs)), way_out)
        for key in expected:
            if not own[key].variable.equals(theirs[key].variable):
                raise _different(name, own[key].values, theirs[key].values, way_out)

    def reduced(self, value: Any, axes: Axes, keepdims: bool) -> Any:
        dims = [self.dims[at] for at in axes]
        keep = sys.modules["xarray"].get_options()["keep_attrs"] if not axes else None
        return self.holding(np.broadcast_to(np.int8(), self.shape)).reduce(
            lambda *_, **__: value, dims, keepdims=keepdims, keep_attrs=keep and bool(keep)
        )

    def renamed(self, result: Any, others: Sequence[Labeled]) -> Any:
        names = {x.given.name for x in (self, *others) if hasattr(x.given, "name")}
        return result.rename(None) if len(names) > 1 else result

    def quantiles(self, value: Any, axes: Axes, keepdims: bool, name: str, q: Array) -> Any:
        first = self.reduced(value[0] if q.ndim else value, axes, keepdims)
        if not q.ndim:
            return first.assign_coords({name: float(q)})
        several = _OfXarray(first.expand_dims({name: q}))
        return several.holding(value.reshape(several.shape))

    def without(self, axis: int, n: int) -> Labeled:
        holding = self.holding(np.broadcast_to(np.int8(), self.shape))
        return _OfXarray(holding.isel({self.dims[axis]: slice(n, None)}))

    def parts(self, axes: Axes, others: Sequence[Labeled]) -> list[Any]:
        return []

    def joined(self, results: list[Any], parts: list[Any]) -> Any:
        raise AssertionError("an array of xarray has one dtype")

    def holding(self, value: Any) -> Any:
        """Return the labels with other elements."""
        data = value if self.name is None else {self.name: value}
        return self.given.copy(deep=False, data=data)


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[Any, bool], Labeled]]] = {
    "pandas": (("Series", "DataFrame"), _OfPandas),
    "xarray": (("DataArray", "Dataset"), _OfXarray),
}


def remade(values: Any, results: list[Any]) -> Any:
    """Return results as a list or a tuple of the type that values have."""
    kind = type(values)
    return kind(*results) if hasattr(kind, "_fields") else kind(results)


def _mixed(a: Any, b: Any) -> TypeError:
    return TypeError(
        f"a {type(a).__name__} and a {type(b).__name__} have no common labels: give the values of "
        "one, such as b.to_numpy()"
    )


def _different(name: str, own: Any, theirs: Any, way_out: str) -> ValueError:
    return ValueError(
        f"the labels of {name} are {theirs}, but those of the array are {own}, and they must be "
        f"equal: align them first, with {way_out}"
    )
