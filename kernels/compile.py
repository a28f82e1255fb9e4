"""Decorators that compile kernels, and their cache on disk."""

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

from sharedmem.kernels.parts import PartCompiler

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a kernel for the types of its arguments when it is first called with them.

    Kernels release the GIL, divide by zero as NumPy does, and follow IEEE arithmetic (fast-math
    would break compensated sums and the rules for NaN). They are cached on disk if the cache
    directory is writable. A kernel may be a closure over other kernels and over numbers.
    """
    dispatcher = _dispatcher(function, _Kernel, no_cfunc_wrapper=True)  # no C code calls kernels
    with contextlib.suppress(RuntimeError, OSError):  # not writable: compiled in each process
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
    """Enable numba's compiler, also where NUMBA_DISABLE_JIT runs users' kernels in Python.

    Our kernels contain machine instructions, and cannot run in Python.
    """
    if not _IS_DISABLED:
        yield
        return
    with compiler_lock.global_compiler_lock:  # another thread would disable it again
        before, _config.DISABLE_JIT = _config.DISABLE_JIT, 0
        try:
            yield
        finally:
            _config.DISABLE_JIT = before


_config: Any = numba.config
_IS_DISABLED = bool(_config.DISABLE_JIT)


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
        self._is_waiting = False

    @contextlib.contextmanager
    def while_compiling(self) -> Iterator[None]:
        """Write the notice if the block takes long; the thread that does so ends with the block."""
        if self._is_told or self._is_waiting or not _is_seen():
            yield
            return
        # Forks of this package wait for this lock, so a fork never sees the thread.
        with compiler_lock.global_compiler_lock:
            self._is_waiting = True  # also while the kernels called by this one are compiled
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
    with contextlib.suppress(Exception):  # the stream may be None, closed, or of any class
        return "ipykernel" in sys.modules or sys.stderr.isatty()
    return False


notice = _Notice()


class _Kernel(CPUDispatcher):
    """A kernel, which is compiled also with NUMBA_DISABLE_JIT."""

    def compile(self, sig: Any) -> Any:
        with _jit(), notice.while_compiling():
            return super().compile(sig)


class _Part(_Kernel):
    """A kernel that only other kernels can call."""

    def __call__(self, *args: Any) -> None:
        raise TypeError(
            f"{self.py_func.__name__} is a part of kernels and cannot be called from Python; call "
            "it from a function compiled by numba"
        )


def part(function: F) -> F:
    """Compile a part of kernels, which is called by kernels and not from Python.

    It is compiled with each kernel that calls it, and not cached on disk apart. Inlining by numba
    would make the kernels take longer to compile.
    """
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(F, _dispatcher(function, _Part, pipeline_class=PartCompiler, **options))


def formula(function: F) -> F:
    """Return the Python function of a kernel: a formula also works on arrays."""
    return cast(F, getattr(function, "py_func", function))


def _name_apart(function: Callable[..., Any]) -> None:
    """Give a closure a unique name, from which numba makes the symbol in machine code.

    numba numbers closures of the same name in the order of compilation. Two closures cached by
    different processes may have the same number, and a process that loads both would get the first
    one for both.
    """
    key = _closure_key(function)
    if key:
        function.__qualname__ += f"_{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"


def _source(function: Any) -> Any:
    return getattr(function, "__wrapped__", formula(function))


@cache
def _folder_digest() -> str:
    """Return the digest of all sources: kernels are compiled into each other across files."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _closure_key(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return the names of the kernels and the numbers that a function is a closure over."""
    cells = [_source(cell.cell_contents) for cell in function.__closure__ or ()]
    return tuple(
        (cell.__module__, cell.__qualname__, _closure_key(cell)) if callable(cell) else cell
        for cell in cells
    )


class _Files(IndexDataCacheFile):
    """Cache files whose names depend on their key.

    numba numbers them. Two processes that compile for different types at the same time may use the
    same number, and the next process would run code for the wrong type.
    """

    def save(self, key: Any, data: Any) -> None:
        name = f"{self._index_name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _KernelCache(FunctionCache):
    """A cache of compiled code that also works for closures, and whose failures cost only time.

    numba's own cache raises OSError on a full disk, and its key of a closure over kernels has a
    number that is different in each process.
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
