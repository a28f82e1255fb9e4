"""The backend of pools whose workers are fresh interpreters, for programs that must not fork."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sharedmem.pool.backends import ProcessBackend
from sharedmem.workers.protocols import PoolCall, Team
from sharedmem.workers.spawn_team import spawn_team


class SpawnBackend(ProcessBackend):
    """A backend whose workers are fresh interpreters, for programs that must not fork.

    Use it where a library breaks in forked processes: JAX, polars, TensorFlow, CUDA, or MPI.

    See Also
    --------
    MapReduce : A pool.
    ProcessBackend : Run tasks in forked processes, which start faster.

    Notes
    -----
    Workers take a few tenths of a second to start, all at the same time, so they always stay for
    the next call, as with ``persistent=True``. They have the environment, the search path, and the
    options of the program's interpreter, and none of its memory but shared arrays: functions,
    items, and the initializer are pickled by cloudpickle, large private arrays are copied once.
    Functions and classes of importable modules are found by their name, and their module is
    imported. Those of ``__main__`` are sent, so that no program is run again, and none needs to
    test ``__name__``: workers have only those global variables of ``__main__`` that a function
    refers to. Warning filters and other settings that the program has made are those of a new
    interpreter; make them in the initializer. `blas_threads` is set in the environment of workers.

    Examples
    --------
    >>> import os, sharedmem
    >>> squares = sharedmem.zeros(4)
    >>> def work(i):
    ...     squares[i] = i * i
    >>> with sharedmem.MapReduce(sharedmem.SpawnBackend, np=2) as pool:
    ...     _ = pool.map(work, range(4))
    >>> squares.tolist()
    [0.0, 1.0, 4.0, 9.0]
    """

    must_stay = True
    team = staticmethod(spawn_team)

    @classmethod
    def team_with(cls, n_threads: int | None) -> Callable[..., Team]:
        """Return `team` with a limit, which libraries read when they start."""
        return partial(spawn_team, n_threads=n_threads)

    @classmethod
    def prepare(cls, call: PoolCall | None = None) -> None:
        """Do nothing: workers inherit no buffered text."""

    @classmethod
    def blas_limit(cls, n_threads: int | None) -> int | None:
        """Return None: workers have limits of their own."""

    @classmethod
    def limit_threads(cls, n_threads: int) -> None:
        """Do nothing: the limit is in the environment."""
