"""The calls of the array engine as methods of a pool."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sharedmem.cluster.array_runner import ClusterRunner
from sharedmem.cluster.operands import reduce_far
from sharedmem.engine.apply_ufunc import apply_ufunc
from sharedmem.engine.map_chunks import map_chunks
from sharedmem.engine.map_overlap import map_overlap
from sharedmem.engine.operands import (
    as_array,
    as_tuple,
    check_reduction,
    is_store,
)
from sharedmem.engine.reduce import reduce
from sharedmem.engine.reduce_stored import reduce_store
from sharedmem.engine.runners import (
    ArrayRunner,
    Bar,
    LocalRunner,
    Run,
    in_batches,
    run_in_threads,
    share_in_threads,
)
from sharedmem.engine.user_kernels import releases_gil, serial_form, warn_of_gil
from sharedmem.workers.protocols import Backend

if TYPE_CHECKING:
    from sharedmem.arrays.chunks import Grid
    from sharedmem.cluster.backend import DaskBackend
    from sharedmem.kernels import Reduction


class ArrayCalls(ABC):
    """What a pool does to arrays, by its workers or by threads of the caller.

    Attributes
    ----------
    backend : Backend
        What workers are.
    """

    backend: Backend | DaskBackend
    _bar: Bar
    _blas_threads: int | None
    _cluster: DaskBackend | None

    @abstractmethod
    def map(self, func: Callable[..., Any], sequence: Any) -> list[Any]:
        """Call `func` on each item of `sequence`, in parallel."""

    @abstractmethod
    def imap(self, func: Callable[..., Any], iterable: Any) -> Iterator[Any]:
        """Yield the results of `func` on the items of `iterable`, in order."""

    @abstractmethod
    def _n_workers(self) -> int:
        """Return how many workers there are; 0 for a serial pool."""

    def map_chunks(
        self,
        kernel: Callable[..., Any],
        *arrays: Any,
        args: tuple[Any, ...] = (),
        axis: int | tuple[Any, ...] = 0,
        chunks: Grid | None = None,
        out: Any = None,
        position: bool = False,
    ) -> Any:
        """Call a kernel on each chunk of arrays that are split together.

        The parameters, and what is returned and raised, are those of
        :func:`sharedmem.map_chunks`; the workers are those of this pool.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.full(5, 4.0)
        >>> def halve(x):
        ...     x /= 2
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.map_chunks(halve, a)
        SharedArray([2., 2., 2., 2., 2.])
        """
        kernel = serial_form(kernel)
        options: dict[str, Any] = {
            "args": args, "axis": axis, "chunks": chunks, "position": position
        }  # fmt: skip
        if (runner := self._runner_elsewhere(*arrays, *as_tuple(out))) is not None:
            seen, target = runner.far(arrays), runner.far(out)
            role = "out" if out is not None else "an array to be worked on in place"
            runner.check_outs(as_tuple(target) or seen[:1], seen, role)
            map_chunks(self.map, kernel, *seen, out=target, private_ok=True, **options)
            return out
        run, private_ok = self._run_of(kernel)
        return map_chunks(run, kernel, *arrays, out=out, private_ok=private_ok, **options)

    def map_overlap(self, kernel: Callable[..., Any], a: Any, out: Any, **options: Any) -> Any:
        """Call a kernel on each chunk of arrays and a halo around it.

        The parameters, and what is returned and raised, are those of
        :func:`sharedmem.map_overlap`; the workers are those of this pool.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.array([1, 2, 4, 8])
        >>> def subtract_neighbour(x, steps):
        ...     steps[:] = x[1:-1] - x[:-2]
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.map_overlap(subtract_neighbour, a, sharedmem.empty_like(a), depth=1)
        SharedArray([0, 1, 2, 4])
        """
        kernel = serial_form(kernel)
        if (runner := self._runner_elsewhere(*as_tuple(a), *as_tuple(out))) is not None:
            seen, target = runner.far(a), runner.far(out)
            runner.check_outs(as_tuple(target), as_tuple(seen), "out")
            map_overlap(self.map, kernel, seen, target, private_ok=True, **options)
            return out
        run, private_ok = self._run_of(kernel)
        return map_overlap(run, kernel, a, out, private_ok=private_ok, **options)

    def reduce(
        self,
        reduction: Reduction,
        a: Any,
        axis: int | tuple[int, ...] | None = None,
        keepdims: bool = False,
    ) -> Any:
        """Reduce an array over some of its axes.

        The parameters, and what is returned and raised, are those of
        :func:`sharedmem.reduce`; the workers are those of this pool.

        Examples
        --------
        >>> import sharedmem
        >>> largest = sharedmem.Reduction(chunk=max, combine=max)
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.reduce(largest, sharedmem.array([[1, 5], [7, 3]]), axis=1)
        array([5, 7])
        """
        check_reduction(reduction, axis)
        a = as_array(a)
        if (runner := self._runner_elsewhere(a)) is not None:
            return reduce_far(self.imap, reduction, runner.far(a), axis, keepdims)
        n_workers = self._n_workers()
        if reduction.lines:
            run = run_in_threads(n_workers, a.nbytes, None, self._bar)
        else:
            run = self.map
        if is_store(a):
            return reduce_store(in_batches(run, n_workers), reduction, a, axis, keepdims)
        share = share_in_threads(n_workers, a.nbytes, self._bar) if reduction.whole else None
        return reduce(run, reduction, a, axis, keepdims, n_workers=n_workers, share=share)

    def apply_ufunc(self, ufunc: Any, *inputs: Any, out: Any = None, **options: Any) -> Any:
        """Apply a ufunc, chunk by chunk.

        The parameters, and what is returned and raised, are those of
        :func:`sharedmem.apply_ufunc`; the workers are those of this pool.

        Examples
        --------
        >>> import numpy, sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.apply_ufunc(numpy.add, sharedmem.full(3, 2.0), 1)
        SharedArray([3., 3., 3.])
        """
        if (runner := self._runner_elsewhere(*inputs, *as_tuple(out))) is not None:
            seen, target = runner.far(inputs), runner.far(out)
            runner.check_outs(as_tuple(target), seen, "out")
            result = apply_ufunc(
                lambda _: self.map, ufunc, *seen, out=target, private_ok=True, **options
            )
            if out is None:
                return result
            return out if result is target else out[0]
        from sharedmem.expressions.whole_arrays import as_whole  # which few programs need

        run_for = functools.partial(self._run_in_threads, blas_threads=self._blas_threads)
        return apply_ufunc(
            run_for, as_whole(ufunc), *inputs, out=out, private_ok=True,
            share_for=self.runner.share, **options,
        )  # fmt: skip

    @property
    def runner(self) -> ArrayRunner:
        """Who runs array functions on this pool; see :class:`sharedmem.engine.runners.ArrayRunner`.

        It is made for one call, since a cluster may have more workers at the next one.
        """
        n_workers = self._n_workers()
        if self._cluster is not None and n_workers > 0:
            return ClusterRunner(n_workers, self._bar, self._cluster, self.map, self.imap)
        return LocalRunner(n_workers, self._bar)

    def _runner_elsewhere(self, *arrays: Any) -> ClusterRunner | None:
        """Return the runner on a cluster if that sees one of the arrays by itself."""
        runner = self.runner
        return runner if runner.sees(*arrays) and isinstance(runner, ClusterRunner) else None

    def _run_of(self, kernel: Any) -> tuple[Run, bool]:
        """Return what runs a user's kernel, and whether it may write to private memory."""
        if releases_gil(kernel):
            return self._run_in_threads(None), True
        if not self.backend.uses_processes and self._n_workers() > 1:
            warn_of_gil(kernel)
        return self.map, self._shares_all_memory()

    def _run_in_threads(self, nbytes: int | None, blas_threads: int | None = None) -> Run:
        return run_in_threads(self._n_workers(), nbytes, blas_threads, self._bar)

    def _shares_all_memory(self) -> bool:
        return self._n_workers() == 0 or not self.backend.uses_processes
