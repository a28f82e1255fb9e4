"""Arrays that the workers of a cluster read and write themselves: what is theirs, and refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.cluster.dask_arrays import DaskArray
from sharedmem.engine.operands import (
    check_stored,
    check_target,
    check_writable,
    is_dask,
    is_store,
    parts_of,
)
from sharedmem.engine.reduce import Axis, map_parts
from sharedmem.engine.reduce_stored import reduce_store
from sharedmem.engine.regions import is_same_store
from sharedmem.engine.runners import Stream
from sharedmem.kernels import Reduction
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


def is_far(a: Any) -> bool:
    """Say whether workers on other machines may see an array: in a file, or one of Dask's."""
    if parts := parts_of(a):
        return any(map(is_far, parts.values()))
    return is_store(a) or (isinstance(a, np.ndarray) and ArrayFile.of(a) is not None)


def far(a: Any, client: Any) -> Any:
    """Return an array as what can be sent to where it is read; a dask array is of this client."""
    if parts := parts_of(a):
        return dataclasses.replace(a, **{name: far(part, client) for name, part in parts.items()})
    if is_dask(a):
        return DaskArray(a, client)
    return (ArrayFile.of(a) or a) if isinstance(a, np.ndarray) else a


def reduce_far(stream: Stream, reduction: Reduction, store: Any, axis: Axis, keepdims: bool) -> Any:
    """Reduce an array in a file, by workers that read it; see :func:`reduce_store`.

    All of a file without gaps is reduced as a line, whose chunks have the states that threads of
    one machine have on their way: so the result has the same bits.
    """
    is_all = axis is None or len(normalize_axis_tuple(axis, store.ndim)) == store.ndim
    if reduction.whole and is_all and isinstance(store, ArrayFile):
        line = store.line(tuning.chunk_bytes // store.dtype.itemsize)
        if line is not None:
            result = reduce_store(stream, reduction, line)
            shape = (1,) * store.ndim if keepdims else ()
            return map_parts(lambda part: np.reshape(part, shape)[()], result)
    return reduce_store(stream, reduction, store, axis, keepdims)


def check_far_outs(outs: Sequence[Any], inputs: Iterable[Any], role: str, attaches: bool) -> None:
    """Refuse what workers of a cluster could not write to, or not twice.

    Parameters
    ----------
    outs, inputs : sequence
        What is written, and read.
    role : str
        What the outputs are called in errors.
    attaches : bool
        Whether all workers see shared memory of this process.
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
                f"{what} is in memory of this process, where the writes of workers are lost: give "
                "it a store that all machines see"
            )
        if any(_overlap(a, out) for a in (*inputs, *outs[:at])):
            raise ValueError(
                f"{what} is also an input, or another out: where a worker dies, the next one "
                "would read what it has written; give an out of its own"
            )


def _overlap(a: Any, out: Any) -> bool:
    if isinstance(a, ArrayFile) and isinstance(out, ArrayFile):
        ends = min(a.offset + a.nbytes, out.offset + out.nbytes)
        return a.path == out.path and max(a.offset, out.offset) < ends
    return is_same_store(a, out)
