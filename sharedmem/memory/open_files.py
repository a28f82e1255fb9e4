"""Files that are open at a fork: buffers are flushed, and shared offsets are separated.

Python buffers what is written to a file. A worker inherits the content of the buffer, and ends
without flushing what its tasks have added; so files are flushed before a fork, where workers take
turns, and at the end of a worker. Processes share the offset of a file that was opened before the
fork; a worker reopens those that it only reads.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from itertools import compress
from typing import Any, NoReturn

from sharedmem.machine.signals import is_from_handler, signals_held, suppressed
from sharedmem.memory.memory_files import anonymous_file
from sharedmem.memory.segments import segment_descriptors

_BUFFERED = (io.BufferedWriter, io.BufferedRandom)
_WRITERS = (io.TextIOWrapper, *_BUFFERED)
# Their state is in memory, so that what a worker writes would be lost, or damage the file: module,
# class, and the method through which all writes go.
_STATEFUL = (
    ("gzip", "GzipFile", "write"),
    ("bz2", "BZ2File", "write"),
    ("lzma", "LZMAFile", "write"),
    ("zipfile", "ZipFile", "_open_to_write"),
    ("tarfile", "TarFile", "addfile"),
)

flushes: list[Callable[[], object]] = []
"""In a worker, the `flush` methods of the files that its tasks did not open themselves. They are
called between two turns, and do nothing that takes time where nothing is pending."""

_is_worker = False
# Whether a file may have been opened since the last search for writers, and whether that is noted.
_has_opened, _is_watched = True, False
# The descriptors of the files on disk that were open at the last fork, and whether they are only
# read.
_files: dict[int, bool] = {}


def flush_output() -> None:
    """Flush all output before a fork, so that workers do not write it again."""
    global _files
    flush_standard_streams()
    with signals_held():  # whose exceptions would pass for those of closed files
        _files = dict(_regular_files())
    with suppressed(Exception):  # The program hears of a full disk when it closes the file.
        flush()


def flush_standard_streams() -> None:
    """Flush standard output and standard error."""
    for stream in (sys.stdout, sys.stderr):
        with suppressed(Exception):  # A stream may be None, closed, or of any class.
            stream.flush()


def flush() -> None:
    """Flush all files that this process writes to.

    Raises
    ------
    OSError
        If a write fails, for example because the disk is full.
    """
    errors: list[Exception] = []
    for writer in _writers_to_flush():
        try:
            if _is_open(writer):
                writer.flush()
        except Exception as error:
            if is_from_handler(error):
                raise
            errors.append(error)
    if errors:
        raise errors[0]


def _writers_to_flush() -> list[Any]:
    global _has_opened
    if not _has_opened:
        return _writers.unchanged()
    _has_opened = not _is_watched
    return _writers.search() if _is_worker or not all(_files.values()) else []


def watch_opened() -> None:
    """Search for writers, in a worker that stays, only after something was opened."""
    global _is_watched
    if not _is_watched:
        _is_watched = True
        sys.addaudithook(_note_opened)


def _note_opened(event: str, _: object) -> None:
    global _has_opened
    if event == "open":
        _has_opened = True


def flush_open() -> None:
    """Call all of `flushes` again, after those of files that a task has closed are removed."""
    _watch(_writers.unchanged())
    for flush_file in flushes:
        flush_file()


def watch_writers() -> None:
    """In a worker, collect in `flushes` the files that are open now."""
    if _is_worker:
        _watch(_writers.search())


def enter_worker() -> None:
    """Reopen what a worker only reads, and refuse writers that processes cannot share."""
    global _is_worker
    _is_worker = True
    for descriptor, is_only_read in _files.items():
        if is_only_read:
            _reopen(descriptor)
    _watch(_writers.unchanged())
    for writer in _writers.alive():
        for kind, method in _stateful_classes().items():
            if _derives(type(writer), kind) and _writes(writer):
                setattr(writer, method, partial(_refuse, writer))


def _watch(writers: list[Any]) -> None:
    stdout = sys.stdout  # None, or of any class; a terminal's is flushed line by line.
    if isinstance(stdout, io.TextIOWrapper) and _is_open(stdout) and not stdout.line_buffering:
        writers = [stdout, *writers]
    flushes[:] = [writer.flush for writer in writers if _is_open(writer)]


def _is_open(writer: Any) -> bool:
    with suppress(ValueError):  # detached, or half made
        return not writer.closed
    return False


class _Writers:
    """The writers of this process, each found once.

    The first search goes through all objects of the garbage collector, later ones only through
    the young objects until a collection may have made some of them old. In a worker all of its own
    objects are young.
    """

    def __init__(self) -> None:
        self._n_collections: list[int] = []
        self._references: list[weakref.ref[Any]] = []

    def search(self) -> list[Any]:
        """Search for writers to regular files; return those that :meth:`unchanged` returns."""
        n_collections = [generation["collections"] for generation in gc.get_stats()[1:]]
        if n_collections == self._n_collections:
            found = [self.alive(), gc.get_objects(0), gc.get_objects(1)]
        else:
            found = [self.alive(), gc.get_objects()]
        self._n_collections = n_collections
        classes = (*_WRITERS, *_stateful_classes())
        # By types, which are few, and not by isinstance, which would ask proxies.
        writers: dict[int, Any] = {}
        for objects in found:
            types = [*map(type, objects)]
            kinds = dict(zip(map(id, types), types, strict=True))
            wanted = {key for key, kind in kinds.items() if _derives(kind, *classes)}
            chosen = compress(objects, map(wanted.__contains__, map(id, types)))
            writers.update((id(each), each) for each in chosen if _is_over_file(each))
        self._references = [weakref.ref(writer) for writer in writers.values()]
        return self.unchanged()

    def unchanged(self) -> list[Any]:
        """Return the writers whose text or bytes reach the file unchanged.

        Text files are first: they write to the others.
        """
        found = [each for each in self.alive() if _is_unchanged(each)]
        return sorted(found, key=lambda each: isinstance(each, _BUFFERED))

    def alive(self) -> list[Any]:
        """Return all writers that were found and exist."""
        found = [reference() for reference in self._references]
        return [each for each in found if each is not None]


_writers = _Writers()


def _stateful_classes() -> dict[type, str]:
    return {
        getattr(sys.modules[module], name): method
        for module, name, method in _STATEFUL
        if hasattr(sys.modules.get(module), name)
    }


_mro_of: Any = type.__dict__["__mro__"].__get__


def _derives(kind: type, *classes: type) -> bool:
    """Return whether a class derives from one of others, none of which is asked.

    An abstract one would keep the class in a set, and fail if it has no hash.
    """
    wanted = {*map(id, classes)}
    return any(id(base) in wanted for base in _mro_of(kind))


def _is_unchanged(writer: Any) -> bool:
    with suppress(ValueError):  # detached
        return isinstance(getattr(writer, "buffer", writer), _BUFFERED)
    return False


def _writes(writer: Any) -> bool:
    with suppress(ValueError):  # closed
        return bool(writer.writable() if hasattr(writer, "writable") else writer.mode != "r")
    return False


def _refuse(writer: Any, *_: object, **__: object) -> NoReturn:
    raise OSError(
        f"a worker cannot write to {writer!r}, which was opened before the fork: each process has "
        "its own copy of the state in memory, which would damage the file. Write in reduce=, which "
        "the coordinator calls, or open a file in each worker"
    )


def _is_over_file(writer: Any) -> bool:
    """Return whether a file object or archive has a descriptor of a regular file."""
    with suppressed(Exception):
        for name in ("fileobj", "fp"):
            writer = getattr(writer, name, None) or writer
        return _is_regular(writer.fileno())
    return False


def _is_regular(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    # Memory files are regular files, too.
    return stat.S_ISREG(status.st_mode) and status.st_dev != _device_of_memory()


def _regular_files() -> Iterator[tuple[int, bool]]:
    """Yield the descriptors of files on disk, but of standard streams, and if they only read."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return
    for descriptor in set(map(int, names)) - segment_descriptors() - {0, 1, 2}:
        with suppress(OSError):  # the descriptor of the listing
            if _is_regular(descriptor):
                access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
                yield descriptor, access == os.O_RDONLY


@cache
def _device_of_memory() -> int:
    """Return the device number of memory files."""
    descriptor = anonymous_file("sharedmem-device")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _reopen(descriptor: int) -> None:
    """Replace the file of a descriptor by one with its own offset, at the same position."""
    with suppress(OSError):  # The permission to open it may be gone.
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        own = os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC)
        try:
            os.lseek(own, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
            os.dup2(own, descriptor, inheritable=os.get_inheritable(descriptor))
        finally:
            os.close(own)
