"""How kernels are compiled: the one place that says so."""

# mypy: allow-untyped-calls, disable-error-code="misc, unused-ignore"
# (numba is typed in parts, and in other parts from version to version)

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import compiler_lock
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.registry import CPUDispatcher

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a kernel for each type of its arguments when it is first called with them.

    Kernels release the GIL, divide as NumPy does (by zero too), keep to IEEE arithmetic (fast-math
    would undo compensated sums and the rules for NaN), and are kept on disk where a place can
    be written to. A kernel may be a closure over other kernels, and over numbers.
    """
    dispatcher = _dispatcher(function, _Kernel, no_cfunc_wrapper=True)  # which only C would call
    with contextlib.suppress(RuntimeError, OSError):  # no place to write: compiled in each process
        dispatcher._cache = _KernelCache(function)
    return cast(F, dispatcher)


def _dispatcher(function: Callable[..., Any], kind: type[CPUDispatcher], **options: Any) -> Any:
    _name_apart(function)
    with _jit():
        dispatcher: Any = numba.njit(nogil=True, error_model="numpy", **options)(function)
    dispatcher.__class__ = kind
    return dispatcher


@contextlib.contextmanager
def _jit() -> Iterator[None]:
    """Have numba compile, also if NUMBA_DISABLE_JIT says that users' kernels are to run in Python.

    Ours are made of machine instructions, and could not.
    """
    if not _IS_DISABLED:
        yield
        return
    with compiler_lock.global_compiler_lock:  # or another thread would find it disabled again
        before, _config.DISABLE_JIT = _config.DISABLE_JIT, 0
        try:
            yield
        finally:
            _config.DISABLE_JIT = before


_config: Any = numba.config
_IS_DISABLED = bool(_config.DISABLE_JIT)


class _Notice:
    """Tells a person who waits for the compiler what takes so long, once a process.

    Only on a terminal and in a notebook, and not where SHAREDMEM_QUIET is set: what others read
    from the standard error stream stays as it is.
    """

    seconds = 1.0
    text = (
        "sharedmem: compiling for types that are new here, which takes some seconds; the code is "
        "kept on disk for the next time\n"
    )

    def __init__(self) -> None:
        self._is_told = bool(os.environ.get("SHAREDMEM_QUIET"))
        self._is_waiting = False

    @contextlib.contextmanager
    def while_compiling(self) -> Iterator[None]:
        """Tell it if the block takes long; a thread waits for that, and ends with the block."""
        if self._is_told or self._is_waiting or not _is_seen():
            yield
            return
        # A fork of ours waits for this lock, and so never meets the thread.
        with compiler_lock.global_compiler_lock:
            self._is_waiting = True  # also for the kernels that this one is made of
            timer = threading.Timer(self.seconds, self._tell)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()
                self._is_waiting = False

    def _tell(self) -> None:
        self._is_told = True
        with contextlib.suppress(Exception):
            sys.stderr.write(self.text)
            sys.stderr.flush()


def _is_seen() -> bool:
    with contextlib.suppress(Exception):  # a stream may be None, closed, or of any class
        return "ipykernel" in sys.modules or sys.stderr.isatty()
    return False


notice = _Notice()


class _Kernel(CPUDispatcher):
    """A kernel that is compiled in any case."""

    def compile(self, sig: Any) -> Any:
        with _jit(), notice.while_compiling():
            return super().compile(sig)


class _Part(_Kernel):
    """A kernel that other kernels call: it has nothing by which Python could do so."""

    def __call__(self, *args: Any) -> None:
        raise TypeError(f"{self.py_func.__name__} is a part of kernels, which Python cannot call")


def part(function: F) -> F:
    """Compile a part of kernels, for each type of its arguments, when a kernel is that calls it.

    It is not kept on disk, where the kernels are. Numba could put its lines into theirs, but then
    each kernel takes longer to compile: a maximum 2.8 s instead of 1.3.
    """
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(F, _dispatcher(function, _Part, **options))


def formula(function: F) -> F:
    """Give back the Python form of a kernel that is a formula, which works on arrays as well."""
    return cast(F, getattr(function, "py_func", function))


def _name_apart(function: Callable[..., Any]) -> None:
    """Give a closure a name of its own, which numba makes the names in machine code of.

    numba tells closures of one name apart by how many it has compiled before. Two that different
    processes have kept on disk may have one number, and whoever loads both gets the first for both.
    """
    key = _closure_key(function)
    if key:
        function.__qualname__ += f"_{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"


def _source(function: Any) -> Any:
    return getattr(function, "__wrapped__", formula(function))


@cache
def _folder_digest() -> str:
    """Digest of all kernel sources: kernels are compiled into each other across files."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _closure_key(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Name the kernels and numbers that a function is a closure over, and what those are over."""
    cells = [_source(cell.cell_contents) for cell in function.__closure__ or ()]
    return tuple(
        (cell.__module__, cell.__qualname__, _closure_key(cell)) if callable(cell) else cell
        for cell in cells
    )


class _Files(IndexDataCacheFile):
    """Files named after what they hold.

    numba numbers them, and two processes that compile for different types at once may give one
    number to both: the next process would then run code made for the wrong type.
    """

    def save(self, key: Any, data: Any) -> None:
        name = f"{self._index_name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _KernelCache(FunctionCache):
    """A cache of compiled code that is only slower when it fails, and works for closures.

    numba's own raises OSError on a full disk, and keys closures over kernels by a number that
    is new in each process, so that they are never found.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._closure = _closure_key(function)
        self._cache_file = _Files(
            self._cache_path, self._impl.filename_base, source_stamp=_folder_digest()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with contextlib.suppress(Exception):  # a damaged file is a miss
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):
            super().save_overload(sig, data)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (sig, codegen.magic_tuple(), self._closure)
