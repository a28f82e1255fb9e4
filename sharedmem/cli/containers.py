"""Arrays of HDF5 and zarr files for `sharedmem stats`, listed in processes of their own."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sharedmem.cli.inputs import CONTAINERS, Skipped, StoredArray, choose, in_isolation, text_of

# Of a member: its name, shape, and dtype.
_Found = tuple[str, tuple[int, ...], np.dtype[Any]]


def open_container(
    path: Path, member: str | None, *, isolated: bool
) -> Iterator[StoredArray | Skipped]:
    """Yield the arrays of a file, or those that a member's name selects."""
    library = CONTAINERS[path.suffix.lower()]
    _import_extra(library)  # here, and not in each process
    list_members, open_member = LIBRARIES[library]
    look = partial(list_members, path)
    members: list[_Found | Skipped] = in_isolation(look) if isolated else look()
    found = {part[0]: part for part in members}
    for name in choose(list(found), member):
        part = found[name]
        label = f"{path}[{name}]" if name else str(path)
        if isinstance(part, Skipped):
            yield part._replace(name=label)
        else:
            load = partial(open_member, path, name)
            yield StoredArray(label, *part[1:], load, isolated)


def _look(members: Any, names: Iterable[str]) -> Iterator[_Found | Skipped]:
    """Yield the arrays of these names, or why they cannot be used; nothing for other members."""
    for name in names:
        try:
            part = members[name]
            if not (hasattr(part, "shape") and hasattr(part, "dtype")):
                continue
            if part.shape is None:
                yield Skipped(name, "contains no data", is_fault=False)
            else:
                yield name, tuple(part.shape), np.dtype(part.dtype)
        except TypeError as error:
            yield Skipped(name, f"has no NumPy dtype: {text_of(error)}", is_fault=False)
        except Exception as error:  # a damaged file may raise anything
            yield Skipped(name, text_of(error), is_fault=True)


def _h5py_members(path: Path) -> list[_Found | Skipped]:
    names: list[str] = []
    with _import_extra("h5py").File(path, "r") as file:
        file.visit(names.append)
        return [*_look(file, names)]


def _h5py_member(path: Path, name: str) -> Any:
    return _import_extra("h5py").File(path, "r")[name]  # which stays open as long as the array


def _zarr_members(path: Path) -> list[_Found | Skipped]:
    opened = _zarr_member(path, "")
    members = {"": opened} if hasattr(opened, "shape") else dict(opened.members(max_depth=None))
    return [*_look(members, members)]


def _zarr_member(path: Path, name: str) -> Any:
    opened = _import_extra("zarr").open(str(path), mode="r")
    return opened[name] if name else opened


# Functions that list the arrays of a file, and functions that open one of them.
LIBRARIES: dict[str, tuple[Any, Any]] = {
    "h5py": (_h5py_members, _h5py_member),
    "zarr": (_zarr_members, _zarr_member),
}


def _import_extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"reading it requires {name}: pip install 'sharedmem[io]'") from error
