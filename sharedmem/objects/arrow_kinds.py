"""Buffers of Arrow, and frames of polars as tables of Arrow with the same memory."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import is_in_segment
from sharedmem.objects.references import Reduced, register, shared_view


def reduce_buffer(obj: Any) -> Any:
    """Return the reduced form of a buffer of Arrow, in any protocol; or NotImplemented."""
    import pyarrow

    if not isinstance(obj, pyarrow.Buffer):
        return NotImplemented
    return as_buffer, obj.__reduce_ex__(5)[1]


def as_buffer(memory: Any) -> Any:
    """Return a buffer of Arrow with the memory of an array."""
    import pyarrow

    register(pyarrow.Buffer, _reduce_shared_buffer)
    return pyarrow.py_buffer(memory)


def _in_segment(buffer: Any) -> NDArray[Any] | None:
    """Return the bytes of a buffer of Arrow if they are in a segment, or else None."""
    if buffer is None or not buffer.size or not buffer.is_cpu:
        return None
    array = np.frombuffer(buffer, np.uint8)
    return array if is_in_segment(array) else None


def _reduce_shared_buffer(buffer: Any) -> Reduced:
    memory = _in_segment(buffer)
    if memory is not None:
        return as_buffer, (shared_view(memory),)
    # Arrow's own rules depend on the protocol, which a reducer does not know. A pickler replaces
    # the proxy by the buffer, which has no such attribute; `copy.copy` gets it from the proxy.
    proxy = _ByOwnRules(buffer)
    return getattr, (proxy, "proxied", proxy)


def is_shared_table(columns: Iterable[Any]) -> bool:
    """Return whether some memory of the columns of a table is in a segment."""
    chunks = (chunk for column in columns for chunk in column.chunks)
    return any(_in_segment(buffer) is not None for chunk in chunks for buffer in chunk.buffers())


class _ByOwnRules:
    """Pickled as an object is by the rules of its class."""

    def __init__(self, obj: object) -> None:
        self.proxied = obj

    def __reduce_ex__(self, protocol: typing.SupportsIndex) -> Any:
        return self.proxied.__reduce_ex__(protocol)


def reduce_frame(obj: Any) -> Any:
    """Return the reduced form of a frame or series of polars; NotImplemented for other objects."""
    import polars

    if isinstance(obj, polars.LazyFrame):
        raise TypeError("a LazyFrame of polars has no memory yet: share frame.collect()")
    if not isinstance(obj, polars.DataFrame | polars.Series):
        return NotImplemented
    try:
        return as_frame, (type(obj).__name__, _arrow_table(obj))
    except ImportError as error:
        error.add_note("pyarrow must be installed to share frames of polars")
        raise


def _arrow_table(frame: Any) -> Any:
    """Return a frame or a series of polars as a table of Arrow with the same memory.

    Raises
    ------
    TypeError
        If Arrow has no such dtype.
    """
    import polars
    import pyarrow

    if isinstance(frame, polars.Series):
        frame = frame.to_frame()
    if polars.Object in frame.dtypes:
        raise TypeError(
            "a column of polars with the dtype Object has pointers to Python objects, which are "
            "invalid in other processes"
        )
    try:
        return frame.to_arrow(compat_level=polars.CompatLevel.newest())
    except pyarrow.ArrowInvalid as error:
        raise TypeError(
            f"polars is shared as a table of Arrow, which lacks one of the dtypes {frame.dtypes}: "
            "cast the column first"
        ) from error


def as_frame(name: str, table: Any) -> Any:
    """Return a DataFrame or a Series of polars with the memory of a table of Arrow."""
    import polars

    for kind in (polars.DataFrame, polars.Series):
        register(kind, _reduce_shared_frame)
    frame: Any = polars.from_arrow(table)
    frame.columns = table.column_names  # polars gives a column without a name another one
    return frame if name == "DataFrame" else frame.to_series(0)


def _reduce_shared_frame(frame: Any) -> Any:
    try:
        table = _arrow_table(frame)
    except TypeError:
        return frame.__reduce_ex__(4)
    if is_shared_table(table.columns):
        return as_frame, (type(frame).__name__, table)
    return frame.__reduce_ex__(4)
