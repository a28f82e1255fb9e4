"""The attributes of a pool that its tasks use: sections, turns, random numbers, and storage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy

from sharedmem.workers.task_context import Contexts, Critical, Ordered


class TaskInterface:
    """The part of a pool that tasks use; each attribute finds the worker that asks.

    Attributes
    ----------
    critical, ordered : context manager
        See :class:`sharedmem.MapReduce`.
    """

    _contexts: Contexts
    critical: Critical
    ordered: Ordered

    @staticmethod
    def _state_of(contexts: Contexts) -> dict[str, Any]:
        """Return the attributes of a pool with `contexts`."""
        sections = {"critical": Critical(contexts), "ordered": Ordered(contexts)}
        return {"_contexts": contexts, **sections}

    @property
    def local(self) -> SimpleNamespace:
        """Storage of the worker that asks: its `rank`, and whatever its tasks store."""
        return self._contexts.current().local

    @property
    def rng(self) -> numpy.random.Generator:
        """Random generator of the current task.

        Its numbers depend on the pool's `seed`, on the number of earlier calls of the pool, and on
        the number of the task, but not on the workers.

        Raises
        ------
        RuntimeError
            Outside of a task.
        """
        return self._contexts.current().rng

    def barrier(self) -> None:
        """Wait until every worker has called this.

        A map that uses it needs a multiple of `np` tasks, and ``chunksize=1``.

        Raises
        ------
        threading.BrokenBarrierError
            If a worker has no more tasks, or the tasks come from `imap`.
        """
        self._contexts.current().sync.barrier()
