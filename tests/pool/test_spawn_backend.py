"""Pools whose workers are fresh interpreters, from any kind of program."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import sharedmem
from forks import in_child
from interrupts import Strike
from leftovers import children
from sharedmem import DeadWorkerError, MapReduce, ProcessBackend, SpawnBackend, WorkerException

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool():
    with MapReduce(SpawnBackend, np=2, seed=7, trace=True) as pool:
        pool.map(abs, range(2))  # Interpreters start before a test looks what it leaves behind.
        yield pool


@pytest.fixture
def own_pool():
    """Return a pool for a test that ends its workers."""
    with MapReduce(SpawnBackend, np=2) as pool:
        yield pool


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_at_the_end():
    before = children()
    yield
    assert children() <= before


def test_results_are_those_of_other_backends(pool):
    shared, private = sharedmem.zeros(20), np.arange(20.0)

    def work(i):
        shared[i] = private[i] ** 2
        return [i, shared[i : i + 1]]

    results = pool.map(work, range(20), chunksize=3)
    assert [number for number, _ in results] == [*range(20)]
    assert all(sharedmem.is_shared(view) for _, view in results)
    np.testing.assert_array_equal(shared, private**2)
    assert pool.map(divmod, [(7, 2), (9, 4)], star=True) == [(3, 1), (2, 1)]
    assert pool.map(abs, range(-3, 0), reduce=lambda value: -value) == [-3, -2, -1]
    assert list(pool.imap(abs, range(-50, 0))) == [*range(50, 0, -1)]
    assert sorted(pool.imap_unordered(abs, range(-50, 0))) == [*range(1, 51)]


def test_workers_stay_and_keep_what_they_store(pool):
    def work(i):
        pool.local.n_tasks = getattr(pool.local, "n_tasks", 0) + 1
        return os.getpid(), pool.local.n_tasks

    first = dict(pool.map(work, range(2), chunksize=1))
    second = dict(pool.map(work, range(2), chunksize=1))
    assert first.keys() == second.keys()
    assert os.getpid() not in first
    assert {second[pid] - first[pid] for pid in first} == {1}


def test_random_numbers_are_those_of_forked_workers():
    def draw(i):
        return pool.rng.integers(1000, size=3).tolist()

    drawn = []
    for backend in (ProcessBackend, SpawnBackend):
        with MapReduce(backend, np=2, seed=3) as pool:
            drawn.append([pool.map(draw, range(5)) for _ in range(2)])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]


def test_sections(pool):
    count, order = sharedmem.zeros((), "i8"), sharedmem.zeros(30, "i8")

    def work(i):
        with pool.critical:
            before = int(count)
            time.sleep(0)
            count[()] = before + 1
        with pool.ordered:
            order[i] = order.max() + 1

    pool.map(work, range(30))
    assert count == 30
    assert order.tolist() == [*range(1, 31)]

    def meet(i):
        pool.barrier()
        return i

    assert pool.map(meet, range(4), chunksize=1) == [0, 1, 2, 3]


def test_a_trace(pool):
    pool.map(abs, range(10), chunksize=5)
    assert sum(event.n_tasks for events in pool.trace.events for event in events) == 10


def test_array_functions(pool):
    a = np.random.default_rng(1).normal(size=(40, 30))
    shared = sharedmem.copy(a)
    largest = sharedmem.Reduction(lambda x: x.max(), max)

    def double(x):
        x *= 2

    def average(x, result):
        result[...] = (x[:-2] + x[2:]) / 2

    forked = MapReduce(np=2)
    pool.map_chunks(double, shared, chunks=sharedmem.chunks(shared, n=3))
    np.testing.assert_array_equal(shared, 2 * a)
    expected, found = sharedmem.empty_like(a), sharedmem.empty_like(a)
    forked.map_overlap(average, a, expected, depth=(1, 0))
    pool.map_overlap(average, a, found, depth=(1, 0))
    np.testing.assert_array_equal(found, expected)
    assert pool.reduce(largest, a) == forked.reduce(largest, a) == a.max()
    with pool:
        total = sharedmem.sum(a)
    assert total == sharedmem.sum(a)


class MyError(Exception):
    def __init__(self, place, text):
        super().__init__(place, text)


def test_failures_name_task_and_worker(own_pool):
    class LocalError(Exception):
        pass

    def work(i):
        if i == 3:
            raise MyError(i, "of the module")
        if i == 13:
            raise LocalError("of a function")
        return i

    with pytest.raises(WorkerException, match=r"Task 3 in worker \d") as caught:
        own_pool.map(work, range(6))
    assert type(caught.value.reason) is MyError
    assert caught.value.reason.args == (3, "of the module")
    with pytest.raises(WorkerException, match="of a function") as caught:
        own_pool.map(work, [13])
    assert type(caught.value.reason) is LocalError
    assert own_pool.map(abs, range(3)) == [0, 1, 2]


def test_a_worker_that_dies(own_pool):
    def work(i):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    for _ in range(2):
        with pytest.raises(WorkerException, match=r"SIGKILL while it ran task 5 \(item: 5\)") as e:
            own_pool.map(work, range(8))
        assert isinstance(e.value.reason, DeadWorkerError)
        assert e.value.reason.exitcode == -9
    assert own_pool.map(abs, range(3)) == [0, 1, 2]


def test_a_worker_that_dies_between_calls(own_pool):
    pids = own_pool.map(lambda i: os.getpid(), range(2), chunksize=1)
    os.kill(pids[0], signal.SIGKILL)
    os.waitid(os.P_PID, pids[0], os.WEXITED | os.WNOWAIT)
    assert own_pool.map(abs, range(3)) == [0, 1, 2]


def test_a_timeout():
    pool = MapReduce(SpawnBackend, np=2, timeout=3)
    assert pool.map(abs, range(2)) == [0, 1]
    with pytest.raises(TimeoutError):
        pool.map(time.sleep, [60, 60])
    assert pool.map(abs, range(2)) == [0, 1]


def test_a_function_that_cannot_be_pickled_starts_nothing():
    lock = threading.Lock()
    before = children()
    pool = MapReduce(SpawnBackend, np=2)
    with pytest.raises(TypeError, match="lock") as caught:
        pool.map(lambda i: lock, range(2))
    assert "is pickled to reach workers" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="lock"):
        list(pool.imap(lambda i: lock, range(2)))
    assert children() == before


def test_an_initializer_and_blas_threads():
    def initialize():
        os.environ["SET_BY_INITIALIZER"] = "1"

    def work(i):
        return os.environ["OMP_NUM_THREADS"], os.environ["SET_BY_INITIALIZER"]

    with MapReduce(SpawnBackend, np=1, blas_threads=3, initializer=initialize) as pool:
        assert pool.map(work, range(1)) == [("3", "1")]


def test_a_pool_that_a_worker_has_made_itself(tmp_path, monkeypatch):
    (tmp_path / "module_with_a_pool.py").write_text(
        textwrap.dedent("""
        import sharedmem
        pool = sharedmem.MapReduce(sharedmem.SpawnBackend, np=2)
        def work(i):
            with pool.critical:
                return i
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import module_with_a_pool

    with pytest.raises(WorkerException, match="made it when it imported the module"):
        module_with_a_pool.pool.map(module_with_a_pool.work, range(2))


def test_background():
    call = sharedmem.background(lambda x: (os.getpid(), x), 17, backend=SpawnBackend)
    pid, x = call.wait(30)
    assert pid != os.getpid()
    assert x == 17
    assert call.exitcode == 0
    call = sharedmem.background(divmod, 1, 0, backend=SpawnBackend)
    with pytest.raises(WorkerException, match="ZeroDivisionError"):
        call.wait(30)


def test_an_executor():
    with sharedmem.Executor(np=2, backend=SpawnBackend, blas_threads=2) as executor:
        assert list(executor.map(lambda i: i + 1, range(5))) == [1, 2, 3, 4, 5]
        call = executor.submit(lambda: (os.getpid(), os.environ["OMP_NUM_THREADS"]))
        assert call.result()[0] != os.getpid()
        assert call.result()[1] == "2"
        assert isinstance(executor.submit(divmod, 1, 0).exception(), ZeroDivisionError)
        dead = executor.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert isinstance(dead.exception(), DeadWorkerError)
        assert executor.submit(abs, -1).result() == 1


def test_a_fork_of_the_coordinator_does_not_end_its_workers(own_pool):
    pids = set(own_pool.map(lambda i: os.getpid(), range(2), chunksize=1))

    def fork():
        return own_pool.map(abs, range(2)) == [0, 1] and not pids & set(
            own_pool.map(lambda i: os.getpid(), range(2), chunksize=1)
        )

    assert in_child(fork)
    assert set(own_pool.map(lambda i: os.getpid(), range(2), chunksize=1)) == pids


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_call(own_pool):
    """Both of the start of interpreters and of later calls, which start some again."""
    n_interrupts, step = 0, 199
    for at in itertools.count(11 * sys.version_info.minor % step, step):
        strike = Strike(at)
        try:
            with strike:
                own_pool.map(abs, range(6), reduce=abs)
        except KeyboardInterrupt:
            n_interrupts += 1
        if strike.n_left >= 0:
            break
    assert n_interrupts
    assert own_pool.map(abs, range(-5, 0)) == [5, 4, 3, 2, 1]


PROGRAM = """
import os, threading
import sharedmem
from sharedmem import MapReduce, SpawnBackend

factor = 3
class Pair:
    def __init__(self, value):
        self.value = value
class PairError(Exception):
    pass
def work(pair):
    if pair.value == 17:
        raise PairError(pair.value)
    return Pair(pair.value * factor)

def main():
    pool = MapReduce(SpawnBackend, np=2)
    results = pool.map(work, [Pair(i) for i in range(4)])
    assert all(type(result) is Pair for result in results)
    results += pool.imap(work, [Pair(4)])
    try:
        pool.map(work, [Pair(17)])
    except sharedmem.WorkerException as error:
        assert type(error.reason) is PairError
    print([result.value for result in results])
"""
AS_THREAD = """
threads = [threading.Thread(target=main) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def run(program, *, how, tmp_path, environment=()):
    file = tmp_path / "the_program.py"
    file.write_text(program)
    command = {
        "script": [file.name],
        "module": ["-m", "the_program"],
        "command": ["-c", program],
        "stdin": ["-"],
        "isolated": ["-I", str(file)],
    }[how]
    path = os.pathsep.join([str(Path(sharedmem.__file__).parents[1]), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=tmp_path,
        input=program,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path, **dict(environment)},
    )


@pytest.mark.parametrize("how", ["script", "module", "command", "stdin", "isolated"])
def test_programs_need_no_main_guard(how, tmp_path):
    done = run(PROGRAM + "main()\n", how=how, tmp_path=tmp_path)
    assert (done.stdout, done.stderr) == ("[0, 3, 6, 9, 12]\n", "")


def test_calls_in_threads(tmp_path):
    done = run(PROGRAM + AS_THREAD, how="script", tmp_path=tmp_path)
    assert (done.stdout, done.stderr) == ("[0, 3, 6, 9, 12]\n" * 2, "")


OPENMP = """
import numba, numpy as np, time, threading
numba.config.THREADING_LAYER = "omp"
@numba.njit(parallel=True)
def total(a):
    s = 0.0
    for i in numba.prange(a.size):
        s += a[i]
    return s
a = np.ones(1000)
assert total(a) == 1000
for _ in range(20):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
pool = MapReduce(SpawnBackend, np=2, blas_threads=2)
assert pool.map(lambda i: total(a), range(2)) == [1000.0, 1000.0]
main()
"""


def test_a_coordinator_that_has_started_threads_of_openmp(tmp_path):
    done = run(PROGRAM + OPENMP, how="script", tmp_path=tmp_path)
    assert (done.stdout, done.stderr) == ("[0, 3, 6, 9, 12]\n", "")


@pytest.mark.parametrize(
    ("library", "program"),
    [
        (
            "polars",
            "import polars as pl\n"
            "def compute(i): return len(pl.DataFrame({'a': range(999)}).group_by('a').len())\n",
        ),
        (
            "jax",
            "import jax.numpy as jnp\ndef compute(i): return int(jnp.arange(999).size + i - i)\n",
        ),
    ],
)
def test_libraries_that_break_in_forks(library, program, tmp_path):
    pytest.importorskip(library)
    call = (
        "assert compute(0) == 999\n"
        "assert MapReduce(SpawnBackend, np=2).map(compute, [1, 2]) == [999] * 2\n"
    )
    done = run(PROGRAM + program + call + "main()\n", how="script", tmp_path=tmp_path)
    assert (done.stdout, done.stderr) == ("[0, 3, 6, 9, 12]\n", "")


def test_the_environment_of_mpi(tmp_path):
    """A worker that imports mpi4py must not pass for the rank that started it."""
    (tmp_path / "mpi4py.py").write_text(
        "import os\n"
        "if os.environ.get('MPI4PY_RC_INITIALIZE') != '0':\n"
        "    assert os.environ.pop('OMPI_COMM_WORLD_RANK', None), 'two processes of one rank'\n"
    )
    program = "import mpi4py\ndef check(i): import mpi4py\n"
    call = "MapReduce(SpawnBackend, np=2).map(check, range(2))\n"
    done = run(
        PROGRAM + program + call + "main()\n",
        how="script",
        tmp_path=tmp_path,
        environment={"OMPI_COMM_WORLD_RANK": "1"},
    )
    assert (done.stdout, done.stderr) == ("[0, 3, 6, 9, 12]\n", "")


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), 9)", "1 / 0"])
def test_a_program_that_ends_while_workers_stay(end, tmp_path):
    program = """
    pool = MapReduce(SpawnBackend, np=2)
    print(*pool.map(lambda i: os.getpid(), range(2), chunksize=1), flush=True)
    """
    done = run(PROGRAM + textwrap.dedent(program) + end, how="script", tmp_path=tmp_path)
    limit = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/exe").exists() for pid in done.stdout.split()):
        assert time.monotonic() < limit
        time.sleep(0.01)
