"""Processes, threads, descriptors, and memory that a test may leave behind."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path


def children() -> set[str]:
    """Return the child processes of this process, including zombies."""
    found: set[str] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        # A thread that has been joined may end while the kernel still lists it.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(file.read_text().split())
    # multiprocessing keeps its resource tracker, and its pipe, until the interpreter exits.
    return found - {str(resource_tracker._resource_tracker._pid)}


def descriptors() -> set[str]:
    free_kept_memory()
    kept = resource_tracker._resource_tracker._fd
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if int(fd) != kept:
            found.add(f"{fd} -> {target}")
    return found


def free_kept_memory() -> None:
    """Free the memory of dropped arrays, which is kept for later ones."""
    if spare_memory := sys.modules.get("sharedmem.memory.spare_memory"):
        if small_arrays := sys.modules.get("sharedmem.arrays.small_arrays"):
            small_arrays.release()
        spare_memory.release()


def threads() -> set[str]:
    # Helper threads of array calls wait until the process ends.
    return {
        f"{thread.name} ({thread.ident})"
        for thread in threading.enumerate()
        if thread.name != "sharedmem"
    }


def segments() -> set[str]:
    """Return the mappings of anonymous shared memory."""
    free_kept_memory()
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {line for line in maps if "memfd:" in line or "/dev/zero" in line}


def own_shared_memory_files() -> None:
    """Mount a private /dev/shm if permitted: other processes make and remove files there."""
    libc = ctypes.CDLL(None)
    if libc.unshare(_CLONE_NEWNS) == 0:
        libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, None)


_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 1 << 14, 1 << 18


def shared_memory_files() -> set[str]:
    return set(os.listdir("/dev/shm"))


KINDS: dict[str, Callable[[], set[str]]] = {
    "processes": children,
    "descriptors": descriptors,
    "threads": threads,
    "mapped segments": segments,
    "files in /dev/shm": shared_memory_files,
}


def look() -> dict[str, set[str]]:
    """Return what exists of each kind."""
    return {kind: look_for() for kind, look_for in KINDS.items()}


def left_since(before: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return what did not exist before; kinds without any are left out."""
    return new_in(look(), before)


def new_in(now: dict[str, set[str]], before: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return what of `now` did not exist before; kinds without any are left out."""
    return {kind: new for kind, found in now.items() if (new := found - before[kind])}
