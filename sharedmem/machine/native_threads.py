"""Threads of compiled code, which share the work of a kernel and never need the interpreter.

Threads of Python need the GIL to begin: a second thread of a short kernel would begin when the
first has done its work.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys

from sharedmem.kernels.machine_code import Code, alone, check, compile_text, load_functions
from sharedmem.machine.fork_locks import new_lock
from sharedmem.machine.helper_threads import in_threads
from sharedmem.machine.limits import cpu_count
from sharedmem.machine.signals import SYNCHRONOUS

# How long a thread looks for the next kernel before it sleeps: calls follow each other closely in
# loops, and to wake a thread takes as long (benchmark row reductions/sum-8MiB).
_SPIN_NANOSECONDS = 100_000
_STACK_BYTES = 1 << 20

_SYSTEM = sys.platform, platform.machine()
_FUTEX = {("linux", "x86_64"): 202, ("linux", "aarch64"): 98}.get(_SYSTEM)
_PAUSE = {"x86_64": ("llvm.x86.sse2.pause", ""), "aarch64": ("llvm.aarch64.hint", "i32 1")}

# The words of a team, on cache lines of their own: one that changes with each kernel, on which
# threads sleep; how many may still join, and how many have joined and left, on which the caller
# sleeps; the kernel, its block, and its status; whether a caller has the team; how many threads
# sleep, and whether the caller does; how long to look for the next kernel.
_WORDS = (
    "bell", "tickets", "left", "function.at", "block.at", "status.at", "owner", "sleepers",
    "waits.at", "spin.at",
)  # fmt: skip
_LINE = 64
_POINTERS = "\n".join(
    f"  %{name} = getelementptr i8, ptr %team, i64 {_LINE * at}" for at, name in enumerate(_WORDS)
)
_TEXT = """
@name = internal constant [10 x i8] c"sharedmem\\00"
declare i64 @syscall(i64, ...)
declare i32 @clock_gettime(i32, ptr)
declare i32 @pthread_attr_init(ptr)
declare i32 @pthread_attr_setstacksize(ptr, i64)
declare i32 @pthread_attr_setdetachstate(ptr, i32)
declare i32 @pthread_attr_destroy(ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_setname_np(i64, ptr)
declare i32 @pthread_setschedparam(i64, i32, ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare void @{pause_name}({pause_type})

define internal i64 @now() {{
  %time = alloca [2 x i64]
  %r = call i32 @clock_gettime(i32 1, ptr %time)
  %s = load i64, ptr %time
  %np = getelementptr i64, ptr %time, i64 1
  %n = load i64, ptr %np
  %ns = mul i64 %s, 1000000000
  %t = add i64 %ns, %n
  ret i64 %t
}}

define internal void @sleep(ptr %at, i32 %seen) {{
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %at, i32 128, i32 %seen, ptr null)
  ret void
}}

define internal void @wake(ptr %at, i32 %n) {{
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %at, i32 129, i32 %n)
  ret void
}}

define internal ptr @serve(ptr %team) {{
entry:
{pointers}
  br label %idle
idle:
  %spin = load i64, ptr %spin.at
  %begun = call i64 @now()
  %end = add i64 %begun, %spin
  br label %look
look:
  %free = load atomic i32, ptr %tickets seq_cst, align 4
  %is.free = icmp sgt i32 %free, 0
  br i1 %is.free, label %join, label %rest
join:
  %less = sub i32 %free, 1
  %pair = cmpxchg ptr %tickets, i32 %free, i32 %less seq_cst seq_cst
  %joined = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %joined, label %work, label %look
work:
  %function = load ptr, ptr %function.at
  %block = load ptr, ptr %block.at
  %failed = call i32 %function(ptr %block)
  %o = atomicrmw or ptr %status.at, i32 %failed seq_cst
  %l = atomicrmw add ptr %left, i32 1 seq_cst
  %waits = load atomic i32, ptr %waits.at seq_cst, align 4
  %is.awaited = icmp ne i32 %waits, 0
  br i1 %is.awaited, label %tell, label %idle
tell:
  call void @wake(ptr %left, i32 1)
  br label %idle
rest:
  call void @{pause_name}({pause_value})
  %time = call i64 @now()
  %is.early = icmp slt i64 %time, %end
  br i1 %is.early, label %look, label %doze
doze:
  %seen = load atomic i32, ptr %bell seq_cst, align 4
  %more = load atomic i32, ptr %tickets seq_cst, align 4
  %is.more = icmp sgt i32 %more, 0
  br i1 %is.more, label %look, label %down
down:
  %d = atomicrmw add ptr %sleepers, i32 1 seq_cst
  call void @sleep(ptr %bell, i32 %seen)
  %u = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  br label %idle
}}

define i32 @start(ptr %team, ptr %mask, i32 %policy) {{
  %attributes = alloca [8 x i64]
  %thread = alloca i64
  %before = alloca [16 x i64]
  %priority = alloca i32
  store i32 0, ptr %priority
  %1 = call i32 @pthread_attr_init(ptr %attributes)
  %2 = call i32 @pthread_attr_setstacksize(ptr %attributes, i64 {stack})
  %3 = call i32 @pthread_attr_setdetachstate(ptr %attributes, i32 1)
  %4 = call i32 @pthread_sigmask(i32 {setmask}, ptr %mask, ptr %before)
  %failed = call i32 @pthread_create(ptr %thread, ptr %attributes, ptr @serve, ptr %team)
  %5 = call i32 @pthread_sigmask(i32 {setmask}, ptr %before, ptr null)
  %6 = call i32 @pthread_attr_destroy(ptr %attributes)
  %is.started = icmp eq i32 %failed, 0
  br i1 %is.started, label %name, label %end
name:
  %number = load i64, ptr %thread
  %7 = call i32 @pthread_setname_np(i64 %number, ptr @name)
  %8 = call i32 @pthread_setschedparam(i64 %number, i32 %policy, ptr %priority)
  br label %end
end:
  ret i32 %failed
}}

define i32 @run(ptr %team, ptr %function, ptr %block, i32 %n) {{
entry:
{pointers}
  %pair = cmpxchg ptr %owner, i32 0, i32 1 seq_cst seq_cst
  %is.mine = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %is.mine, label %ring, label %alone
alone:
  %single = call i32 %function(ptr %block)
  ret i32 %single
ring:
  store ptr %function, ptr %function.at
  store ptr %block, ptr %block.at
  store i32 0, ptr %status.at
  store atomic i32 0, ptr %left seq_cst, align 4
  store atomic i32 %n, ptr %tickets seq_cst, align 4
  %b = atomicrmw add ptr %bell, i32 1 seq_cst
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %is.asleep = icmp sgt i32 %asleep, 0
  br i1 %is.asleep, label %rouse, label %work
rouse:
  call void @wake(ptr %bell, i32 %n)
  br label %work
work:
  %own = call i32 %function(ptr %block)
  %unused = atomicrmw xchg ptr %tickets, i32 0 seq_cst
  %joined = sub i32 %n, %unused
  %begun = call i64 @now()
  %end = add i64 %begun, {patience}
  br label %look
look:
  %gone = load atomic i32, ptr %left seq_cst, align 4
  %is.all = icmp sge i32 %gone, %joined
  br i1 %is.all, label %done, label %pause
pause:
  call void @{pause_name}({pause_value})
  %time = call i64 @now()
  %is.early = icmp slt i64 %time, %end
  br i1 %is.early, label %look, label %doze
doze:
  store atomic i32 1, ptr %waits.at seq_cst, align 4
  %last = load atomic i32, ptr %left seq_cst, align 4
  %is.over = icmp sge i32 %last, %joined
  br i1 %is.over, label %done, label %down
down:
  call void @sleep(ptr %left, i32 %last)
  br label %doze
done:
  store atomic i32 0, ptr %waits.at seq_cst, align 4
  %others = load atomic i32, ptr %status.at seq_cst, align 4
  store atomic i32 0, ptr %owner seq_cst, align 4
  %status = or i32 %own, %others
  ret i32 %status
}}
"""


class _Team:
    """Threads that sleep until a caller shares a kernel with them, and end with the process."""

    def __init__(self) -> None:
        name, value = _PAUSE[platform.machine()]
        text = _TEXT.format(
            pointers=_POINTERS,
            futex=_FUTEX,
            stack=_STACK_BYTES,
            setmask=int(signal.SIG_SETMASK),
            patience=_SPIN_NANOSECONDS,
            pause_name=name,
            pause_value=value,
            pause_type=value.partition(" ")[0],
        )
        find = load_functions("threads", (text,), lambda: compile_text(text))
        address, number = ctypes.c_void_p, ctypes.c_int32
        self._start = ctypes.CFUNCTYPE(number, address, address, number)(find("start"))
        self.run_address = find("run")
        self.run = ctypes.CFUNCTYPE(number, address, address, address, number)(self.run_address)
        # Threads use this memory until the process ends: it is never freed.
        memory = (ctypes.c_char * (_LINE * (len(_WORDS) + 1)))()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
        self.address = -(-ctypes.addressof(memory) // _LINE) * _LINE
        self._n_threads = 0
        self._lock = new_lock()

    def at_least(self, n_threads: int) -> int:
        """Start threads up to `n_threads`; return how many of those the system has allowed."""
        if self._n_threads < n_threads:
            blocked = sum(1 << (number - 1) for number in signal.valid_signals() - SYNCHRONOUS)
            mask = (ctypes.c_uint64 * 16)(blocked)
            policy = os.sched_getscheduler(0)
            # A thread that wakes on the core of its caller would else take it from the caller.
            policy = os.SCHED_BATCH if policy == os.SCHED_OTHER else policy
            with self._lock:
                while self._n_threads < n_threads and not self._start(self.address, mask, policy):
                    self._n_threads += 1
            spin = _SPIN_NANOSECONDS if self._n_threads < cpu_count() else 0
            place = self.address + _LINE * _WORDS.index("spin.at")
            ctypes.c_int64.from_address(place).value = spin
        return min(n_threads, self._n_threads)


_team: _Team | None = None
_making = new_lock()


def _forget_team() -> None:
    global _team
    _team = None


os.register_at_fork(after_in_child=_forget_team)


def _our_team() -> _Team:
    global _team
    if _team is None:
        with _making:
            _team = _team or _Team()
    return _team


def helpers(n_threads: int) -> tuple[int, int, int]:
    """Return what code needs to share a kernel with at most `n_threads` other threads.

    Returns
    -------
    run, team, n : int
        Addresses of a function and of its first argument, and its last one: ``run(team, kernel,
        block, n)`` calls the kernel. `n` is 0 if no thread can be started.
    """
    if _FUTEX is None:
        return 0, 0, 0
    team = _our_team()
    return team.run_address, team.address, team.at_least(n_threads)


def run(code: Code, block: int, n_threads: int) -> None:
    """Call code with the same block in this thread and at most ``n_threads - 1`` others.

    Threads that come too late do not call it. All others have returned when this function returns.
    While another caller has the threads, this one works alone.

    Raises
    ------
    MemoryError
        If the code found no memory for its intermediate results.
    """
    if n_threads > 1 and _FUTEX is None:
        in_threads(lambda _: alone(code, block), range(n_threads), n_threads)
    elif n_threads > 1:
        team = _our_team()
        check(team.run(team.address, code.address, block, team.at_least(n_threads - 1)))
    else:
        alone(code, block)
