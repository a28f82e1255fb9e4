"""Machine code: made from LLVM's language, kept in files, and called by address.

It does without numba, whose import takes longer than most calls.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

# Held while code is compiled or loaded. Forks of this package wait for it.
lock = threading.RLock()
_FORMAT = b"sharedmem machine code 1\n"
_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)


class Code(NamedTuple):
    """A compiled function of one argument, the address of a block of 64-bit words.

    Attributes
    ----------
    address : int
        For threads of compiled code, which call the function themselves.
    call : callable
        Calls it without the GIL; returns its status, 0 for success.
    """

    address: int
    call: Callable[[int], int]


Find = Callable[[str], int]
_loaded: dict[str, Find] = {}


def load(name: str, key: tuple[str, ...], make: Callable[[], bytes]) -> Code:
    """Return the function ``entry`` of object code: see :func:`load_functions`."""
    address = load_functions(name, key, make)("entry")
    return Code(address, _PROTOTYPE(address))


def load_functions(name: str, key: tuple[str, ...], make: Callable[[], bytes]) -> Find:
    """Load object code: from a file, or made now and written there.

    Parameters
    ----------
    name : str
        Begins the name of the file.
    key : tuple of str
        All that the code depends on, beside the processor, the sources of this folder, and the
        versions of LLVM: these are added.
    make : callable
        Returns the object code.

    Returns
    -------
    callable
        Gives the address of a function by its name.
    """
    name = f"{name}-{digest(*key)[:24]}"
    found = _loaded.get(name)
    if found is None:
        with lock:
            found = _loaded.get(name)
            if found is None:
                object_code = _read(name, key)
                if object_code is None:
                    object_code = make()
                    _write(name, key, object_code)
                engine = _link(object_code)
                # Threads may run the code until the process has ended: it is never freed.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
                found = _loaded[name] = engine.get_function_address
    return found


def digest(*key: str) -> str:
    """Return the digest of a key and of what is added to all keys."""
    return hashlib.sha256(repr((key, *_environment())).encode()).hexdigest()


@cache
def _environment() -> tuple[Any, ...]:
    import llvmlite

    sources = sorted(Path(__file__).parent.rglob("*.py"))
    content = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return llvmlite.__version__, *processor(), content


def folders() -> Iterator[Path]:
    """Yield the folders that code is looked up in; it is written to the first that is writable."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen) / "sharedmem-kernels"  # no name that Python would import
    yield Path(__file__).resolve().parent / "__pycache__"
    with contextlib.suppress(RuntimeError):  # there may be no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sharedmem"


def writable_folder() -> Path | None:
    """Return the folder that code is written to, or None if none is writable."""
    for folder in folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    return None


def _read(name: str, key: tuple[str, ...]) -> bytes | None:
    """Return the code in a file; None if there is none for this key, or it is damaged."""
    for folder in folders():
        with contextlib.suppress(OSError):
            content = (folder / f"{name}.code").read_bytes()
            check, body = content[:32], content[32:]
            head = _head(key)
            if hashlib.sha256(body).digest() == check and body.startswith(head):
                return body[len(head) :]
    return None


def _write(name: str, key: tuple[str, ...], object_code: bytes) -> None:
    """Write code to a file; where no folder is writable, each process compiles it."""
    body = _head(key) + object_code
    for folder in folders():
        draft = folder / f"{name}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(hashlib.sha256(body).digest() + body)
            draft.replace(folder / f"{name}.code")
        except OSError:  # read-only, or full
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        else:
            return


def _head(key: tuple[str, ...]) -> bytes:
    return _FORMAT + repr((key, *_environment())).encode() + b"\n"


@cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _machine() -> Any:
    name, features = processor()
    target = _llvm().Target.from_default_triple()
    # Code of one object calls functions of the C library at any distance.
    return target.create_target_machine(
        cpu=name, features=features, opt=3, jit=True, codemodel="jitdefault"
    )


def compile_text(text: str, *others: str) -> bytes:
    """Return the object code of a module in LLVM's language, with others that define what it calls.

    Its loops are not unrolled: they are written as they shall run, and unrolling takes more than
    half of the time to compile.
    """
    llvm, machine = _llvm(), _machine()
    module = llvm.parse_assembly(text)
    for other in others:
        module.link_in(llvm.parse_assembly(other))
    module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return bytes(machine.emit_object(module))


def assemble(*texts: str) -> Code:
    """Return the function ``entry`` of modules in LLVM's language; its code is in no file."""
    with lock:
        engine = _link(compile_text(*texts))
    address = engine.get_function_address("entry")
    call: Any = _PROTOTYPE(address)
    call.engine = engine  # which owns the code
    return Code(address, call)


def _link(object_code: bytes) -> Any:
    """Load object code in an engine, which owns it from now on."""
    llvm = _llvm()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
    engine.finalize_object()
    return engine


@cache
def processor() -> tuple[str, str]:
    """Return the name and the features of the processor to compile for, as numba is told them."""
    name, features = (os.environ.get(f"NUMBA_CPU_{part}") for part in ("NAME", "FEATURES"))
    llvm = _llvm()
    if features is None:
        features = ""
        with contextlib.suppress(RuntimeError):  # some processors do not tell
            features = llvm.get_host_cpu_features().flatten()
    return llvm.get_host_cpu_name() if name is None else name, features


# Calls the code with the address of a block, in several threads at once; returns when all have
# returned.
Share = Callable[[Code, int], None]


def alone(code: Code, block: int) -> None:
    """Call code in this thread alone."""
    check(code.call(block))


def check(status: int) -> None:
    """Raise MemoryError if code had no memory for its intermediate results."""
    if status:
        raise MemoryError("no memory for the intermediate results of a kernel")
