"""Traces of workers: their statistics, JSON, and plots."""

from __future__ import annotations

import json
import time
from xml.etree import ElementTree

import numpy as np
import pytest

import sharedmem
from sharedmem import MapReduce, ProcessBackend, ThreadBackend, Trace
from sharedmem.pool import timeline
from sharedmem.workers.recorder import Activity, Event


@pytest.fixture(params=[ProcessBackend, ThreadBackend], ids=lambda backend: backend.__name__)
def backend(request):
    return request.param


def test_every_task_is_in_one_claim_and_claims_do_not_overlap(backend):
    pool = MapReduce(backend, np=3, trace=True)
    pool.map(lambda i: i, range(5000))
    trace = pool.trace
    tasks = [
        task
        for events in trace.events
        for event in events
        for task in range(event.task, event.task + event.n_tasks)
    ]
    assert sorted(tasks) == list(range(5000))
    for events in trace.events:
        times = [time for event in events for time in (event.start, event.stop)]
        assert times == sorted(times)
        assert trace.start <= times[0]
        assert times[-1] <= trace.stop


def test_waiting_is_distinguished_from_work(backend):
    pool = MapReduce(backend, np=2, trace=True)

    def work(i):
        with pool.ordered, pool.critical:
            time.sleep(0.02)

    pool.map(work, range(6))
    summary = pool.trace.summary()
    # Only one works at a time: the other waits meanwhile.
    assert (
        0.05 < summary.waiting_ordered.sum() + summary.waiting_critical.sum() < summary.seconds * 2
    )
    assert 0.12 <= summary.busy.sum() * summary.seconds <= summary.seconds * 2
    assert summary.imbalance >= 0


def test_the_slowest_task_is_named():
    pool = MapReduce(np=2, trace=True)
    pool.map(lambda i: time.sleep(0.05 * (i == 7)), range(20), chunksize=1)
    summary = pool.trace.summary()
    assert summary.slowest[0].task == 7
    assert "task 7: 0.0" in str(summary)


def test_bytes_of_results_are_counted():
    pool = MapReduce(np=2, trace=True)
    pool.map(lambda i: np.zeros(100_000), range(4))
    assert 3_200_000 <= pool.trace.summary().sent_bytes < 3_300_000


def test_imap_is_traced(backend):
    pool = MapReduce(backend, np=2, trace=True)
    list(pool.imap(abs, range(100)))
    assert sum(event.n_tasks for events in pool.trace.events for event in events) == 100


def test_save_writes_json_for_perfetto(tmp_path):
    pool = MapReduce(np=2, trace=True)
    pool.map(abs, range(4), chunksize=1)
    pool.trace.save(tmp_path / "trace.json")
    records = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {record["args"]["name"] for record in records if record["ph"] == "M"} == {
        "worker 0",
        "worker 1",
    }
    bars = [record for record in records if record["ph"] == "X"]
    assert sorted(bar["name"] for bar in bars) == [f"task {i}" for i in range(4)]
    assert all(bar["ts"] >= 0 and bar["dur"] >= 0 for bar in bars)


@pytest.fixture(scope="module")
def fonts(tmp_path_factory):
    """Draw text once: matplotlib keeps the font files open."""
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.text(0, 0, "text")
    figure.savefig(tmp_path_factory.mktemp("fonts") / "text.png")


@pytest.mark.usefixtures("fonts")
def test_plot_draws_a_line_per_worker(tmp_path):
    pool = MapReduce(np=3, trace=True)
    pool.map(abs, range(30))
    figure = pool.trace.plot(tmp_path / "trace.png")
    (panel,) = figure.axes
    assert list(panel.get_yticks()) == [0, 1, 2]
    assert (tmp_path / "trace.png").stat().st_size > 1000


def test_no_trace_by_default():
    pool = MapReduce(np=2)
    pool.map(abs, range(4))
    assert pool.trace is None


A = np.random.default_rng(0).normal(size=1 << 17)
ARRAY_CALLS = {
    "sum": lambda: sharedmem.sum(A),
    "sort": lambda: sharedmem.sort(A),
    "unique": lambda: sharedmem.unique(A),
    "cumsum": lambda: sharedmem.cumsum(A),
    "median": lambda: sharedmem.median(A),
    "evaluate": lambda: sharedmem.evaluate("sum(a * a)", a=A),
    "reduce": lambda: sharedmem.reduce(sharedmem.Reduction(np.max, max), A),
    "apply_ufunc": lambda: sharedmem.apply_ufunc(np.sqrt, np.abs(A)),
    "average": lambda: sharedmem.average(A, weights=A),
}


def check(trace):
    """Check that events are within the call, and that those of a kind do not overlap."""
    for events in trace.events:
        for activity in Activity:
            of_kind = [event for event in events if event.activity == activity]
            times = [time for event in of_kind for time in (event.start, event.stop)]
            assert times == sorted(times)
            assert not times or trace.start <= times[0] <= times[-1] <= trace.stop


@pytest.mark.parametrize("n", [0, 2])
@pytest.mark.parametrize("name", ARRAY_CALLS)
def test_array_calls_are_traced_with_the_same_bits(backend, n, name, tuned):
    tuned(thread_bytes=1 << 14, chunk_bytes=1 << 15, sort_bytes=1 << 14, sort_line_bytes=1 << 14)
    expected = ARRAY_CALLS[name]()
    with MapReduce(backend, np=n, trace=True) as pool:
        np.testing.assert_equal(ARRAY_CALLS[name](), expected)
    check(pool.trace)
    named = [event.name for events in pool.trace.events for event in events]
    assert set(named) == {name}
    assert pool.trace.summary().array_bytes >= A.nbytes * (name in ("sum", "cumsum", "average"))
    json.dumps(pool.trace._repr_html_())


def test_a_kernel_is_an_event_in_each_thread_with_all_bytes_of_the_array():
    a = sharedmem.ones(1 << 20)
    with MapReduce(np=2, trace=True) as pool:
        sharedmem.sum(a)
    summary = pool.trace.summary()
    assert [len(events) for events in pool.trace.events] == [1, 1]
    assert summary.array_bytes == a.nbytes
    assert "GB/s" in summary.headline()
    assert not summary.memory_bytes.any()


@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
def test_serial_calls_are_traced(method):
    pool = MapReduce(np=0, trace=True)
    assert [*getattr(pool, method)(abs, range(300))] == [*range(300)]
    (events,) = pool.trace.events
    assert sum(event.n_tasks for event in events) == 300
    assert events[0].task == 0
    check(pool.trace)


def test_memory_and_items_of_workers_are_in_the_summary():
    pool = MapReduce(np=2, trace=True)
    assert len([*pool.imap(len, (bytes(50_000) for _ in range(20)))]) == 20
    summary = pool.trace.summary()
    assert (summary.memory_bytes > 1e5).all()
    assert 1e6 < summary.received_bytes < 1.1e6
    assert "of items" in str(summary)


def test_workers_that_stay_count_the_bytes_of_each_call():
    with MapReduce(np=2, trace=True, persistent=True) as pool:
        found = []
        for _ in range(3):
            assert len([*pool.imap(len, (bytes(50_000) for _ in range(20)))]) == 20
            check(pool.trace)
            found.append(pool.trace.summary())
    assert all(1e6 < summary.received_bytes < 1.1e6 for summary in found)


def test_calls_inside_of_an_array_call_do_not_replace_its_trace(tuned):
    tuned(thread_bytes=1 << 14, chunk_bytes=1 << 15)
    pool = MapReduce(ThreadBackend, np=2, trace=True)

    def largest(x):
        with pool:
            return sharedmem.max(x)

    with pool:
        sharedmem.reduce(sharedmem.Reduction(largest, max), A)
    check(pool.trace)
    assert {event.name for events in pool.trace.events for event in events} == {"reduce"}


def synthetic(n_workers, n_events):
    random = np.random.default_rng(1)
    trace = Trace(n_workers)
    trace.start, trace.stop = 0.0, 10.0
    for events in trace.events:
        times = np.sort(random.uniform(0, 10, 2 * (n_events // n_workers))).tolist()
        for task, (start, stop) in enumerate(zip(times[::2], times[1::2], strict=True)):
            events.append(Event(Activity.TASKS, start, stop, task, name="<i>&"))
    return trace


@pytest.mark.parametrize(("n_workers", "n_events"), [(1, 0), (2, 100), (2, 10_000), (64, 100_000)])
def test_the_timeline_is_small_well_formed_and_escaped(n_workers, n_events):
    html = synthetic(n_workers, n_events)._repr_html_()
    assert len(html) < 250_000
    found = ElementTree.fromstring(html)  # nothing is left open, and all text is escaped
    assert found.find("{http://www.w3.org/2000/svg}svg") is not None
    assert "<script" not in html
    assert "<i>" not in html
    assert "worker 0" in html


def test_columns_of_many_events_have_their_shares():
    edges = np.linspace(0, 10, 11)
    events = synthetic(1, 3000).events[0]
    shares = timeline._shares(events, Activity.TASKS, edges)
    spent = sum(event.stop - event.start for event in events)
    assert shares.sum() == pytest.approx(spent)
    assert (shares >= 0).all()
    assert not timeline._shares(events, Activity.ORDERED_WAIT, edges).any()
