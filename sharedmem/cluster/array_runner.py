"""Run array functions on a cluster, whose workers read and write arrays in files themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.cluster.dask_arrays import DaskArray
from sharedmem.engine.operands import (
    as_tuple,
    check_stored,
    check_target,
    check_writable,
    is_dask,
    is_store,
)
from sharedmem.engine.regions import Derived, is_same_store
from sharedmem.engine.runners import ArrayRunner, Arrays, Run, Stream

if TYPE_CHECKING:
    from sharedmem.cluster.backend import DaskBackend


class ClusterRunner(ArrayRunner):
    """A runner of array functions on a cluster, or here if only the caller has the arrays.

    Parameters
    ----------
    local : ArrayRunner
        Runs them here, or on the cluster by the pool.
    backend : DaskBackend
        The cluster.
    """

    def __init__(self, local: ArrayRunner, backend: DaskBackend) -> None:
        super().__init__(*(getattr(local, part.name) for part in dataclasses.fields(local)))
        self._backend = backend

    def sees(self, *arrays: Any) -> bool:
        """Return whether one of the arrays is in a file, or a dask array."""
        return any(map(_is_seen, arrays)) or super().sees(*arrays)

    def stored(
        self, a: Any, out: Any = None, *, gives_array: bool = False, holds_gil: bool = False
    ) -> tuple[Stream, Run, Any, Any]:
        """Return how tasks that read an array in a file run."""
        if not self.sees(*as_tuple(a), *as_tuple(out)):
            return super().stored(a, out, gives_array=gives_array, holds_gil=holds_gil)
        seen, target = self._sent(a, out)
        if gives_array:
            self._check(as_tuple(target), as_tuple(seen))
        return self.imap, self.map, seen, target

    def kernel_call(
        self, kernel: Any, inputs: Arrays, outs: Arrays, role: str = "out"
    ) -> tuple[Run, Arrays, Arrays, bool]:
        """Check the arrays that a user's kernel writes, and return how it runs."""
        if not self.sees(*inputs, *outs):
            return super().kernel_call(kernel, inputs, outs, role)
        seen, targets = self._sent(inputs, outs)
        self._check(targets or seen[:1], seen, role)
        return self.map, seen, targets, True

    def ufunc_call(
        self, inputs: Arrays, outs: Arrays
    ) -> tuple[bool, Callable[[int], Run], Arrays, Arrays]:
        """Check the arrays that a ufunc writes, and return how it runs."""
        if not self.sees(*inputs, *outs):
            return super().ufunc_call(inputs, outs)
        seen, targets = self._sent(inputs, outs)
        self._check(targets, seen)
        return False, lambda _: self.map, seen, targets

    def _sent(self, *arrays: Any) -> Any:
        return _as_sent(arrays, self._backend.client, {})

    def _check(self, outs: Sequence[Any], inputs: Sequence[Any], role: str = "out") -> None:
        """Raise an error for outputs that workers of a cluster cannot write, or not write twice.

        Parameters
        ----------
        outs, inputs : sequence
            Arrays that are written, and read.
        role : str
            Name of the outputs in errors.
        """
        attaches = self._backend.admit().attaches
        if not (outs or attaches):
            raise ValueError(
                "the result would be in shared memory of this machine, and workers are on others: "
                "give out=, an array of zarr or an .npy file"
            )
        for at, out in enumerate(outs):
            what = f"{role}, of shape {np.shape(out)} and dtype {getattr(out, 'dtype', None)},"
            if isinstance(out, np.ndarray):
                check_writable(out, role, private_ok=False)
                if not attaches:
                    raise ValueError(
                        f"{what} is in shared memory of this machine, and workers are on others: "
                        "give an array of zarr, or an .npy file mapped with mode 'r+'"
                    )
                continue
            if not is_store(out):
                raise TypeError(f"{role} must be an array, got {type(out).__name__}")
            if not hasattr(out, "__setitem__"):
                raise TypeError(
                    f"{what} cannot be written to: give an array of zarr or an .npy file"
                )
            check_stored(out, role, private_ok=True)
            if isinstance(out, ArrayFile):
                check_target(out.map(), role)
            if hasattr(out, "file"):
                raise ValueError(
                    f"{what} is in a file of HDF5, to which several processes must not write: give "
                    "an array of zarr or an .npy file"
                )
            if type(getattr(out, "store", None)).__name__ == "MemoryStore":
                raise ValueError(
                    f"{what} is in memory of this process, where writes of workers are lost: use a "
                    "store that all machines see"
                )
            if any(_overlap(a, out) for a in (*inputs, *outs[:at])):
                raise ValueError(
                    f"{what} is also an input, or another out: if a worker dies, the next one "
                    "would read what it has written; give a separate array as out"
                )


def _is_seen(a: Any) -> bool:
    """Return whether workers on other machines can open an array: in a file, or a dask array."""
    if isinstance(a, Derived):
        return any(map(_is_seen, a.sources))
    return is_store(a) or (isinstance(a, np.ndarray) and ArrayFile.of(a) is not None)


def _as_sent(a: Any, client: Any, known: dict[int, Any]) -> Any:
    """Return an array, or each of a tuple, in the form that is sent to workers.

    An array that is given several times is sent once: `known` has those that were found, by id.
    """
    if isinstance(a, tuple):
        return tuple(_as_sent(part, client, known) for part in a)
    if id(a) not in known:
        sent = a
        if isinstance(a, Derived):
            sent = dataclasses.replace(a, sources=_as_sent(a.sources, client, known))
        elif is_dask(a):
            sent = DaskArray(a, client)
        elif isinstance(a, np.ndarray):
            sent = ArrayFile.of(a) or a
        known[id(a)] = sent
    return known[id(a)]


def _overlap(a: Any, out: Any) -> bool:
    if isinstance(a, ArrayFile) and isinstance(out, ArrayFile):
        ends = min(a.offset + a.nbytes, out.offset + out.nbytes)
        return a.path == out.path and max(a.offset, out.offset) < ends
    return is_same_store(a, out)
