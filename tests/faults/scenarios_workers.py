"""Workers that are killed, crash, exit, run out of memory or stack, or misbehave."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import mmap
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import sharedmem
from scenario import (
    BOTH,
    COMPILES,
    DIES,
    IN_TASK,
    KILLED,
    Stage,
    compiled_spin,
    kill_me,
    scenario,
    throw,
)
from sharedmem import StopProcessGroup, WorkerException

AT_RANDOM = {**KILLED, "at_random": True}


@scenario(1, **{**DIES, "text": "was killed by SIGKILL before its first task"})
def killed_before_its_first_task(stage: Stage) -> None:
    fork, ranks = os.fork, iter(range(stage.n_workers))

    def fork_and_kill() -> int:
        rank, pid = next(ranks), fork()
        if pid == 0 and rank == stage.victim:
            kill_me()
        return pid

    os.fork = fork_and_kill
    try:
        stage.pool.map(abs, range(stage.n_workers))
    finally:
        os.fork = fork


@scenario(1, **{**DIES, "text": "was killed by SIGKILL before its first task"})
def killed_in_the_initializer(stage: Stage) -> None:
    stage.new_pool(initializer=lambda: stage.pool.local.rank == stage.victim and kill_me())
    try:
        stage.pool.map(abs, range(stage.n_workers))
    finally:
        stage.new_pool()


@scenario(1, **IN_TASK, at_random=True)
def killed_in_a_python_task(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> None:
            if i == stage.victim:
                target.pid = os.getpid()
            while True:
                sum(range(100))

        stage.pool.map(work, range(stage.n_workers))


@scenario(1, **IN_TASK, **COMPILES, at_random=True, workers=(1, 5))
def killed_in_a_kernel_that_releases_the_gil(stage: Stage) -> None:
    spin = compiled_spin(nogil=True)

    with stage.striker() as target:

        def work(i: int) -> int:
            if i == stage.victim:
                target.pid = os.getpid()
            return spin(10**15)

        stage.pool.map(work, range(stage.n_workers))


@scenario(1, **IN_TASK, at_random=True)
def killed_inside_critical(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> None:
            while True:
                with stage.pool.critical:
                    target.pid = os.getpid()
                    time.sleep(0.001)

        stage.pool.map(work, range(stage.n_workers))


@scenario(1, **IN_TASK, at_random=True, workers=(2, 5, 13))
def killed_while_it_waits_for_its_turn(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> None:
            if i == 0:
                time.sleep(60)
            elif i == 1:
                target.pid = os.getpid()
            with stage.pool.ordered:
                pass

        stage.pool.map(work, range(stage.n_workers))


@scenario(1, **IN_TASK, at_random=True)
def killed_in_its_turn(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> None:
            with stage.pool.ordered:
                if i == stage.victim:
                    target.pid = os.getpid()
                    time.sleep(60)

        stage.pool.map(work, range(stage.n_workers))


@scenario(1, **AT_RANDOM)
def killed_while_turns_are_passed_on(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> int:
            if i == stage.victim:
                target.pid = os.getpid()
            with stage.pool.ordered, stage.pool.critical:
                return i

        assert stage.pool.map(work, range(2000)) == list(range(2000))


@scenario(1, **AT_RANDOM)
def killed_half_way_through_a_large_result(stage: Stage) -> None:
    content = np.arange(8 << 20)
    with stage.striker(within=0.1) as target:

        def work(i: int) -> object:
            if i != stage.victim:
                return i
            target.pid = os.getpid()
            return content

        results = stage.pool.map(work, range(stage.n_workers))
        assert np.array_equal(results[stage.victim], content)


@scenario(1, **AT_RANDOM)
def killed_while_it_sends_many_results(stage: Stage) -> None:
    with stage.striker(within=0.05) as target:

        def work(i: int) -> object:
            if i == stage.victim:
                target.pid = os.getpid()
            return str(i) * 1000 if i % 3 else sharedmem.full(5, i)

        results = stage.pool.map(work, range(200))
        assert [int(results[i][0]) for i in range(0, 200, 3)] == list(range(0, 200, 3))


@scenario(1, **{**DIES, "text": r"was killed by SIGKILL after its last task, \d+"})
def killed_at_its_exit(stage: Stage) -> None:
    class Fatal:
        def flush(self) -> None:
            kill_me()

    def work(i: int) -> int:
        if i == stage.victim:
            sys.stdout = Fatal()
        return i

    stage.pool.map(work, range(stage.n_workers))


@scenario(1, **AT_RANDOM)
def killed_while_it_receives_items(stage: Stage) -> None:
    with stage.striker(within=0.05) as target:

        def work(i: int) -> int:
            if i == stage.victim:
                target.pid = os.getpid()
            return -i

        results = list(stage.pool.imap(work, range(5000)))
        assert results == [-i for i in range(5000)]


def read_beyond_the_end_of_a_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * mmap.PAGESIZE)
        content = mmap.mmap(file.fileno(), 0)
        file.truncate(0)
        content[mmap.PAGESIZE]


CRASHES = {
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGABRT": os.abort,
    "SIGBUS": read_beyond_the_end_of_a_file,
    "SIGFPE": lambda: kill_me(signal.SIGFPE),
}
for signal_name, crash in CRASHES.items():

    @scenario(
        2,
        name=f"crashes_with_{signal_name}",
        **{**DIES, "text": f"was killed by {signal_name} while it ran task"},
        workers=(2, 5),
    )
    def crashes(stage: Stage, crash=crash) -> None:
        faulthandler.disable()
        stage.pool.map(lambda i: i == stage.victim and crash(), range(3 * stage.n_workers))


@scenario(2, **{**DIES, "text": "was killed by SIGTERM while it ran task"}, at_random=True)
def terminated_from_outside(stage: Stage) -> None:
    with stage.striker(signal.SIGTERM) as target:

        def work(i: int) -> None:
            if i == stage.victim:
                target.pid = os.getpid()
            time.sleep(60)

        stage.pool.map(work, range(stage.n_workers))


@scenario(2, raises=TimeoutError, text=r"longer than timeout=1 seconds")
def stopped_under_a_time_limit(stage: Stage) -> None:
    done = sharedmem.zeros(stage.n_workers, bool)
    stage.new_pool(timeout=1)

    def work(i: int) -> None:
        if i == stage.victim:
            os.kill(os.getpid(), signal.SIGSTOP)
        done[i] = True

    try:
        stage.pool.map(work, range(stage.n_workers))
    finally:
        assert done.sum() == stage.n_workers - 1  # The others have finished.


@scenario(2)
def stopped_for_a_while(stage: Stage) -> None:
    # Several, since the first may arrive before the worker has stopped.
    with stage.striker(*[signal.SIGCONT] * 20) as target:

        def work(i: int) -> int:
            if i == stage.victim:
                target.pid = os.getpid()
                os.kill(os.getpid(), signal.SIGSTOP)
            return i

        assert stage.pool.map(work, range(20)) == list(range(20))


for status in (0, 3):

    @scenario(
        3,
        name=f"exits_immediately_with_{status}",
        **{**DIES, "text": f"exited with status {status} while it ran task"},
    )
    def exits_immediately(stage: Stage, status=status) -> None:
        stage.pool.map(lambda i: i == stage.victim and os._exit(status), range(stage.n_workers))


ENDS = {
    "sys_exit": (SystemExit, sys.exit),
    "sys_exit_with_text": (SystemExit, lambda: sys.exit("the text")),
    "system_exit": (SystemExit, lambda: throw(SystemExit())),
    "keyboard_interrupt": (KeyboardInterrupt, lambda: throw(KeyboardInterrupt())),
    "generator_exit": (GeneratorExit, lambda: throw(GeneratorExit())),
}
for exception_name, (kind, leave) in ENDS.items():

    @scenario(
        3,
        name=f"raises_{exception_name}",
        raises=WorkerException,
        reason=kind,
        text=r"Task \d+ in worker \d+",
        backends=BOTH,
        workers=(1, 5),
    )
    def leaves(stage: Stage, leave=leave) -> None:
        stage.pool.map(lambda i: i == stage.victim and leave(), range(3 * stage.n_workers))


@scenario(3, backends=BOTH)
def stops_its_process_group(stage: Stage) -> None:
    def work(i: int) -> int:
        if i == stage.victim:
            raise StopProcessGroup
        return i

    results = stage.pool.map(work, range(50), chunksize=1)
    others = [i for i in range(50) if i != stage.victim]
    assert results == ([] if stage.n_workers == 1 else others)


@scenario(4, raises=WorkerException, reason=MemoryError, text=r"Task \d+ in worker", workers=(1, 5))
def memory_exhausted(stage: Stage) -> None:
    def work(i: int) -> object:
        if i != stage.victim:
            return i
        used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
        return bytearray(1 << 30)

    stage.pool.map(work, range(stage.n_workers))


@scenario(5, raises=WorkerException, reason=RecursionError, backends=BOTH, workers=(1, 5))
def infinite_recursion(stage: Stage) -> None:
    def deeper(i: int) -> int:
        return deeper(i) + 1

    stage.pool.map(deeper, range(stage.n_workers))


@scenario(5, **{**DIES, "text": "was killed by SIGSEGV while it ran task"}, workers=(2, 5))
def stack_overflow(stage: Stage) -> None:
    faulthandler.disable()
    stage.pool.map(
        lambda i: i == stage.victim and faulthandler._stack_overflow(), range(stage.n_workers)
    )


@scenario(6, **KILLED)
def all_killed_together(stage: Stage) -> None:
    pids = sharedmem.zeros(stage.n_workers, np.int64)

    def work(i: int) -> None:
        pids[i] = os.getpid()
        while not pids.all():
            time.sleep(0.0005)
        if i == stage.victim:
            me = os.getpid()
            for pid in [*pids[pids != me].tolist(), me]:
                os.kill(pid, signal.SIGKILL)
        time.sleep(60)

    stage.pool.map(work, range(stage.n_workers))


@scenario(6, at_random=True)
def killed_one_after_the_other(stage: Stage) -> None:
    current = sharedmem.zeros(stage.n_workers, np.int64)
    is_over = threading.Event()

    def strike() -> None:
        while not is_over.wait(0.05):
            pid = int(current[stage.victim])
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)

    def work(i: int) -> int:
        current[stage.pool.local.rank] = os.getpid()
        return -i

    killer = threading.Thread(target=strike)
    killer.start()
    try:
        for _ in range(6):
            try:
                results = stage.pool.map(work, range(10_000))
            except WorkerException as error:
                assert "was killed by SIGKILL" in str(error), error
            else:
                assert results == [-i for i in range(10_000)]
    finally:
        is_over.set()
        killer.join()


@scenario(7)
def a_thread_outlives_its_task(stage: Stage) -> None:
    def work(i: int) -> int:
        threading.Thread(target=time.sleep, args=(60,)).start()
        return i

    assert stage.pool.map(work, range(20)) == list(range(20))


@scenario(7)
def a_grandchild_outlives_its_task(stage: Stage) -> None:
    def work(i: int) -> int:
        if os.fork() == 0:
            time.sleep(0.3)
            os._exit(0)
        return i

    assert stage.pool.map(work, range(5)) == list(range(5))


@scenario(7, **IN_TASK)
def killed_while_a_grandchild_lives(stage: Stage) -> None:
    def work(i: int) -> None:
        if os.fork() == 0:
            time.sleep(0.3)
            os._exit(0)
        kill_me()

    stage.pool.map(work, range(stage.n_workers))


@scenario(8, **{**DIES, "text": "exited with status 1"}, prints=".*OSError.*")
def closes_all_its_descriptors(stage: Stage) -> None:
    stage.pool.map(lambda i: os.closerange(3, 1000), range(stage.n_workers))


@scenario(8)
def closes_its_standard_streams(stage: Stage) -> None:
    def work(i: int) -> int:
        os.closerange(0, 3)
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            stream.close()
        return i

    assert stage.pool.map(work, range(20)) == list(range(20))


@scenario(8, raises=TimeoutError)
def fills_the_pipe_behind_stderr(stage: Stage) -> None:
    reads, writes = os.pipe()
    stage.new_pool(timeout=1)

    def work(i: int) -> None:
        os.dup2(writes, 2)
        sys.stderr.write("x" * 1_000_000)

    try:
        stage.pool.map(work, range(stage.n_workers))
    finally:
        os.close(reads)
        os.close(writes)


@scenario(8)
def the_pipe_behind_stdout_is_full(stage: Stage) -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, bytes(1 << 16))

    def work(i: int) -> None:
        os.dup2(writes, 1)
        sys.stdout.write("x" * 1000)  # cannot be written when the worker ends

    try:
        stage.pool.map(work, range(stage.n_workers))
    finally:
        os.close(reads)
        os.close(writes)
