"""A trace of one call: figures, a file for Perfetto, and a picture."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.workers.recorder import Activity, Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_SLOWEST = 5
# Up to so many bars are wide enough for edges between them.
_EDGED_BARS = 200
# In the order of the activities.
_NAMES = "tasks", "wait for ordered", "wait for critical"
_COLORS = "#4477aa", "#ddaa33", "#bb5566"


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
    sent_bytes : int
        Bytes of results.
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
    slowest: list[Event]

    def __str__(self) -> str:
        """Return the figures as a table."""
        lines = [
            f"{self.seconds:.3g} s, {len(self.busy)} workers, {self.busy.mean():.0%} busy, "
            f"imbalance {self.imbalance:.0%}, {self.sent_bytes / 1e6:.3g} MB of results",
            "worker  busy  waited for ordered  for critical",
        ]
        rows = zip(self.busy, self.waiting_ordered, self.waiting_critical, strict=True)
        lines += [
            f"{rank:6d} {busy:5.0%} {ordered:17.3g} s {critical:11.3g} s"
            for rank, (busy, ordered, critical) in enumerate(rows)
        ]
        lines.append("slowest")
        lines += [f"  {_label(event)}: {event.stop - event.start:.3g} s" for event in self.slowest]
        return "\n".join(lines)


class Trace:
    """A record of what each worker of a call did, and when.

    Attributes
    ----------
    events : list of list of Event
        The events of each worker, in the order of time.
    start, stop : float
        Start and end of the call, in seconds of the monotonic clock.

    See Also
    --------
    MapReduce : A pool, which makes traces.

    Notes
    -----
    There is one event per claim and not per task, so that a trace costs little if tasks are short.
    The events of a worker that has died are lost.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(np=2, trace=True) as pool:
    ...     _ = pool.map(lambda i: i, range(10), chunksize=1)
    >>> sum(event.n_tasks for events in pool.trace.events for event in events)
    10
    """

    def __init__(self, n_workers: int) -> None:
        self.events: list[list[Event]] = [[] for _ in range(n_workers)]
        self.start = self.stop = time.perf_counter()

    def finish(self) -> None:
        """Record the end of the call."""
        self.stop = time.perf_counter()

    def summary(self) -> TraceSummary:
        """Return figures that show how well the workers were used.

        Returns
        -------
        TraceSummary
            The figures. ``print(trace.summary())`` prints them as a table.

        See Also
        --------
        Trace.plot : Plot the trace.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2, trace=True) as pool:
        ...     _ = pool.map(lambda i: i, range(10))
        >>> len(pool.trace.summary().busy)
        2
        """
        seconds = max(self.stop - self.start, 1e-9)
        spent = np.zeros((len(Activity), len(self.events)))
        for rank, events in enumerate(self.events):
            for event in events:
                spent[event.activity, rank] += event.stop - event.start
        _, ordered, critical = spent
        busy = spent[Activity.TASKS] - ordered - critical
        claims = [event for events in self.events for event in events if not event.activity]
        return TraceSummary(
            seconds,
            busy / seconds,
            ordered,
            critical,
            float(busy.max() / busy.mean() - 1) if busy.mean() > 0 else 0.0,
            sum(event.sent_bytes for event in claims),
            sorted(claims, key=lambda event: event.start - event.stop)[:_N_SLOWEST],
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as a JSON file for Perfetto or ``about:tracing`` in Chrome.

        Parameters
        ----------
        path : path-like
            The name of the file, for example ``"trace.json"``.

        See Also
        --------
        Trace.plot : Plot the trace with matplotlib.

        References
        ----------
        Trace Event Format, Google, 2016: complete events ("X") and metadata ("M").

        Examples
        --------
        >>> import pathlib, sharedmem, tempfile
        >>> with sharedmem.MapReduce(np=2, trace=True) as pool:
        ...     _ = pool.map(lambda i: i, range(10))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "trace.json")
        ...     pool.trace.save(file)
        ...     file.exists()
        True
        """
        import json

        records: list[dict[str, Any]] = []
        for rank, events in enumerate(self.events):
            where = {"pid": os.getpid(), "tid": rank}
            name = {"name": f"worker {rank}"}
            records.append({"ph": "M", "name": "thread_name", "args": name} | where)
            records += [
                {
                    "ph": "X",
                    "name": _label(event),
                    "cat": _NAMES[event.activity],
                    "ts": (event.start - self.start) * 1e6,
                    "dur": (event.stop - event.start) * 1e6,
                    "args": {"n_tasks": event.n_tasks, "sent_bytes": event.sent_bytes},
                }
                | where
                for event in events
            ]
        with open(path, "w") as file:
            json.dump({"traceEvents": records, "displayTimeUnit": "ms"}, file)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Plot the trace, with one line of bars per worker.

        Parameters
        ----------
        path : path-like, optional
            The file to save the picture to.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed (extra ``plot``).

        See Also
        --------
        Trace.save : Write a file for Perfetto.
        Trace.summary : Return figures.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2, trace=True) as pool:
        ...     _ = pool.map(lambda i: i, range(10))
        >>> figure = pool.trace.plot()
        """
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        figure = Figure((10, 1.2 + 0.4 * len(self.events)), layout="constrained")
        panel = figure.subplots()
        for rank, events in enumerate(self.events):
            for activity in Activity:
                bars = [
                    (event.start - self.start, event.stop - event.start)
                    for event in events
                    if event.activity == activity
                ]
                # Edges would cover narrow bars.
                has_edges = activity == Activity.TASKS and len(bars) <= _EDGED_BARS
                edge = "white" if has_edges else "none"
                panel.broken_barh(
                    bars, (rank - 0.4, 0.8), color=_COLORS[activity], edgecolor=edge, linewidth=0.3
                )
        panel.set(
            xlabel="seconds since the call",
            ylabel="worker",
            yticks=range(len(self.events)),
            xlim=(0, self.stop - self.start),
            title=str(self.summary()).splitlines()[0],
        )
        panel.invert_yaxis()
        handles = [Patch(color=_COLORS[each], label=_NAMES[each]) for each in Activity]
        figure.legend(handles=handles, loc="outside lower right", ncols=len(Activity))
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def _label(event: Event) -> str:
    name = _NAMES[event.activity]
    if event.activity != Activity.TASKS:
        return f"{name}, task {event.task}"
    if event.n_tasks == 1:
        return f"task {event.task}"
    return f"tasks {event.task} to {event.task + event.n_tasks - 1}"
