"""The backend "sharedmem" of joblib, whose workers share arrays and stay for later calls."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from multiprocessing.process import current_process
from typing import Any

from joblib import cpu_count
from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    Parallel,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from sharedmem.arrays.shared_array import note_segments
from sharedmem.pool.backends import ProcessBackend
from sharedmem.pool.debug import get_debug
from sharedmem.pool.executor import Executor
from sharedmem.pool.idle_executors import end_idle_executors, give_back, take_executor
from sharedmem.workers.functions import pack_any
from sharedmem.workers.pickling import Parcel
from sharedmem.workers.private_copies import SharedCopies, own_array, shared_array
from sharedmem.workers.process import in_worker

# What users set to limit the threads of each process, and joblib's other backends obey.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class SharedmemBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """The backend "sharedmem" of joblib, registered when this module is imported.

    Parameters
    ----------
    nesting_level : int, optional
        Set by joblib.
    inner_max_num_threads : int, optional
        Threads of BLAS and OpenMP libraries in each worker. By default each worker has its share of
        the cores, or what ``OMP_NUM_THREADS`` and its like say.
    **backend_kwargs
        Options of workers, which ``joblib.Parallel`` takes, too: `workers`, their kind, either
        ProcessBackend (the default) or SpawnBackend; `initializer` and `initargs`, called in each
        worker when it starts; `idle_worker_timeout`, the seconds after which workers without calls
        end, by default 300.

    See Also
    --------
    sharedmem.Executor : The workers.
    shutdown : End the workers that wait for another call.

    Notes
    -----
    Calls that run at the same time have workers of their own. Large arrays, as arguments or in
    objects, are copied to shared memory once per call of ``joblib.Parallel``, and each batch of
    tasks may write to its own copy of them. So they must not change during the call.

    Examples
    --------
    >>> import joblib, sharedmem.joblib
    >>> with joblib.parallel_config(backend="sharedmem", n_jobs=2):
    ...     joblib.Parallel()(joblib.delayed(lambda i: i * i)(i) for i in range(4))
    [0, 1, 4, 9]
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    _workers: Executor | None = None
    _copies: SharedCopies | None = None

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **backend_kwargs: Any,
    ) -> None:
        super().__init__(
            nesting_level=nesting_level,
            inner_max_num_threads=inner_max_num_threads,
            **backend_kwargs,
        )

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of workers that `n_jobs` stands for here."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or n_jobs == 1 or get_debug():
            return 1
        if self.nesting_level and not self.in_main_thread():
            warnings.warn(
                "sharedmem-backed parallel loops cannot be nested below threads, setting n_jobs=1",
                stacklevel=3,
            )
            return 1
        if n_jobs > 0:
            return n_jobs
        if in_worker() or current_process().daemon:  # whose siblings use the other cores
            return 1
        return max(int(cpu_count()) + 1 + n_jobs, 1)

    def configure(
        self, n_jobs: int | None = 1, parallel: Parallel | None = None, **options: Any
    ) -> int:
        """Take workers for the calls of `parallel`; return their number."""
        n_workers = self.effective_n_jobs(n_jobs)
        if n_workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if self._workers is not None:  # those of another call, whose generator is not exhausted
            raise FallbackToBackend(
                type(self)(
                    nesting_level=self.nesting_level,
                    inner_max_num_threads=self.inner_max_num_threads,
                    **self.backend_kwargs,
                )
            )
        self.parallel: Any = parallel
        self._take_workers(n_workers, **{**self.backend_kwargs, **options})
        return n_workers

    def _take_workers(
        self,
        n_workers: int,
        *,
        workers: Any = ProcessBackend,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        idle_worker_timeout: float = 300,
        max_nbytes: int | None = 1 << 20,
        mmap_mode: str | None = "r",
        prefer: object = None,
        require: object = None,
        verbose: object = None,
        temp_folder: object = None,
        context: object = None,
    ) -> None:
        self._options = {
            "np": n_workers,
            "backend": workers,
            "blas_threads": self.inner_max_num_threads or _threads_per_worker(n_workers),
            "initializer": initializer,
            "initargs": tuple(initargs),
        }
        self._idle_seconds = idle_worker_timeout
        self._copies = None
        if max_nbytes is not None and mmap_mode is not None:
            rebuild = own_array if mmap_mode in ("r", "c") else shared_array
            self._copies = SharedCopies(max_nbytes, rebuild)
        self._workers = take_executor(self._options)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Any:
        """Submit a batch of tasks; `callback` is called with its future when that is done."""
        if self._workers is None:  # Another thread has aborted the call.
            return None
        batch: Any = _Batch(func, self._copies)
        future = self._workers.submit(batch)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """Return the results of a batch, or raise the exception of a task."""
        return future.result()

    def terminate(self) -> None:
        """Leave the workers to later calls."""
        workers, self._workers = self._workers, None
        if workers is not None:
            if self.parallel.n_completed_tasks < self.parallel.n_dispatched_tasks:
                workers.kill_workers()
            else:
                give_back(workers, self._options, self._idle_seconds)
        if self._copies is not None:
            self._copies.clear()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill the workers, and start others if the same `Parallel` may be called again."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.kill_workers()
        if ensure_ready:
            self._workers = take_executor(self._options)


class _Batch:
    """A batch of tasks on its way to a worker, where it becomes `calls`."""

    def __init__(self, calls: Any, copies: SharedCopies | None) -> None:
        self._calls = calls
        self._copies = copies
        self._parcel: Parcel | None = None
        func = calls.items[0][0]
        name = getattr(func, "__qualname__", type(func).__name__)
        self.__qualname__ = name if len(calls) == 1 else f"a batch of {len(calls)} calls of {name}"

    def __reduce__(self) -> Any:
        if self._parcel is None:  # A function is pickled for its fingerprint, too.
            reduce_array = None if self._copies is None else self._copies.reduce
            self._parcel = pack_any(self._calls, reduce_array)
        stream, buffers, segments = self._parcel
        note_segments(segments)
        return _unpickled, (pickle.PickleBuffer(stream), [*map(pickle.PickleBuffer, buffers)])


def _unpickled(stream: Any, buffers: Sequence[Any]) -> Any:
    return pickle.loads(stream, buffers=buffers)


def _threads_per_worker(n_workers: int) -> int:
    given = [int(text) for name in _THREADS if (text := os.environ.get(name, "")).isdecimal()]
    return min(given, default=max(int(cpu_count()) // n_workers, 1)) or 1


def shutdown() -> None:
    """End the workers that wait for another call of joblib, and free what they hold.

    They end by themselves after `idle_worker_timeout` seconds, and when the program exits.

    See Also
    --------
    SharedmemBackend : The backend.

    Examples
    --------
    >>> import sharedmem.joblib
    >>> sharedmem.joblib.shutdown()
    """
    end_idle_executors()


register_parallel_backend("sharedmem", SharedmemBackend)
