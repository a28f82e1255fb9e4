"""The private parts of CPython do what this package uses them for."""

import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
import zipfile

import numpy as np
import pytest

from sharedmem.machine import cpython
from sharedmem.workers.locks import SEMAPHORE_BYTES, process_lock


def test_at_fork_reinit_releases_a_lock():
    lock = threading.Lock()
    lock.acquire()
    cpython.free_after_fork(lock)
    assert lock.acquire(blocking=False), "lock._at_fork_reinit() no longer releases a lock"


def test_is_owned_tells_of_this_thread():
    lock = threading.RLock()
    assert not cpython.owns(lock)
    with lock:
        seen = []
        thread = threading.Thread(target=lambda: seen.append(cpython.owns(lock)))
        thread.start()
        thread.join()
        assert (cpython.owns(lock), seen) == (True, [False]), "RLock._is_owned() has changed"


def test_remove_dead_weakref_removes_dead_entries_only():
    class Thing:
        pass

    thing, gone = Thing(), Thing()
    entries = {"alive": weakref.ref(thing), "dead": weakref.ref(gone)}
    del gone
    for name in entries.copy():
        cpython.remove_if_dead(entries, name)
    assert list(entries) == ["alive"], "_weakref._remove_dead_weakref has another meaning"


def test_functions_of_the_module_signal_exist_in_c():
    for name in ("pthread_sigmask", "getsignal", "signal", "set_wakeup_fd"):
        function = getattr(cpython.c_signal, name, None)
        assert type(function) is type(len), f"_signal.{name} is not a C function any more"
    assert cpython.c_signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGINT)


def test_module_locks_tell_which_thread_imports_a_module(tmp_path):
    (tmp_path / "waits.py").write_text("import __main__; __main__.is_in.set(); __main__.go.wait()")
    program = """
import os, sys, threading
from sharedmem.machine import cpython
is_in, go = threading.Event(), threading.Event()
thread = threading.Thread(target=__import__, args=("waits",))
thread.start()
is_in.wait()
cpython.forget_unfinished_imports()
print("waits" in sys.modules)
go.set()
try:
    thread.join()
finally:
    os._exit(0 if not sys.stdout.flush() else 1)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
    assert done.stdout == "False\n", (
        f"_frozen_importlib._module_locks has no locks with an owner any more: {done.stderr}"
    )


def test_logging_lists_its_handlers():
    class Stream:
        write = flush = id

    stream = Stream()
    handler = logging.StreamHandler(stream)
    assert stream in list(cpython.logging_streams()), "logging._handlerList has no references"
    handler.close()


def test_multiprocessing_reads_daemon_from_the_configuration_of_a_process():
    import multiprocessing.process

    process = multiprocessing.process.current_process()
    cpython.forbid_child_processes()
    try:
        assert process.daemon, "Process._config['daemon'] no longer makes a process a daemon"
    finally:
        del process._config["daemon"]


def test_all_members_of_a_zip_file_are_opened_for_writing_by_one_method():
    assert hasattr(zipfile.ZipFile, "_open_to_write"), "ZipFile._open_to_write is gone"


def test_a_lock_of_multiprocessing_can_be_made_of_a_semaphore():
    if cpython.semaphore_type() is None:
        pytest.skip("libc is not glibc")
    memory = np.zeros(SEMAPHORE_BYTES, np.uint8)
    lock = process_lock(memory.ctypes.data)
    assert isinstance(lock, cpython.semaphore_type())
    assert lock.acquire()
    assert not lock.acquire(False), "SemLock._rebuild no longer makes a lock of a semaphore"
    lock.release()
    assert lock.acquire(False)


def test_exit_handlers_can_be_called_and_forgotten():
    program = (
        "import atexit; from sharedmem.machine.cpython import run_exit_handlers;"
        "atexit.register(print, 'called'); run_exit_handlers(); run_exit_handlers()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "called\n", f"atexit._run_exitfuncs has changed: {done.stderr}"


def test_the_options_of_an_interpreter_are_known():
    program = "from sharedmem.machine.cpython import interpreter_flags; print(interpreter_flags())"
    command = [sys.executable, "-O", "-B", "-X", "utf8", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "['-O', '-B', '-X', 'utf8']\n", (
        f"subprocess._args_from_interpreter_flags has changed: {done.stderr}"
    )
