"""The pool: map, imap, sections, failures, and what a task sees of its worker."""

from __future__ import annotations

import collections
import itertools
import math
import os
import random
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from threadpoolctl import threadpool_info

import sharedmem
from sharedmem import (
    DeadWorkerError,
    LostExceptionType,
    MapReduce,
    MapReduceByThread,
    ProcessBackend,
    StopProcessGroup,
    ThreadBackend,
    WorkerException,
)

BACKENDS = [ProcessBackend, ThreadBackend]
# Serial, one worker, as many as cores here, and more.
POOLS = [(ProcessBackend, 0)] + [(b, n) for b in BACKENDS for n in (1, 2, 5)]


# What tasks return: of every sort that travels in a way of its own.
ATOMS = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
RESULTS = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=1)
    ),
    max_leaves=8,
)


def names(pools):
    return [f"{backend.__name__}-{n}" for backend, n in pools]


@pytest.fixture(params=POOLS, ids=names(POOLS))
def pool(request):
    backend, n = request.param
    return MapReduce(backend, np=n)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__)
def backend(request):
    return request.param


def n_blas_threads(_=None):
    return [library["num_threads"] for library in threadpool_info()]


class TestMap:
    def test_results_come_in_the_order_of_the_sequence(self, pool):
        with pool:
            assert pool.map(lambda i: i * i, range(100)) == [i * i for i in range(100)]

    def test_every_worker_gets_a_task_while_there_are_enough(self, backend):
        with MapReduce(backend, np=3) as pool:
            ranks = pool.map(lambda i: (i, pool.local.rank), range(3))
        assert ranks == [(0, 0), (1, 1), (2, 2)]

    @pytest.mark.parametrize("chunksize", [1, 2, 7, 1000])
    def test_any_chunksize_gives_the_same(self, pool, chunksize):
        assert pool.map(str, range(50), chunksize=chunksize) == [str(i) for i in range(50)]

    def test_all_arguments_by_keyword(self, pool):
        assert pool.map(func=abs, sequence=[-1], reduce=None, star=False, minlength=0) == [1]

    def test_an_empty_sequence_starts_nothing(self, pool):
        assert pool.map(lambda i: 1 / 0, []) == []

    def test_star_spreads_items(self, pool):
        assert pool.map(lambda a, b: a - b, [(5, 2), (2, 5)], star=True) == [3, -3]

    @pytest.mark.parametrize(
        "kind", [range, tuple, np.array, iter, set, bytes], ids=lambda kind: kind.__name__
    )
    def test_sequences_and_iterables(self, pool, kind):
        sequence = range(4) if kind is range else kind([0, 1, 2, 3])
        assert pool.map(lambda i: int(i) + 1, sequence) == [1, 2, 3, 4]

    def test_rows_of_an_array(self, pool):
        table = np.arange(6.0).reshape(3, 2)
        assert pool.map(lambda row: row.sum(), table) == [1.0, 5.0, 9.0]

    def test_nothing_of_the_function_is_pickled(self, pool):
        lock = threading.Lock()
        assert pool.map(lambda i: (i, lock.locked()), range(2)) == [(0, False), (1, False)]

    def test_the_function_sees_the_state_of_the_call(self, pool):
        factor = 1
        with pool:
            for factor in (2, 3):
                assert pool.map(lambda i: i * factor, [5]) == [5 * factor]

    def test_many_short_tasks(self, pool):
        assert pool.map(lambda i: i, range(20_000)) == list(range(20_000))

    def test_used_outside_of_a_block_and_entered_many_times(self, pool):
        assert pool.map(abs, [-1]) == [1]
        for _ in range(3):
            with pool:
                assert pool.map(abs, [-1]) == [1]

    def test_from_several_threads_at_once(self, backend):
        pool = MapReduce(backend, np=2)
        results = {}

        def call(k):
            results[k] = pool.map(lambda i: i + k, range(200))

        threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {k: [i + k for i in range(200)] for k in range(4)}

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ((3, [1]), TypeError, "func must be callable"),
            ((abs, {"a": 1}), TypeError, "dict has no order"),
            ((abs, 3), TypeError, "needs a sequence"),
        ],
    )
    def test_bad_arguments_are_refused(self, pool, arguments, error, text):
        with pytest.raises(error, match=text):
            pool.map(*arguments)

    def test_bad_chunksize_is_refused(self, pool):
        with pytest.raises(ValueError, match="chunksize must be at least 1, got 0"):
            pool.map(abs, [1], chunksize=0)


class TestReduce:
    def test_a_tuple_is_spread(self, pool):
        seen = []

        def reduce(i, square):
            seen.append(i)
            return square

        assert pool.map(lambda i: (i, i * i), range(10), reduce=reduce) == [
            i * i for i in range(10)
        ]
        assert sorted(seen) == list(range(10))

    def test_a_namedtuple_is_spread_like_a_tuple(self, pool):
        assert pool.map(Point, range(2), reduce=lambda x, y: (y, x)) == [(7, 0), (7, 1)]

    def test_none_is_passed_on(self, pool):
        assert pool.map(lambda i: None, range(3), reduce=lambda x: [x]) == [[None]] * 3

    def test_runs_in_the_coordinator_and_may_count(self, pool):
        counts = collections.Counter()

        def reduce(word_counts):
            assert os.getpid() == coordinator
            counts.update(word_counts)

        coordinator = os.getpid()
        pool.map(lambda text: collections.Counter(text.split()), ["a b", "b c"], reduce=reduce)
        assert counts == {"a": 1, "b": 2, "c": 1}

    def test_an_exception_is_raised_as_it_is(self, pool):
        with pytest.raises(KeyError, match="from reduce"):
            pool.map(abs, range(100), reduce=lambda i: {}["from reduce"])
        assert pool.map(abs, [-1]) == [1]

    def test_takes_critical_turns_with_the_workers(self, backend):
        total = sharedmem.zeros(1, "i8")
        with MapReduce(backend, np=2) as pool:

            def add(i):
                with pool.critical:
                    total[0] += 1

            pool.map(add, range(200), reduce=add)
        assert total[0] == 400


class Point(collections.namedtuple("Point", "x y")):
    __slots__ = ()

    def __new__(cls, x, y=7):
        return super().__new__(cls, x, y)


class TestResults:
    @given(st.lists(st.integers(0, 300_000), max_size=4), st.integers(1, 3))
    @settings(max_examples=15)
    def test_arrays_of_any_size_come_back(self, sizes, n_workers):
        arrays = [np.arange(size, dtype="i4") for size in sizes]
        results = MapReduce(np=n_workers).map(lambda i: {"i": i, "x": arrays[i]}, range(len(sizes)))
        for i, result in enumerate(results):
            assert result["i"] == i
            np.testing.assert_array_equal(result["x"], arrays[i])
            assert type(result["x"]) is np.ndarray

    def test_a_large_result_is_private_to_the_coordinator_and_later_workers(self):
        pool = MapReduce(np=2)
        (large,) = pool.map(lambda i: np.zeros(100_000), range(1))
        large[0] = 5
        pool.map(lambda i: large.fill(i + 1), range(2))
        assert large[0] == 5
        assert not large[1:].any()

    def test_a_task_may_use_the_same_buffer_as_the_one_before(self, pool):
        if pool.np and pool.backend is ThreadBackend:
            pytest.skip("threads hand over the buffer itself")
        if not pool.np:
            pytest.skip("so does a serial pool")
        buffers = [
            np.zeros(3),
            np.zeros(100_000),
            [0],
            {0: 0},
            [[0]],
            {0: [0]},
            ([0],),
            np.zeros(1, "O"),
        ]

        def work(i):
            buffer = buffers[i % len(buffers)]
            if isinstance(buffer, tuple) or isinstance(buffer[0], list):
                buffer[0][0] = i
            else:
                buffer[0] = i
            return buffer

        results = pool.map(work, range(80))
        numbers = [r[0] if np.isscalar(r[0]) else r[0][0] for r in results]
        assert numbers == list(range(80))

    @given(results=st.lists(RESULTS, min_size=1, max_size=30), n_workers=st.integers(1, 3))
    @settings(max_examples=25)
    def test_results_come_back_as_they_were(self, results, n_workers):
        assert repr(MapReduce(np=n_workers).map(results.__getitem__, range(len(results)))) == repr(
            results
        )

    def test_the_order_and_type_of_small_arrays_is_kept(self):
        arrays = [
            np.asfortranarray(np.arange(6, dtype=dtype).reshape(2, 3))
            for dtype in ("i2", "c16", "m8[s]")
        ] + [
            np.array(5),
            np.zeros((0, 3)),
            np.zeros(2, [("a", "i4"), ("b", "O")]),
            np.arange(9)[::-2],
        ]
        for array, result in zip(
            arrays, MapReduce(np=2).map(lambda i: arrays[i], range(7)), strict=True
        ):
            assert result.dtype == array.dtype
            assert result.flags.f_contiguous == array.copy("K").flags.f_contiguous
            assert result.flags.writeable
            np.testing.assert_array_equal(result, array)

    def test_large_text_and_bytes(self, pool):
        texts = pool.map(lambda i: (str(i) * 3_000_000, b"x" * i), range(3))
        assert [(text[:1], len(text), data) for text, data in texts] == [
            ("0", 3_000_000, b""),
            ("1", 3_000_000, b"x"),
            ("2", 3_000_000, b"xx"),
        ]
        assert pool.map(lambda i: b"ab" * i, range(3)) == [b"", b"ab", b"abab"]

    def test_shared_arrays_made_in_a_worker_come_by_reference(self):
        pool = MapReduce(np=2)
        arrays = pool.map(lambda i: sharedmem.full(1000, i), range(5))
        assert all(type(array) is sharedmem.SharedArray for array in arrays)
        pool.map(lambda i: arrays[i].__iadd__(0.5)[0], range(5))
        assert [array[-1] for array in arrays] == [0.5, 1.5, 2.5, 3.5, 4.5]

    def test_views_of_inherited_arrays_come_back_as_views(self, pool):
        array = sharedmem.zeros((4, 5))
        for i, row in enumerate(pool.map(lambda i: array[i, ::-1], range(4))):
            row[:] = i
        assert (array == np.arange(4)[:, None]).all()

    def test_more_shared_arrays_in_a_result_than_one_message_carries(self):
        ((arrays),) = MapReduce(np=1).map(
            lambda _: [sharedmem.full(1, k) for k in range(600)], range(1)
        )
        assert [int(array[0]) for array in arrays] == list(range(600))

    def test_a_slow_reduce_does_not_let_results_pile_up(self):
        started = sharedmem.zeros(1, "i8")
        ahead = []

        def work(i):
            started[0] += 1
            return np.ones(2_000_000)

        def reduce(x):
            time.sleep(0.02)
            ahead.append(int(started[0]) - len(ahead))

        MapReduce(np=1).map(work, range(20), reduce=reduce)
        # 16 MB each: the window of 32 MiB, one more on its way, one at work.
        assert max(ahead) <= 6

    def test_an_unpicklable_result_is_an_error_that_names_the_task(self):
        pool = MapReduce(np=2)
        with pytest.raises(WorkerException, match="Task 1 in worker 1") as caught:
            pool.map(lambda i: (lambda: i) if i == 1 else i, range(2))
        assert "pickle" in str(caught.value)
        assert pool.map(abs, [-1]) == [1]

    def test_a_result_that_cannot_be_unpickled_is_an_error_that_names_the_task(self):
        with pytest.raises(WorkerException, match="result of task 2") as caught:
            MapReduce(np=1).map(lambda i: Unloadable() if i == 2 else [i], range(4))
        assert isinstance(caught.value.reason, ZeroDivisionError)


class Unloadable:
    def __reduce__(self):
        return divmod, (1, 0)


class TestFailures:
    def test_the_exception_is_wrapped_with_its_traceback(self, backend):
        pool = MapReduce(backend, np=2)
        with pytest.raises(WorkerException) as caught:
            pool.map(lambda i: 1 // i, [3, 2, 0])
        assert isinstance(caught.value.reason, ZeroDivisionError)
        assert "test_mapreduce.py" in caught.value.traceback
        assert "Task 2 in worker" in caught.value.traceback
        assert "by zero" in str(caught.value)
        assert pool.map(abs, [-1]) == [1]

    def test_serially_it_comes_as_it_is(self):
        with pytest.raises(ZeroDivisionError):
            MapReduce(np=0).map(lambda i: 1 // i, [0])

    def test_in_debug_mode_it_comes_as_it_is(self):
        sharedmem.set_debug(True)
        try:
            with pytest.raises(ZeroDivisionError):
                MapReduce(np=2).map(lambda i: 1 // i, [0])
        finally:
            sharedmem.set_debug(False)

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    def test_exceptions_that_end_programs(self, backend, error):
        def work(i):
            raise error

        with pytest.raises(WorkerException) as caught:
            MapReduce(backend, np=2).map(work, range(2))
        assert type(caught.value.reason) is type(error)

    def test_notes_and_arguments_survive(self):
        def work(i):
            error = OSError(5, "text")
            error.add_note("a note")
            raise error

        with pytest.raises(WorkerException) as caught:
            MapReduce(np=1).map(work, range(1))
        assert caught.value.reason.args == (5, "text")
        assert caught.value.reason.__notes__ == ["a note"]

    @pytest.mark.parametrize("kind", ["local", "arguments", "text"])
    def test_an_exception_that_cannot_travel_loses_its_type(self, kind):
        class LocalError(Exception):
            pass

        def work(i):
            raise {
                "local": LocalError("the text"),
                "arguments": ArgumentsError(1, 2),
                "text": TextlessError(lambda: 0),
            }[kind]

        with (
            pytest.warns(LostExceptionType, match="Error"),
            pytest.raises(WorkerException) as caught,
        ):
            MapReduce(np=1).map(work, range(1))
        assert type(caught.value.reason) is Exception

    @pytest.mark.parametrize("n", [1, 2, 5, 13])
    def test_a_killed_worker_ends_the_call(self, n):
        pool = MapReduce(np=n)
        with pytest.raises(WorkerException, match="was killed by SIGKILL while") as e:
            pool.map(lambda i: i == n - 1 and os.kill(os.getpid(), signal.SIGKILL), range(n))
        assert isinstance(e.value.reason, DeadWorkerError)
        assert e.value.reason.exitcode == -9
        assert pool.map(abs, [-1]) == [1]

    @pytest.mark.parametrize("status", [0, 3])
    def test_a_worker_that_exits_ends_the_call(self, status):
        with pytest.raises(WorkerException, match=f"exited with status {status} while it ran"):
            MapReduce(np=2).map(lambda i: os._exit(status), range(4))

    def test_killed_while_holding_every_lock(self):
        pool = MapReduce(np=2)

        def work(i):
            if i == 0:
                with pool.ordered, pool.critical:
                    os.kill(os.getpid(), signal.SIGKILL)
            with pool.ordered, pool.critical:
                return i

        for _ in range(5):
            with pytest.raises(WorkerException, match="SIGKILL"):
                pool.map(work, range(2))

    def test_a_time_limit(self, backend):
        pool = MapReduce(backend, np=2, timeout=0.5)
        with pytest.raises(TimeoutError, match=r"timeout=0\.5"):
            pool.map(lambda i: time.sleep(i), [0, 0.8, 0.8])
        time.sleep(0.4)  # A thread goes on to the end of its task.
        assert pool.map(abs, [-1]) == [1]

    @pytest.mark.parametrize("error", [TimeoutError, ArithmeticError])
    def test_what_a_handler_of_signals_raises_comes_as_it_is(self, backend, error):
        def ring(*_):
            raise error("mine")

        class Ringing:
            def __reduce__(self):
                return signal.raise_signal, (signal.SIGALRM,)

        pool = MapReduce(backend, np=1)
        calls = [
            lambda: pool.map(time.sleep, [0.2]),
            lambda: list(pool.imap(time.sleep, [0.2])),
            lambda: sharedmem.background(time.sleep, 0.2, backend=backend).wait(),
        ]
        if backend is ProcessBackend:  # while a result is unpickled
            calls += [
                lambda: pool.map(lambda i: Ringing(), range(1)),
                lambda: pool.map(lambda i: [Ringing(), bytes(100_000)], range(1)),
            ]
        before = signal.signal(signal.SIGALRM, ring)
        try:
            for call in calls:
                signal.setitimer(signal.ITIMER_REAL, 0.02 if call in calls[:3] else 0)
                with pytest.raises(error, match=r"^mine"):
                    call()
        finally:
            signal.signal(signal.SIGALRM, before)
            time.sleep(0.2)  # the call in the background ends, and
            assert sharedmem.background(abs, -1).wait() == 1  # is forgotten

    def test_stop_process_group_ends_one_worker_quietly(self, backend):
        def work(i):
            if i == 0:
                raise StopProcessGroup
            return i

        assert MapReduce(backend, np=2).map(work, range(50)) == list(range(1, 50))

    @pytest.mark.parametrize("chunksize", [1, 7, 100])
    def test_a_worker_that_stops_leaves_out_no_other_task(self, backend, chunksize):
        def work(i):
            if i == 3:
                raise StopProcessGroup
            return i

        results = MapReduce(backend, np=2).map(work, range(50), chunksize=chunksize)
        assert results == [i for i in range(50) if i != 3]

    def test_no_more_processes(self, monkeypatch):
        forks = itertools.count()
        fork = os.fork

        def failing():
            if next(forks) == 2:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return fork()

        monkeypatch.setattr(os, "fork", failing)
        pool = MapReduce(np=4)
        with pytest.raises(BlockingIOError) as caught:
            pool.map(abs, range(4))
        assert "Worker 2 of 4 could not be started" in caught.value.__notes__[0]
        assert pool.map(abs, [-1]) == [1]

    def test_an_exception_in_the_iterable(self, pool):
        def items():
            yield 1
            raise KeyError("from the iterable")

        with pytest.raises(KeyError, match="from the iterable"):
            pool.map(abs, items())

    def test_an_initializer_that_fails(self, backend):
        with pytest.raises(WorkerException, match="The initializer in worker"):
            MapReduce(backend, np=2, initializer=lambda: 1 / 0).map(abs, range(2))


class ArgumentsError(Exception):
    def __init__(self, one, two):
        super().__init__("one text")


class TextlessError(Exception):
    def __str__(self):
        raise ValueError


class TestSections:
    def test_critical_excludes(self, pool):
        count = sharedmem.zeros((), "i8")

        def work(i):
            for _ in range(20):
                with pool.critical:
                    before = int(count)
                    time.sleep(0)
                    count[()] = before + 1

        pool.map(work, range(20))
        assert count == 400

    def test_critical_inside_critical_is_an_error(self, pool):
        def work(i):
            with pool.critical, pool.critical:
                pass

        with pytest.raises((WorkerException, RuntimeError), match="would wait for itself"):
            pool.map(work, range(1))

    def test_critical_is_free_again_after_an_exception(self, pool):
        def work(i):
            try:
                with pool.critical:
                    raise KeyError
            except KeyError:
                with pool.critical:
                    return i

        assert pool.map(work, range(10)) == list(range(10))

    def test_ordered_runs_in_the_order_of_tasks(self, pool, tmp_path):
        path = tmp_path / "log"

        def work(i):
            time.sleep(random.random() / 1000)
            with pool.ordered, open(path, "a") as file:
                print(i, file=file)

        pool.map(work, range(60))
        assert path.read_text().split() == [str(i) for i in range(60)]

    @pytest.mark.parametrize("chunksize", [None, 1, 4])
    def test_ordered_may_be_skipped(self, pool, chunksize):
        log, end = sharedmem.zeros(30, "i8"), sharedmem.zeros((), "i8")

        def work(i):
            if i % 3:
                with pool.ordered:
                    log[int(end)] = i
                    end[()] += 1

        pool.map(work, range(45), chunksize=chunksize)
        assert log.tolist() == [i for i in range(45) if i % 3]

    def test_an_exception_inside_ordered_does_not_hold_up_the_others(self, backend):
        pool = MapReduce(backend, np=3)
        passed = sharedmem.zeros(30, "i8")

        def work(i):
            try:
                if i % 5 == 0:
                    raise KeyError("before")
                with pool.ordered:
                    if i % 5 == 1:
                        raise KeyError("inside")
                if i % 5 == 2:
                    raise KeyError("after")
            except KeyError:
                pass
            passed[i] = 1

        pool.map(work, range(30))
        assert passed.all()

    def test_ordered_entered_twice_is_an_error(self, pool):
        def work(i):
            with pool.ordered:
                pass
            with pool.ordered:
                pass

        with pytest.raises((WorkerException, RuntimeError), match="a second time"):
            pool.map(work, range(4))

    def test_ordered_goes_on_after_a_worker_has_stopped(self, backend):
        pool = MapReduce(backend, np=3)

        def work(i):
            if i == 1:
                raise StopProcessGroup
            with pool.ordered:
                return i

        assert pool.map(work, range(20)) == [0, *range(2, 20)]

    def test_ordered_in_imap(self, pool):
        log = sharedmem.zeros(40, "i8")
        end = sharedmem.zeros((), "i8")

        def work(i):
            time.sleep(random.random() / 2000)
            with pool.ordered:
                log[int(end)] = i
                end[()] += 1

        list(pool.imap_unordered(work, range(40)))
        assert log.tolist() == list(range(40))

    def test_barrier_lets_nobody_pass_before_the_last(self, pool):
        n = max(pool.np, 1)
        arrived = sharedmem.zeros(2 * n, "i8")

        def work(i):
            arrived[i] = 1
            pool.barrier()
            return int(arrived[: n * (i // n + 1)].sum())

        counts = pool.map(work, range(2 * n), chunksize=1)
        assert min(counts[:n]) >= n
        if pool.np:
            assert min(counts[n:]) == 2 * n

    def test_a_barrier_that_cannot_be_met_is_an_error(self, backend):
        pool = MapReduce(backend, np=2)
        with pytest.raises(WorkerException, match="no more tasks"):
            pool.map(lambda i: pool.barrier(), range(3), chunksize=1)

    def test_barrier_in_imap_is_refused(self, backend):
        pool = MapReduce(backend, np=2)
        with pytest.raises(WorkerException, match=r"needs pool\.map"):
            list(pool.imap(lambda i: pool.barrier(), range(2)))

    def test_outside_of_a_call_nobody_waits(self, pool):
        with pool.critical, pool.ordered:
            pool.barrier()
        assert pool.local.rank == 0


class TestWorkers:
    def test_local_keeps_what_a_worker_stores(self, pool):
        def work(i):
            pool.local.count = getattr(pool.local, "count", 0) + 1
            return pool.local.rank, pool.local.count

        ranks = collections.Counter()
        for rank, count in pool.map(work, range(30), chunksize=1):
            ranks[rank] = max(ranks[rank], count)
        assert sum(ranks.values()) == 30
        assert set(ranks) <= set(range(max(pool.np, 1)))

    def test_one_buffer_row_a_worker(self, pool):
        rows = sharedmem.zeros((max(pool.np, 1), 10), "i8")

        def work(i):
            rows[pool.local.rank, i % 10] += 1

        pool.map(work, range(500))
        assert rows.sum(axis=0).tolist() == [50] * 10

    def test_rng_depends_on_seed_and_task_alone(self, pool):
        draws = [
            each.map(lambda i: each.rng.random(), range(10))
            for each in (pool, MapReduce(pool.backend, np=pool.np, seed=5), MapReduce(np=2, seed=5))
        ]
        assert draws[1] == draws[2]
        assert draws[0] != draws[1]
        assert len(set(draws[1])) == 10

    def test_rng_goes_on_within_a_task_and_between_calls(self):
        pool = MapReduce(np=2, seed=1)
        first = pool.map(lambda i: (pool.rng.random(), pool.rng.random()), range(2))
        second = pool.map(lambda i: (pool.rng.random(), pool.rng.random()), range(2))
        assert len({*first[0], *first[1], *second[0], *second[1]}) == 8

    def test_rng_outside_of_a_task_is_an_error(self, pool):
        with pytest.raises(RuntimeError, match="belongs to a task"):
            pool.rng.random()

    def test_global_generators_differ_between_workers(self):
        random.random(), np.random.random()
        draws = MapReduce(np=3).map(lambda i: (random.random(), np.random.random()), range(3))
        assert len({draw for pair in draws for draw in pair}) == 6

    def test_global_generators_follow_the_seed(self):
        draws = [
            MapReduce(np=3, seed=8).map(lambda i: np.random.random(), range(3)) for _ in range(2)
        ]
        assert draws[0] == draws[1]

    def test_the_initializer_runs_once_a_worker(self, pool):
        runs = sharedmem.zeros(8, "i8")

        def initializer():
            runs[each.local.rank] += 1

        each = MapReduce(pool.backend, np=pool.np, initializer=initializer)
        each.map(abs, range(30))
        assert runs[: max(pool.np, 1)].tolist() == [1] * max(pool.np, 1)

    def test_nested_pools_are_serial_unless_np_is_given(self, backend):
        def work(i):
            inner = MapReduce()
            forked = MapReduce(np=2)
            return (
                inner.np,
                inner.map(lambda j: os.getpid(), [0])[0] == os.getpid(),
                forked.map(lambda j: os.getpid(), [0])[0] == os.getpid(),
            )

        assert MapReduce(backend, np=2).map(work, range(2)) == [(0, True, False)] * 2

    def test_a_pool_may_be_used_inside_its_own_workers(self, backend):
        pool = MapReduce(backend, np=2)

        def work(i):
            with pool.ordered:
                inner = pool.map(lambda j: 10 * i + j, range(2))
            return [*inner, pool.local.rank]

        assert pool.map(work, range(2)) == [[0, 1, 0], [10, 11, 1]]

    def test_handlers_and_pending_output_stay_with_the_coordinator(self, capfd):
        calls = []
        before = signal.signal(signal.SIGTERM, lambda *_: calls.append(os.getpid()))
        try:
            print("pending", end="")
            with pytest.raises(WorkerException, match="killed by SIGTERM"):
                MapReduce(np=1).map(lambda i: os.kill(os.getpid(), signal.SIGTERM), range(1))
        finally:
            signal.signal(signal.SIGTERM, before)
        assert calls == []
        assert capfd.readouterr().out == "pending"

    def test_what_a_task_prints_is_not_lost(self, capfd):
        MapReduce(np=2).map(lambda i: print(f"<{i}>", end=""), range(3))
        assert sorted(capfd.readouterr().out.replace("><", "> <").split()) == ["<0>", "<1>", "<2>"]

    def test_progress_is_shown_for_all_tasks(self, pool, capsys):
        MapReduce(pool.backend, np=pool.np, progress=True).map(abs, range(7))
        assert "7/7" in capsys.readouterr().err

    def test_no_warning_when_other_threads_run(self):
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert MapReduce(np=2).map(abs, [-1, -2]) == [1, 2]
        finally:
            stop.set()
            thread.join()

    def test_blas_threads_are_limited_in_workers_only(self):
        before = n_blas_threads()
        assert MapReduce(np=1).map(n_blas_threads, range(1)) == [[1] * len(before)]
        assert MapReduce(np=1, blas_threads=None).map(n_blas_threads, range(1)) == [before]
        assert n_blas_threads() == before

    def test_limiting_blas_threads_starts_none(self):
        def n_threads(_=None):
            return len(os.listdir("/proc/self/task"))

        MapReduce(np=2).map(abs, range(2))  # A fork ends the threads that BLAS has.
        before = n_threads()
        assert MapReduce(np=2).map(n_threads, range(2)) == [1, 1]
        MapReduceByThread(np=2).map(abs, range(2))
        deadline = time.monotonic() + 5
        while n_threads() > before and time.monotonic() < deadline:
            time.sleep(0.01)  # The system lists a thread for a while after it has been joined.
        assert n_threads() <= before

    def test_blas_threads_are_limited_until_the_last_of_two_calls_ends(self):
        before = n_blas_threads()
        starts, ends = threading.Barrier(2), threading.Event()

        def short_call():
            MapReduceByThread(np=1).map(lambda _: starts.wait(), range(1))
            ends.set()

        thread = threading.Thread(target=short_call)
        thread.start()
        MapReduceByThread(np=1).map(lambda _: (starts.wait(), ends.wait()), range(1))
        thread.join()
        assert n_blas_threads() == before


class TestImap:
    def test_in_order(self, pool):
        assert list(pool.imap(lambda i: i * i, range(300))) == [i * i for i in range(300)]

    def test_unordered_gives_all(self, pool):
        assert sorted(pool.imap_unordered(lambda i: i * i, range(300))) == [
            i * i for i in range(300)
        ]

    def test_unordered_gives_what_is_ready(self):
        results = MapReduce(np=2).imap_unordered(lambda s: (time.sleep(s), s)[1], [0.5, 0.0])
        assert list(results) == [0.0, 0.5]

    @pytest.mark.parametrize("chunksize", [None, 1, 10])
    def test_endless_iterables_are_read_a_little_ahead(self, pool, chunksize):
        taken = itertools.count()
        results = pool.imap(lambda i: i + 1, taken, chunksize=chunksize)
        assert list(itertools.islice(results, 5)) == [1, 2, 3, 4, 5]
        results.close()
        assert next(taken) <= 5 + (4 * max(pool.np, 1) + 1) * (chunksize or 256)

    def test_nothing_starts_before_the_first_result_is_asked_for(self, pool):
        items = iter([1])
        pool.imap(abs, items)
        assert next(items) == 1

    def test_dropped_half_way(self, pool):
        results = pool.imap(abs, itertools.count())
        next(results)
        del results
        assert pool.map(abs, [-1]) == [1]

    def test_large_items_and_results(self, pool):
        items = [np.full(50_000, k) for k in range(6)]
        for k, result in enumerate(pool.imap(lambda x: x + 1, iter(items))):
            assert (result == k + 1).all()

    def test_star(self, pool):
        assert list(pool.imap(lambda a, b: a - b, [(3, 1)], star=True)) == [2]
        assert list(pool.imap_unordered(lambda a, b: a - b, [(3, 1)], star=True)) == [2]

    def test_an_exception_in_a_task(self, backend):
        pool = MapReduce(backend, np=2)
        results = pool.imap(lambda i: 1 // (2 - i), itertools.count())
        with pytest.raises(WorkerException, match="Task 2 in worker"):
            list(results)
        assert pool.map(abs, [-1]) == [1]

    def test_an_exception_in_the_iterable(self, pool):
        def items():
            yield from range(5)
            raise KeyError("from the iterable")

        with pytest.raises(KeyError, match="from the iterable"):
            list(pool.imap(abs, items()))

    def test_a_killed_worker(self):
        pool = MapReduce(np=2)
        with pytest.raises(WorkerException, match="SIGKILL"):
            list(pool.imap(lambda i: i == 9 and os.kill(os.getpid(), 9), itertools.count()))

    def test_a_time_limit(self):
        results = MapReduce(np=2, timeout=0.3).imap(time.sleep, [0, 60])
        assert next(results) is None
        with pytest.raises(TimeoutError):
            next(results)

    def test_a_worker_that_stops_gives_no_more_results(self):
        def work(i):
            if i == 3:
                raise StopProcessGroup
            return i

        results = list(MapReduce(np=2).imap(work, range(40), chunksize=1))
        assert 3 not in results
        assert results == sorted(results)
        assert len(results) >= 36

    def test_no_iterable_is_refused_at_once(self, pool):
        with pytest.raises(TypeError, match="needs something to iterate"):
            pool.imap(abs, 3)


class TestPool:
    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ({"np": -1}, ValueError, "np must be at least 0, got -1"),
            ({"np": 1.5}, TypeError, "np must be an integer, got 1.5"),
            ({"timeout": 0}, ValueError, "timeout must be positive, in seconds, got 0"),
            ({"timeout": -1.5}, ValueError, r"timeout must be positive, in seconds, got -1\.5"),
            ({"timeout": math.nan}, ValueError, "timeout must be positive, in seconds, got nan"),
            ({"timeout": "5"}, TypeError, "timeout must be a number of seconds, or None, got '5'"),
            ({"timeout": True}, TypeError, "timeout must be a number of seconds, or None, got Tr"),
            ({"initializer": 3}, TypeError, "initializer must be callable"),
            ({"seed": -4}, ValueError, "seed must be at least 0"),
            ({"blas_threads": 0}, ValueError, "blas_threads must be at least 1"),
        ],
    )
    def test_bad_arguments_are_refused(self, arguments, error, text):
        with pytest.raises(error, match=text):
            MapReduce(**arguments)

    @pytest.mark.parametrize("timeout", [math.inf, 3e6, 1e10, 1e300, np.float32(50), 10**400])
    def test_a_time_limit_may_be_of_any_length(self, backend, timeout):
        pool = MapReduce(backend, np=2, timeout=timeout)
        assert pool.map(abs, [-1, 2]) == [1, 2]
        assert list(pool.imap(abs, [-1, 2])) == [1, 2]
        assert sharedmem.background(abs, -1, backend=backend).wait(timeout) == 1

    def test_np_is_the_number_of_cores_by_default(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert MapReduce().np == 3
        assert sharedmem.MapReduceByThread().np == 3
        assert MapReduce(np=0).np == 0

    def test_np_is_the_same_in_its_tasks(self):
        pool = MapReduce()
        assert pool.map(lambda i: pool.np, range(2)) == [pool.np] * 2

    def test_the_short_names(self):
        assert sharedmem.Pool is MapReduce
        assert sharedmem.TPool(2).map(abs, [-1]) == [1]

    def test_more_workers_than_tasks_and_many_workers(self):
        assert MapReduce(np=64).map(abs, [-1, 2]) == [1, 2]
        assert MapReduce(np=64).map(abs, range(64)) == list(range(64))


@pytest.mark.parametrize("order", ["C", "F"])
def test_results_of_all_sizes_are_writable_copies(order):
    def read_only(n):
        a = np.arange(2.0 * n).reshape(2, -1, order=order)
        a.flags.writeable = False
        return a

    sizes = [1, 64, 65, 4095, 4096, 100_000]
    with sharedmem.MapReduce(np=2) as pool:
        results = [*pool.map(read_only, sizes), *pool.imap(lambda n: (read_only(n),), sizes)]
    results += [sharedmem.background(read_only, n).wait() for n in sizes]
    for n, result in zip(3 * sizes, results, strict=True):
        (result,) = result if isinstance(result, tuple) else (result,)
        np.testing.assert_array_equal(result, read_only(n))
        result += 1
