"""Arrays that the workers of a cluster open themselves: which these are, and which are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.cluster.dask_arrays import DaskArray
from sharedmem.engine.operands import (
    check_stored,
    check_target,
    check_writable,
    is_dask,
    is_store,
)
from sharedmem.engine.regions import Derived, is_same_store

Array = NDArray[Any]


def is_seen(a: Any) -> bool:
    """Return whether workers on other machines can open an array: in a file, or a dask array."""
    if isinstance(a, Derived):
        return any(map(is_seen, a.sources))
    return is_store(a) or (isinstance(a, np.ndarray) and ArrayFile.of(a) is not None)


def as_sent(a: Any, client: Any) -> Any:
    """Return an array in the form that is sent to workers; a dask array needs the client."""
    if isinstance(a, Derived):
        return dataclasses.replace(a, sources=tuple(as_sent(each, client) for each in a.sources))
    if is_dask(a):
        return DaskArray(a, client)
    return (ArrayFile.of(a) or a) if isinstance(a, np.ndarray) else a


def check_outs(outs: Sequence[Any], inputs: Iterable[Any], role: str, attaches: bool) -> None:
    """Raise an error for outputs that workers of a cluster cannot write, or not write twice.

    Parameters
    ----------
    outs, inputs : sequence
        Arrays that are written, and read.
    role : str
        Name of the outputs in errors.
    attaches : bool
        Whether all workers can attach shared memory of this process.
    """
    for at, out in enumerate(outs):
        what = f"{role}, of shape {np.shape(out)} and dtype {getattr(out, 'dtype', None)},"
        if isinstance(out, np.ndarray):
            check_writable(out, role, private_ok=False)
            if not attaches:
                raise ValueError(
                    f"{what} is in shared memory of this machine, and workers are on others: give "
                    "an array of zarr, or an .npy file mapped with mode 'r+'"
                )
            continue
        if not is_store(out):
            raise TypeError(f"{role} must be an array, got {type(out).__name__}")
        if not hasattr(out, "__setitem__"):
            raise TypeError(f"{what} cannot be written to: give an array of zarr or an .npy file")
        check_stored(out, role, private_ok=True)
        if isinstance(out, ArrayFile):
            check_target(out.map(), role)
        if hasattr(out, "file"):
            raise ValueError(
                f"{what} is in a file of HDF5, to which several processes must not write: give an "
                "array of zarr or an .npy file"
            )
        if type(getattr(out, "store", None)).__name__ == "MemoryStore":
            raise ValueError(
                f"{what} is in memory of this process, where writes of workers are lost: use a "
                "store that all machines see"
            )
        if any(_overlap(a, out) for a in (*inputs, *outs[:at])):
            raise ValueError(
                f"{what} is also an input, or another out: if a worker dies, the next one would "
                "read what it has written; give a separate array as out"
            )


def _overlap(a: Any, out: Any) -> bool:
    if isinstance(a, ArrayFile) and isinstance(out, ArrayFile):
        ends = min(a.offset + a.nbytes, out.offset + out.nbytes)
        return a.path == out.path and max(a.offset, out.offset) < ends
    return is_same_store(a, out)
