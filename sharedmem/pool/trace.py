"""A trace of one call: figures, a file for Perfetto, and a picture."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sharedmem.pool.timeline import timeline
from sharedmem.pool.trace_summary import COLORS, NAMES, TraceSummary, label, summarize
from sharedmem.workers.recorder import Activity, Event, Report, append_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Up to so many bars are wide enough for edges between them.
_EDGED_BARS = 200
_FIGURES = "n_tasks", "sent_bytes", "received_bytes", "array_bytes"


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
        self.memory_bytes = [0] * n_workers
        self._name = ""
        self.start = self.stop = time.perf_counter()

    def make_room(self, n_workers: int, name: str = "") -> None:
        """Have lists for so many workers at least, which report for an array function."""
        self._name = name
        n_more = n_workers - len(self.events)
        self.events += ([] for _ in range(n_more))
        self.memory_bytes += [0] * n_more

    def add(self, rank: int, report: Report) -> None:
        """Add what a worker reports at its end."""
        self.events[rank] += (event._replace(name=self._name) for event in report.events)
        self.memory_bytes[rank] = report.memory_bytes

    def add_kernel(self, name: str, start: float, stop: float, n_threads: int, nbytes: int) -> None:
        """Add a kernel whose work threads of compiled code have shared until its end."""
        self.make_room(n_threads)
        for rank, part in enumerate(_parts(nbytes, n_threads)):
            event = Event(Activity.TASKS, start, stop, 0, array_bytes=part, name=name)
            self.events[rank].append(event)

    def add_tasks(
        self, name: str, caller: int, tasks: Sequence[tuple[int, float, float, int]], nbytes: int
    ) -> None:
        """Add tasks of the caller's threads: each with its thread, start, stop, and number."""
        ranks = {caller: 0}
        parts = _parts(nbytes, len(tasks))
        for (thread, start, stop, task), part in zip(tasks, parts, strict=True):
            rank = ranks.setdefault(thread, len(ranks))
            self.make_room(rank + 1)
            event = Event(Activity.TASKS, start, stop, task, array_bytes=part, name=name)
            append_task(self.events[rank], event)

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
        return summarize(self.events, self.memory_bytes, self.stop - self.start)

    def _repr_html_(self) -> str:
        """Return a timeline and the figures, for notebooks."""
        return timeline(self.events, self.start, self.stop, self.summary())

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
                    "name": label(event),
                    "cat": NAMES[event.activity],
                    "ts": (event.start - self.start) * 1e6,
                    "dur": (event.stop - event.start) * 1e6,
                    "args": {name: getattr(event, name) for name in _FIGURES},
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
                    bars, (rank - 0.4, 0.8), color=COLORS[activity], edgecolor=edge, linewidth=0.3
                )
        panel.set(
            xlabel="seconds since the call",
            ylabel="worker",
            yticks=range(len(self.events)),
            xlim=(0, self.stop - self.start),
            title=self.summary().headline(),
        )
        panel.invert_yaxis()
        handles = [Patch(color=COLORS[each], label=NAMES[each]) for each in Activity]
        figure.legend(handles=handles, loc="outside lower right", ncols=len(Activity))
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def _parts(nbytes: int, n: int) -> Iterator[int]:
    """Cut a number of bytes into `n` parts that differ by one at most."""
    return (nbytes * (k + 1) // n - nbytes * k // n for k in range(n))
