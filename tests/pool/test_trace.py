"""Traces of workers: their statistics, JSON, and plots."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from sharedmem import MapReduce, ProcessBackend, ThreadBackend


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
