"""Where `sharedmem stats` finds arrays: .npy, .npz, .h5, .zarr and raw files."""

from __future__ import annotations

import importlib
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_SUFFIXES = {".npy", ".npz", ".h5", ".hdf5", ".zarr"}


class Source(NamedTuple):
    """An array on disk that has not been read yet.

    Attributes
    ----------
    name : str
        The file, and for a member of an .npz file its name in brackets.
    shape : tuple of int
    dtype : dtype
    load : callable
        ``load()`` gives the array: mapped, or to be read in chunks, except for members of .npz
        files.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], Any]


def open_sources(
    files: Sequence[str], dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None
) -> list[Source]:
    """Look at files and check that they hold arrays of numbers.

    Parameters
    ----------
    files : sequence of str
        Names that end in .npy, .npz, .h5, .hdf5 or .zarr; all others are raw.
    dtype : dtype, optional
        What raw files hold.
    shape : tuple of int, optional
        The shape of raw files; by default they have one axis.

    Raises
    ------
    ValueError
        If a file cannot be used; the message names it.
    """
    sources = []
    for file in files:
        try:
            found = list(_open(Path(file), dtype, shape))
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror or error}") from error
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file}: {error}") from error
        for source in found:
            if source.dtype.kind not in "biuf":
                raise ValueError(
                    f"{source.name}: statistics are of real numbers, and this is an array of "
                    f"dtype {source.dtype}"
                )
        sources += found
    if dtype is not None and all(Path(file).suffix in _SUFFIXES for file in files):
        raise ValueError("--dtype and --shape are for raw files; all others say their own")
    return sources


def _open(
    path: Path, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None
) -> Iterator[Source]:
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")
        yield Source(str(path), array.shape, array.dtype, lambda: array)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            if not archive.namelist():
                raise ValueError("it holds no array")
            for name in archive.namelist():
                yield _member(path, archive, name)
    elif path.suffix in {".h5", ".hdf5"}:
        yield from _datasets(path)
    elif path.suffix == ".zarr":
        yield from _zarr_arrays(path)
    else:
        raw = _map_raw(path, dtype, shape)
        yield Source(str(path), raw.shape, raw.dtype, lambda: raw)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Source:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)

    def load() -> Array:
        with zipfile.ZipFile(path) as again, again.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    return Source(f"{path}[{name.removesuffix('.npy')}]", shape, dtype, load)


def _datasets(path: Path) -> Iterator[Source]:
    h5py = _import_extra("h5py")
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visit(names.append)
        datasets = [name for name in names if isinstance(file[name], h5py.Dataset)]
        if not datasets:
            raise ValueError("it holds no array")
        for name in datasets:
            # A file stays open as long as there is a dataset of it.
            load = partial(lambda name: h5py.File(path, "r")[name], name)
            yield Source(f"{path}[{name}]", file[name].shape, file[name].dtype, load)


def _zarr_arrays(path: Path) -> Iterator[Source]:
    zarr = _import_extra("zarr")
    opened = zarr.open(str(path), mode="r")
    if isinstance(opened, zarr.Array):
        yield Source(str(path), opened.shape, opened.dtype, lambda: opened)
        return
    members = opened.members(max_depth=None)
    arrays = [(name, member) for name, member in members if isinstance(member, zarr.Array)]
    if not arrays:
        raise ValueError("it holds no array")
    for name, array in arrays:
        yield Source(f"{path}[{name}]", array.shape, array.dtype, partial(opened.get, name))


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
