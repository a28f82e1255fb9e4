"""Other libraries in workers: threads of OpenMP and numba, HDF5, and random generators."""

import os
import shutil
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest

import sharedmem

SECONDS = 60  # a region that waits for threads of another process would wait for ever

TEAM = """
int team(int n) {
    int found = 0;
    #pragma omp parallel num_threads(n)
    {
        #pragma omp atomic
        found++;
    }
    return found;
}
"""

LOOP = """
        import numba, sharedmem
        @numba.njit(parallel=True)
        def total(n):
            s = 0
            for i in numba.prange(n):
                s += i
            return s
        total(10)
"""


@pytest.fixture(scope="module")
def team_library(tmp_path_factory):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("openmp")
    (folder / "team.c").write_text(TEAM)
    library = folder / "team.so"
    command = [compiler, "-fopenmp", "-shared", "-fPIC", folder / "team.c", "-o", library]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no OpenMP")
    return library


def output_of(program, *arguments, **variables):
    """Run a program in a process of its own; return the lines that it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_openmp_regions_run_in_workers_after_regions_in_the_coordinator(team_library):
    program = """
        import ctypes, sys, threading, sharedmem
        team = ctypes.CDLL(sys.argv[1]).team
        print(team(3))
        for threads in (None, 1, 2):
            print(sharedmem.MapReduce(np=2, blas_threads=threads).map(team, [3, 3, 3]))
        print(team(3), sharedmem.background(team, 3).wait())
        pool = sharedmem.MapReduce(np=1)
        nested = lambda n: (team(n), sharedmem.MapReduce(np=1).map(team, [n]), team(n))
        print(pool.map(nested, [3]))
        thread = threading.Thread(target=lambda: print(team(3), pool.map(team, [3])))
        thread.start()
        thread.join()
    """
    assert output_of(program, team_library) == [
        "3",
        *["[3, 3, 3]"] * 3,
        "3 3",
        "[(3, [3], 3)]",
        "3 [3]",
    ]


def test_openmp_regions_run_in_one_thread_after_a_fork_by_user_code(team_library):
    program = """
        import ctypes, os, sys, sharedmem
        team = ctypes.CDLL(sys.argv[1]).team
        team(3)
        if os.fork() == 0:
            print(sharedmem.MapReduce(np=2).map(team, [3, 3]), flush=True)
            os._exit(0)
        os.wait()
    """
    assert output_of(program, team_library) == ["[1, 1]"]


def test_openmp_regions_run_in_one_thread_if_openmp_cannot_be_paused(team_library):
    program = """
        import ctypes, sys, sharedmem
        from sharedmem.machine import blas
        team = ctypes.CDLL(sys.argv[1]).team
        team(3)
        (gomp,) = [each for each in blas.libraries() if each.prefix == "libgomp"]
        gomp.dynlib.omp_pause_resource_all = lambda kind: -1
        both = lambda n: (team(n), sharedmem.background(team, n).wait())
        print(sharedmem.MapReduce(np=1).map(both, [3]))
    """
    assert output_of(program, team_library) == ["[(1, 1)]"]


@pytest.mark.slow
def test_numba_parallel_loops_run_in_workers_after_loops_in_the_coordinator():
    program = """
        if numba.threading_layer() == "omp":
            pool = sharedmem.MapReduce(np=2)
            print(pool.map(lambda n: (total(n), numba.get_num_threads()), [10, 20]))
            print(sharedmem.background(total, 10).wait(), total(10))
    """
    layer = {"NUMBA_THREADING_LAYER": "omp", "NUMBA_NUM_THREADS": "2"}
    try:
        lines = output_of(LOOP + program, **layer)
    except AssertionError as error:
        if "No threading layer" not in str(error):
            raise
        pytest.skip("numba has no layer for OpenMP")
    assert lines in ([], ["[(45, 1), (190, 1)]", "45 45"])


@pytest.mark.slow
def test_workers_do_not_wait_for_locks_of_numba_parallel_loops():
    program = """
        import threading
        from numba.np.ufunc import parallel
        held, over = threading.Event(), threading.Event()
        def hold():
            with parallel._backend_init_process_lock, parallel._backend_init_thread_lock:
                held.set()
                over.wait(30)
        threading.Thread(target=hold).start()
        held.wait(30)
        try:
            print(sharedmem.MapReduce(np=2, timeout=20).map(abs, range(2)))
        finally:
            over.set()
    """
    assert output_of(LOOP + program) == ["[0, 1]"]


def test_workers_are_daemons_to_multiprocessing_and_may_call_pools():
    def is_daemon(_):
        from multiprocessing import current_process

        return current_process().daemon, sharedmem.MapReduce(np=1).map(abs, [-1])

    assert sharedmem.MapReduce(np=1).map(is_daemon, [0]) == [(True, [1])]
    assert sharedmem.background(is_daemon, 0).wait() == (True, [1])
    assert not is_daemon(0)[0]


class Generator(np.random.RandomState):
    def manual_seed(self, seed):
        self.seed([seed & 0xFFFFFFFF, seed >> 32])


@pytest.fixture
def torch(monkeypatch):
    """A module with a generator as torch has one."""
    module = types.ModuleType("torch")
    module.default_generator = Generator(0)
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.mark.parametrize("seed", [None, 1])
def test_random_numbers_of_torch_differ_between_workers_and_calls(torch, seed):
    def draw(_):
        pool.barrier()
        return torch.default_generator.random_sample()

    pool = sharedmem.MapReduce(np=2, seed=seed)
    drawn = pool.map(draw, range(2), chunksize=1) + pool.map(draw, range(2), chunksize=1)
    assert len(set(drawn)) == 4
    again = sharedmem.MapReduce(np=2, seed=seed)
    pool = again
    assert (pool.map(draw, range(2), chunksize=1) == drawn[:2]) is (seed is not None)


WRITES = {
    "dataset": lambda file: file["x"].__setitem__(0, 1),
    "new dataset": lambda file: file.create_dataset("new", data=[1]),
    "attribute": lambda file: file["x"].attrs.__setitem__("unit", "m"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_worker_that_writes_to_an_inherited_hdf5_file_warns(tmp_path, write):
    h5py = pytest.importorskip("h5py")
    pool = sharedmem.MapReduce(np=2)

    def own(i):
        with h5py.File(tmp_path / f"{i}.h5", "w") as mine:
            mine["x"] = np.zeros(3)
            write(mine)
        return i

    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["x"] = np.zeros(3)
        with pytest.raises(sharedmem.WorkerException, match=r"file\.h5.*Write in reduce="):
            pool.map(lambda i: write(file), [0])
        assert pool.map(own, range(2), reduce=lambda i: file["x"][i]) == [0, 0]
        write(file)
    with h5py.File(tmp_path / "file.h5") as file:
        assert pool.map(lambda i: file["x"][1], range(2)) == [0, 0]
