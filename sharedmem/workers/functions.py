"""Functions by reference: pickled by cloudpickle once, and loaded by each worker once."""

from __future__ import annotations

import functools
import io
import marshal
import os
import pickle
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType, TracebackType
from typing import Any

import numpy as np

from sharedmem.arrays.from_data import copy
from sharedmem.arrays.shared_array import (
    describe,
    is_in_segment,
    note_segments,
    restore,
    segments_noted,
)
from sharedmem.machine.signals import is_from_handler
from sharedmem.memory.segments import Segment
from sharedmem.workers.fingerprints import (
    Fingerprint,
    fingerprint_of,
    is_importable,
    is_kernel,
    module_of,
    referred_globals,
)
from sharedmem.workers.module_globals import namespace_of, set_globals
from sharedmem.workers.pickling import (
    Parcel,
    Reducers,
    kept_in,
    named,
    pack,
    without_traceback,
)
from sharedmem.workers.private_copies import SharedCopies, shared_array

# Longer streams are read from shared memory, and not sent with each reference.
_INLINE_BYTES = 16 * 1024
# What the fast pickler does not do right: names of this program, and kernels of numba.
_SPECIAL = b"__main__", b"numba.core.serialize"
# The functions that a process keeps.
_MOST_FUNCTIONS = 32


class Reference:
    """A function, or another object, that is pickled by reference.

    Whoever unpickles it gets the object, which a process loads once and keeps for as long as the
    process that has pickled it does.

    Attributes
    ----------
    key : int
        The name of the object.
    """

    def __init__(self, stream: bytes, segments: Sequence[Segment]) -> None:
        # By chance, since workers know the functions of their coordinator, and have their own.
        self.key = int.from_bytes(os.urandom(8))
        self._stream: Any = stream
        if len(stream) > _INLINE_BYTES:
            self._stream = copy(np.frombuffer(stream, np.uint8))
        # Weak: shared arrays end with the last reference of the user.
        self._segments = [weakref.ref(segment) for segment in segments]

    def is_valid(self) -> bool:
        """Return whether all memory that the object refers to is there."""
        return all(segment() is not None for segment in self._segments)

    def __reduce__(self) -> Any:
        note_segments(segment for at in self._segments if (segment := at()) is not None)
        return _loaded, (self.key, self._stream, tuple(each.key for each in _kept()))


# In the process that has the functions: by digest, with what the digest depends on.
_references: OrderedDict[bytes, tuple[Fingerprint, Reference]] = OrderedDict()
# In the processes that load them: by key.
_functions: OrderedDict[int, Any] = OrderedDict()
# Large arrays are copied once for all functions.
_copies = SharedCopies()


def _kept() -> list[Reference]:
    for digest, (fingerprint, reference) in list(_references.items()):
        if not (fingerprint.is_valid() and reference.is_valid()):
            _references.pop(digest, None)
    return [reference for _, reference in list(_references.values())]


def referred(func: Any) -> Any:
    """Return what is pickled as a reference to a function or a callable object.

    Parameters
    ----------
    func : callable
        A function, closure, bound method, or an object. It is pickled now, unless it has been
        before, and nothing that it refers to has changed since: what its variables, default
        values, and attributes are, and what these contain. Of a large array in private memory
        some elements are compared.

    Returns
    -------
    object
        `func` itself if it is a function or class that workers import by its name.

    Raises
    ------
    TypeError, pickle.PicklingError
        If something that it refers to cannot be pickled.
    """
    if isinstance(func, FunctionType | type) and is_importable(func):
        return func
    fingerprint = fingerprint_of(func)
    if fingerprint is not None:
        known = _references.get(fingerprint.digest)
        if known is not None and known[0].is_valid() and known[1].is_valid():
            return known[1]
    try:
        parcel = _dump(func, None, _Results, _reduce_array)
    except Exception as error:
        name = getattr(func, "__qualname__", type(func).__name__)
        error.add_note(
            f"{name} is pickled to reach workers that stay, with all that it refers to. Make what "
            "cannot be pickled in the pool's initializer, or in the task; or use a pool with "
            "persistent=False, whose workers inherit it."
        )
        raise
    reference = Reference(parcel.stream, parcel.segments)
    if fingerprint is not None:
        _references[fingerprint.digest] = fingerprint, reference
        while len(_references) > _MOST_FUNCTIONS:
            _references.popitem(last=False)
    return reference


def is_shared_view(value: object) -> bool:
    """Return whether a value is a plain view of a shared array."""
    return type(value) is np.ndarray and is_in_segment(value)


def reduce_view(array: Any) -> Any:
    """Return what pickles a plain view of a shared array as one; NotImplemented for others."""
    if is_shared_view(array):  # shared, as it is in forked workers
        return shared_array, (restore(*describe(array)), array.flags.writeable)
    return NotImplemented


def _reduce_array(array: Any) -> Any:
    reduced = reduce_view(array)
    return _copies.reduce(array) if reduced is NotImplemented else reduced


def _loaded(key: int, stream: Any, kept: tuple[int, ...]) -> Any:
    for other in _functions.keys() - {*kept, key}:
        _functions.pop(other, None)
    try:
        return _functions[key]
    except KeyError:
        loaded = _functions[key] = pickle.loads(stream)
        return loaded


def pack_any(value: object, reduce_array: Callable[[Any], Any] | None = None) -> Parcel:
    """Pickle a message for workers: as :func:`pack`, but functions by reference, classes by value.

    Functions and classes that workers import by name stay names. `reduce_array` returns the reduced
    form of an array, or NotImplemented.
    """
    simple = _pack_simply(value) if reduce_array is None else None
    return simple or _dump(value, [], _Messages, reduce_array)


def pack_result(value: object) -> Parcel:
    """Pickle a result of a task: as :func:`pack`, but functions and classes by value."""
    return _pack_simply(value) or _dump(value, [], _Results)


def _pack_simply(value: object) -> Parcel | None:
    """Pickle a value by the fast pickler, unless it contains what has no name to find it by."""
    try:
        parcel = pack(value)
    except Exception as error:
        if is_from_handler(error):
            raise
        return None
    return None if any(map(parcel.stream.__contains__, _SPECIAL)) else parcel


def _dump(
    value: object,
    buffers: list[memoryview] | None,
    reduction: type[_Results],
    reduce_array: Callable[[Any], Any] | None = None,
) -> Parcel:
    stream = io.BytesIO()
    callback = None if buffers is None else kept_in(buffers)
    pickler = _pickler_class()(stream, 5, callback)
    pickler.reduction, pickler.reduce_array = reduction, reduce_array
    with segments_noted() as segments:
        pickler.dump(value)
    return Parcel(stream.getvalue(), buffers or (), list(segments.values()))


class _Results:
    """How objects are reduced that cloudpickle would reduce otherwise, or not at all."""

    @classmethod
    def reduce(cls, pickler: Any, obj: Any) -> Any:
        """Return the reduced form of an object, or NotImplemented."""
        kind = type(obj)
        if kind is FunctionType:
            return NotImplemented if is_importable(obj) else cls.reduce_function(pickler, obj)
        if kind is TracebackType:
            return without_traceback(obj)
        if is_kernel(obj) and is_importable(obj):  # whose compiled code is found by its name
            return named, (obj.__module__, obj.__qualname__)
        return pickler.reduce_as_cloudpickle(obj)

    @classmethod
    def reduce_function(cls, pickler: Any, func: FunctionType) -> Any:
        """Return the reduced form of a function that has no name to find it by."""
        make, (code, namespace, *rest), state, *_, set_state = pickler.reduce_as_cloudpickle(func)
        module = module_of(func)
        if module is None:
            return make, (code, namespace, *rest), state, None, None, set_state
        # Functions of one module have the same variables in each process, too: an initializer may
        # set what tasks read.
        attributes, slots = state
        values = referred_globals(func)
        prints = {name: _digest_of(value) for name, value in values.items()}
        slots["__globals__"] = {}
        state = set_state, (attributes, slots), module, values, prints
        return make, (code, _Namespace(module), *rest), state, None, None, _set_state


class _Messages(_Results):
    @classmethod
    def reduce_function(cls, pickler: Any, func: FunctionType) -> Any:
        return referred(func).__reduce__()


class _Namespace:
    """The global variables of a module, wherever this is unpickled."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __reduce__(self) -> Any:
        return namespace_of, (self._module,)


def _digest_of(value: object) -> bytes | None:
    fingerprint = fingerprint_of(value)
    return None if fingerprint is None else fingerprint.digest


def _set_state(func: FunctionType, state: Any) -> None:
    set_state, own, module, values, prints = state
    set_state(func, own)
    set_globals(module, values, prints)


def _reduce_code(code: CodeType) -> Any:
    return marshal.loads, (marshal.dumps(code),)


@functools.cache
def _pickler_class() -> Any:
    import cloudpickle  # whose import takes time that few programs need to spend

    # By marshal, code keeps the name of its file, which tracebacks show.
    table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: _reduce_code})

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = Reducers(table)

        def reducer_override(self, obj: Any) -> Any:
            if self.reduce_array is not None and isinstance(obj, np.ndarray):
                reduced = self.reduce_array(obj)
                if reduced is not NotImplemented:
                    return reduced
            return self.reduction.reduce(self, obj)

        def reduce_as_cloudpickle(self, obj: Any) -> Any:
            return super().reducer_override(obj)

    return Pickler
