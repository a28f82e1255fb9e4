"""Files that are open at a fork: text that waits to be written, and offsets that would be shared.

Python holds back what is written to a file. A worker inherits what was pending, and ends without
writing what its tasks have added, so writers are flushed before a fork, where workers take turns,
and at their end. And processes share the offset of a file that was opened before the fork: a worker
opens anew what it only reads.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

from sharedmem.memory.memory_files import anonymous_file
from sharedmem.memory.segments import segment_descriptors

_BUFFERED = (io.BufferedWriter, io.BufferedRandom)
_WRITERS = (io.TextIOWrapper, *_BUFFERED)
# Their state lies in memory, so that what a worker writes would be lost, or damage the file: the
# classes, and the method through which all writes go.
_STATEFUL = (
    ("gzip", "GzipFile", "write"),
    ("bz2", "BZ2File", "write"),
    ("lzma", "LZMAFile", "write"),
    ("zipfile", "ZipFile", "_open_to_write"),
    ("tarfile", "TarFile", "addfile"),
)


held: list[Callable[[], object]] = []
"""In a worker, what writes out the files that its tasks did not open themselves: no call costs more
than 0.2 us where nothing is pending."""


def list_files() -> None:
    """Before a fork, note which files are open; to list thousands of descriptors takes a while."""
    files = list(_regular_files())
    _only_read[:] = [each for each in files if _is_only_read(each)]
    _written[:] = [each for each in files if not _is_only_read(each)]


def flush_output() -> None:
    """Write what is pending, which forked workers would write once more."""
    flush_standard_streams()
    list_files()
    with suppress(Exception):  # The program hears of a full disk when it closes the file.
        flush()


def flush_standard_streams() -> None:
    """Flush the standard output and error, whatever they are."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # A stream may be None, closed, or of any class.
            stream.flush()


def flush() -> None:
    """Write what is pending in files that this process writes to by Python's writers.

    Raises
    ------
    OSError
        If a file has no room, for example.
    """
    errors: list[Exception] = []
    for writer in _known.look() if _is_worker or _written else []:
        try:
            _write_out(writer)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def flush_again() -> None:
    """Flush all of `held` once more, without those that a task has closed."""
    _hold(_known.writers())
    for write_out in held:
        write_out()


def hold() -> None:
    """In a worker, have `held` know the writers that are open now."""
    if _is_worker:
        _hold(_known.look())


def enter_worker() -> None:
    """Open anew what a worker only reads, and refuse writers that cannot be shared."""
    global _is_worker
    _is_worker = True
    for descriptor in _only_read:
        _reopen(descriptor)
    _hold(_known.writers())
    for writer, method in _known.stateful():
        setattr(writer, method, _refusal(writer))


_is_worker = False
_only_read: list[int] = []
_written: list[int] = []


def _hold(writers: list[Any]) -> None:
    stdout = sys.stdout  # It may be None, or of any class; that of a terminal writes line by line.
    if isinstance(stdout, io.TextIOWrapper) and _is_open(stdout) and not stdout.line_buffering:
        writers = [stdout, *writers]
    held[:] = [writer.flush for writer in writers if _is_open(writer)]


def _write_out(writer: Any) -> None:
    if _is_open(writer):
        writer.flush()


def _is_open(writer: Any) -> bool:
    with suppress(ValueError):  # detached, or half made
        return not writer.closed
    return False


class _Known:
    """The writers of this process, each found once.

    The search goes through all objects that the garbage collector has; later ones go through the
    young objects only, until others may have become old. In a worker, all of its own are young.
    """

    def __init__(self) -> None:
        self._n_collections: list[int] = []
        self._references: list[weakref.ref[Any]] = []

    def look(self) -> list[Any]:
        """Return the writers over regular files, those of text first."""
        n_collections = [generation["collections"] for generation in gc.get_stats()[1:]]
        if n_collections == self._n_collections:
            found = [self._alive(), gc.get_objects(0), gc.get_objects(1)]
        else:
            found = [self._alive(), gc.get_objects()]
        self._n_collections = n_collections
        classes = (*_WRITERS, *_stateful_classes())
        writers = {
            id(each): each for objects in found for each in objects
            if issubclass(type(each), classes) and _is_over_file(each)  # isinstance asks proxies
        }  # fmt: skip
        self._references = [weakref.ref(writer) for writer in writers.values()]
        return self.writers()

    def writers(self) -> list[Any]:
        """Return the writers that were found, those of text first."""
        found = [each for each in self._alive() if isinstance(each, _WRITERS) and _is_plain(each)]
        return sorted(found, key=lambda each: isinstance(each, _BUFFERED))

    def stateful(self) -> Iterator[tuple[Any, str]]:
        """Yield what was found that no other process can write to, and its method that writes."""
        classes = _stateful_classes()
        for each in self._alive():
            for found, method in classes.items():
                if isinstance(each, found) and _writes(each):
                    yield each, method

    def _alive(self) -> list[Any]:
        found = [reference() for reference in self._references]
        return [each for each in found if each is not None]


_known = _Known()


def _stateful_classes() -> dict[type, str]:
    modules = ((sys.modules.get(name), found, method) for name, found, method in _STATEFUL)
    return {
        getattr(module, found): method for module, found, method in modules
        if hasattr(module, found)
    }  # fmt: skip


def _descriptor(writer: Any) -> int:
    """Return the descriptor of a file object or archive, or -1."""
    with suppress(Exception):
        for name in ("fileobj", "fp"):
            writer = getattr(writer, name, None) or writer
        return int(writer.fileno())
    return -1


def _is_plain(writer: Any) -> bool:
    """Return whether what is flushed goes to the file as it is."""
    with suppress(ValueError):  # detached
        return isinstance(getattr(writer, "buffer", writer), _BUFFERED)
    return False


def _writes(writer: Any) -> bool:
    if hasattr(writer, "writable"):
        with suppress(ValueError):  # closed
            return bool(writer.writable())
        return False
    return bool(set(writer.mode) & set("wax"))


def _refusal(writer: Any) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(
            f"a worker cannot write to {writer!r}, which was opened before the workers were "
            "forked: each has its own copy of what it holds in memory, so that the file would be "
            "damaged. Write in reduce=, which the coordinator calls, or open a file in each worker"
        )

    return refuse


def _is_over_file(writer: Any) -> bool:
    with suppress(OSError):
        return _is_regular(_descriptor(writer))
    return False


def _is_regular(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    # Shared memory lies in regular files, too.
    return stat.S_ISREG(status.st_mode) and status.st_dev != _device_of_memory()


def _is_only_read(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def _regular_files() -> Iterable[int]:
    """Yield the descriptors of files on disk, but for those of standard streams."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return
    for descriptor in set(map(int, names)) - segment_descriptors() - {0, 1, 2}:
        with suppress(OSError):  # the one that listed them
            if _is_regular(descriptor):
                yield descriptor


@cache
def _device_of_memory() -> int:
    """Return the device of memory files."""
    descriptor = anonymous_file("sharedmem-device")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _reopen(descriptor: int) -> None:
    """Exchange a descriptor for one with an offset of its own, at the same place."""
    with suppress(OSError):  # the right to open it may be gone
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        own = os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC)
        try:
            os.lseek(own, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
            os.dup2(own, descriptor, inheritable=os.get_inheritable(descriptor))
        finally:
            os.close(own)
