"""Run array functions on a cluster, whose workers read and write arrays in files themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sharedmem.cluster.operands import as_sent, check_outs, is_seen
from sharedmem.engine.operands import as_tuple
from sharedmem.engine.runners import ArrayRunner, Arrays, Run, Stream, Together

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
        return any(map(is_seen, arrays)) or super().sees(*arrays)

    def stored(
        self, a: Any, out: Any = None, *, gives_array: bool = False, holds_gil: bool = False
    ) -> tuple[Stream, Run, Any, Any]:
        """Return how tasks that read an array in a file run."""
        if not self.sees(a, *as_tuple(out)):
            return super().stored(a, out, gives_array=gives_array, holds_gil=holds_gil)
        seen, target = self._sent(a), self._sent(out)
        if gives_array:
            self._check_outs(as_tuple(target), (seen,), "out")
        return self.imap, self.map, seen, target

    def kernel_call(
        self, kernel: Any, inputs: Arrays, outs: Arrays, role: str = "out"
    ) -> tuple[Run, Arrays, Arrays, bool]:
        """Check the arrays that a user's kernel writes, and return how it runs."""
        if not self.sees(*inputs, *outs):
            return super().kernel_call(kernel, inputs, outs, role)
        seen, targets = self._sent(inputs), self._sent(outs)
        self._check_outs(targets or seen[:1], seen, role)
        return self.map, seen, targets, True

    def ufunc_call(
        self, ufunc: Any, inputs: Arrays, outs: Arrays
    ) -> tuple[Together | None, Callable[[int], Run], Arrays, Arrays]:
        """Check the arrays that a ufunc writes, and return how it runs."""
        if not self.sees(*inputs, *outs):
            return super().ufunc_call(ufunc, inputs, outs)
        seen, targets = self._sent(inputs), self._sent(outs)
        self._check_outs(targets, seen, "out")
        return None, lambda _: self.map, seen, targets

    def _sent(self, arrays: Any) -> Any:
        """Return one array, or each of a tuple, or None, in the form that is sent."""
        if isinstance(arrays, tuple):
            return tuple(map(self._sent, arrays))
        return as_sent(arrays, self._backend.client)

    def _check_outs(self, outs: Sequence[Any], inputs: Sequence[Any], role: str) -> None:
        attaches = self._backend.attaches()
        check_outs(outs, inputs, role, attaches)
        if not outs and not attaches:
            raise ValueError(
                "the result would be in shared memory of this machine, and workers are on others: "
                "give out=, an array of zarr or an .npy file"
            )
