"""The figures of a trace, as attributes and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharedmem.machine.units import in_bytes
from sharedmem.workers.recorder import Activity, Event

# In the order of the activities.
NAMES = "tasks", "wait for ordered", "wait for critical"
COLORS = "#4477aa", "#ddaa33", "#bb5566"
_N_SLOWEST = 5


@dataclass(frozen=True)
class TraceSummary:
    """Figures of a trace; as a string, a table of them.

    Attributes
    ----------
    seconds : float
        Duration of the call.
    busy : ndarray of float64, shape (n_workers,)
        Share of this time in which each worker ran tasks and did not wait for others.
    waiting_ordered, waiting_critical : ndarray of float64, shape (n_workers,)
        Seconds that each worker waited for its turn, and for critical sections.
    imbalance : float
        Busy time of the busiest worker divided by the mean, minus 1; 0 is perfect balance.
    sent_bytes, received_bytes : int
        Bytes of results, and of items, that went through pipes and files.
    array_bytes : int
        Bytes of arrays that array functions have read and written.
    memory_bytes : ndarray of int64, shape (n_workers,)
        Memory of each worker at its end: each page is divided by the number of processes that share
        it (PSS). It is 0 for threads, whose memory is the caller's.
    slowest : list of Event
        The claims that took longest; a claim may have several tasks.

    See Also
    --------
    sharedmem.Trace.summary : Make a summary.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(np=2, trace=True) as pool:
    ...     _ = pool.map(lambda i: i, range(10))
    >>> summary = pool.trace.summary()
    >>> summary.seconds > 0, bool((summary.busy <= 1).all())
    (True, True)
    """

    seconds: float
    busy: NDArray[np.float64]
    waiting_ordered: NDArray[np.float64]
    waiting_critical: NDArray[np.float64]
    imbalance: float
    sent_bytes: int
    received_bytes: int
    array_bytes: int
    memory_bytes: NDArray[np.int64]
    slowest: list[Event]

    def __str__(self) -> str:
        """Return the figures as a table."""
        lines = [
            self.headline(),
            "worker  busy  waited for ordered  for critical     memory",
        ]
        lines += [
            f"{rank:6d} {busy:5.0%} {ordered:17.3g} s {critical:11.3g} s {size:>10}"
            for rank, busy, ordered, critical, size in self.rows()
        ]
        lines.append("slowest")
        lines += [f"  {label(event)}: {event.stop - event.start:.3g} s" for event in self.slowest]
        return "\n".join(lines)

    def rows(self) -> Iterator[tuple[int, float, float, float, str]]:
        """Return the figures of each worker, with its number.

        See Also
        --------
        TraceSummary : The figures.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2, trace=True) as pool:
        ...     _ = pool.map(lambda i: i, range(10))
        >>> [rank for rank, *_ in pool.trace.summary().rows()]
        [0, 1]
        """
        memory = (in_bytes(nbytes) if nbytes else "" for nbytes in self.memory_bytes.tolist())
        waits = self.waiting_ordered.tolist(), self.waiting_critical.tolist()
        columns = self.busy.tolist(), *waits, memory
        return zip(range(len(self.busy)), *columns, strict=True)

    def headline(self) -> str:
        """Return the figures of the whole call, in one line.

        See Also
        --------
        TraceSummary : The figures.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2, trace=True) as pool:
        ...     _ = pool.map(lambda i: i, range(10))
        >>> "2 workers" in pool.trace.summary().headline()
        True
        """
        parts = [
            f"{self.seconds:.3g} s",
            f"{len(self.busy)} worker{'s' if len(self.busy) > 1 else ''}",
            f"{self.busy.mean():.0%} busy",
            f"imbalance {self.imbalance:.0%}",
        ]
        if self.array_bytes:
            throughput = self.array_bytes / self.seconds / 1e9
            parts.append(f"{in_bytes(self.array_bytes)} of arrays at {throughput:.3g} GB/s")
        if self.received_bytes:
            parts.append(f"{in_bytes(self.received_bytes)} of items")
        if self.sent_bytes or not self.array_bytes:
            parts.append(f"{in_bytes(self.sent_bytes)} of results")
        return ", ".join(parts)


def summarize(
    workers: Sequence[Sequence[Event]], memory_bytes: Sequence[int], seconds: float
) -> TraceSummary:
    """Return the figures of the events of workers, in a call that took so many seconds."""
    seconds = max(seconds, 1e-9)
    spent = np.zeros((len(Activity), len(workers)))
    for rank, events in enumerate(workers):
        for event in events:
            spent[event.activity, rank] += event.stop - event.start
    _, ordered, critical = spent
    busy = spent[Activity.TASKS] - ordered - critical
    claims = [event for events in workers for event in events if not event.activity]
    # A kernel is an event of each thread.
    distinct = {(event.name, event.task, event.start): event for event in claims}.values()
    return TraceSummary(
        seconds,
        busy / seconds,
        ordered,
        critical,
        float(busy.max() / busy.mean() - 1) if busy.mean() > 0 else 0.0,
        sum(event.sent_bytes for event in claims),
        sum(event.received_bytes for event in claims),
        sum(event.array_bytes for event in claims),
        np.array(memory_bytes, np.int64),
        sorted(distinct, key=lambda event: event.start - event.stop)[:_N_SLOWEST],
    )


def label(event: Event) -> str:
    """Return what an event is, in a few words."""
    before = f"{event.name}, " if event.name else ""
    name = NAMES[event.activity]
    if event.activity != Activity.TASKS:
        return f"{name}, task {event.task}"
    if event.n_tasks == 1:
        return f"{before}task {event.task}"
    return f"{before}tasks {event.task} to {event.task + event.n_tasks - 1}"
