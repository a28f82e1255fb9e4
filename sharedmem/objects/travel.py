"""Check that an object travels by reference: that its pickle contains no copy of its memory."""

from __future__ import annotations

import io
import pickle
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

# Less is not worth a refusal: it is pickled by value, as strings are.
_NEGLIGIBLE_BYTES = 64 * 1024
# A reference to an array takes less in a stream.
_REFERENCE_BYTES = 300
# What is in the pickles of all arrays, or is pickled by name.
_PARTS = type, FunctionType, BuiltinFunctionType, np.ndarray, np.dtype


def check_travels(obj: object, n_bytes: int, n_parts: int) -> None:
    """Raise TypeError if a pickle of a shared object contains a copy of some of its memory.

    Parameters
    ----------
    obj : object
        The object.
    n_bytes : int
        Bytes of what is pickled by value: the stream of the original without its parts.
    n_parts : int
        Number of arrays and buffers.
    """
    stream = io.BytesIO()
    witness = _Witness(stream)
    witness.dump(obj)
    if stream.tell() > n_bytes + n_parts * _REFERENCE_BYTES + _NEGLIGIBLE_BYTES:
        raise _copies(type(obj), stream.tell())


class _Witness(pickle.Pickler):
    """A pickler that refuses objects whose memory it would copy."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, 5, buffer_callback=self._refuse_large)
        self._owner: type[Any] = object

    def reducer_override(self, obj: object) -> Any:
        """Note the class of the object that is pickled now."""
        if not isinstance(obj, _PARTS):
            self._owner = type(obj)
        return NotImplemented

    def _refuse_large(self, buffer: pickle.PickleBuffer) -> bool:
        n_bytes = buffer.raw().nbytes
        if n_bytes > _NEGLIGIBLE_BYTES:
            raise _copies(self._owner, n_bytes)
        return True


def _copies(kind: type[Any], n_bytes: int) -> TypeError:
    return TypeError(
        f"a {kind.__module__}.{kind.__qualname__} copies its memory ({n_bytes} bytes) when it is "
        "unpickled, so that it cannot be shared: share the arrays that it is made of, or let "
        "forked workers inherit it"
    )
