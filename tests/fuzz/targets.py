"""Functions that read tampered input, which must be refused; for atheris and hypothesis."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sharedmem
from sharedmem.arrays.shared_array import Layout, _load, describe
from sharedmem.expressions.language import names_in
from sharedmem.expressions.parsing import parse
from sharedmem.memory.memory_files import anonymous_file
from sharedmem.memory.segment_keys import SegmentKey, key_of
from sharedmem.memory.segments import Segment
from sharedmem.workers import pickling
from sharedmem.workers.channel import _HEADER, Channel
from sharedmem.workers.pickling import UnpackingError

# The exceptions that refuse a message, a pickle of an array, and an expression.
MESSAGE_ERRORS = (UnpackingError, BlockingIOError)  # the second for an incomplete message
PICKLE_ERRORS = (ReferenceError, ValueError, TypeError, OverflowError, PermissionError)
EXPRESSION_ERRORS = (ValueError, TypeError, ZeroDivisionError, OverflowError)
TYPES = ("i1", "f8", ">i4", "O", "S0", "V7", "f8,O", "M8[s]", "(2,3)f4")
ARRAY = sharedmem.full(100, 7.0)
SEGMENT = Segment(5000)


class NotRefusedError(Exception):
    """Tampered input was accepted, left something behind, or raised another exception."""


def read_all(stream: Any, buffers: Sequence[memoryview] = ()) -> list[bytes]:
    """Replace `pickle.loads`, which could call any function: only read the stream and buffers."""
    return [bytes(stream), *map(bytes, buffers)]


def receive(message: bytes, content: bytes, n_segments: int, has_file: bool) -> None:
    """Send a message and descriptors as a worker does, and receive them."""
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = Channel.pair(windowed=False)
    loads = pickling.pickle.loads
    with contextlib.ExitStack() as stack:
        stack.callback(theirs.close)
        stack.callback(ours.close)
        stack.callback(setattr, pickling.pickle, "loads", loads)
        pickling.pickle.loads = read_all
        descriptors = [SEGMENT.fd] * n_segments
        if has_file:
            descriptors.append(anonymous_file("fuzz"))
            stack.callback(os.close, descriptors[-1])
            os.write(descriptors[-1], content)
        if descriptors:
            socket.send_fds(theirs.socket, [message], descriptors)
        else:
            theirs.socket.send(message)
        with contextlib.suppress(*MESSAGE_ERRORS):
            ours.receive(block=False)
    if len(os.listdir("/proc/self/fd")) != before:
        raise NotRefusedError("a descriptor is left")


def header(*fields: int) -> bytes:
    """Return the header of a message; see `sharedmem.workers.channel`."""
    return _HEADER.pack(*fields)


def sizes(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}q", *numbers)


def load(changes: dict[str, Any], layout: dict[str, Any]) -> None:
    """Load an array from a key and a layout with changed fields, and read all of it."""
    key = key_of(describe(ARRAY)[0])
    whole = Layout(0, ARRAY.shape, ARRAY.strides, ARRAY.dtype, writeable=True)
    try:
        array = _load(SegmentKey(**{**key._asdict(), **changes}), whole._replace(**layout))
    except PICKLE_ERRORS:
        return
    if array.size < 1_000_000:
        array.tobytes()


# The unpickler in Python: that in C allocates as many objects as a tampered number says.
class _Known(pickle._Unpickler):
    """An unpickler that finds only the names in pickles of arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN_NAMES:
            raise pickle.UnpicklingError(f"{module}.{name}")
        # NumPy's own types crash in their __setstate__ on tampered pickles.
        return _Type if module.startswith("numpy") else super().find_class(module, name)


class _Type:
    """A stand-in for the dtypes of NumPy."""

    dtype = np.dtype("f8")

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


KNOWN_NAMES = {
    ("sharedmem.arrays.shared_array", "_load"),
    ("sharedmem.arrays.shared_array", "Layout"),
    ("sharedmem.memory.segment_keys", "SegmentKey"),
    ("numpy", "dtype"),
    ("numpy.dtypes", "Float64DType"),
}


def load_bytes(changes: Sequence[tuple[int, int]]) -> None:
    """Load a pickle of an array with some bytes changed, and read all of the array."""
    stream = bytearray(pickle.dumps(ARRAY))
    for at, byte in changes:
        stream[at % len(stream)] = byte
    try:
        array = _Known(io.BytesIO(stream)).load()
    except Exception as error:
        # Pickle itself may raise anything; an error from this package must be a refusal.
        if raised_by_us(error) and not isinstance(error, PICKLE_ERRORS):
            raise NotRefusedError(repr(error)) from error
        return
    if isinstance(array, sharedmem.SharedArray) and array.size < 1_000_000:
        array.tobytes()


def raised_by_us(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    package = str(Path(sharedmem.__file__).parent)
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(package)


def evaluate(text: str) -> None:
    """Evaluate any text: it is computed as an expression, or refused."""
    values = {"a": np.arange(3.0), "b": np.arange(3), "n": 5}
    with contextlib.suppress(*EXPRESSION_ERRORS), np.errstate(all="ignore"):
        names = set(names_in(parse(text).steps))
        sharedmem.evaluate(text, **{name: values[name] for name in names & set(values)})
