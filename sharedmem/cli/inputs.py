"""Inputs of `sharedmem stats`: .npy, .npz, and raw files, and the choice of members."""

from __future__ import annotations

import math
import os
import re
import signal
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sharedmem.cli.options import UsageError
from sharedmem.errors import DeadWorkerError, LostExceptionType, WorkerException
from sharedmem.pool.background import background

Array = NDArray[Any]

# Formats that a C library reads; a damaged file may crash it.
CONTAINERS = {".h5": "h5py", ".hdf5": "h5py", ".zarr": "zarr"}
_SUFFIXES = {".npy", ".npz", *CONTAINERS}
_MAX_TEXT = 300


class StoredArray(NamedTuple):
    """An array in a file that has not been read yet.

    Attributes
    ----------
    name : str
        The file, and in brackets the name of its member; or an expression.
    shape : tuple of int
    dtype : dtype
    load : callable
        ``load()`` returns the array: mapped, or read in chunks, except for members of .npz files.
    is_fragile : bool
        Whether a damaged file may crash its reader, which then needs a process of its own.
    reads : (int, int), optional
        Of an expression: bytes that are read before it can be computed, and in each pass.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], Any]
    is_fragile: bool = False
    reads: tuple[int, int] | None = None

    @property
    def nbytes(self) -> int:
        """Size of all elements in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Skipped(NamedTuple):
    """An array that is not described.

    Attributes
    ----------
    name, reason : str
    is_fault : bool
        Whether it is damaged, or all that was asked for.
    """

    name: str
    reason: str
    is_fault: bool


def open_arrays(options: Namespace) -> list[StoredArray | Skipped]:
    """Open files and check that they contain arrays of real numbers.

    Parameters
    ----------
    options : Namespace
        Those of ``stats``. Files end in .npy, .npz, .h5, .hdf5, or .zarr; all others are raw, of
        `options.dtype` and `options.shape`. ``file.npz[x]`` and ``file.npz:x`` select a member, or
        a group of members. Readers that may crash get a process of their own, but not on a cluster.

    Raises
    ------
    UsageError
        If a file does not exist or cannot be read; the message names it.
    """
    found: list[StoredArray | Skipped] = []
    for _, parts in open_files(options.files, options):
        own = [checked(part) for part in parts]
        if not any(isinstance(part, StoredArray) for part in own):
            own = [part._replace(is_fault=True) for part in own if isinstance(part, Skipped)]
        found += own
    return found


def open_files(
    files: Sequence[str], options: Namespace
) -> list[tuple[Path, list[StoredArray | Skipped]]]:
    """Return the path and the arrays of each file; see :func:`open_arrays`."""
    selected = [_split(file) for file in files]
    if options.dtype is not None and all(path.suffix.lower() in _SUFFIXES for path, _ in selected):
        raise UsageError("--dtype and --shape apply to raw files only")
    return [(path, _parts(path, member, options)) for path, member in selected]


def _parts(path: Path, member: str | None, options: Namespace) -> list[StoredArray | Skipped]:
    try:
        path.stat()  # which raises OSError if there is none
        if not (path.is_file() or path.is_dir()):  # a pipe, whose reader might wait forever
            raise ValueError("not a regular file")
        return [*_open(path, member, options)]
    except OSError as error:
        raise UsageError(f"{path}: {text_of(error)}") from error
    except Exception as error:  # a damaged file may raise anything
        return [Skipped(str(path), text_of(error), is_fault=True)]


def text_of(error: Exception) -> str:
    """Return the message of an exception on one line."""
    reason = error.reason if isinstance(error, WorkerException) else error
    if isinstance(reason, DeadWorkerError):
        code = reason.exitcode or 0
        end = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"the process that read it crashed ({end}); the file is probably damaged"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def in_isolation(function: Callable[[], Any]) -> Any:
    """Call a function in a process of its own, which may crash.

    Raises
    ------
    WorkerException
        If the function fails, or the process has crashed.
    """
    call = background(function)
    try:
        with warnings.catch_warnings(action="ignore", category=LostExceptionType):
            return call.wait()
    finally:
        call.cancel()


def choose(names: Sequence[str], member: str | None) -> list[str]:
    """Return the name of a member, or the names of the members of a group."""
    if not names:
        raise ValueError("contains no array")
    if member is None:
        return list(names)
    chosen = [name for name in names if name == member or name.startswith(f"{member}/")]
    if not chosen:
        raise ValueError(f"contains no array {member}; it contains {listed(names)}")
    return chosen


def listed(names: Sequence[str]) -> str:
    """Return the first of some names, for a message."""
    return ", ".join([*names[:10], *["..."][: len(names) - 10]])


def _split(file: str) -> tuple[Path, str | None]:
    """Return a path, and the member that is selected."""
    if os.path.lexists(file):
        return Path(file), None
    for found in re.finditer(r"[\[:]", file):
        path, member = Path(file[: found.start()]), file[found.end() :]
        if path.suffix.lower() in {".npz", *CONTAINERS} and os.path.lexists(path):
            return path, (member.removesuffix("]") if found[0] == "[" else member).strip("/")
    return Path(file), None


def checked(array: StoredArray | Skipped) -> StoredArray | Skipped:
    """Return an array of real numbers; leave out others."""
    if isinstance(array, Skipped) or array.dtype.kind in "biuf":
        return array
    reason = f"dtype {array.dtype} is not supported; statistics need real numbers"
    return Skipped(array.name, reason, is_fault=False)


def _open(path: Path, member: str | None, options: Namespace) -> Iterator[StoredArray | Skipped]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        yield from _open_archive(path, member)
    elif suffix in CONTAINERS:
        from sharedmem.cli.containers import open_container

        yield from open_container(path, member, isolated=options.dask is None)
    else:
        raw = options.dtype, options.shape
        array = npy.open_memmap(path, mode="r") if suffix == ".npy" else _map_raw(path, *raw)
        yield StoredArray(str(path), array.shape, array.dtype, lambda: array)


def _open_archive(path: Path, member: str | None) -> Iterator[StoredArray | Skipped]:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
        files = {name.removesuffix(".npy"): name for name in members}
        for name in choose(list(files), member):
            label = f"{path}[{name}]"
            if not files[name].endswith(".npy"):
                yield Skipped(label, "not an .npy file", is_fault=False)
                continue
            try:
                yield _archived(path, label, archive, files[name])
            except Exception as error:  # as in `open_arrays`
                yield Skipped(label, text_of(error), is_fault=True)


def _archived(path: Path, label: str, archive: zipfile.ZipFile, name: str) -> StoredArray:
    with archive.open(name) as file:
        is_old = npy.read_magic(file) == (1, 0)
        read_header = npy.read_array_header_1_0 if is_old else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        n_left = archive.getinfo(name).file_size - file.tell()
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise ValueError(f"its header has the invalid shape {shape}")
    if not dtype.hasobject:
        _check_size(n_left, shape, dtype, at_least=True)

    def load() -> Array:
        with zipfile.ZipFile(path) as again, again.open(name) as file:
            array = npy.read_array(file, allow_pickle=False)
            while file.read(1 << 20):  # zipfile verifies the checksum at the end
                pass
            return array

    return StoredArray(label, shape, dtype, load)


def _map_raw(path: Path, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> Array:
    with path.open("rb") as file:
        nbytes = file.seek(0, os.SEEK_END)
    if dtype is None:
        raise ValueError("unknown suffix; give --dtype to read it as a raw file")
    if shape is None:
        if nbytes % dtype.itemsize:
            raise ValueError(
                f"its {nbytes} bytes are not a multiple of the {dtype.itemsize} bytes of {dtype}"
            )
        shape = (nbytes // dtype.itemsize,)
    _check_size(nbytes, shape, dtype)
    if nbytes == 0:  # which mmap refuses
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)


def _check_size(
    nbytes: int, shape: tuple[int, ...], dtype: np.dtype[Any], at_least: bool = False
) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if nbytes < needed or (nbytes > needed and not at_least):
        raise ValueError(f"has {nbytes} bytes, but shape {shape} of {dtype} requires {needed}")
