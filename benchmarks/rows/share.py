"""Rows of objects that workers are given, by time and by memory, and of many small arrays."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import FORK, JOBLIB, PANDAS, RAY, SCIPY, is_there, negative, present
from harness.timing import (
    GIB,
    MIB,
    NUMPY,
    OLD,
    OURS,
    POOL,
    REFERENCE,
    Call,
    Measured,
    Row,
    SetUp,
    family,
    in_bytes,
    memory,
    per_item,
)

WORKERS = 2
# Makes an object of so many bytes; reads all of its memory, and returns a number.
Make = Callable[[int], Any]
Read = Callable[[Any], float]
WATCH_SECONDS = 0.05
HOLD_SECONDS = 0.3

# Objects, of integers whose sums are exact.

NONZERO_PER_ROW = 100


def matrix(n_bytes: int) -> Any:
    import scipy.sparse

    n_rows = n_bytes // (12 * NONZERO_PER_ROW)
    n = n_rows * NONZERO_PER_ROW
    ends = np.arange(0, n + 1, NONZERO_PER_ROW, dtype="i4")
    columns = np.tile(np.arange(0, 10 * NONZERO_PER_ROW, 10, dtype="i4"), n_rows)
    shape = (n_rows, 10 * NONZERO_PER_ROW)
    return scipy.sparse.csr_matrix((np.ones(n), columns, ends), shape=shape)


def read_matrix(a: Any) -> float:
    return float(a.data.sum() + a.indices.sum() + a.indptr[-1])


N_COLUMNS = 10


def frame(n_bytes: int) -> Any:
    """Return numbers, short strings, and categories."""
    import pandas as pd

    n = n_bytes // (8 * N_COLUMNS)
    columns: dict[str, Any] = {f"x{k}": np.arange(n) % (k + 100.0) for k in range(N_COLUMNS - 2)}
    columns["name"] = np.char.add("name ", (np.arange(n) % 1000).astype("U3"))
    columns["kind"] = pd.Categorical.from_codes(np.arange(n) % 3, ["a", "b", "c"])
    return pd.DataFrame(columns)


def read_frame(frame: Any) -> float:
    total = sum(float(frame[f"x{k}"].sum()) for k in range(N_COLUMNS - 2))
    return total + int((frame["name"] == "name 7").sum()) + int((frame["kind"] == "b").sum())


def ragged(n: int) -> list[np.ndarray]:
    """Return `n` arrays of 1 to 127 numbers."""
    return [np.full(1 + k * 37 % 127, float(k % 100)) for k in range(n)]


def read_ragged(arrays: Any) -> float:
    return float(sum(a[-1] for a in arrays))


def records(n: int) -> list[dict[str, Any]]:
    """Return the records of a data set of pictures."""
    return [
        {"path": f"pictures/{k % 100:02}/{k:08}.jpg", "label": k % 1000, "box": (k, 2, k + 3, 4)}
        for k in range(n)
    ]


def read_records(records: Any) -> float:
    return float(sum(record["label"] + record["box"][1] for record in records))


# 0.3.8 has neither of these functions, and reads the rows.


def share(given: Any) -> Any:
    return sharedmem.share(given)


def share_items(given: Any) -> Any:
    return sharedmem.SharedList(given)


# How workers are given an object. They are started before it is made, and stay; those of the
# reference are forked at the call, and inherit it.

Giver = Callable[[Make, Read], SetUp]


@functools.cache
def our_workers() -> sharedmem.MapReduce:
    pool = sharedmem.MapReduce(np=WORKERS, persistent=True)
    atexit.register(pool.__exit__, None, None, None)
    return pool.__enter__()


@functools.cache
def pool_of_workers() -> Any:
    pool = FORK.Pool(WORKERS)
    atexit.register(pool.terminate)
    return pool


@functools.cache
def ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    atexit.register(ray.shutdown)
    return ray


def by_sharing(share: Callable[[Any], Any], make: Make, read: Read) -> SetUp:
    def set_up(size: int) -> Call:
        our_workers().map(negative, range(WORKERS))
        given = make(size)
        return lambda: our_workers().map(read, [share(given)] * WORKERS)

    return set_up


def by_pickling(make: Make, read: Read) -> SetUp:
    def set_up(size: int) -> Call:
        pool_of_workers()
        given = make(size)
        return lambda: pool_of_workers().map(read, [given] * WORKERS, 1)

    return set_up


def by_memmap(make: Make, read: Read) -> SetUp:
    def set_up(size: int) -> Call:
        import joblib

        task = joblib.delayed(read)
        joblib.Parallel(n_jobs=WORKERS)(joblib.delayed(negative)(k) for k in range(WORKERS))
        given = make(size)
        return lambda: joblib.Parallel(n_jobs=WORKERS)(task(given) for _ in range(WORKERS))

    return set_up


def by_ray(make: Make, read: Read) -> SetUp:
    def set_up(size: int) -> Call:
        # A lambda, since Ray takes no partial functions.
        task, warm_up = ray().remote(lambda given: read(given)), ray().remote(negative)
        ray().get([warm_up.remote(k) for k in range(WORKERS)])
        given = make(size)

        def call() -> Any:
            reference = ray().put(given)
            return ray().get([task.remote(reference) for _ in range(WORKERS)])

        return call

    return set_up


def by_fork(make: Make, read: Read) -> SetUp:
    def set_up(size: int) -> Call:
        given = make(size)

        def call() -> Any:
            with sharedmem.MapReduce(np=WORKERS) as pool:
                return pool.map(lambda _: read(given), range(WORKERS))

        return call

    return set_up


def all_givers(share: Callable[[Any], Any]) -> dict[str, Giver]:
    return {
        OURS: functools.partial(by_sharing, share),
        JOBLIB: by_memmap, RAY: by_ray, POOL: by_pickling, REFERENCE: by_fork,
    }  # fmt: skip


# An object that workers were given before.


def our_next_call(make: Make, read: Read) -> SetUp:
    def set_up(size: int) -> Call:
        shared = sharedmem.share(make(size))
        return lambda: our_workers().map(read, [shared] * WORKERS)

    return set_up


def next_call_of_joblib(make: Make, read: Read) -> SetUp:
    """Map a file that was written before, as its manual advises."""

    def set_up(size: int) -> Call:
        import joblib

        folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        atexit.register(folder.cleanup)
        path = Path(folder.name) / "object"
        joblib.dump(make(size), path)
        mapped, task = joblib.load(path, mmap_mode="r"), joblib.delayed(read)
        return lambda: joblib.Parallel(n_jobs=WORKERS)(task(mapped) for _ in range(WORKERS))

    return set_up


def next_call_of_ray(make: Make, read: Read) -> SetUp:
    def set_up(size: int) -> Call:
        task, reference = ray().remote(read), ray().put(make(size))
        return lambda: ray().get([task.remote(reference) for _ in range(WORKERS)])

    return set_up


def number_of_rows(a: Any) -> float:
    """Read little: the row measures the call."""
    return float(a.shape[0])


# Memory.


def in_use() -> int:
    """Return the memory of this process and its descendants; shared pages count once."""
    return sum(map(memory, family(os.getpid())))


def read_and_hold(read: Read, given: Any) -> float:
    """Keep an object after it was read until all workers have it."""
    value = read(given)
    time.sleep(HOLD_SECONDS)
    return value


def peak_growth(make: Make, giver: Giver, read: Read) -> SetUp:
    """Measure by how much all processes grow above the object itself.

    The memory before the first call counts, since some stores keep what they have.
    """

    def set_up_measured(size: int) -> Call:
        before = 0

        def make_and_measure(size: int) -> Any:
            nonlocal before
            made = make(size)
            before = in_use()
            return made

        call = giver(make_and_measure, read)(size)

        def measured() -> Measured:
            peak, done = before, threading.Event()

            def watch() -> None:
                nonlocal peak
                while not done.wait(WATCH_SECONDS):
                    peak = max(peak, in_use())

            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                result = call()
            finally:
                done.set()
                watcher.join()
            return Measured(peak - before, result)

        return measured

    return set_up_measured


def both(
    name: str, title: str, size: int, small: int, make: Make, read: Read,
    givers: Mapping[str, Giver], target: str,
) -> dict[str, Row]:  # fmt: skip
    """Return a row of the time and one of the memory."""
    timed = {which: giver(make, read) for which, giver in givers.items()}
    hold = functools.partial(read_and_hold, read)
    weighed = {which: peak_growth(make, giver, hold) for which, giver in givers.items()}
    title = f"{title} to {WORKERS} workers (reference: inherited by a fork)"
    return {
        name: Row(title, size, small, present(timed), target, needs=4 * GIB),
        f"{name}-memory": Row(
            f"{title}: memory", size, small, present(weighed), "one copy", in_bytes, needs=4 * GIB
        ),
    }


# Small arrays.


def many(make: Callable[..., Any]) -> SetUp:
    """Time arrays of 100 bytes, without their end."""

    def set_up(n: int) -> Call:
        def call() -> Measured:
            start = time.perf_counter()
            arrays = [make(100, "u1") for _ in range(n)]
            seconds = time.perf_counter() - start
            assert len(arrays) == n
            return Measured(seconds)

        return call

    return set_up


# Of 0.3.8, each takes a mapping, of which there are 65,530.
MOST_OLD = 60_000
EMPTY, ZEROS = many(sharedmem.empty), many(sharedmem.zeros)
SMALL_EMPTY = {OURS: EMPTY, NUMPY: many(np.empty)}
ROWS = {
    **both(
        "ragged", "a list of 200,000 arrays of 64 numbers", 200_000, 100, ragged, read_ragged,
        all_givers(share), "no slower than the others",
    ),
    **both(
        "records", "a list of 200,000 dicts", 200_000, 100, records, read_records,
        all_givers(share_items), "no slower than the others",
    ),
    "small-empty": Row(
        "one of 200,000 empty arrays of 100 bytes", 200_000, 100, SMALL_EMPTY, "1.3 x NumPy",
        per_item, warms_up=True,
    ),
    "small-zeros": Row(
        "one of 200,000 arrays of 100 zeros", 200_000, 100, {OURS: ZEROS, NUMPY: many(np.zeros)},
        "1.3 x NumPy", per_item, warms_up=True,
    ),
    "small-old": Row(
        "one of 60,000 empty arrays of 100 bytes", MOST_OLD, 100, {**SMALL_EMPTY, OLD: EMPTY},
        "faster than 0.3.8", per_item, warms_up=True,
    ),
}  # fmt: skip
if is_there(SCIPY):
    ROWS |= both(
        "csr", "a csr matrix of {size}", 512 * MIB, MIB, matrix, read_matrix,
        all_givers(share), "no slower than the others",
    ) | {
        "csr-again": Row(
            "a call on a csr matrix of {size} that 2 workers have", 512 * MIB, MIB,
            present({
                OURS: our_next_call(matrix, number_of_rows),
                JOBLIB: next_call_of_joblib(matrix, number_of_rows),
                RAY: next_call_of_ray(matrix, number_of_rows),
            }),
            "no slower than the others", needs=4 * GIB,
        ),
    }  # fmt: skip
if is_there(PANDAS):
    ROWS |= both(
        "frame",
        "a DataFrame of {size}",
        256 * MIB,
        MIB,
        frame,
        read_frame,
        all_givers(share),
        "no slower than the others",
    )
