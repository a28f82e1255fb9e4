"""Records of logging and warnings that tasks in worker processes issue."""

from __future__ import annotations

import collections
import contextlib
import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import numpy as np
import pytest

import sharedmem
from interrupts import Strike
from sharedmem import DeadWorkerError, MapReduce, ThreadBackend, WorkerException

log = logging.getLogger("survey.frames")


class Kept(logging.Handler):
    """A handler that keeps records."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    @property
    def texts(self):
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept():
    handler = Kept()
    survey = logging.getLogger("survey")
    survey.addHandler(handler)
    survey.setLevel(logging.INFO)
    survey.propagate = False
    yield handler
    survey.removeHandler(handler)
    survey.setLevel(logging.NOTSET)
    survey.propagate = True


def run(program):
    """Return what a program prints, line by line, and what it writes to standard error."""
    source = "import logging, sys, sharedmem, warnings\n" + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines(), done.stderr


def call(pool, way, function, items):
    return pool.map(function, items) if way == "map" else list(pool.imap(function, items))


@pytest.mark.parametrize("way", ["map", "imap"])
def test_records_reach_the_handlers_of_the_coordinator(kept, way):
    pool = MapReduce(np=2)

    def work(i):
        log.info("frame %d", i, extra={"size": i})
        log.debug("unseen")
        return pool.local.rank, os.getpid()

    workers = call(pool, way, work, range(4))
    assert sorted(kept.texts) == [f"frame {i}" for i in range(4)]
    for record in kept.records:
        assert (record.rank, record.process) == workers[record.size]
        assert record.processName == f"worker {record.rank}"
        assert record.args == (record.size,)
        assert record.funcName == "work"


def test_records_of_threads_are_as_they_were(kept):
    MapReduce(ThreadBackend, np=2).map(lambda i: log.info("%s", [i]), range(2))
    assert not any(hasattr(record, "rank") for record in kept.records)
    assert {record.process for record in kept.records} == {os.getpid()}
    assert len(kept.records) == 2


def test_records_of_a_task_come_before_its_result(kept):
    def work(i):
        log.info("%d", i)
        return i

    counts = []
    MapReduce(np=1).map(work, range(5), reduce=lambda i: counts.append(f"{i}" in kept.texts))
    assert counts == [True] * 5


@pytest.mark.timeout(60)
def test_ordered_sections_order_the_records_of_all_workers(kept):
    pool = MapReduce(np=3)

    def work(i):
        log.info("before")
        with pool.ordered:
            log.info("%d", i)
        return i

    # Results and records pile up.
    pool.map(work, range(100), reduce=lambda i: time.sleep(0.001), chunksize=1)
    numbers = [int(text) for text in kept.texts if text != "before"]
    assert numbers == list(range(100))


@pytest.mark.parametrize("end", ["raises", "dies", "exits"])
def test_records_are_handled_though_the_worker_fails(kept, end):
    def work(i):
        log.info("last words")
        if end == "raises":
            raise ValueError
        if end == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(3)

    with pytest.raises(WorkerException):
        MapReduce(np=1).map(work, range(1))
    assert kept.texts == ["last words"]


def test_records_of_other_workers_are_handled_though_one_fails(kept):
    said = sharedmem.zeros(1, "i8")

    def work(i):
        if i == 1:
            log.info("words of another")
            said[0] = 1
            time.sleep(60)
        while not said[0]:
            time.sleep(0.001)
        raise ValueError

    with pytest.raises(WorkerException):
        MapReduce(np=2).map(work, range(2), chunksize=1)
    assert kept.texts == ["words of another"]


@pytest.mark.timeout(60)
def test_a_worker_that_only_logs_is_ended_at_the_timeout(kept):
    def work(i):
        while True:
            log.info("again")

    with pytest.raises(TimeoutError):
        MapReduce(np=1, timeout=0.5).map(work, range(1))
    assert "again" in kept.texts


@pytest.mark.timeout(60)
def test_a_worker_waits_while_nobody_reads_what_it_says(kept):
    def work(i):
        for k in range(3000):
            log.info("%d", k)
        return i

    results = MapReduce(np=1).imap(work, range(2))
    assert next(results) == 0
    time.sleep(0.2)
    assert list(results) == [1]
    assert len(kept.records) == 6000


@pytest.mark.timeout(60)
def test_critical_sections_may_be_full_of_records(kept):
    pool = MapReduce(np=2)

    def work(i):
        with pool.critical:
            for k in range(1000):
                log.info("%d", k)
        return i

    def reduce(i):
        with pool.critical:
            return i

    assert sorted(pool.map(work, range(4), reduce=reduce)) == [0, 1, 2, 3]
    assert len(kept.records) == 4000


@pytest.mark.timeout(60)
def test_threads_and_finalizers_of_a_worker_may_log_while_it_sends_results(kept):
    # Texts that were kept would fill memory, which would make later forks slow.
    lengths = collections.Counter()
    kept.emit = lambda record: lengths.update([len(record.getMessage())])

    class Dying:
        def __del__(self):
            log.info("finalizer")

    def work(i):
        for _ in range(3):
            threading.Thread(target=chat, daemon=True).start()
        for _ in range(20):
            ring = Dying()
            ring.itself = ring
            del ring
            gc.collect()
        # Sent in several messages, between which records are sent.
        return [sharedmem.full(100, i) for _ in range(300)]

    def chat():
        for k in itertools.count():
            log.info("x" * (k % 10 * 5000))
            time.sleep(0.001)

    for i, arrays in enumerate(MapReduce(np=2).imap(work, range(4))):
        assert all((array == i).all() for array in arrays)
    assert lengths[len("finalizer")] == 80
    assert max(lengths) > 40_000


def test_what_cannot_be_pickled_is_sent_as_text(kept):
    class Local:
        def __repr__(self):
            return "<local>"

    def work(i):
        log.info("%s and %s", Local(), 1, extra={"local": Local(), "pair": (1, 2), "rank": "mine"})
        log.info({"a": Local()})
        log.info("%(name)s", {"name": "Oslo"})
        try:
            raise ValueError(Local())
        except ValueError:
            log.exception("failed")

    MapReduce(np=1).map(work, range(1))
    first, second, third, fourth = kept.records
    assert kept.texts == ["<local> and 1", "{'a': <local>}", "Oslo", "failed"]
    assert first.local == "<local>"
    assert first.pair == (1, 2)
    assert first.rank == "mine"
    assert second.rank == 0
    assert fourth.exc_info is None
    assert "test_logs.py" in logging.Formatter().format(fourth)
    assert third.args == {"name": "Oslo"}


def test_an_attribute_that_cannot_be_loaded_is_its_text(kept):
    def work(i):
        class Elsewhere:
            pass

        # Only this worker has the class.
        Elsewhere.__qualname__ = "Elsewhere"
        sys.modules[__name__].Elsewhere = Elsewhere
        log.info("here", extra={"it": Elsewhere()})

    MapReduce(np=1).map(work, range(1))
    assert ".Elsewhere object at " in kept.records[0].it


def test_a_record_that_cannot_be_formatted_is_reported_in_the_worker(kept, capfd):
    MapReduce(np=1).map(lambda i: log.info("%d", "text"), range(1))
    assert kept.records == []
    assert "--- Logging error ---" in capfd.readouterr().err


def test_filters_and_levels_of_loggers_hold(kept):
    def chosen(record):
        if record.levelno == logging.INFO:
            record.msg = "chosen " + record.msg
        return record.levelno != logging.WARNING

    log.addFilter(chosen)
    try:
        MapReduce(np=1).map(lambda i: (log.info("a"), log.warning("b"), log.error("c")), range(1))
    finally:
        log.removeFilter(chosen)
    assert kept.texts == ["chosen a", "c"]


@pytest.mark.timeout(60)
def test_handlers_may_raise_and_call_the_pool(kept):
    pool = MapReduce(np=2)
    results = []

    class Calling(logging.Handler):
        def emit(self, record):
            results.append(pool.map(abs, [-1, -2]))

    handler = Calling()
    log.addHandler(handler)
    try:
        assert pool.map(lambda i: log.info("x") or i, range(2)) == [0, 1]
        assert results == [[1, 2]] * 2
        handler.emit = lambda record: 1 // 0
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda i: log.info("x") or i, range(2))
    finally:
        log.removeHandler(handler)
    assert pool.map(abs, [-1]) == [1]


def test_workers_of_workers_are_heard(kept):
    def inner(i):
        log.info("inner %d", os.getpid())
        warnings.warn("inner warning", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="inner warning") as caught:
        MapReduce(np=1).map(lambda i: MapReduce(np=2).map(inner, range(1)), range(1))
    (record,) = kept.records
    assert kept.texts == [f"inner {record.process}"]
    assert len(caught) == 1


def test_a_lock_of_a_handler_at_the_fork_does_not_matter(kept):
    kept.acquire()
    try:
        MapReduce(np=2).map(lambda i: log.info("x"), range(2))
    finally:
        kept.release()
    assert kept.texts == ["x", "x"]


def test_what_an_initializer_configures_counts():
    lines, errors = run("""
        def configure():
            logging.basicConfig(
                level=logging.INFO, stream=sys.stdout, format="mine %(message)s", **force
            )

        for force in {}, {"force": True}:
            pool = sharedmem.MapReduce(np=1, initializer=configure)
            pool.map(lambda i: logging.info("text"), range(1))
            if not force:
                logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
                pool.map(lambda i: logging.info("ours"), range(1))
    """)
    assert lines == ["mine text", "mine text"]
    assert errors == "ours\n"


def test_loggers_without_handlers_write_warnings_once():
    lines, errors = run("""
        pool = sharedmem.MapReduce(np=2)
        log = logging.getLogger("any")
        pool.map(lambda i: (log.info("unseen"), log.warning("seen")), range(1))
    """)
    assert (lines, errors) == ([], "seen\n")


def test_logging_is_not_imported():
    lines, errors = run("""
        del sys.modules["logging"]
        import logging as _  # as a module of tasks
        del sys.modules["logging"]

        def work(i):
            was_imported = "logging" in sys.modules
            import logging
            logging.warning("text")
            return was_imported

        print(sharedmem.MapReduce(np=1).map(work, range(1)), "logging" in sys.modules)
    """)
    assert lines == ["[False] False"]
    assert errors == "WARNING:root:text\n"


def test_background_writes_to_inherited_handlers():
    lines, _ = run("""
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        done = sharedmem.zeros(1)
        call = sharedmem.background(lambda: (logging.info("text"), done.fill(1)))
        while not done.any():  # nothing is received
            pass
        print("ended")
        call.wait()
    """)
    assert lines == ["text", "ended"]


@pytest.mark.slow
def test_interrupts_lose_nobody_and_nothing_hangs():
    logger = logging.getLogger("struck")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = Kept()
    logger.addHandler(handler)
    pool = MapReduce(np=2)

    def work(i):
        logger.info("%d", i)
        return i

    pool.map(work, range(4))
    for at in itertools.count(0, 211):
        strike = Strike(at)
        with contextlib.suppress(KeyboardInterrupt), strike:
            pool.map(work, range(4))
        if strike.n_left >= 0:
            break
        handler.records.clear()
        assert pool.map(work, range(2)) == [0, 1]
        assert sorted(handler.texts) == ["0", "1"]
    assert at > 211
    logger.removeHandler(handler)


# Warnings


@pytest.mark.timeout(60)
def test_workers_that_stay_take_over_levels_and_filters(kept):
    def work(i):
        log.debug("debug")
        log.info("info")
        warning_of(0)
        return os.getpid()

    with MapReduce(np=2, persistent=True) as pool:
        with pytest.warns(UserWarning, match="careful 0"):
            pids = {*pool.map(work, range(8), chunksize=1)}
        assert {*kept.texts} == {"info"}
        for level in ("DEBUG", "WARNING", "INFO"):
            log.setLevel(level)
            kept.records.clear()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("once")
                assert {*pool.map(work, range(8), chunksize=1)} <= pids
            assert len(caught) == 1
            expected = {"DEBUG": {"debug", "info"}, "WARNING": set(), "INFO": {"info"}}
            assert {*kept.texts} == expected[level]
        log.setLevel("NOTSET")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(WorkerException) as error:
                pool.map(work, range(8))
        assert type(error.value.reason) is UserWarning


@pytest.mark.timeout(60)
def test_workers_that_stay_may_talk_between_calls_and_at_the_end(kept):
    def work(i):
        threading.Thread(target=lambda: (time.sleep(0.05), log.info("later"))).start()
        return os.getpid()

    with MapReduce(np=2, persistent=True) as pool:
        pids = {*pool.map(work, range(2), chunksize=1)}
        time.sleep(0.2)
        assert {*pool.map(lambda i: os.getpid(), range(20), chunksize=1)} <= pids
        assert kept.texts == ["later"] * 2
        pool.map(work, range(2), chunksize=1)
        time.sleep(0.2)
    assert kept.texts == ["later"] * 4


def warning_of(i, category=UserWarning):
    warnings.warn(f"careful {i}", category)  # noqa: B028


@pytest.mark.parametrize("way", ["map", "imap"])
@pytest.mark.parametrize("action", ["default", "once", "module", "always"])
def test_warnings_are_shown_once_per_text_and_place_as_in_a_serial_loop(way, action):
    shown = []
    for np_ in (0, 3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            call(MapReduce(np=np_), way, lambda i: warning_of(i % 2), range(6))
        shown.append(sorted((str(w.message), w.category, w.filename, w.lineno) for w in caught))
    assert shown[0] == shown[1]


def test_what_the_coordinator_has_shown_is_not_shown_again():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warning_of(0)
        MapReduce(np=2).map(lambda i: warning_of(0), range(4))
        warning_of(0)
    assert len(caught) == 1


def test_warnings_as_errors_are_raised_in_the_task():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WorkerException) as caught:
            MapReduce(np=2).map(warning_of, range(2))
    assert type(caught.value.reason) is UserWarning


def test_a_filter_that_the_worker_lacks_raises_in_the_coordinator():
    def show(i):
        warnings.simplefilter("always")
        warning_of(i)

    pool = MapReduce(np=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="careful 0"):
            pool.map(show, range(1))
    assert pool.map(abs, [-1]) == [1]


def test_filters_by_module_hold_in_the_coordinator():
    def show(i):
        warnings.simplefilter("always")
        warning_of(i)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module=__name__.replace(".", r"\."))
        MapReduce(np=1).map(show, range(1))
    assert caught == []


def test_what_tasks_catch_is_not_sent():
    def work(i):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warning_of(i)
        return len(caught)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert MapReduce(np=1).map(work, range(2)) == [1, 1]
    assert caught == []


def test_warnings_of_numpy_name_the_line():
    with pytest.warns(RuntimeWarning, match="divide by zero") as caught:
        MapReduce(np=2).map(lambda i: np.ones(2) / np.zeros(2), range(2))
    assert {w.filename for w in caught} == {__file__}


class StrangeWarning(DeprecationWarning):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def test_categories_that_cannot_be_pickled_are_builtin_ones():
    class LocalWarning(FutureWarning):
        pass

    def work(i):
        warnings.warn("local", LocalWarning)  # noqa: B028
        warnings.warn(StrangeWarning(1, 2))  # noqa: B028

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MapReduce(np=1).map(work, range(1))
    assert [(w.category, str(w.message)) for w in caught] == [
        (FutureWarning, "local"),
        (DeprecationWarning, "1 2"),
    ]


def test_warnings_of_the_main_program_and_captured_ones():
    lines, errors = run("""
        logging.basicConfig(format="%(name)s %(processName)s", stream=sys.stdout)

        def work(i):
            warnings.warn("old", DeprecationWarning)

        pool = sharedmem.MapReduce(np=2)
        pool.map(work, range(4))
        logging.captureWarnings(True)
        pool.map(lambda i: warnings.warn("captured"), range(4))
    """)
    assert lines == ["py.warnings MainProcess"]
    assert errors.count("DeprecationWarning: old") == 1


def test_a_warning_may_be_shown_in_a_file():
    lines, errors = run("""
        import io

        def work(i):
            file = io.StringIO()
            warnings.showwarning("text", UserWarning, "a.py", 3, file)
            return file.getvalue()

        print(sharedmem.MapReduce(np=1).map(work, range(1)))
    """)
    assert lines == [r"['a.py:3: UserWarning: text\n']"]
    assert errors == ""


def test_a_death_after_warnings_is_reported_with_them():
    def work(i):
        warning_of(i)
        os._exit(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(WorkerException) as error:
            MapReduce(np=1).map(work, range(1))
    assert isinstance(error.value.reason, DeadWorkerError)
    assert len(caught) == 1


@pytest.mark.timeout(60)
def test_what_calls_of_an_executor_say_is_heard(kept):
    def work(i):
        log.info("call %d", i)
        warning_of(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        with sharedmem.Executor(np=2) as executor:
            list(executor.map(work, range(6)))
            assert sorted(kept.texts) == [f"call {i}" for i in range(6)]
            kept.emit = lambda record: 1 // 0  # printed, and no call is lost
            assert list(executor.map(lambda i: log.info("x") or i, range(6))) == [*range(6)]
    assert len(caught) == 1
    assert {record.processName for record in kept.records} <= {"worker 0", "worker 1"}


@pytest.mark.timeout(60)
def test_fresh_interpreters_are_heard():
    lines, errors = run("""
        logging.basicConfig(level="INFO", format="%(processName)s %(message)s", stream=sys.stdout)

        def mark(record):
            record.msg = "marked " + record.msg
            return True

        logging.getLogger("app").addFilter(mark)

        def work(i):
            logging.info("root")
            logging.getLogger("app").info("%d", i)
            logging.getLogger("app").debug("unseen")
            warnings.warn("old", DeprecationWarning)

        with sharedmem.MapReduce(sharedmem.SpawnBackend, np=1) as pool:
            pool.map(work, range(2))
    """)
    assert lines == ["worker 0 root", "worker 0 marked 0", "worker 0 root", "worker 0 marked 1"]
    assert errors.count("DeprecationWarning: old") == 1
