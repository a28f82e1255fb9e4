"""The calls of the array engine as methods of a pool."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sharedmem import engine, overlap
from sharedmem.compiling import releases_gil
from sharedmem.distributed import DaskBackend
from sharedmem.operands import as_array, is_store
from sharedmem.runs import Bar, run_in_threads, share_in_threads
from sharedmem.stores import reduce_store
from sharedmem.team import Backend

if TYPE_CHECKING:
    from sharedmem.chunks import Grid
    from sharedmem.kernels import Reduction
    from sharedmem.kernels.lines import Share


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

    @abstractmethod
    def map(self, func: Callable[..., Any], sequence: Any) -> list[Any]:
        """Call `func` on each item of `sequence`, in parallel."""

    @abstractmethod
    def _n_workers(self) -> int:
        """Return how many workers there are; 0 for a serial pool."""

    def map_chunks(
        self,
        kernel: Callable[..., Any],
        *arrays: Any,
        args: tuple[Any, ...] = (),
        axis: int = 0,
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
        run, private_ok = self._run_of(kernel)
        return engine.map_chunks(
            run,
            kernel,
            *arrays,
            args=args,
            axis=axis,
            chunks=chunks,
            out=out,
            position=position,
            private_ok=private_ok,
        )

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
        run, private_ok = self._run_of(kernel)
        return overlap.map_overlap(run, kernel, a, out, private_ok=private_ok, **options)

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
        a = as_array(a)
        n_workers = self._n_workers()
        run = self._run_in_threads(a.nbytes) if reduction.lines else self.map
        if is_store(a):
            return reduce_store(run, reduction, a, axis, keepdims, n_workers=n_workers)
        share = self._share_in_threads(a.nbytes) if reduction.whole else None
        return engine.reduce(run, reduction, a, axis, keepdims, n_workers=n_workers, share=share)

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
        run_for = functools.partial(self._run_in_threads, blas_threads=self._blas_threads)
        return engine.apply_ufunc(run_for, ufunc, *inputs, out=out, private_ok=True, **options)

    def _run_of(self, kernel: Any) -> tuple[engine.Run, bool]:
        """Return what runs a user's kernel, and whether it may write to private memory."""
        if releases_gil(kernel):
            return self._run_in_threads(None), True
        return self.map, self._shares_all_memory()

    def _run_in_threads(self, nbytes: int | None, blas_threads: int | None = None) -> engine.Run:
        return run_in_threads(self._n_workers(), nbytes, blas_threads, self._bar)

    def _share_in_threads(self, nbytes: int) -> Share:
        return share_in_threads(self._n_workers(), nbytes, self._bar)

    def _shares_all_memory(self) -> bool:
        return self._n_workers() == 0 or not self.backend.uses_processes
