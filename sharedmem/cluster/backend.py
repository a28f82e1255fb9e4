"""The backend of pools whose workers are those of a Dask cluster."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Self

from sharedmem.arrays.chunks import Grid
from sharedmem.arrays.constructors import empty
from sharedmem.cluster.array_runner import ClusterRunner
from sharedmem.cluster.calls import ClusterCall
from sharedmem.cluster.job import Members
from sharedmem.cluster.pickling import pack, register
from sharedmem.cluster.worker import introduce
from sharedmem.engine.runners import ArrayRunner
from sharedmem.machine import limits
from sharedmem.machine.fork_locks import new_lock
from sharedmem.workers.protocols import Collect, PoolCall

_logger = logging.getLogger("sharedmem")
_CLEANING_SECONDS = 5.0
_NOBODY = Members({}, 0, attaches=True)


class DaskBackend:
    """Workers of a Dask cluster, on all its machines.

    Parameters
    ----------
    client : distributed.Client or str, optional
        Client of a cluster, or address of its scheduler. By default a cluster on this machine is
        started when it is first needed, with one process per core. It is closed at the end of the
        pool's ``with`` block.
    retries : int, optional
        Number of times that tasks that raise an exception are run again, perhaps by another
        worker. Tasks whose worker has died are run again in any case, as often as the scheduler
        allows (``distributed.scheduler.allowed-failures``).

    See Also
    --------
    MapReduce : A pool.

    Notes
    -----
    Functions are pickled by cloudpickle, so they may be closures. Tasks may run more than once
    if a worker dies. A task cannot be interrupted: after an error, a timeout, or Ctrl-C, running
    tasks continue to their end, and no others begin.

    Examples
    --------
    >>> import distributed, sharedmem
    >>> client = distributed.Client(n_workers=1, processes=False, dashboard_address="127.0.0.1:0")
    >>> with sharedmem.MapReduce(sharedmem.DaskBackend(client)) as pool:
    ...     pool.map(lambda i: i * i, range(4))
    [0, 1, 4, 9]
    >>> client.close()
    """

    uses_processes = True

    def __init__(self, client: Any = None, *, retries: int = 0) -> None:
        try:
            import distributed
        except ImportError as error:
            raise ImportError("DaskBackend needs Dask: pip install 'sharedmem[dask]'") from error
        if not (client is None or isinstance(client, str | distributed.Client)):
            raise TypeError(
                f"client must be a distributed.Client or an address, got {client!r}; for a "
                "cluster, give cluster.get_client()"
            )
        if isinstance(client, distributed.Client) and client.asynchronous:
            raise ValueError("client is asynchronous; make it with Client(..., asynchronous=False)")
        register()
        self.retries = retries
        self._address = client if isinstance(client, str) else None
        self._client = None if isinstance(client, str) else client
        self._is_own = self._client is None
        self._cluster: Any = None
        # After these calls the scheduler has nothing left of them, so that it may be closed.
        self.cleaning: set[Future[None]] = set()
        self._n_entered = 0
        self._owner = os.getpid()
        self._starting = new_lock()
        # Workers attach it, to find out whether they can.
        self._sample = empty(1)
        self._introduced: tuple[frozenset[str], list[tuple[Any, int, bool]]] = frozenset(), []

    def __copy__(self, memo: object = None) -> Self:
        """Return this object: the cluster is not copied."""
        return self

    __deepcopy__ = __copy__

    def __reduce__(self) -> Any:
        """Pickle the address of the cluster; a cluster of its own is started anew."""
        client: Any = self._client
        address = self._address if self._is_own else client.scheduler.address
        return functools.partial(type(self), retries=self.retries), (address,)

    def __repr__(self) -> str:
        return f"DaskBackend({self._client or self._address or ''})"

    @property
    def client(self) -> Any:
        """Client of the cluster, started now if it is this backend's own.

        See Also
        --------
        DaskBackend : The backend.

        Examples
        --------
        >>> import distributed, sharedmem
        >>> with distributed.Client(
        ...     n_workers=1, processes=False, dashboard_address="127.0.0.1:0"
        ... ) as client:
        ...     sharedmem.DaskBackend(client).client is client
        True
        """
        import distributed

        from sharedmem.cluster.node_arrays import ShareArrays

        if os.getpid() != self._owner:
            raise RuntimeError(
                f"{self!r} belongs to process {self._owner}, of which process {os.getpid()} is a "
                "fork, where the threads of its client do not run: make a new DaskBackend here"
            )
        with self._starting:
            if self._client is None:
                address = self._address
                if address is None:
                    with _environment_kept():
                        self._cluster = distributed.LocalCluster(
                            n_workers=limits.cpu_count(),
                            threads_per_worker=1,
                            dashboard_address="127.0.0.1:0",
                        )
                    address = self._cluster.scheduler_address
                    _logger.info("started a cluster of this machine: %s", self._cluster)
                self._client = distributed.Client(address, set_as_default=False)
                if self._cluster is not None:
                    self._client.register_plugin(ShareArrays())
        return self._client

    def enter(self) -> None:
        """Keep the cluster and the client open until `leave` has been called as often."""
        with self._starting:
            self._n_entered += 1

    def leave(self) -> None:
        """Close the cluster and the client, if they are this backend's own, at the last call."""
        if os.getpid() != self._owner:  # A fork leaves the block of the process that entered it.
            return
        with self._starting:
            self._n_entered -= 1
            if self._n_entered or not self._is_own:
                return
            own, self._client, self._cluster = (self._client, self._cluster), None, None
        for cleaning in list(self.cleaning):
            with contextlib.suppress(Exception, CancelledError):
                cleaning.result(_CLEANING_SECONDS)
        for part in own:
            if part is not None:
                part.close()

    def check_options(self, np: int | None, trace: bool) -> None:
        """Raise ValueError for options that the cluster decides, or does not have."""
        if np:
            raise ValueError(
                f"np={np} was given, but a cluster has as many workers as it has threads: omit np, "
                "start the cluster with that number, or give np=0 for serial calls"
            )
        if trace:
            raise ValueError(
                "trace=True is for workers on this machine; for those of a cluster, see the "
                "dashboard of Dask, or distributed.performance_report"
            )

    def array_runner(self, local: ArrayRunner) -> ArrayRunner:
        """Return the runner of array functions, given one that runs them on this machine."""
        return ClusterRunner(local, self)

    def executor(self, np: int, *_: object) -> Any:
        """Return the executor of the client."""
        return self.client.get_executor()

    def n_workers(self, np: int | None = None) -> int:
        """Return the number of threads of the cluster's workers; wait for the first worker."""
        return self.admit().n_workers

    def admit(self, members: Members = _NOBODY) -> Members:
        """Return the given members, and the other ones of the cluster."""
        client = self.client
        addresses = frozenset(client.nthreads())
        while not addresses:
            _logger.info("waiting for the first worker of %s", client)
            client.wait_for_workers(1)
            addresses = frozenset(client.nthreads())
        if self._introduced[0] != addresses:
            sample = pack(self._sample, attaches=False)[0]
            found = client.run(introduce, sample, on_error="ignore")
            workers = sorted(found.values(), key=lambda worker: _natural(worker[0]))
            self._introduced = addresses, workers
        for worker in self._introduced[1]:
            members = members.joined(*worker)
        return members

    def run_map(self, call: PoolCall, sequence: Any, collect: Collect) -> None:
        """Run the tasks of a map; see :class:`sharedmem.pool.backends.Backend`."""
        n_tasks, n_given = len(sequence), 0
        deadline = call.deadline()

        def take(length: int) -> Sequence[Any]:
            nonlocal n_given
            start, n_given = n_given, min(n_given + length, n_tasks)
            if isinstance(sequence, range | list | tuple | Grid):
                return sequence[start:n_given]
            return [sequence[index] for index in range(start, n_given)]

        with ClusterCall(self, call) as run, call.acting(run.sync):
            run.sync.deadline = deadline
            for _, _, runs in run.results(take, lambda: n_tasks - n_given, lambda: deadline):
                for start, values in runs:
                    collect(start, values)

    def run_imap(self, call: PoolCall, items: Iterable[Any], *, in_order: bool) -> Iterator[Any]:
        """Yield the results of tasks; see :class:`sharedmem.pool.backends.Backend`."""
        iterator = iter(items)
        n_given = n_taken = 0
        waiting: dict[int, tuple[int, list[Any]]] = {}

        def take(length: int) -> Sequence[Any]:
            nonlocal n_given
            if n_given - n_taken >= 2 * length * run.window:
                return ()
            batch = list(itertools.islice(iterator, length))
            n_given += len(batch)
            return batch

        with ClusterCall(self, call) as run, call.contexts.consumed(run.sync):
            for start, length, runs in run.results(take, lambda: 2**62, call.deadline):
                values = list(itertools.chain.from_iterable(values for _, values in runs))
                waiting[start] = length, values
                while waiting and (not in_order or n_taken in waiting):
                    length, values = waiting.pop(n_taken if in_order else start)
                    n_taken += length
                    for value in values:
                        yield value
                        run.sync.check_outside()


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo the environment variables that Dask sets for its workers, OMP_NUM_THREADS among them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _natural(name: Any) -> tuple[int, str]:
    """Return a sort key that puts 2 before 10."""
    return len(str(name)), str(name)
