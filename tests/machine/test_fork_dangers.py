"""A fork is warned of, once, if a library is in use that breaks in forked processes."""

import subprocess
import sys
import threading
import types
import warnings

import pytest

import sharedmem
from sharedmem import MapReduce
from sharedmem.machine import fork_dangers

MODULES = [danger.module for danger in fork_dangers._DANGERS]


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch):
    monkeypatch.setattr(fork_dangers, "_warned", set())
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)


def imported(monkeypatch, name, **attributes):
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**attributes))


def fork_in_all_ways():
    pool = MapReduce(np=2)
    for _ in range(2):
        assert pool.map(abs, range(2)) == [0, 1]
        assert list(pool.imap(abs, range(2))) == [0, 1]
        assert sharedmem.background(abs, -1).wait() == 1


IN_USE = [
    ("jax._src.xla_bridge", {"_backends": {"cpu": 1}}, "JAX has started threads"),
    (
        "tensorflow.python.eager.context",
        {"_context": types.SimpleNamespace(_initialized=True)},
        "TensorFlow has started threads",
    ),
    ("torch.cuda", {"is_initialized": lambda: True}, "torch has initialized CUDA"),
    (
        "mpi4py.MPI",
        {"Is_initialized": lambda: True, "Is_finalized": lambda: False},
        "mpi4py has initialized MPI",
    ),
]


@pytest.mark.parametrize(("module", "attributes", "text"), IN_USE)
def test_a_library_that_is_in_use_is_named_once(monkeypatch, module, attributes, text):
    imported(monkeypatch, module, **attributes)
    with pytest.warns(RuntimeWarning, match=rf"{text}.*Use SpawnBackend") as log:
        fork_in_all_ways()
    assert [warning.filename for warning in log] == [__file__]


NOT_IN_USE = [
    ("jax._src.xla_bridge", {"_backends": {}}),
    ("tensorflow.python.eager.context", {"_context": None}),
    ("torch.cuda", {"is_initialized": lambda: False}),
    ("mpi4py.MPI", {"Is_initialized": lambda: False}),
    ("mpi4py.MPI", {"Is_initialized": lambda: True, "Is_finalized": lambda: True}),
    ("polars", {}),
    ("cupy", {}),
    *((name, {}) for name in MODULES),  # another version, or another module of this name
]


@pytest.mark.parametrize(("module", "attributes"), NOT_IN_USE)
def test_a_library_that_is_only_imported_is_not_warned_of(monkeypatch, module, attributes):
    imported(monkeypatch, module, **attributes)
    assert MapReduce(np=2).map(abs, range(2)) == [0, 1]  # warnings are errors


def test_threads_are_known_by_their_names(monkeypatch):
    imported(monkeypatch, "polars")
    started, stop = threading.Event(), threading.Event()

    def work():
        with open("/proc/thread-self/comm", "w") as file:
            file.write("polars-0")
        started.set()
        stop.wait()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        with pytest.warns(RuntimeWarning, match="polars has started threads"):
            fork_dangers.warn_of_fork()
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("module", ["cupy", "numba.cuda.cudadrv.driver", "pycuda.driver"])
def test_the_driver_of_cuda_is_asked(monkeypatch, module):
    asked = []

    def library(name, mode):
        asked.append(name)
        return types.SimpleNamespace(cuDeviceGetCount=lambda _: codes.pop())

    monkeypatch.setattr(fork_dangers.ctypes, "CDLL", library)
    imported(monkeypatch, module)
    codes = [0, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fork_dangers.warn_of_fork()
    with pytest.warns(RuntimeWarning, match=r"has initialized CUDA.*cannot use the GPU"):
        fork_dangers.warn_of_fork()
    assert asked == ["libcuda.so.1"] * 2


def test_a_driver_that_is_not_loaded_is_not_loaded_now(monkeypatch):
    imported(monkeypatch, "cupy")
    fork_dangers.warn_of_fork()


def test_a_warning_that_is_an_error_comes_before_the_fork(monkeypatch):
    imported(monkeypatch, "torch.cuda", is_initialized=lambda: True)
    pool = MapReduce(np=2)
    with pytest.raises(RuntimeWarning):
        pool.map(abs, range(2))
    assert pool.map(abs, range(2)) == [0, 1]


def test_threads_of_the_caller_are_not_warned_of(monkeypatch):
    imported(monkeypatch, "torch.cuda", is_initialized=lambda: True)
    assert sharedmem.MapReduceByThread(np=2).map(abs, range(2)) == [0, 1]
    assert sharedmem.sum([1, 2]) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("import polars as pl; pl.DataFrame({'a': range(9)}).group_by('a').len()", "polars"),
        ("import jax.numpy as jnp; jnp.ones(3).sum()", "JAX"),
    ],
)
def test_real_libraries(program, text):
    for source, expected in ((program.partition(";")[0], ""), (program, f"{text} has started")):
        pool = "import sharedmem; sharedmem.MapReduce(np=2).map(abs, range(2))"
        done = subprocess.run(
            [sys.executable, "-c", f"{source}\n{pool}"], capture_output=True, text=True
        )
        if "ModuleNotFoundError" in done.stderr:
            pytest.skip(f"{text} is not installed")
        assert done.returncode == 0
        assert expected in done.stderr
        assert bool(expected) == ("Use SpawnBackend" in done.stderr)
