"""Rows of ordered sections, critical sections, and barriers."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import FORK, PYMP, present
from harness.timing import OLD, OURS, POOL, Call, Measured, Row, SetUp

N_BARRIERS = 10


def turns(workers: int, seconds: float = 0) -> SetUp:
    def set_up(n: int) -> Call:
        def call() -> list[int]:
            with sharedmem.MapReduce(np=workers) as pool:

                def work(i: int) -> int:
                    with pool.ordered:
                        if seconds:
                            time.sleep(seconds)
                    return i

                return pool.map(work, range(n))

        return call

    return set_up


def processor_time(set_up: SetUp) -> SetUp:
    def set_up_measured(size: int) -> Call:
        call = set_up(size)

        def measured() -> Measured:
            before = os.times()
            result = call()
            return Measured(sum(os.times()[:4]) - sum(before[:4]), result)

        return measured

    return set_up_measured


def enter(section: Any, n: int, counter: np.ndarray) -> None:
    for _ in range(n):
        with section:
            counter[0] += 1


def critical_sections(n: int) -> Call:
    counter = np.asarray(sharedmem.full(1, 0.0))

    def call() -> np.ndarray:
        counter[0] = 0
        with sharedmem.MapReduce(np=2) as pool:
            pool.map(lambda _: enter(pool.critical, n // 2, counter), range(2))
        return counter

    return call


state: Any = None


def initialize(*arguments: Any) -> None:
    global state
    state = arguments


def enter_lock(n: int) -> None:
    enter(state[0], n, np.frombuffer(state[1]))


def critical_sections_by_pool(n: int) -> Call:
    lock, memory = FORK.Lock(), FORK.RawArray("d", 1)

    def call() -> np.ndarray:
        memory[0] = 0
        with FORK.Pool(2, initialize, (lock, memory)) as pool:
            pool.map(enter_lock, [n // 2] * 2, chunksize=1)
        return np.frombuffer(memory)

    return call


def critical_sections_by_pymp(n: int) -> Call:
    import pymp

    counter = pymp.shared.array(1)

    def call() -> np.ndarray:
        counter[0] = 0
        with pymp.Parallel(2) as team:
            enter(team.lock, n // 2, counter)
        return np.asarray(counter)

    return call


def barriers(workers: int) -> Call:
    def call() -> list[int]:
        with sharedmem.MapReduce(np=workers) as pool:

            def work(i: int) -> int:
                pool.barrier()
                return i

            return pool.map(work, range(workers * N_BARRIERS), chunksize=1)

    return call


def pass_barrier(i: int) -> int:
    state[0].wait()
    return i


def barriers_by_pool(workers: int) -> Call:
    def call() -> list[int]:
        with FORK.Pool(workers, initialize, (FORK.Barrier(workers),)) as pool:
            return pool.map(pass_barrier, range(workers * N_BARRIERS), chunksize=1)

    return call


ROWS = {
    "ordered-2": Row(
        "2,000 ordered turns, 2 workers", 2000, 100, {OURS: turns(2), OLD: turns(2)},
        "5 x faster than 0.3.8",
    ),
    "ordered-32": Row(
        "2,000 ordered turns, 32 workers", 2000, 100, {OURS: turns(32), OLD: turns(32)},
        "5 x faster than 0.3.8",
    ),
    "ordered-cpu": Row(
        "CPU time of 200 ordered turns of 2 ms, 32 workers", 200, 40,
        {OURS: processor_time(turns(32, 2e-3)), OLD: processor_time(turns(32, 2e-3))},
        "no spinning",
    ),
    "critical": Row(
        "100,000 critical sections (Pool: a bare lock)", 100_000, 100,
        present({OURS: critical_sections, POOL: critical_sections_by_pool, OLD: critical_sections,
                 PYMP: critical_sections_by_pymp}),
        "within 1.5 x of a bare lock",
    ),
    "barrier": Row(
        "10 barriers of 64 workers", 64, 2, {OURS: barriers, POOL: barriers_by_pool},
        "no slower than Pool",
    ),
}  # fmt: skip
