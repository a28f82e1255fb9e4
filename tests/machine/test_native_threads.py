"""Threads of compiled code: each item is worked on once, with any threads, callers, and forks."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from sharedmem.kernels.machine_code import compile_text, load
from sharedmem.machine import native_threads

# Claims items from word 0 until word 1, counts to word 2 for each, adds items to word 3, and counts
# the threads in word 4. Word 5 is the status.
TEXT = """
define i32 @entry(ptr %block) {
entry:
  %length.at = getelementptr i64, ptr %block, i64 1
  %length = load i64, ptr %length.at
  %work.at = getelementptr i64, ptr %block, i64 2
  %work = load i64, ptr %work.at
  %total.at = getelementptr i64, ptr %block, i64 3
  %threads.at = getelementptr i64, ptr %block, i64 4
  %t = atomicrmw add ptr %threads.at, i64 1 seq_cst
  br label %claim
claim:
  %item = atomicrmw add ptr %block, i64 1 seq_cst
  %is.one = icmp slt i64 %item, %length
  br i1 %is.one, label %count, label %end
count:
  %k = phi i64 [ 0, %claim ], [ %next, %count ]
  %next = add i64 %k, 1
  %again = load volatile i64, ptr %work.at
  %is.short = icmp slt i64 %next, %again
  br i1 %is.short, label %count, label %add
add:
  %s = atomicrmw add ptr %total.at, i64 %item seq_cst
  br label %claim
end:
  %status.at = getelementptr i64, ptr %block, i64 5
  %status = load i64, ptr %status.at
  %short = trunc i64 %status to i32
  ret i32 %short
}
"""


@pytest.fixture(scope="module")
def code():
    return load("test", (TEXT,), lambda: compile_text(TEXT))


def share(code, n_items, n_threads, work=10, status=0):
    """Add items in threads; return how many threads came."""
    block = np.array([0, n_items, work, 0, 0, status], np.int64)
    native_threads.run(code, block.ctypes.data, n_threads)
    assert block[3] == n_items * (n_items - 1) // 2
    assert 1 <= block[4] <= n_threads
    return block[4]


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_each_item_is_taken_once(code, n_threads):
    for n_items in [*range(20), 1000]:
        share(code, n_items, n_threads)


def test_other_threads_come(code):
    deadline = time.monotonic() + 10
    while share(code, 1000, 2, work=10_000) < 2:
        assert time.monotonic() < deadline


def test_threads_that_slept_come_again(code):
    test_other_threads_come(code)
    time.sleep(0.05)
    test_other_threads_come(code)


def test_idle_threads_take_no_processor_time(code):
    share(code, 100, 8)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.02


def test_no_thread_works_after_the_call(code):
    for _ in range(300):
        block = np.array([0, 100, 10, 0, 0, 0], np.int64)
        native_threads.run(code, block.ctypes.data, 3)
        after = block.copy()
        block[:] = 0, 1 << 40, 0, 0, 0, 0  # work enough for any thread that comes late
        assert after[3] == 4950
        time.sleep(0.0003)
        assert block[0] == block[3] == block[4] == 0


def test_a_lack_of_memory_is_an_error(code):
    for n_threads in 1, 2:
        with pytest.raises(MemoryError, match="intermediate results"):
            share(code, 10, n_threads, status=1)
    share(code, 10, 2)


def test_several_callers_share_one_team(code):
    errors = []

    def call():
        try:
            for n in range(200):
                share(code, n, 3)
        except BaseException as error:
            errors.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()
    assert not errors


def test_a_forked_process_has_threads_of_its_own(code):
    share(code, 100, 2)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            for _ in range(100):
                share(code, 100, 2)
            os.write(write, b"1")
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as result:
        assert result.read() == b"1"
    os.waitpid(child, 0)
    share(code, 100, 2)


@pytest.mark.slow
def test_a_fork_while_another_thread_calls(code):
    is_over = threading.Event()

    def call():
        while not is_over.is_set():
            share(code, 100, 2)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                try:
                    signal.alarm(10)
                    share(code, 100, 2)
                    share(code, 100, 2)
                finally:
                    os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        is_over.set()
        caller.join()


def run_python(program, **options):
    return subprocess.run([sys.executable, "-c", program], timeout=30, check=False, **options)


PROGRAM = f"""
import faulthandler, os, signal, time
import numpy as np
from sharedmem.kernels.machine_code import compile_text, load
from sharedmem.machine import native_threads
code = load("test", ({TEXT!r},), lambda: compile_text({TEXT!r}))
block = np.array([0, 1000, 1000, 0, 0, 0])
native_threads.run(code, block.ctypes.data, 2)
"""


@pytest.mark.parametrize("n_rounds", [0, 1, 5])
def test_exit_does_not_wait_for_threads(n_rounds):
    program = PROGRAM + "block[0] = 0; native_threads.run(code, block.ctypes.data, 4)\n" * n_rounds
    assert run_python(program).returncode == 0


def test_threads_block_signals():
    program = PROGRAM + (
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "time.sleep(0.1)  # the C library blocks all signals while a thread begins\n"
        "for task in os.listdir('/proc/self/task'):\n"
        "    status = open(f'/proc/self/task/{task}/status').read()\n"
        "    if status.split()[1] == 'sharedmem':\n"
        "        blocked = int(status.partition('SigBlk:')[2].split()[0], 16)\n"
        "        held = [s for s in (signal.SIGINT, signal.SIGUSR1, signal.SIGSEGV)\n"
        "                if blocked >> s - 1 & 1]\n"
        "        print(*map(int, held))\n"
    )
    ended = run_python(program, capture_output=True, text=True)
    assert ended.stdout.split("\n")[0] == f"{int(signal.SIGINT)} {int(signal.SIGUSR1)}"
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("own", "theirs"), [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE", "SCHED_IDLE")]
)
def test_threads_that_wake_take_no_core_from_others(own, theirs):
    # A process that is idle may wait for long: it becomes so at the last moment.
    run = "native_threads.run("
    change = f"os.sched_setscheduler(0, os.{own}, os.sched_param(0))\n"
    program = PROGRAM.replace(run, change + run) + (
        "for task in os.listdir('/proc/self/task'):\n"
        "    if open(f'/proc/self/task/{task}/comm').read() == 'sharedmem\\n':\n"
        f"        print(os.sched_getscheduler(int(task)) == os.{theirs})\n"
    )
    ended = run_python(program, capture_output=True, text=True)
    assert ended.stdout == "True\n", ended.stderr


def test_a_crash_in_a_thread_is_reported():
    # The other thread reads at address 0; the caller counts until then.
    crash = TEXT.replace(
        "br label %claim\nclaim:",
        "%is.other = icmp sgt i64 %t, 0\n"
        "  br i1 %is.other, label %crash, label %claim\n"
        "crash:\n"
        "  %bad = load volatile i64, ptr inttoptr (i64 8 to ptr)\n"
        "  br label %claim\nclaim:",
        1,
    )
    program = PROGRAM.replace(repr(TEXT), repr(crash)).replace("1000, 1000", "10**6, 10**6")
    program = program.replace(
        "import faulthandler", "import faulthandler; faulthandler.enable()\nimport os"
    )
    ended = run_python(program, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in ended.stderr


def test_threads_that_cannot_be_started_leave_the_caller_alone(code, monkeypatch):
    monkeypatch.setattr(native_threads, "_team", None)
    team = native_threads._Team()
    monkeypatch.setattr(team, "_start", lambda *_: 11)
    monkeypatch.setattr(native_threads, "_team", team)
    assert share(code, 1000, 4) == 1


def test_systems_without_futex_use_threads_of_python(code, monkeypatch):
    monkeypatch.setattr(native_threads, "_FUTEX", None)
    share(code, 1000, 2)


def test_an_interrupt_is_raised_after_the_kernel(code):
    def interrupt():
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def call():
        while True:
            share(code, 1000, 2, work=100_000)

    killer = threading.Thread(target=interrupt)
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    killer.join()
    share(code, 100, 2)
