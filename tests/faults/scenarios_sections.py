"""Sections that tasks skip, enter twice, or fail in; time limits; and nested calls."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable

import numpy as np

import sharedmem
from scenario import BOTH, COMPILES, IN_TASK, Stage, compiled_spin, kill_me, scenario, throw
from sharedmem import MapReduce, StopProcessGroup, ThreadBackend, WorkerException

N_TASKS = 60


class Notes:
    """A list of numbers in shared memory; `add` must be called by one task at a time."""

    def __init__(self, length: int = N_TASKS) -> None:
        self._numbers = sharedmem.zeros(length, int)
        self._count = sharedmem.zeros((), int)

    def add(self, number: int) -> None:
        count = int(self._count)
        self._numbers[count] = number
        self._count[()] = count + 1

    def taken(self) -> list[int]:
        return self._numbers[: int(self._count)].tolist()


def note_in_turn(stage: Stage, takes_turn: Callable[[int], bool], **options: object) -> list[int]:
    """Call `map` with tasks, some of which note their number in `ordered`; return the notes."""
    notes = Notes()

    def work(i: int) -> int:
        if takes_turn(i):
            with stage.pool.ordered:
                notes.add(i)
        return i

    assert stage.pool.map(work, range(N_TASKS), **options) == list(range(N_TASKS))
    return notes.taken()


@scenario(22, backends=BOTH)
def turns_skipped_by_some(stage: Stage) -> None:
    assert note_in_turn(stage, lambda i: i % 3 > 0) == [i for i in range(N_TASKS) if i % 3]


@scenario(22, backends=BOTH)
def turns_taken_by_no_task_or_by_the_last(stage: Stage) -> None:
    assert note_in_turn(stage, lambda i: False) == []
    assert note_in_turn(stage, lambda i: i == N_TASKS - 1) == [N_TASKS - 1]


@scenario(22, backends=BOTH)
def turns_in_claims_of_several_tasks(stage: Stage) -> None:
    for chunksize in (1, 7, 1000):
        notes = note_in_turn(stage, lambda i: i != 5, chunksize=chunksize)
        assert notes == [i for i in range(N_TASKS) if i != 5]


@scenario(22, backends=BOTH)
def turns_in_generators(stage: Stage) -> None:
    for results_of in (stage.pool.map, stage.pool.imap):
        notes = Notes()

        def work(i: int, notes: Notes = notes) -> None:
            if i % 4:
                with stage.pool.ordered:
                    notes.add(i)

        for _ in results_of(work, (i for i in range(N_TASKS))):
            pass
        assert notes.taken() == [i for i in range(N_TASKS) if i % 4]


@scenario(22, backends=BOTH, raises=WorkerException, reason=RuntimeError, text="a second time")
def turn_taken_twice(stage: Stage) -> None:
    def work(i: int) -> None:
        with stage.pool.ordered:
            pass
        if i == N_TASKS // 2:
            with stage.pool.ordered:
                pass

    stage.pool.map(work, range(N_TASKS))


for moment in ("before", "in", "after"):

    @scenario(
        22,
        name=f"fails_{moment}_its_turn",
        backends=BOTH,
        raises=WorkerException,
        reason=ZeroDivisionError,
        text=f"Task {N_TASKS // 2} in worker",
    )
    def fails_in_turn(stage: Stage, moment=moment) -> None:
        def fail_at(here: str, i: int) -> None:
            if here == moment and i == N_TASKS // 2:
                throw(ZeroDivisionError())

        def work(i: int) -> None:
            fail_at("before", i)
            with stage.pool.ordered:
                fail_at("in", i)
            fail_at("after", i)

        stage.pool.map(work, range(N_TASKS), chunksize=1)


@scenario(22, backends=BOTH)
def stops_before_its_turn_and_in_it(stage: Stage) -> None:
    if stage.n_workers < 5:  # two of the workers stop
        return
    notes = Notes()

    def work(i: int) -> None:
        if i == 10:
            raise StopProcessGroup
        with stage.pool.ordered:
            if i == 20:
                raise StopProcessGroup
            notes.add(i)

    stage.pool.map(work, range(N_TASKS), chunksize=1)
    assert notes.taken() == [i for i in range(N_TASKS) if i not in (10, 20)]


@scenario(23, backends=BOTH)
def critical_is_free_again_after_an_exception(stage: Stage) -> None:
    notes = Notes()

    def work(i: int) -> None:
        try:
            with stage.pool.critical:
                notes.add(i)
                throw(ZeroDivisionError())
        except ZeroDivisionError:
            pass

    stage.pool.map(work, range(N_TASKS))
    assert sorted(notes.taken()) == list(range(N_TASKS))


@scenario(23, backends=BOTH, raises=WorkerException, reason=RuntimeError, text="wait for itself")
def critical_inside_critical(stage: Stage) -> None:
    def work(i: int) -> None:
        with stage.pool.critical, stage.pool.critical:
            pass

    stage.pool.map(work, range(N_TASKS))


@scenario(22, 23, backends=BOTH, raises=WorkerException, reason=RuntimeError, text="ordered first")
def turn_taken_inside_critical(stage: Stage) -> None:
    """A deadlock otherwise: earlier tasks may wait for `critical`, and this one waits for them."""

    def work(i: int) -> None:
        with stage.pool.critical, stage.pool.ordered:
            pass

    stage.pool.map(work, range(N_TASKS))


@scenario(23, backends=BOTH)
def critical_in_the_coordinator(stage: Stage) -> None:
    notes = Notes(2 * N_TASKS)

    def note(i: int) -> int:
        with stage.pool.critical:
            notes.add(i)
        return i

    stage.pool.map(note, range(N_TASKS), reduce=note)
    assert sorted(notes.taken()) == sorted([*range(N_TASKS)] * 2)
    with stage.pool.critical, stage.pool.ordered:
        stage.pool.barrier()


@scenario(23, **{**IN_TASK, "text": "was killed by SIGKILL"}, at_random=True)
def killed_while_the_coordinator_wants_critical(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> None:
            with stage.pool.critical:
                target.pid = os.getpid()
                time.sleep(0.001)

        def reduce(_: None) -> None:
            with stage.pool.critical:
                pass

        while True:
            stage.pool.map(work, range(N_TASKS), reduce=reduce, chunksize=1)


@scenario(23, backends=BOTH, workers=(2, 5))
def critical_in_the_coordinator_while_others_end(stage: Stage) -> None:
    """A worker that has finished is not mistaken for one that died holding the lock."""

    def work(i: int) -> int:
        if i == 0:
            with stage.pool.critical:
                time.sleep(0.5)
        return i

    def reduce(i: int) -> int:
        with stage.pool.critical:
            return i

    n_workers = stage.n_workers
    assert stage.pool.map(work, range(n_workers), reduce=reduce) == list(range(n_workers))


@scenario(23, 24, backends=BOTH, workers=(2, 5), raises=WorkerException, reason=ZeroDivisionError)
def critical_in_the_coordinator_while_another_fails(stage: Stage) -> None:
    """The lock is never released: its holder waits at the barrier for the task that fails."""
    n_workers = stage.n_workers

    def work(i: int) -> None:
        if i < n_workers:
            return  # so that there is something to reduce
        if i == n_workers:
            with stage.pool.critical:
                stage.pool.barrier()
        else:
            time.sleep(0.1)
            throw(ZeroDivisionError())

    def reduce(_: None) -> None:
        time.sleep(0.05)
        with stage.pool.critical:
            pass

    stage.pool.map(work, range(2 * n_workers), reduce=reduce, chunksize=1)


@scenario(23, workers=(1,))
def sections_without_workers(stage: Stage) -> None:
    pool, notes = MapReduce(np=0), Notes()

    def work(i: int) -> None:
        with pool.ordered, pool.critical:
            notes.add(i)
        pool.barrier()

    pool.map(work, range(N_TASKS))
    assert notes.taken() == list(range(N_TASKS))
    for section in (pool.critical, pool.ordered):
        try:
            pool.map(lambda i, section=section: twice(section), range(3))
        except RuntimeError as error:
            assert "pool." in str(error), error
        else:
            raise AssertionError(section)


def twice(section) -> None:
    with section:
        pass
    with section, section:
        pass


@scenario(24, **IN_TASK, workers=(2, 5, 13))
def killed_before_it_reaches_the_barrier(stage: Stage) -> None:
    def work(i: int) -> None:
        if i == stage.victim:
            time.sleep(0.02)
            kill_me()
        stage.pool.barrier()

    stage.pool.map(work, range(stage.n_workers), chunksize=1)


@scenario(
    24,
    backends=BOTH,
    workers=(2, 5, 13),
    raises=WorkerException,
    reason=ZeroDivisionError,
    text=r"Task \d+ in worker",
)
def fails_before_it_reaches_the_barrier(stage: Stage) -> None:
    """The first failure is reported, although the coordinator receives all of them together."""
    n_workers = stage.n_workers
    last = n_workers - 1

    def work(i: int) -> None:
        stage.pool.barrier()
        if i == n_workers + last:
            throw(ZeroDivisionError())
        if i >= n_workers:
            stage.pool.barrier()

    stage.pool.map(work, range(2 * n_workers), reduce=lambda _: time.sleep(0.1), chunksize=1)


@scenario(24, raises=WorkerException, backends=BOTH, workers=(2, 5), text="BrokenBarrierError")
def a_barrier_that_no_other_worker_reaches(stage: Stage) -> None:
    stage.pool.map(lambda i: i or stage.pool.barrier(), range(3 * stage.n_workers))


LATE = {"raises": TimeoutError, "text": r"longer than timeout=1 seconds"}


@scenario(25, **LATE)
def an_infinite_task(stage: Stage) -> None:
    stage.new_pool(timeout=1)
    stage.pool.map(lambda i: time.sleep(3600) if i == stage.victim else i, range(20))


@scenario(25, **LATE, backends=("threads",))
def a_thread_that_takes_too_long(stage: Stage) -> None:
    stage.new_pool(timeout=1)
    stage.pool.map(lambda i: time.sleep(2), range(stage.n_workers))


@scenario(25, **LATE, **COMPILES, workers=(2,))
def an_infinite_kernel(stage: Stage) -> None:
    spin = compiled_spin()

    stage.new_pool(timeout=1)
    stage.pool.map(lambda i: spin(10**15), range(stage.n_workers))


@scenario(25, **LATE, workers=(2, 5))
def infinite_sections(stage: Stage) -> None:
    stage.new_pool(timeout=1)

    def work(i: int) -> None:
        with stage.pool.ordered, stage.pool.critical:
            time.sleep(3600)

    stage.pool.map(work, range(20))


@scenario(25, **LATE)
def an_infinite_task_of_imap(stage: Stage) -> None:
    stage.new_pool(timeout=1)
    for result in stage.pool.imap(lambda i: time.sleep(3600 * (i == 10)), itertools.count()):
        assert result is None


@scenario(25, raises=TimeoutError, text=r"background\(sleep\) is still running", workers=(1,))
def an_infinite_background_call(stage: Stage) -> None:
    call = sharedmem.background(time.sleep, 3600)
    try:
        call.wait(0.1)
    finally:
        assert call.cancel()


@scenario(20, backends=BOTH, workers=(1, 2, 5))
def map_inside_a_task(stage: Stage) -> None:
    inner_pools = [MapReduce(np=2), MapReduce(ThreadBackend, np=2), MapReduce(np=0), stage.pool]

    def work(i: int) -> list[int]:
        with stage.pool.ordered:
            return inner_pools[i % 4].map(lambda j: 10 * i + j, range(3))

    assert stage.pool.map(work, range(8)) == [[10 * i + j for j in range(3)] for i in range(8)]


@scenario(20, backends=BOTH, workers=(1, 2, 5), limit=120)
def array_calls_inside_a_task(stage: Stage) -> None:
    shared = sharedmem.ones((4, 1 << 18))
    private = np.ones(1 << 18)
    # Starts threads of the caller, which workers do not have.
    assert sharedmem.sum(shared) == shared.size

    def work(i: int) -> float:
        sharedmem.apply_ufunc(np.add, shared[i], i, out=shared[i])
        sharedmem.map_chunks(halve, shared[i], chunks=sharedmem.chunks(shared[i], n=3))
        with MapReduce(np=2) as pool:
            pool.map_chunks(halve, shared[i], chunks=sharedmem.chunks(shared[i], n=3))
        return sharedmem.sum(private) + sharedmem.mean(shared[i])

    results = stage.pool.map(work, range(4))
    assert results == [(1 << 18) + (1 + i) / 4 for i in range(4)]


def halve(x: np.ndarray) -> None:
    x /= 2


@scenario(20, backends=BOTH, workers=(1, 2, 5))
def background_inside_a_task_and_a_pool_inside_background(stage: Stage) -> None:
    def work(i: int) -> object:
        return sharedmem.background(lambda: stage.pool.map(abs, [-i, i])).wait()

    assert stage.pool.map(work, range(5)) == [[i, i] for i in range(5)]
    call = sharedmem.background(lambda: stage.pool.map(abs, range(5)), backend=stage.backend)
    assert call.wait() == list(range(5))


@scenario(20, raises=WorkerException, reason=WorkerException, text="SIGKILL", workers=(1, 5))
def killed_in_a_pool_inside_a_task(stage: Stage) -> None:
    stage.pool.map(lambda i: MapReduce(np=2).map(lambda j: kill_me(), range(2)), range(5))


@scenario(20, **IN_TASK, at_random=True, workers=(1, 5))
def killed_with_a_pool_of_its_own(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> None:
            if i == stage.victim:
                target.pid = os.getpid()
            MapReduce(np=2).map(time.sleep, [60, 60])

        stage.pool.map(work, range(stage.n_workers))
