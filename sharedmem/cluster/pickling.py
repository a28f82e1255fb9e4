"""Pickle functions, items, and results that travel between the machines of a cluster."""

from __future__ import annotations

import copy
import functools
import importlib
import io
import operator
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.arrays.shared_array import (
    Layout,
    SharedArray,
    describe,
    is_in_segment,
    restore,
)
from sharedmem.memory.segment_keys import SegmentKey, key_of, open_segment
from sharedmem.objects.array_kinds import by_parts
from sharedmem.objects.references import ByReference
from sharedmem.workers.pickling import kept_in, named, without_traceback
from sharedmem.workers.task_context import Contexts

# Larger objects are sent to each worker once, and not with each claim.
INLINE_BYTES = 64 * 1024


class Package:
    """A pickled object: its stream, and its large buffers.

    Attributes
    ----------
    parts : list
        The stream, then the buffers.
    nbytes : int
        Bytes of all parts.
    """

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.nbytes = sum(memoryview(part).nbytes for part in parts)

    def __reduce__(self) -> Any:
        return Package, tuple(map(bytes, self.parts))

    def __sizeof__(self) -> int:
        """Return the size that Dask counts as memory of a worker."""
        return self.nbytes

    def unpack(self) -> Any:
        """Return the object; its arrays are read-only unless they are in shared memory."""
        return pickle.loads(self.parts[0], buffers=self.parts[1:])


def register() -> None:
    """Register packages with Dask, which sends their buffers without pickling them."""
    families: Any = importlib.import_module("distributed.protocol")
    families.dask_serialize.register(Package)(lambda package: ({}, list(package.parts)))
    families.dask_deserialize.register(Package)(lambda _, frames: Package(*frames))


if "distributed" in sys.modules:  # in a worker, which loads this module with its first package
    register()


def pack(value: object, attaches: bool) -> tuple[Package, bool]:
    """Pickle functions, by value, and items for workers; arrays become read-only.

    Parameters
    ----------
    value : object
        A function, closures too, or items.
    attaches : bool
        Whether all workers can attach shared memory of this process. If not, copies of shared
        arrays are sent to those that cannot.

    Returns
    -------
    Package
    bool
        Whether it contains a pool, whose sections the tasks may enter.
    """
    buffers: list[memoryview] = []
    stream, pickler = _dump(value, kept_in(buffers), attaches=attaches)
    return Package(stream, *buffers), pickler.has_pool


def pack_results(value: object) -> Package:
    """Pickle results of tasks by value, since the worker may forget them."""
    buffers: list[memoryview] = []
    stream, _ = _dump(value, kept_in(buffers), is_result=True)
    return Package(stream, *buffers)


def by_value(value: object) -> tuple[bytes, list[memoryview]]:
    """Pickle a value without references to shared memory; return the stream and large buffers."""
    buffers: list[memoryview] = []
    stream, _ = _dump(value, kept_in(buffers), is_result=True, protocol=5)
    return stream, buffers


def pickled(value: object) -> bytes:
    """Pickle one result immediately, since the next task may change it."""
    return _dump(value, None, is_result=True)[0]


def _dump(
    value: object, is_in_band: Callable[[pickle.PickleBuffer], bool] | None, **options: int
) -> tuple[bytes, Any]:
    stream = io.BytesIO()
    pickler = _pickler_class()(stream, 5, is_in_band)
    vars(pickler).update(options)
    pickler.dump(value)
    return stream.getvalue(), pickler


@functools.cache
def _pickler_class() -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        attaches = True
        is_result = False
        protocol = 4  # for results: their arrays are in the stream
        has_pool = False

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, np.ndarray):
                reduced = self._reduce_array(obj)
            elif isinstance(obj, TracebackType):
                reduced = without_traceback(obj)
            elif isinstance(obj, Contexts):
                self.has_pool = True
                reduced = NotImplemented
            elif isinstance(obj, ByReference) and (self.is_result or not self.attaches):
                reduced = obj.reduce_by_value()
            elif type(obj).__module__.startswith("h5py."):
                reduced = _reduce_dataset(obj)
            elif type(obj).__module__.startswith("zarr.storage"):
                reduced = _reduce_store(obj)
            else:
                reduced = _reduce_by_name(obj)
            return super().reducer_override(obj) if reduced is NotImplemented else reduced

        def _reduce_array(self, array: NDArray[Any]) -> Any:
            if not isinstance(array, SharedArray) and type(array) not in (np.ndarray, np.memmap):
                return by_parts(array) if is_in_segment(array) else NotImplemented
            if self.is_result:  # which the receiver may write to
                is_file = isinstance(array, np.memmap)
                plain = array.view(np.ndarray)
                return NotImplemented if is_file else plain.__reduce_ex__(self.protocol)
            file = ArrayFile.of(array)
            if file is not None:
                return ArrayFile.map, (file,)
            try:
                segment, layout = describe(array)
            except ValueError:
                is_plain = type(array) in (np.ndarray, np.memmap)
                return _reduce_copy(np.asarray(array)) if is_plain else NotImplemented
            reference = key_of(segment), layout
            if self.attaches:
                return _attach, reference
            return _attach_or_copy, (reference, *_reduce_copy(array.view(np.ndarray)))

    return Pickler


def _reduce_copy(array: NDArray[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return a function and its arguments that rebuild an array, read-only."""
    if array.dtype.hasobject or array.itemsize == 0:
        return _frozen, array.__reduce__()  # type: ignore[return-value]
    lengths = zip(array.strides, array.shape, strict=True)
    once = tuple(slice(1 if step == 0 and n else None) for step, n in lengths)
    if array[once].size < array.size:  # broadcast: as much is sent as there is
        return _broadcast, (*_reduce_copy(array[once]), array.shape)
    order = "F" if array.flags.fnc else "C"
    dense = np.asarray(array, order=order)  # type: ignore[call-overload]
    raw = dense.reshape(-1, order=order).view(np.uint8)
    parts = array.shape, array.dtype, pickle.PickleBuffer(raw), 0, None, order
    return _frozen, (np.ndarray, parts)


def _broadcast(
    rebuild: Callable[..., NDArray[Any]], args: Sequence[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    return np.broadcast_to(rebuild(*args), shape)


def _frozen(rebuild: Callable[..., Any], args: Sequence[Any], state: Any = None) -> NDArray[Any]:
    array: NDArray[Any] = rebuild(*args)
    if state is not None:
        array.__setstate__(state)
    array.flags.writeable = False
    return array


def _attach(key: SegmentKey, layout: Layout) -> SharedArray:
    return restore(open_segment(key), layout)


def _attach_or_copy(
    reference: Any, copy: Callable[..., NDArray[Any]], args: Sequence[Any]
) -> NDArray[Any]:
    try:
        return _attach(*reference)
    except (OSError, ReferenceError):
        return copy(*args)


def _reduce_dataset(dataset: Any) -> Any:
    file = getattr(dataset, "file", None)
    if not file:
        return NotImplemented
    if file.mode != "r":
        raise ValueError(
            f"{dataset.name} is in {file.filename}, which is open for writing in this process, so "
            "that no other process can read it: open it with mode 'r'"
        )
    path = os.path.abspath(file.filename)  # noqa: PTH100 - of HDF5, which has drivers without files
    return _open_dataset, (path, dataset.name)


def _open_dataset(path: str, name: str) -> Any:
    h5py: Any = importlib.import_module("h5py")
    return h5py.File(path, "r")[name]


def _reduce_store(store: Any) -> Any:
    """Pickle a store with an absolute path: a worker may run in another folder."""
    root = getattr(store, "root", None)
    if not isinstance(root, Path) or root.is_absolute():
        return NotImplemented
    found = copy.copy(store)
    found.root = root.absolute()
    return found.__reduce_ex__(4)


def _reduce_by_name(obj: Any) -> Any:
    """Pickle a kernel of a module by name, by which its compiled code is found on disk."""
    function = getattr(obj, "py_func", None)
    module = getattr(function, "__module__", "__main__")
    if function is None or module == "__main__":
        return NotImplemented
    try:
        found = operator.attrgetter(function.__qualname__)(sys.modules[module])
    except (KeyError, AttributeError):
        return NotImplemented
    return (named, (module, function.__qualname__)) if found is obj else NotImplemented
