"""A coordinator that raises, is interrupted, dies, forks, or exits with an open pool."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

import sharedmem
from scenario import BOTH, COMPILES, Stage, compiled_spin, kill_me, scenario, throw
from sharedmem import MapReduce, WorkerException


@scenario(13, backends=BOTH, raises=KeyError, text="from reduce", workers=(1, 5))
def reduce_fails(stage: Stage) -> None:
    stage.pool.map(abs, range(100), reduce=lambda i: throw(KeyError("from reduce")))


@scenario(13, backends=BOTH, raises=StopIteration, workers=(1, 5))
def reduce_raises_stop_iteration(stage: Stage) -> None:
    stage.pool.map(abs, range(100), reduce=lambda i: next(iter([])))


@scenario(13, backends=BOTH, raises=WorkerException, reason=StopIteration, workers=(1, 5))
def a_task_raises_stop_iteration(stage: Stage) -> None:
    stage.pool.map(lambda i: next(iter([])), range(100))


def failing_iterator(n_items: int) -> itertools.chain[int]:
    return itertools.chain(range(n_items), (1 // i for i in [0]))


@scenario(13, backends=BOTH, raises=ZeroDivisionError, workers=(1, 5))
def the_iterator_fails(stage: Stage) -> None:
    stage.pool.map(abs, failing_iterator(100))


@scenario(13, backends=BOTH, raises=ZeroDivisionError, workers=(1, 5))
def the_iterator_of_imap_fails(stage: Stage) -> None:
    for k, result in enumerate(stage.pool.imap(abs, failing_iterator(100))):
        assert k == result


class Sequence:
    """A sequence of ten items, for some of which `get` may raise."""

    def __init__(self, get: Callable[[int], object], length: Callable[[], int] = lambda: 10):
        self.get = get
        self.length = length

    def __len__(self) -> int:
        return self.length()

    def __getitem__(self, i: int) -> object:
        return self.get(i)


@scenario(
    13,
    backends=BOTH,
    raises=WorkerException,
    reason=ZeroDivisionError,
    text=r"Task 7 in worker",
    workers=(1, 5),
)
def the_sequence_refuses_an_item(stage: Stage) -> None:
    stage.pool.map(abs, Sequence(lambda i: 1 // (7 - i)))


@scenario(13, backends=BOTH, raises=WorkerException, reason=RuntimeError, workers=(1, 5))
def the_sequence_raises_stop_iteration(stage: Stage) -> None:
    stage.pool.map(abs, Sequence(lambda i: next(iter([]))))


@scenario(13, backends=BOTH, raises=ZeroDivisionError, workers=(1,))
def the_sequence_has_no_length(stage: Stage) -> None:
    stage.pool.map(abs, Sequence(abs, lambda: 1 // 0))


@scenario(13, backends=BOTH, raises=WorkerException, reason=IndexError, workers=(1, 5))
def the_sequence_is_shorter_than_it_says(stage: Stage) -> None:
    stage.pool.map(abs, Sequence([1, 2, 3].__getitem__))


@scenario(13, backends=BOTH, raises=WorkerException, reason=IndexError, workers=(1, 5))
def the_list_shrinks(stage: Stage) -> None:
    items = list(range(100))
    stage.pool.map(lambda i: items.clear(), items, chunksize=2)


@scenario(13, backends=BOTH)
def infinite_items_of_imap(stage: Stage) -> None:
    results = stage.pool.imap(lambda i: -i, itertools.count())
    assert list(itertools.islice(results, 1000)) == [-i for i in range(1000)]
    results.close()


def interrupt_the_group() -> None:
    os.killpg(0, signal.SIGINT)


INTERRUPTED = {"raises": KeyboardInterrupt, "limit": 5.0}


@scenario(14, **INTERRUPTED)
def interrupted_while_it_forks(stage: Stage) -> None:
    fork, ranks = os.fork, itertools.count()

    def fork_and_interrupt() -> int:
        pid = fork()
        if pid and next(ranks) == stage.victim:
            interrupt_the_group()
        return pid

    os.fork = fork_and_interrupt
    try:
        stage.pool.map(lambda i: time.sleep(60), range(stage.n_workers))
    finally:
        os.fork = fork


@scenario(14, **INTERRUPTED, backends=BOTH)
def interrupted_while_it_waits(stage: Stage) -> None:
    seconds = 60 if stage.backend.uses_processes else 0.3  # A thread cannot be interrupted.

    def work(i: int) -> None:
        if i == stage.n_workers - 1:
            interrupt_the_group()
        time.sleep(seconds)

    stage.pool.map(work, range(stage.n_workers))


class Interrupting:
    """An object whose unpickling interrupts the process group."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[()]]:
        return interrupt_the_group, ()


@scenario(14, **INTERRUPTED)
def interrupted_while_it_reads_a_result(stage: Stage) -> None:
    stage.pool.map(lambda i: Interrupting(), range(20))


@scenario(14, **INTERRUPTED, backends=BOTH)
def interrupted_in_reduce(stage: Stage) -> None:
    stage.pool.map(abs, range(20), reduce=lambda i: i == 7 and interrupt_the_group())


@scenario(14, **INTERRUPTED, backends=BOTH)
def interrupted_at_the_end_of_the_block(stage: Stage) -> None:
    with stage.pool as pool:
        results = pool.imap(abs, itertools.count())
        next(results)
        interrupt_the_group()


@scenario(14, **{**INTERRUPTED, **COMPILES}, workers=(2,))
def interrupted_in_a_kernel(stage: Stage) -> None:
    spin = compiled_spin()

    def work(i: int) -> int:
        if i == 1:
            interrupt_the_group()
        return spin(10**15)

    stage.pool.map(work, range(stage.n_workers))


# Python drops an interrupt that arrives in a finalizer, and threads have finalizers: send two.
@scenario(
    14,
    **INTERRUPTED,
    at_random=True,
    backends=BOTH,
    prints="(Exception ignored in.*KeyboardInterrupt: \n)*",
)
def interrupted_twice(stage: Stage) -> None:
    def work(i: int) -> object:
        with stage.pool.ordered:
            return np.zeros(i)

    with stage.striker(signal.SIGINT, signal.SIGINT, within=0.01, send=os.killpg) as target:
        target.pid = os.getpid()
        try:
            while True:
                stage.pool.map(work, range(3 * stage.n_workers), reduce=len)
        except KeyboardInterrupt:
            time.sleep(0.05)  # The second one arrives, unless it came while the first was held.
            raise


@scenario(14, **INTERRUPTED, at_random=True)
def interrupted_at_any_moment(stage: Stage) -> None:
    def work(i: int) -> object:
        with stage.pool.ordered, stage.pool.critical:
            return np.zeros(i)

    with stage.striker(signal.SIGINT, send=os.killpg) as target:
        target.pid = os.getpid()
        while True:
            stage.pool.map(work, range(3 * stage.n_workers), reduce=len)


@scenario(14, **INTERRUPTED, at_random=True)
def interrupted_in_imap(stage: Stage) -> None:
    with stage.striker(signal.SIGINT, send=os.killpg) as target:
        target.pid = os.getpid()
        while True:
            for i in stage.pool.imap(lambda i: i, range(100)):
                assert i < 100


BUSY = {
    "sleeping": lambda: partial(time.sleep, 60),
    "busy": lambda: partial(sum, itertools.count()),
    "calculating": lambda: partial(compiled_spin(), 10**15),
}
DEATHS = {
    "terminated": (signal.SIGTERM, lambda: kill_me(signal.SIGTERM)),
    "killed": (signal.SIGKILL, kill_me),
    "crashed": (signal.SIGSEGV, lambda: ctypes.string_at(0)),
    "left": (-5, lambda: os._exit(5)),
}
for (what, make), (how, (number, die)) in itertools.product(BUSY.items(), DEATHS.items()):

    @scenario(
        15,
        name=f"coordinator_{how}_with_{what}_workers",
        exits=-number,
        workers=(2,) if what == "calculating" else (1, 13),
        **COMPILES,
    )
    def coordinator_dies(stage: Stage, make=make, die=die) -> None:
        faulthandler.disable()
        spend = make()
        is_busy = sharedmem.zeros(stage.n_workers, bool)

        def work(i: int) -> object:
            is_busy[i] = True
            return spend()

        def die_once_all_are_busy() -> None:
            while not is_busy.all():
                time.sleep(0.001)
            time.sleep(0.02)
            die()

        background_thread(die_once_all_are_busy)
        stage.pool.map(work, range(stage.n_workers))


def background_thread(function: Callable[[], object]) -> None:
    import threading

    threading.Thread(target=function, daemon=True).start()


@scenario(15, exits=-signal.SIGKILL, at_random=True)
def coordinator_killed_at_any_moment(stage: Stage) -> None:
    with stage.striker(within=0.05) as target:
        target.pid = os.getpid()
        while True:
            stage.pool.map(lambda i: np.zeros(i), range(3 * stage.n_workers))


@scenario(15, exits=-signal.SIGKILL, workers=(2,))
def coordinator_killed_with_nested_pools(stage: Stage) -> None:
    coordinator = os.getpid()

    def inner(i: int) -> None:
        if i == 1:
            os.kill(coordinator, signal.SIGKILL)
        time.sleep(60)

    stage.pool.map(lambda i: MapReduce(np=2).map(inner, range(2)), range(2))


@scenario(16)
def other_children_of_the_coordinator(stage: Stage) -> None:
    results = stage.pool.imap(lambda i: -i, itertools.count())
    assert next(results) == 0
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(0.1)"]) as program:
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.05,))
        process.start()
        pid = os.fork()
        if pid == 0:
            stage.pool.map(abs, range(5))
            del results
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        process.join()
        assert process.exitcode == program.wait() == 0
        process.close()
    assert list(itertools.islice(results, 1000)) == [-i for i in range(1, 1001)]
    results.close()


@scenario(18, exits=0, backends=BOTH)
def ends_with_results_outstanding(stage: Stage) -> None:
    stage.kept = stage.pool.imap(abs, itertools.count())
    assert next(stage.kept) == 0
    sys.modules["__main__"].kept = stage


@scenario(18, exits=0, workers=(1,))
def ends_with_a_call_in_the_background(stage: Stage) -> None:
    sys.modules["__main__"].kept = sharedmem.background(time.sleep, 60)


@scenario(18, exits=1, prints=".*ZeroDivisionError[^\n]*\n", backends=BOTH)
def ends_by_an_exception_with_a_pool_open(stage: Stage) -> None:
    with stage.pool as pool:
        for i in pool.imap(lambda i: i, itertools.count()):
            1 // (5 - i)


@scenario(18, exits=3, backends=BOTH)
def exits_in_reduce(stage: Stage) -> None:
    stage.pool.map(abs, range(100), reduce=lambda i: sys.exit(3))


@scenario(18, exits=0, workers=(2,))
def ends_after_array_calls(stage: Stage) -> None:
    sys.modules["__main__"].kept = array = sharedmem.full(1 << 20, 4.0)
    assert (sharedmem.apply_ufunc(np.sqrt, array) == 2).all()


@scenario(21, backends=BOTH)
def a_pool_before_inside_and_after_its_blocks(stage: Stage) -> None:
    pool = stage.pool
    assert pool.map(abs, [-1]) == [1]
    with pool, pool:
        assert pool.map(abs, [-1]) == [1]
    with contextlib.suppress(KeyError), pool:
        raise KeyError
    pid = os.fork()
    if pid == 0:
        os._exit(pool.map(abs, [-1, -2]) != [1, 2])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
