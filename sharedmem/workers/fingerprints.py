"""Fingerprints of objects: two are equal while nothing that a pickle would contain has changed."""

from __future__ import annotations

import dis
import functools
import hashlib
import operator
import pickle
import sys
import weakref
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import describe, is_in_segment
from sharedmem.machine.signals import is_from_handler
from sharedmem.workers.batches import ATOMIC_TYPES
from sharedmem.workers.task_context import Contexts

# Of a larger array only some elements are looked at: a change of all of them is seen.
COMPARED_BYTES = 16 * 1024
_SAMPLES_PER_AXIS = 8, 16, 128
# Longer collections of an importable module are not looked through.
_FEW_ITEMS = 256
_PLAIN_TYPES = ATOMIC_TYPES | {str, bytes}
_COLLECTIONS = frozenset({tuple, list, set, frozenset, dict})


class Fingerprint:
    """A digest of an object, valid while the objects live that it knows by their identity.

    Attributes
    ----------
    digest : bytes
        A digest of the contents, and of the identities of large arrays and of code.
    """

    __slots__ = ("_referents", "digest")

    def __init__(self, digest: bytes, referents: list[weakref.ref[Any]]) -> None:
        self.digest = digest
        self._referents = referents

    def is_valid(self) -> bool:
        """Return whether the objects live: others may get the identities of those that do not."""
        return all(referent() is not None for referent in self._referents)


def fingerprint_of(value: object) -> Fingerprint | None:
    """Return the fingerprint of an object; None if it cannot be pickled."""
    file = _Digest()
    printer = _Printer(file)
    try:
        printer.dump(value)
    except Exception as error:  # of user code, perhaps
        if is_from_handler(error):
            raise
        return None
    return Fingerprint(file.digest(), printer.referents)


class _Digest:
    """A file of which only the digest is kept."""

    def __init__(self) -> None:
        hasher = hashlib.blake2b(digest_size=16)
        self.write, self.digest = hasher.update, hasher.digest


class _Printer(pickle.Pickler):
    """A pickler of what is never loaded: large arrays, shared arrays, and code by identity."""

    def __init__(self, file: _Digest) -> None:
        super().__init__(file, 5)
        self.dispatch_table = _dispatch_table()
        self.referents: list[weakref.ref[Any]] = []

    def _identity(self, obj: Any) -> int:
        self.referents.append(weakref.ref(obj))
        return id(obj)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is FunctionType:
            if is_importable(obj):
                return NotImplemented
            return _stand_for, (self._identity(obj.__code__),), _state_of(obj)
        if issubclass(kind, type):
            if is_importable(obj):
                return NotImplemented
            return _stand_for, (self._identity(obj),), _class_state(obj)
        if issubclass(kind, np.ndarray):
            return self._reduce_array(obj)
        if kind is Contexts:
            return _stand_for, (obj.key,)
        if is_kernel(obj) and is_importable(obj):
            return _stand_for, (obj.__module__, obj.__qualname__)
        return NotImplemented

    def _reduce_array(self, array: NDArray[Any]) -> Any:
        if array.base is not None and is_in_segment(array):
            segment, layout = describe(array)
            self.referents.append(weakref.ref(segment))
            return _stand_for, (segment.identity, *layout)
        if array.dtype.hasobject or array.nbytes <= COMPARED_BYTES:
            return NotImplemented
        return _stand_for, (self._identity(array), *memory_of(array))


def _stand_for(*_: object) -> None:
    """Stand in a fingerprint for whatever makes an object."""


@functools.cache
def _dispatch_table() -> Any:
    import cloudpickle  # whose import takes time that few programs need to spend

    return cloudpickle.Pickler.dispatch_table


def memory_of(array: NDArray[Any]) -> tuple[Any, ...]:
    """Return where the elements of an array are, and some of them."""
    most = _SAMPLES_PER_AXIS[-min(max(array.ndim, 1), 3)]
    steps = tuple(slice(None, None, -(-size // most) or 1) for size in array.shape)
    address = array.__array_interface__["data"][0]
    return address, array.shape, array.strides, array.dtype, array[steps].tobytes()


def is_importable(obj: Any) -> bool:
    """Return whether another process finds a function or class by its name."""
    name = getattr(obj, "__module__", None)
    module = None if name == "__main__" else sys.modules.get(name or "")
    if module is None:
        return False
    try:
        found = operator.attrgetter(obj.__qualname__)(module)
    except AttributeError:
        return False
    return found is obj


def is_kernel(obj: object) -> bool:
    """Return whether an object is a function that numba compiles."""
    return type(obj).__module__.startswith("numba.") and hasattr(obj, "py_func")


def module_of(func: FunctionType) -> str | None:
    """Return the module whose globals a function has; None if they are those of no module."""
    name = func.__globals__.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return name if module is not None and vars(module) is func.__globals__ else None


def referred_globals(func: FunctionType) -> dict[str, Any]:
    """Return the global variables that travel with a function, by name.

    Of an importable module these are only those that contain plain data, since each process has
    the others by itself.
    """
    namespace = func.__globals__
    found = {name: namespace[name] for name in _global_names(func.__code__) if name in namespace}
    if module_of(func) in (None, "__main__"):
        return found
    return {name: value for name, value in found.items() if is_plain(value)}


@functools.lru_cache(1024)
def _global_names(code: CodeType) -> tuple[str, ...]:
    names = {
        instruction.argval: None
        for instruction in dis.get_instructions(code)
        if instruction.opname.endswith("_GLOBAL")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(dict.fromkeys(_global_names(constant)))
    return tuple(names)


def is_plain(value: Any) -> bool:
    """Return whether a value consists of numbers, strings, and small arrays, in few collections."""
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return True
    if kind is np.ndarray:
        return bool(value.nbytes <= COMPARED_BYTES and not value.dtype.hasobject)
    if kind not in _COLLECTIONS or len(value) > _FEW_ITEMS:
        return False
    items: Iterable[Any] = [*value, *value.values()] if kind is dict else value
    try:
        return all(map(is_plain, items))
    except RecursionError:  # it contains itself
        return False


def _state_of(func: FunctionType) -> Any:
    cells = tuple(map(_content_of, func.__closure__ or ()))
    attributes = func.__dict__ or None
    return func.__defaults__, func.__kwdefaults__, cells, attributes, referred_globals(func)


def _content_of(cell: Any) -> Any:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not yet set
        return ()


def _class_state(cls: type) -> Mapping[str, Any]:
    return {
        name: value
        for name, value in vars(cls).items()
        if isinstance(value, FunctionType) or is_plain(value)
    }
