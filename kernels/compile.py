"""Decorators of kernels, which numba compiles, and whose machine code is called by address.

numba is imported only if there is no code in a file yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, update_wrapper
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from sharedmem.kernels import machine_code

F = TypeVar("F", bound=Callable[..., Any])

# Words at the start of a block: the form of the result, a digit for each of its numbers, and the
# numbers. A digit is an index of RESULTS, the ways to read a word.
N_RESULTS = 7
RESULTS = ("", "q", "Q", "d", "?7x")
DIGIT = 3
_HEAD = 1 + N_RESULTS
_WORD = 8
# What numba distinguishes of the flags of an array: C order, Fortran order, and writeable.
_C, _F, _WRITEABLE = 0x1, 0x2, 0x400
_FLAGS = _C | _F | _WRITEABLE


def kernel(function: F) -> F:
    """Compile a kernel for the types of its arguments when it is first called with them.

    The arguments are arrays, numbers, None, and tuples of these. The kernel returns None, a number,
    or a tuple of up to N_RESULTS numbers. Kernels release the GIL, divide by zero as NumPy does,
    and follow IEEE arithmetic (fast-math would break compensated sums and the rules for NaN). They
    cannot allocate arrays: see :func:`~sharedmem.kernels.loops.intrinsics.on_stack`. A kernel may
    be a closure over other kernels and over numbers.
    """
    return cast(F, Kernel(function))


def part(function: F) -> F:
    """Compile a part of kernels, which is called by kernels and not from Python.

    It is compiled with each kernel that calls it. Inlining by numba would make the kernels take
    longer to compile.
    """
    return cast(F, Part(function))


def intrinsic(make: Callable[[], Any]) -> Any:
    """Define an operation of kernels, from a function that returns an intrinsic of numba."""
    return Intrinsic(make)


def formula(function: F) -> F:
    """Return the Python function of a kernel: a formula also works on arrays."""
    return cast(F, getattr(function, "py_func", function))


class Intrinsic:
    """An operation of kernels, which is defined when the first of these is compiled."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = self.__wrapped__ = make
        self._type: Any = None

    @property
    def _numba_type_(self) -> Any:
        if self._type is None:
            from sharedmem.kernels import parts

            self._type = parts.type_of_intrinsic(self._make())
        return self._type


class Part:
    """A function that numba compiles with those that call it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func = function
        self._dispatcher: Any = None
        self._type: Any = None
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        update_wrapper(self, function)

    def __reduce__(self) -> str:
        return self.__qualname__

    def __call__(self, *arguments: Any) -> Any:
        """Refuse calls from Python."""
        raise TypeError(
            f"{self.__name__} is a part of kernels and cannot be called from Python; call it from "
            "a function compiled by numba"
        )

    # Not cached properties: of those, Python 3.11 has a lock that a forked child inherits.

    @property
    def dispatcher(self) -> Any:
        """The function as numba knows it."""
        if self._dispatcher is None:
            from sharedmem.kernels import parts

            self._dispatcher = parts.dispatcher(self.py_func)
        return self._dispatcher

    @property
    def _numba_type_(self) -> Any:  # which numba asks for the type of what a function refers to
        if self._type is None:
            from sharedmem.kernels import parts

            self._type = parts.type_of(self.dispatcher)
        return self._type


class Form(NamedTuple):
    """How a kernel is called with arguments of certain types.

    Attributes
    ----------
    code : Code
    block : type
        Of blocks of words: the result, and the arguments.
    pack_into : callable
        Writes arguments to the words of a block.
    """

    code: machine_code.Code
    block: type[ctypes.Array[ctypes.c_uint64]]
    pack_into: Callable[..., None]


class Kernel(Part):
    """A function that numba compiles for the types of its arguments, and that is called by address.

    The word of an array is its address as an object: compiled code reads its fields, which are part
    of NumPy's binary interface.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.forms: dict[tuple[Any, ...], Form] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Run the kernel."""
        code, block = self.bind(*arguments)
        if code.call(block):
            raise RuntimeError(f"kernel {self.__qualname__} has failed: please report it as a bug")
        return _result(block) if block[0] else None

    def bind(self, *arguments: Any) -> tuple[machine_code.Code, Any]:
        """Return the code for arguments, and a block with them, which refers to the arrays."""
        kinds: list[Any] = []
        words: list[Any] = []
        _describe(arguments, kinds, words)
        key = tuple(kinds)
        form = self.forms.get(key)
        if form is None:
            form = self.forms[key] = self._form(key, arguments)
        block = form.block()
        form.pack_into(block, _HEAD * _WORD, *words)
        return form.code, block

    def _form(self, kinds: tuple[Any, ...], arguments: tuple[Any, ...]) -> Form:
        formats = "".join(_formats(kinds))
        size = struct.calcsize(formats) // _WORD
        code = self._load(", ".join(map(_name, kinds)), arguments)
        return Form(code, ctypes.c_uint64 * (_HEAD + size), struct.Struct(formats).pack_into)

    def _load(self, types: str, arguments: tuple[Any, ...]) -> machine_code.Code:
        def make() -> bytes:
            from sharedmem.kernels import parts

            with notice.while_compiling():
                return parts.object_code(self.dispatcher, arguments)

        if not self.__module__.startswith(f"{__package__}."):  # its sources are in no key
            return machine_code.link(make())
        key = self.__module__, self.__qualname__, repr(_closure_key(self.py_func)), types
        return machine_code.load(self.__name__.strip("_"), (*key, _numba_version()), make)


def _describe(arguments: tuple[Any, ...], kinds: list[Any], words: list[Any]) -> None:
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            kinds.append((argument.dtype, argument.ndim, argument.flags.num & _FLAGS))
            words.append(id(argument))
        elif type(argument) is tuple:
            nested: list[Any] = []
            _describe(argument, nested, words)
            kinds.append(tuple(nested))
        else:
            kinds.append(type(argument))
            if argument is not None:
                words.append(argument)


def _is_array(kind: Any) -> bool:
    return type(kind) is tuple and bool(kind) and isinstance(kind[0], np.dtype)


def _formats(kinds: tuple[Any, ...]) -> Iterator[str]:
    """Yield how the words of arguments are written."""
    for kind in kinds:
        if _is_array(kind):
            yield "Q"
        elif type(kind) is tuple:
            yield from _formats(kind)
        elif issubclass(kind, (bool, np.bool_)):
            yield "?7x"
        elif issubclass(kind, np.unsignedinteger):
            yield "Q"
        elif issubclass(kind, (int, np.signedinteger)):
            yield "q"
        elif issubclass(kind, (float, np.floating)):
            yield "d"
        elif kind is not type(None):
            raise TypeError(f"a kernel takes arrays, numbers, and tuples, got a {kind.__name__}")


def _name(kind: Any) -> str:
    """Return the name of a type for keys."""
    if _is_array(kind):
        dtype, ndim, flags = kind
        order = "C" if flags & _C else "F" if flags & _F else "A"
        return f"{dtype.str}[{ndim}{order}{'w' if flags & _WRITEABLE else 'r'}]"
    if type(kind) is tuple:
        return f"({', '.join(map(_name, kind))})"
    return str(kind.__name__)


def _result(block: Any) -> Any:
    numbers = _reader(block[0]).unpack_from(block, _WORD)
    return numbers[0] if len(numbers) == 1 else numbers


@lru_cache
def _reader(form: int) -> struct.Struct:
    formats = ""
    while form:
        formats += RESULTS[form & ((1 << DIGIT) - 1)]
        form >>= DIGIT
    return struct.Struct(formats)


@cache
def _numba_version() -> str:
    found = importlib.util.find_spec("numba")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("_version.py").read_text()


def _source(function: Any) -> Any:
    return getattr(function, "__wrapped__", formula(function))


def _closure_key(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return the names of the kernels and the numbers that a function is a closure over."""
    return tuple(_cell_key(cell.cell_contents) for cell in function.__closure__ or ())


def _cell_key(value: Any) -> Any:
    source = _source(value)
    if callable(source):
        return source.__module__, source.__qualname__, _closure_key(source)
    if not isinstance(value, (int, float, tuple, np.generic)):
        raise TypeError(f"a kernel is a closure over kernels and numbers, got {value!r}")
    return value


class _Notice:
    """A notice that kernels are being compiled, written once per process.

    It is written to the standard error stream, only on a terminal and in a notebook, and not if
    SHAREDMEM_QUIET is set.
    """

    seconds = 1.0
    text = (
        "sharedmem: compiling for types that are new here, which takes some seconds; the code is "
        "kept on disk for the next time\n"
    )

    def __init__(self) -> None:
        self._is_told = bool(os.environ.get("SHAREDMEM_QUIET"))

    @contextlib.contextmanager
    def while_compiling(self) -> Iterator[None]:
        """Write the notice if the block takes long; the thread that does so ends with the block."""
        if self._is_told or not _is_seen():
            yield
            return
        with machine_code.lock:  # which a fork waits for: it never sees the thread
            timer = threading.Timer(self.seconds, self._tell)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()

    def _tell(self) -> None:
        self._is_told = True
        with contextlib.suppress(Exception):
            sys.stderr.write(self.text)
            sys.stderr.flush()


def _is_seen() -> bool:
    with contextlib.suppress(Exception):  # the stream may be None, closed, or of any class
        return "ipykernel" in sys.modules or sys.stderr.isatty()
    return False


notice = _Notice()
