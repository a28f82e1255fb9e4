"""How array functions run on a cluster: its workers read and write arrays in files themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sharedmem.cluster.operands import check_far_outs, far, is_far
from sharedmem.engine.operands import as_tuple
from sharedmem.engine.runners import Bar, LocalRunner, Run, Stream

if TYPE_CHECKING:
    from sharedmem.cluster.backend import DaskBackend


class ClusterRunner(LocalRunner):
    """Runs array functions on a cluster, or in threads of the caller where it has the arrays.

    Parameters
    ----------
    n_workers : int
        Number of threads of the cluster's workers.
    bar : callable
        Makes the block in which progress is shown, from the number of tasks.
    backend : DaskBackend
        The cluster.
    run_map, run_imap : callable
        Run tasks on it, as the methods `map` and `imap` of a pool do.
    """

    def __init__(
        self, n_workers: int, bar: Bar, backend: DaskBackend, run_map: Run, run_imap: Stream
    ) -> None:
        super().__init__(n_workers, bar)
        self._backend = backend
        self._map = run_map
        self._imap = run_imap

    def sees(self, *arrays: Any) -> bool:
        """Return whether one of the arrays is in a file, or a dask array."""
        return any(map(is_far, arrays)) or super().sees(*arrays)

    def stored(
        self, a: Any, out: Any = None, *, gives_array: bool = False
    ) -> tuple[Stream, Run, Any, Any]:
        """Return how tasks that read an array in a file run."""
        if not self.sees(a, *as_tuple(out)):
            return super().stored(a, out, gives_array=gives_array)
        seen, target = self.far(a), self.far(out)
        if gives_array:
            self.check_outs(as_tuple(target), (seen,), "out")
        return self._imap, self._map, seen, target

    def far(self, arrays: Any) -> Any:
        """Return one array, or each of a tuple, or None, as what can be sent to the cluster."""
        if isinstance(arrays, tuple):
            return tuple(map(self.far, arrays))
        return far(arrays, self._backend.client)

    def check_outs(self, outs: Sequence[Any], inputs: Sequence[Any], role: str) -> None:
        """Refuse outputs that the workers of the cluster could not write to."""
        attaches = self._backend.attaches()
        check_far_outs(outs, inputs, role, attaches)
        if not outs and not attaches:
            raise ValueError(
                "the result would be in shared memory of this machine, and workers are on others: "
                "give out=, an array of zarr or an .npy file"
            )
