"""Array calls: failing workers and kernels, full disks, unusual layouts, and a thousand calls."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sharedmem
from leftovers import children, segments
from scenario import (
    BOTH,
    COMPILES,
    DIES,
    IN_TASK,
    NotPossibleError,
    Stage,
    kill_me,
    scenario,
    throw,
)
from sharedmem import WorkerException


@scenario(1, **{**DIES, "text": r"was killed by SIGKILL while it ran task \d+ \(item: \(slice\("})
def killed_in_an_array_call(stage: Stage) -> None:
    a = sharedmem.ones(13)

    def kernel(x: np.ndarray) -> None:
        if x.base is not None and stage.pool.local.rank == stage.victim:
            kill_me()

    grid = sharedmem.chunks(a, n=13)
    try:
        stage.pool.map_chunks(kernel, a, chunks=grid)
    finally:
        assert stage.pool.map_chunks(lambda x: np.negative(x, x), a, chunks=grid).sum() == -13


@scenario(1, backends=BOTH)
def no_workers_remain_between_array_calls(stage: Stage) -> None:
    """An idle worker could be killed, or keep freed memory mapped."""
    before = segments()
    for make in (sharedmem.ones, np.ones):
        a = make(100_000)
        stage.pool.apply_ufunc(np.negative, a)
        if make is sharedmem.ones or not stage.backend.uses_processes:
            stage.pool.map_chunks(lambda x: np.negative(x, x), a, chunks=sharedmem.chunks(a, n=20))
        assert not children()
    del a
    assert segments() == before


@scenario(
    1, **{**DIES, "text": r"was killed by SIGKILL while it (waited for tasks after|ran) task"}
)
def killed_while_it_waits_for_items(stage: Stage) -> None:
    with stage.striker() as target:

        def work(i: int) -> int:
            if stage.pool.local.rank == stage.victim:
                target.pid = os.getpid()
            return i

        results = stage.pool.imap(work, itertools.count(), chunksize=1)
        while not target.pid:
            next(results)
        time.sleep(0.05)
        for _ in results:
            pass


@scenario(27, raises=WorkerException, reason=ZeroDivisionError, text=r"Task \d+ in", **COMPILES)
def a_kernel_raises(stage: Stage) -> None:
    import numba

    @numba.njit
    def divide(x: np.ndarray, y: np.ndarray) -> None:
        for i in range(x.size):
            x[i] = 1 // y[i]

    a, b = sharedmem.ones(100, int), sharedmem.ones(100, int)
    b[50] = 0
    stage.pool.map_chunks(divide, a, b, chunks=sharedmem.chunks(a, n=10))


@scenario(27, raises=WorkerException, reason=IndexError, text=r"Task \d+ in", **COMPILES)
def a_kernel_exceeds_its_bounds(stage: Stage) -> None:
    import numba

    @numba.njit(boundscheck=True)
    def write(x: np.ndarray) -> None:
        x[x.size] = 1

    a = sharedmem.ones(100)
    stage.pool.map_chunks(write, a, chunks=sharedmem.chunks(a, n=10))


@scenario(27, backends=("threads",), raises=IndexError, workers=(2,), **COMPILES)
def a_kernel_in_threads_exceeds_its_bounds(stage: Stage) -> None:
    import numba

    @numba.njit(boundscheck=True, nogil=True)
    def write(x: np.ndarray) -> None:
        x[x.size] = 1

    a = np.ones(100)
    stage.pool.map_chunks(write, a, chunks=sharedmem.chunks(a, n=10))


@scenario(14, raises=KeyboardInterrupt, backends=BOTH, workers=(1, 5), **COMPILES)
def interrupted_in_threads_of_the_caller(stage: Stage) -> None:
    """Threads finish their chunks; then one KeyboardInterrupt is raised."""
    a = np.ones(100)
    pid = os.getpid()

    class Slow:
        nin, nout, signature, __name__ = 1, 1, None, "slow"

        def __call__(self, x: np.ndarray, **options: object) -> np.ndarray:
            if x.size > 1:
                os.kill(pid, signal.SIGINT)
                time.sleep(0.05)
            return np.negative(x, **options)

    while True:
        stage.pool.apply_ufunc(Slow(), np.broadcast_to(a, (10_000, 100)))


@contextlib.contextmanager
def small_disk(n_bytes: int) -> Iterator[Path]:
    """Mount a file system of `n_bytes` bytes, and unmount it after the block."""
    with tempfile.TemporaryDirectory() as folder:
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "none", folder]
        if subprocess.run(mounting, capture_output=True).returncode:
            raise NotPossibleError("no disk can be mounted")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


FULL = {"raises": OSError, "text": "No space left", "notes": r"out, of shape .* needs \d+ bytes"}


@scenario(30, **FULL, backends=BOTH, workers=(2,), **COMPILES)
def a_full_disk_under_out(stage: Stage) -> None:
    """The call is refused before any work, and the file is unchanged."""
    with small_disk(1 << 20) as folder:
        out = np.memmap(folder / "out", "f8", "w+", shape=(1 << 18,))
        out[:1000] = 5
        done = sharedmem.zeros(8, bool)

        def kernel(x: np.ndarray, y: np.ndarray) -> None:
            done[:] = True
            y[:] = x

        a = sharedmem.ones(1 << 18)
        calls = [
            lambda: stage.pool.apply_ufunc(np.negative, a, out=out),
            lambda: sharedmem.evaluate("a + 1", a=a, out=out),
            lambda: sharedmem.cumsum(a, out=out),
            lambda: sharedmem.nancumsum(a, out=out),
            lambda: sharedmem.sort(a, out=out),
            lambda: sharedmem.clip(a, 0, 1, out=out),
            lambda: sharedmem.take(a, np.arange(1 << 18), out=out),
            lambda: sharedmem.compress(a, a, out=out),
            lambda: sharedmem.sum(a.reshape(-1, 1), axis=1, out=out),
            lambda: sharedmem.dot(a.reshape(-1, 1), np.ones(1), out=out),
            lambda: sharedmem.random.uniform(out=out),
            lambda: stage.pool.map_chunks(kernel, a, out=out, chunks=sharedmem.chunks(a, n=4)),
        ]
        try:
            for call in calls[:-1]:
                with contextlib.suppress(OSError):
                    call()
                    raise AssertionError("written to a full disk")
            calls[-1]()
        finally:
            assert not done.any()
            assert (out[:1000] == 5).all()
            small = out[:2000]
            assert stage.pool.apply_ufunc(np.negative, a[:2000], out=small).sum() == -2000


@scenario(30, **{**DIES, "text": "was killed by SIGBUS while it ran task 3 "}, workers=(2,))
def a_file_cut_short_under_out(stage: Stage) -> None:
    with tempfile.NamedTemporaryFile() as file:
        out = np.memmap(file.name, "f8", "w+", shape=(4, 4096))

        def kernel(x: np.ndarray, y: np.ndarray) -> None:
            if x[0, 0] == 3:
                while not (out[:3] == [[0], [1], [2]]).all():
                    time.sleep(0.001)
                os.truncate(file.name, 3 * out[0].nbytes)
            y[:] = x

        a = sharedmem.copy(np.repeat(np.arange(4.0), 4096).reshape(4, 4096))
        import faulthandler

        faulthandler.disable()
        try:
            stage.pool.map_chunks(kernel, a, out=out, chunks=sharedmem.chunks(a, n=4))
        finally:
            assert (out[:3] == a[:3]).all()


def layouts() -> Iterator[np.ndarray]:
    """Yield arrays of sizes near that of a chunk, and arrays of unusual strides and dtypes."""
    chunk = 4 << 20
    for n in (0, 1, chunk - 1, chunk, chunk + 1):
        yield np.arange(n, dtype="i1")
    plain = np.arange(300_000.0) % 1000
    yield plain[::-1]
    yield plain[::-7]
    yield plain.reshape(500, 600).T[::-1, 3::2]
    yield np.broadcast_to(plain[:100], (2000, 100))
    yield np.broadcast_to(plain[:1000, None], (1000, 30))[::-1]
    fields = np.zeros(50_000, [("byte", "i1"), ("big", ">f8"), ("small", "<i4"), ("half", ">f2")])
    for name in ("big", "small", "half"):
        fields[name] = np.arange(50_000) % 1000
        yield fields[name]
    yield np.frombuffer(b"x" + plain.tobytes() + b"y", "f8", plain.size, 1)


@scenario(31, backends=BOTH, workers=(2, 5), limit=120, is_long=True)
def arrays_of_unusual_sizes_and_layouts(stage: Stage) -> None:
    with stage.pool as pool:
        for a in layouts():
            assert sharedmem.count_nonzero(a) == np.count_nonzero(a)
            if a.size:
                assert sharedmem.max(a) == a.max()
                assert sharedmem.argmin(a) == a.argmin()
            assert np.array_equal(pool.apply_ufunc(np.negative, a), -a)
            shared = sharedmem.copy(a)
            result = pool.map_chunks(lambda x: np.negative(x, x), shared)
            assert np.array_equal(result, -a)
            assert np.array_equal(sharedmem.sort(a.ravel()), np.sort(a.ravel()))


@scenario(31, workers=(2,), is_long=True, limit=120)
def more_elements_than_a_32_bit_int_counts(stage: Stage) -> None:
    n = 2**31 + 1
    a = sharedmem.zeros(n, "i1")
    a[-1], a[5] = 7, -3
    with stage.pool as pool:
        assert sharedmem.sum(a) == 4
        assert sharedmem.argmax(a) == n - 1
        assert sharedmem.minmax(a) == (-3, 7)
        assert sharedmem.count_nonzero(a) == 2
        pool.apply_ufunc(np.negative, a, out=a)
        pool.map_chunks(lambda x: np.add(x, 1, x), a)
        assert (a[-1], a[5], a[2**31 - 1]) == (-6, 4, 1)
        (last,) = pool.map(lambda i: a[-3:], [0])
        assert last.tolist() == [1, 1, -6]


@scenario(38, workers=(2,), backends=BOTH, is_long=True, limit=120)
def a_thousand_maps_and_array_calls(stage: Stage) -> None:
    a = sharedmem.ones(1 << 16)
    kept = []
    for k in range(1100):
        with stage.pool as pool:
            assert pool.map(lambda i: -i, range(3)) == [0, -1, -2]
            pool.apply_ufunc(np.negative, a, out=a)
            fresh = sharedmem.zeros(1000)
            pool.map_chunks(lambda x: np.add(x, 1, x), fresh, chunks=sharedmem.chunks(fresh, n=2))
        if k in (100, 1099):
            kept.append(held())
    (fds, mappings, memory), (more_fds, more_mappings, more_memory) = kept
    assert more_fds == fds
    assert more_mappings <= mappings + 5  # of the allocator
    assert more_memory <= memory + (2 << 20), more_memory - memory


def held() -> tuple[int, int, int]:
    """Return the numbers of descriptors and mappings of this process, and its resident bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    mappings = Path("/proc/self/maps").read_text().count("\n")
    return len(os.listdir("/proc/self/fd")), mappings, pages * os.sysconf("SC_PAGE_SIZE")


@scenario(38, backends=BOTH, workers=(2,))
def the_clock_steps_back(stage: Stage) -> None:
    """Time limits use the monotonic clock."""
    clock, began = time.time, time.time()
    time.time = lambda: began - 1000 * (clock() - began)
    stage.new_pool(timeout=5)
    try:
        assert stage.pool.map(lambda i: time.sleep(0.01) or i, range(20)) == list(range(20))
        assert list(stage.pool.imap(lambda i: -i, range(20))) == [-i for i in range(20)]
        assert sharedmem.background(abs, -1, backend=stage.backend).wait(5) == 1
    finally:
        time.time = clock


@scenario(12, **{**IN_TASK, "text": "was killed by SIGKILL"}, at_random=True)
def killed_while_it_sends_shared_arrays(stage: Stage) -> None:
    inherited = sharedmem.full(1000, 7)
    with stage.striker(within=0.05) as target:

        def work(i: int) -> object:
            if i == stage.victim:
                target.pid = os.getpid()
            return sharedmem.full(300_000, i), inherited[i::2]

        for fresh, view in stage.pool.map(work, range(100)):
            assert np.shares_memory(view, inherited)
            assert fresh[0] == fresh[-1]


@scenario(26, backends=BOTH, raises=ValueError, text="read-only", workers=(2,))
def out_is_read_only(stage: Stage) -> None:
    out = sharedmem.ones(10)
    out.flags.writeable = False
    stage.pool.map_chunks(lambda x, y: throw(AssertionError()), np.ones(10), out=out)


@scenario(26, raises=ValueError, text="private memory", workers=(2,))
def out_is_private(stage: Stage) -> None:
    stage.pool.map_chunks(lambda x, y: throw(AssertionError()), np.ones(10), out=np.ones(10))
