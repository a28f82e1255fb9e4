"""Refused processes, descriptors, and memory; and other threads that hold locks at the fork."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import sharedmem
from scenario import BOTH, TWO, NotPossibleError, Stage, scenario, throw
from sharedmem import MapReduce, WorkerException


@contextlib.contextmanager
def exchanged(owner: object, name: str, value: object) -> Iterator[None]:
    """Replace an attribute within the block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def refusing(function: Callable[..., object], at: int, error: BaseException) -> Callable:
    """Return `function`, but with call number `at` raising `error`."""
    calls = itertools.count()
    return lambda *args: throw(error) if next(calls) == at else function(*args)


for at, workers in (0, (1, 2, 5, 13)), (2, (5, 13)):

    @scenario(
        17,
        name=f"fork_{at}_is_refused",
        raises=BlockingIOError,
        notes=f"Worker {at} of .* could not be started.*ulimit -u",
        workers=workers,
    )
    def fork_is_refused(stage: Stage, at=at) -> None:
        error = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        with exchanged(os, "fork", refusing(os.fork, at, error)):
            stage.pool.map(abs, range(20))

    @scenario(
        17,
        name=f"thread_{at}_is_refused",
        backends=("threads",),
        raises=RuntimeError,
        text="can't start new thread",
        workers=workers,
    )
    def thread_is_refused(stage: Stage, at=at) -> None:
        start = threading.Thread.start
        error = RuntimeError("can't start new thread")
        with exchanged(threading.Thread, "start", refusing(start, at, error)):
            stage.pool.map(abs, range(20))


@scenario(17, workers=(1, 5))
def descriptors_run_out(stage: Stage) -> None:
    """Whichever descriptor is missing, the call raises, or returns the right result."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fds = {int(fd) for fd in os.listdir("/proc/self/fd")}
    used = next(fd for fd in itertools.count() if fd not in fds)  # higher ones stay open
    n_refused = 0
    set_limit = resource.setrlimit
    not_allowed = ValueError("not allowed to raise maximum limit")
    for n_left in range(50):
        for call in (
            lambda: stage.pool.map(abs, range(20)),
            lambda: list(stage.pool.imap(abs, range(20))),
            lambda: sharedmem.background(list, range(20)).wait(),
            lambda: sharedmem.array(range(20)).tolist(),
        ):
            set_limit(resource.RLIMIT_NOFILE, (used + n_left, hard))
            try:
                with exchanged(resource, "setrlimit", lambda *_: throw(not_allowed)):
                    assert call() == list(range(20))
            except OSError as error:
                assert error.errno == errno.EMFILE, error
                assert "`ulimit -n`" in str(error), error
                n_refused += 1
            finally:
                set_limit(resource.RLIMIT_NOFILE, (soft, hard))
    assert n_refused > 10
    assert call() == list(range(20))


@scenario(17, workers=(1, 5))
def address_space_runs_out(stage: Stage) -> None:
    for n_free in (1 << 16, 1 << 20, 8 << 20):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        for call in (
            lambda: sharedmem.zeros(64 << 20, "u1"),
            lambda: stage.pool.map(lambda i: np.ones(64 << 20, "u1"), range(20)),
        ):
            resource.setrlimit(resource.RLIMIT_AS, (used + n_free, -1))
            try:
                call()
            except WorkerException as error:
                assert isinstance(error.reason, MemoryError), error
            except MemoryError:
                pass
            else:
                raise AssertionError(n_free)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (-1, -1))


@scenario(19, backends=BOTH, workers=(1, 5))
def maps_in_several_threads(stage: Stage) -> None:
    shared, turns = stage.pool, []

    def call(k: int) -> None:
        own = MapReduce(stage.backend, np=stage.n_workers)
        for pool in (shared, own):
            notes = []

            def work(i: int, pool: MapReduce = pool) -> int:
                with pool.ordered, pool.critical:
                    return k + i

            assert pool.map(work, range(30), reduce=notes.append) == [None] * 30
            assert sorted(notes) == [k + i for i in range(30)]
            assert list(pool.imap(lambda i: k - i, range(30))) == [k - i for i in range(30)]
        turns.append(k)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turns) == list(range(5))


@contextlib.contextmanager
def another_thread(function: Callable[[], object]) -> Iterator[None]:
    """Call a function repeatedly in another thread, within the block."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.is_set():
            function()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@scenario(19, prints="[xy\n]*", workers=(5,))
def another_thread_prints(stage: Stage) -> None:
    with another_thread(lambda: print("x" * 10_000)):
        for _ in range(10):
            stage.pool.map(lambda i: print("y" * 20_000), range(stage.n_workers))


@scenario(19, workers=(5,))
def another_thread_logs(stage: Stage) -> None:
    logger = logging.getLogger("noise")
    logger.propagate = False
    with open("log", "w") as file:
        logger.addHandler(handler := logging.StreamHandler(file))
        with another_thread(lambda: logger.error("x" * 1000)):
            for _ in range(10):
                stage.pool.map(lambda i: logger.error("y" * 1000), range(stage.n_workers))
        logger.removeHandler(handler)


@scenario(19, workers=TWO)
def another_thread_holds_the_logging_lock(stage: Stage) -> None:
    def hold() -> None:
        logging._acquireLock() if hasattr(logging, "_acquireLock") else logging._lock.acquire()
        time.sleep(0.01)
        logging._releaseLock() if hasattr(logging, "_releaseLock") else logging._lock.release()

    with another_thread(hold):
        for _ in range(10):
            stage.pool.map(lambda i: logging.getLogger(str(i)), range(5))


@scenario(19, workers=TWO)
def another_thread_imports(stage: Stage) -> None:
    """A worker may need the module that the thread is still importing."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "slow_module.py").write_text("import time\ntime.sleep(0.5)\nvalue = 5\n")
        sys.path.insert(0, folder)

        def work(i: int) -> int:
            import slow_module

            return slow_module.value

        thread = threading.Thread(target=work, args=(0,))
        thread.start()
        time.sleep(0.1)
        assert stage.pool.map(work, range(4)) == [5] * 4
        thread.join()
        sys.path.remove(folder)
        del sys.modules["slow_module"]


@scenario(19, workers=TWO, limit=60)
def another_thread_compiles(stage: Stage) -> None:
    import numba

    def compile_one() -> object:
        return numba.njit(lambda x: x + 1)(1.0)

    def compile_and_rest() -> None:
        compile_one()
        time.sleep(0.02)

    with another_thread(compile_and_rest):
        for _ in range(3):
            assert stage.pool.map(lambda i: compile_one(), range(2)) == [2, 2]


@scenario(19, workers=TWO, limit=60)
def another_thread_frees_what_it_compiled(stage: Stage) -> None:
    """Freeing takes only the lock of LLVM, not that of numba."""
    import llvmlite.binding
    import numba

    numba.njit(lambda x: x + 2)(1.0)  # what only the first compilation does takes a second
    code = "\n".join(f"define i32 @f{i}() {{\n ret i32 {i}\n}}" for i in range(500))
    with another_thread(lambda: llvmlite.binding.parse_assembly(code)):
        for _ in range(3):
            results = stage.pool.map(lambda i: numba.njit(lambda x: x + 1)(1.0), range(2))
            assert results == [2, 2]


for layer in ("omp", "tbb", "workqueue"):

    @scenario(32, name=f"with_{layer}_threads", workers=TWO, limit=60)
    def with_threads_of(stage: Stage, layer=layer) -> None:
        """The coordinator has used threads of numba and BLAS; workers start none of them."""
        import numba
        from threadpoolctl import threadpool_info

        numba.config.THREADING_LAYER = layer

        @numba.njit(parallel=True)
        def double(x: np.ndarray) -> None:
            for i in numba.prange(x.size):
                x[i] *= 2

        a = sharedmem.ones(10_000)
        try:
            double(a)
        except ValueError as error:
            raise NotPossibleError(str(error).split("\n")[0]) from None
        assert numba.threading_layer() == layer
        matrix = np.ones((300, 300))
        assert (matrix @ matrix == 300).all()

        def work(i: int) -> int:
            assert (matrix @ matrix == 300).all()
            assert all(info["num_threads"] == 1 for info in threadpool_info())
            return len(os.listdir("/proc/self/task"))

        assert stage.pool.map(work, range(4)) == [1] * 4
        stage.pool.map_chunks(double, a, chunks=sharedmem.chunks(a, n=4))
        assert (a == 4).all()


@scenario(4, raises=WorkerException, text="killed by SIGKILL.*out of memory", workers=TWO)
def killed_by_a_control_group(stage: Stage) -> None:
    with memory_group(64 << 20) as tasks:

        def work(i: int) -> int:
            if i == 3:
                tasks.write_text(str(os.getpid()))
                for k in range(20):
                    keep = np.ones(2 << 20) * k
                    sharedmem.copy(keep)
                    hoard.append(keep)
            return i

        hoard: list[np.ndarray] = []
        stage.pool.map(work, range(5), chunksize=1)


@contextlib.contextmanager
def memory_group(n_bytes: int) -> Iterator[Path]:
    """Make a control group with a memory limit; yield the file to write process IDs to."""
    for root, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = Path(root, f"sharedmem-{os.getpid()}")
        try:
            group.mkdir()
            Path(group, limit).write_text(str(n_bytes))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group / "cgroup.procs"
        finally:
            group.rmdir()
        return
    raise NotPossibleError("no control group can be made")
