"""Where `sharedmem stats` finds arrays: .npy, .npz, .h5, .zarr and raw files."""

from __future__ import annotations

import importlib
import math
import os
import re
import signal
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sharedmem.errors import DeadWorkerError, WorkerException
from sharedmem.pool.background import background

Array = NDArray[Any]
T = TypeVar("T")

# What reads these is a library of C, which a damaged file may crash.
_CONTAINERS = {".h5": "h5py", ".hdf5": "h5py", ".zarr": "zarr"}
_SUFFIXES = {".npy", ".npz", *_CONTAINERS}
_LONGEST_TEXT = 300


class Source(NamedTuple):
    """An array on disk that has not been read yet.

    Attributes
    ----------
    name : str
        The file, and for a member of it its name in brackets.
    shape : tuple of int
    dtype : dtype
    load : callable
        ``load()`` gives the array: mapped, or to be read in chunks, except for members of .npz
        files.
    is_fragile : bool
        Whether to read it in a process of its own, which a damaged file may crash.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], Any]
    is_fragile: bool = False


class LeftOut(NamedTuple):
    """An array that is not described.

    Attributes
    ----------
    name, reason : str
    is_fault : bool
        Whether it should have been: a damaged one, or all that was asked for.
    """

    name: str
    reason: str
    is_fault: bool


def open_sources(
    files: Sequence[str],
    dtype: np.dtype[Any] | None,
    shape: tuple[int, ...] | None,
    isolated: bool = True,
) -> list[Source | LeftOut]:
    """Look at files and check that they hold arrays of numbers.

    Parameters
    ----------
    files : sequence of str
        Names that end in .npy, .npz, .h5, .hdf5 or .zarr; all others are raw. ``file.npz[x]`` and
        ``file.npz:x`` name a member, or a group of members.
    dtype : dtype, optional
        What raw files hold.
    shape : tuple of int, optional
        The shape of raw files; by default they have one axis.
    isolated : bool
        Whether what may crash is done in processes of their own.

    Raises
    ------
    ValueError
        If a file is not there or cannot be read; the message names it.
    """
    named = [_split(file) for file in files]
    if dtype is not None and all(path.suffix.lower() in _SUFFIXES for path, _ in named):
        raise ValueError("--dtype and --shape are for raw files; all others say their own")
    found: list[Source | LeftOut] = []
    for path, member in named:
        try:
            _check_kind(path)
            own = [_checked(part) for part in _open(path, member, dtype, shape, isolated)]
        except OSError as error:
            raise ValueError(f"{path}: {text_of(error)}") from error
        except Exception as error:  # whatever a damaged file makes its reader raise
            own = [LeftOut(str(path), text_of(error), is_fault=True)]
        if not any(isinstance(part, Source) for part in own):
            own = [part._replace(is_fault=True) for part in own if isinstance(part, LeftOut)]
        found += own
    return found


def text_of(error: Exception) -> str:
    """Return what went wrong with a file, in one line."""
    if isinstance(error, WorkerException) and isinstance(error.reason, DeadWorkerError):
        code = error.reason.exitcode or 0
        end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its reader has crashed ({end}), so it seems to be damaged"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


def in_isolation(function: Callable[[], T]) -> T:
    """Call a function in a process of its own, which may crash.

    Raises
    ------
    ValueError
        With the text of what the function has raised, which may have no form outside of it.
    WorkerException
        If the process has crashed.
    """

    def attempt() -> tuple[Any, str | None]:
        try:
            return function(), None
        except Exception as error:
            return None, text_of(error)

    call = background(attempt)
    try:
        result, problem = call.wait()
    finally:
        call.cancel()
    if problem is not None:
        raise ValueError(problem)
    return cast(T, result)


def _split(file: str) -> tuple[Path, str | None]:
    """Return a path, and which member of the file is asked for."""
    if os.path.lexists(file):
        return Path(file), None
    for found in re.finditer(r"[\[:]", file):
        path, member = Path(file[: found.start()]), file[found.end() :]
        if path.suffix.lower() in {".npz", *_CONTAINERS} and os.path.lexists(path):
            return path, (member.removesuffix("]") if found[0] == "[" else member).strip("/")
    return Path(file), None


def _check_kind(path: Path) -> None:
    """Refuse what would be waited for: pipes and devices."""
    mode = path.stat().st_mode
    if path.suffix.lower() != ".zarr" and not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise ValueError("it is no regular file")


def _checked(source: Source | LeftOut) -> Source | LeftOut:
    """Leave out what is not an array of numbers."""
    if isinstance(source, LeftOut) or source.dtype.kind in "biuf":
        return source
    reason = f"statistics are of real numbers, and this is an array of dtype {source.dtype}"
    return LeftOut(source.name, reason, is_fault=False)


def _open(
    path: Path,
    member: str | None,
    dtype: np.dtype[Any] | None,
    shape: tuple[int, ...] | None,
    isolated: bool,
) -> Iterator[Source | LeftOut]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        yield from _members(path, member)
    elif suffix in _CONTAINERS:
        yield from _contained(path, member, _CONTAINERS[suffix], isolated)
    else:
        array = (
            np.lib.format.open_memmap(path, mode="r")
            if suffix == ".npy"
            else _map_raw(path, dtype, shape)
        )
        yield Source(str(path), array.shape, array.dtype, lambda: array)


def _chosen(names: Sequence[str], member: str | None) -> list[str]:
    """Return the names of a member, or of a group of them."""
    if not names:
        raise ValueError("it holds no array")
    if member is None:
        return list(names)
    chosen = [name for name in names if name == member or name.startswith(f"{member}/")]
    if not chosen:
        shown = ", ".join([*names[:10], *["..."][: len(names) - 10]])
        raise ValueError(f"it holds no array {member}; it holds {shown}")
    return chosen


def _members(path: Path, member: str | None) -> Iterator[Source | LeftOut]:
    with zipfile.ZipFile(path) as archive:
        files = {
            info.filename.removesuffix(".npy"): info.filename
            for info in archive.infolist()
            if not info.is_dir()
        }
        for name in _chosen(list(files), member):
            label = f"{path}[{name}]"
            if not files[name].endswith(".npy"):
                yield LeftOut(label, "it is no .npy file", is_fault=False)
                continue
            try:
                yield _member(path, label, archive, files[name])
            except Exception as error:  # as in `open_sources`
                yield LeftOut(label, text_of(error), is_fault=True)


def _member(path: Path, label: str, archive: zipfile.ZipFile, name: str) -> Source:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        n_left = archive.getinfo(name).file_size - file.tell()
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise ValueError(f"its header says that it has the shape {shape}")
    needed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and n_left < needed:
        raise ValueError(f"it has {n_left} bytes, but shape {shape} of {dtype} needs {needed}")

    def load() -> Array:
        with zipfile.ZipFile(path) as again, again.open(name) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            while file.read(1 << 20):  # the sum of its bytes is checked at its end
                pass
            return array

    return Source(label, shape, dtype, load)


def _contained(
    path: Path, member: str | None, library: str, isolated: bool
) -> Iterator[Source | LeftOut]:
    _import_extra(library)  # not once in each process
    list_members, open_member = _LIBRARIES[library]
    look = partial(list_members, path)
    members: list[_Member | LeftOut] = in_isolation(look) if isolated else look()
    found = {part.name: part for part in members}
    for name in _chosen(list(found), member):
        part = found[name]
        label = f"{path}[{name}]" if name else str(path)
        if isinstance(part, LeftOut):
            yield part._replace(name=label)
        else:
            # A file stays open as long as there is an array of it.
            load = partial(open_member, path, name)
            yield Source(label, part.shape, part.dtype, load, isolated)


class _Member(NamedTuple):
    """An array of a file, as it comes from the process that has looked at it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _look(name: str, get: Callable[[], Any]) -> Iterator[_Member | LeftOut]:
    """Yield what is found under a name, if it is an array, or why it cannot be used."""
    try:
        part = get()
        if not (hasattr(part, "shape") and hasattr(part, "dtype")):
            return
        if part.shape is None:
            yield LeftOut(name, "it has no data", is_fault=False)
        else:
            yield _Member(name, tuple(part.shape), np.dtype(part.dtype))
    except TypeError as error:
        yield LeftOut(name, f"NumPy has no such type: {text_of(error)}", is_fault=False)
    except Exception as error:  # as in `open_sources`
        yield LeftOut(name, text_of(error), is_fault=True)


def _h5py_members(path: Path) -> list[_Member | LeftOut]:
    with _import_extra("h5py").File(path, "r") as file:
        names: list[str] = []
        file.visit(names.append)
        return [
            part
            for name in names
            for part in _look(name, lambda name=name: _dataset(file[name]))  # type: ignore[misc]
        ]


def _dataset(part: Any) -> Any:
    return part if isinstance(part, _import_extra("h5py").Dataset) else None


def _h5py_member(path: Path, name: str) -> Any:
    return _import_extra("h5py").File(path, "r")[name]


def _zarr_members(path: Path) -> list[_Member | LeftOut]:
    opened = _zarr_member(path, "")
    if hasattr(opened, "shape"):
        return list(_look("", lambda: opened))
    return [
        part
        for name, member in opened.members(max_depth=None)
        for part in _look(name, lambda member=member: member)  # type: ignore[misc]
    ]


def _zarr_member(path: Path, name: str) -> Any:
    opened = _import_extra("zarr").open(str(path), mode="r")
    return opened[name] if name else opened


_LIBRARIES: dict[str, tuple[Any, Any]] = {
    "h5py": (_h5py_members, _h5py_member),
    "zarr": (_zarr_members, _zarr_member),
}


def _import_extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"reading it takes {name}: pip install 'sharedmem[io]'") from error


def _map_raw(path: Path, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> Array:
    with path.open("rb") as file:
        nbytes = file.seek(0, os.SEEK_END)
    if dtype is None:
        raise ValueError("it has no suffix that tells, so --dtype has to say what it holds")
    if shape is None:
        if nbytes % dtype.itemsize:
            raise ValueError(
                f"its {nbytes} bytes are no multiple of the {dtype.itemsize} of {dtype}"
            )
        shape = (nbytes // dtype.itemsize,)
    needed = math.prod(shape) * dtype.itemsize
    if nbytes != needed:
        raise ValueError(f"it has {nbytes} bytes, but shape {shape} of {dtype} needs {needed}")
    if nbytes == 0:  # which mmap refuses
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)
