"""Segments are mapped, shared by a fork, and freed with their last reference."""

import errno
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sharedmem
from forks import in_child
from sharedmem.memory import memory_files, segments, spare_memory
from sharedmem.memory.segments import HUGE_PAGE, Segment, find_segment

MAPS = Path("/proc/self/maps")
SIZES = [0, 1, 4095, 4096, 4097, HUGE_PAGE // 2 - 1, HUGE_PAGE // 2, HUGE_PAGE, 2 * HUGE_PAGE + 1]


@pytest.fixture
def no_memfd(monkeypatch):
    monkeypatch.setattr(memory_files, "memfd_flags", lambda: None)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def python(program, **options):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("nbytes", SIZES)
def test_a_segment_is_zeroed_writable_and_aligned(nbytes):
    segment = Segment(nbytes)
    buffer = segment.buffer
    assert (segment.nbytes, len(buffer), buffer.readonly) == (nbytes, nbytes, False)
    assert not any(buffer[:: max(nbytes // 100, 1)])
    buffer[:] = b"x" * nbytes
    assert nbytes < HUGE_PAGE // 2 or segment.address % HUGE_PAGE == 0


@pytest.mark.parametrize("nbytes", SIZES)
def test_a_forked_process_shares_a_segment(nbytes):
    segment = Segment(nbytes)
    where = segment.address, segment.identity

    def work():
        segment.buffer[:] = b"y" * nbytes
        return (segment.address, segment.identity) == where

    assert in_child(work)
    assert segment.buffer == b"y" * nbytes


def test_a_forked_process_shares_a_segment_without_memfd(no_memfd):
    array = sharedmem.zeros(3 << 18)
    assert segments.find_segment(array.ctypes.data, 1).fd == -1

    def work():
        array[:] = 3
        return True

    assert in_child(work)
    assert (array == 3).all()


def test_a_segment_is_freed_with_its_last_reference():
    before = descriptors()
    segment = Segment(HUGE_PAGE)
    address, identity = segment.address, segment.identity
    view = np.asarray(segment)[5:10].view()
    gc.disable()  # reference counts alone must do
    try:
        del segment
        assert find_segment(address, 1) is not None
        del view
        assert find_segment(address, 1) is None
    finally:
        gc.enable()
    assert segments.find_identity(identity) is None
    assert descriptors() == before  # nothing is kept where the identity is known
    assert f"{address:x}-" not in MAPS.read_text()


def test_a_segment_freed_in_a_child_stays_in_the_parent():
    segment = Segment(4096)
    buffer = segment.buffer

    def work():
        nonlocal segment, buffer
        address = segment.address
        del segment, buffer
        return find_segment(address, 1) is None

    assert in_child(work)
    buffer[:] = b"z" * 4096
    assert find_segment(segment.address, 4096) is segment


def test_a_reused_descriptor_is_not_closed():
    segment = Segment(4096)
    fd = segment.fd
    os.close(fd)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, fd)
    del segment
    assert os.read(fd, 1) == b""
    os.close(fd)
    if null != fd:
        os.close(null)


def test_find_segment_respects_the_bounds():
    small, large = Segment(5000), Segment(3 * HUGE_PAGE + 7)
    for segment in (small, large):
        for start, nbytes, expected in (
            (0, segment.nbytes, segment),
            (segment.nbytes - 1, 1, segment),
            (4097, 900, segment),
            (0, segment.nbytes + 1, None),
            (segment.nbytes, 1, None),
            (-1, 2, None),
        ):
            assert find_segment(segment.address + start, nbytes) is expected
    assert find_segment(np.ones(3).ctypes.data, 8) is None


def test_attach_gives_the_same_memory():
    segment = Segment(5000)
    assert Segment.attach(os.dup(segment.fd), 5000) is segment

    fd, identity = os.dup(segment.fd), segment.identity
    segment.buffer[:3] = b"abc"
    del segment
    other = Segment.attach(fd, 5000)
    assert (other.identity, bytes(other.buffer[:3])) == (identity, b"abc")


@pytest.mark.parametrize("nbytes", [0, 4096, 4097, 2**40])
def test_attach_refuses_a_file_of_another_size(nbytes):
    segment = Segment(8193)
    fd = os.dup(segment.fd)
    with pytest.raises(ValueError, match=f"not the memory of a shared array of {nbytes} bytes"):
        Segment.attach(fd, nbytes)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


def test_attach_refuses_a_file_that_may_shrink(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    for fd in (os.open(path, os.O_RDWR), os.memfd_create("x")):
        os.ftruncate(fd, 4096)
        with pytest.raises(ValueError, match="may shrink"):
            Segment.attach(fd, 4096)


def test_a_segment_cannot_shrink():
    segment = Segment(4096)
    with pytest.raises(PermissionError):
        os.ftruncate(segment.fd, 0)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 5 << 20), (3 << 20, 4 << 20), (7, 7)])
def test_populate_keeps_the_content(start, stop):
    segment = Segment(5 << 20)
    content = np.asarray(segment)
    content[::4096] = np.arange(1280) % 251
    segment.populate(start, stop)
    assert (content[::4096] == np.arange(1280) % 251).all()
    assert content.astype(int).sum() == (np.arange(1280) % 251).sum()


def test_large_arrays_are_on_huge_pages():
    if not segments.supports_collapse():
        pytest.skip("MADV_COLLAPSE does not work here")
    array = sharedmem.full(1 << 20, 1.0)
    start = f"{array.ctypes.data:x}-"
    smaps = Path("/proc/self/smaps").read_text().split(start)[1]
    line = next(line for line in smaps.splitlines() if line.startswith("ShmemPmdMapped"))
    assert int(line.split()[1]) == 8 * 1024


def test_arrays_are_filled_without_huge_pages(monkeypatch):
    """The system is asked once whether it has them."""
    spare_memory.release()
    calls = []
    monkeypatch.setattr(segments, "advise", lambda *call: bool(calls.append(call)))
    monkeypatch.setattr(segments, "_collapse_works", None)
    for _ in range(2):
        assert (sharedmem.full(1 << 20, 1.0) == 1).all()
        spare_memory.release()
    assert not segments.supports_collapse()
    assert len(calls) == 2  # for the array, and for one page


@pytest.mark.parametrize("can_be_told", [True, False])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.ENOSYS])
def test_systems_that_refuse_memory_files(monkeypatch, code, can_be_told):
    """As by vm.memfd_noexec=2, unless they are said to be not executable; or by a sandbox."""
    create = os.memfd_create

    def refuse(name, flags=1):
        if flags & 8 and can_be_told:
            return create(name, flags)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "memfd_create", refuse)
    memory_files.memfd_flags.cache_clear()
    try:
        has_files = can_be_told
        assert (memory_files.memfd_flags() is not None) is has_files
        array = sharedmem.full(1000, 2.5)
        assert (segments.find_segment(array.ctypes.data, 8).fd >= 0) is has_files
        results = sharedmem.MapReduce(np=2).map(lambda i: np.full(20_000, i), range(20))
        assert [result[-1] for result in results] == list(range(20))
    finally:
        memory_files.memfd_flags.cache_clear()


def test_probes():
    assert memory_files.memfd_flags() is not None
    assert segments.supports_collapse() in (True, False)


LIMIT = "import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1]\nset = r.setrlimit\n"


def test_the_limit_on_descriptors_is_raised_when_it_is_reached():
    done = python(
        LIMIT + "set(r.RLIMIT_NOFILE, (400, hard)); import sharedmem\n"
        "arrays = [sharedmem.empty(10_000) for _ in range(100)]\n"
        "sharedmem.MapReduce(np=2).map(abs, [1])\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE)[0])\n"
        "arrays += [sharedmem.empty(10_000) for _ in range(400)]\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE)[0] == hard)"
    )
    assert (done.stdout, done.stderr) == ("400\nTrue\n", "")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_shared_arrays_take_no_descriptor_if_few_are_left(n_workers):
    """They are inherited nevertheless, and workers find room for what they need."""
    done = python(
        LIMIT + "set(r.RLIMIT_NOFILE, (64, 64)); import sharedmem\n"
        "arrays = [sharedmem.zeros(10_000) for _ in range(200)]\n"
        "def task(i): arrays[i][:] += i; return arrays[i][2:]\n"
        f"views = sharedmem.MapReduce(np={n_workers}).map(task, range(200))\n"
        "for view in views: view += 1\n"
        "print([a[-1] for a in arrays] == list(range(1, 201)))"
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize(
    "call",
    [
        "sharedmem.MapReduce(np=64).map(abs, range(64))",
        "sharedmem.background(abs, 1)",
        "list(sharedmem.MapReduce(np=64).imap(abs, range(64)))",
    ],
)
def test_no_descriptor_is_left(call):
    done = python(
        LIMIT + "import os, sharedmem, selectors; sharedmem.MapReduce(np=1).map(abs, [1])\n"
        "set(r.RLIMIT_NOFILE, (64, 64))\n"
        "files = [os.open('/dev/null', 0) for _ in range(58)]\n" + call
    )
    assert "OSError: [Errno 24] this process has reached its limit of 64 open descriptors (`u" in (
        done.stderr
    )


def test_the_limit_is_raised_for_descriptors_of_results():
    done = python(
        LIMIT + "set(r.RLIMIT_NOFILE, (300, hard)); import sharedmem\n"
        "make = lambda i: [sharedmem.full(10_000, 100 * i + k) for k in range(100)]\n"
        "arrays = sum(sharedmem.MapReduce(np=2).map(make, range(20)), [])\n"
        "print([int(a[0]) for a in arrays] == list(range(2000)))"
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_no_mapping_is_left():
    done = python(
        "import ctypes, mmap, sharedmem\n"
        "libc = ctypes.CDLL(None)\n"
        "limit = int(open('/proc/sys/vm/max_map_count').read())\n"
        "memory = mmap.mmap(-1, (limit + 10) * 4096)\n"
        "start = ctypes.addressof(ctypes.c_char.from_buffer(memory))\n"
        "for at in range(start, start + limit * 4096, 8192):\n"
        "    libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 0)\n"
        "arrays = [sharedmem.zeros(10_000) for _ in range(20)]",
        env={},  # what else is in memory decides whether there is room to tell
    )
    assert "MemoryError: cannot get 81920 bytes of shared memory: this process has " in done.stderr
    assert "and vm.max_map_count allows " in done.stderr
    assert "raise the limit: sysctl -w vm.max_map_count=" in done.stderr


@pytest.mark.parametrize("n", [100_000_000, 1000])
def test_no_address_space_is_left(n):
    done = python(
        "import resource as r, sharedmem\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * r.getpagesize()\n"
        "r.setrlimit(r.RLIMIT_AS, (used + (8 << 20), -1))\n"
        f"arrays = [sharedmem.empty({n}) for _ in range(5000)]"
    )
    assert "MemoryError: cannot get " in done.stderr
    assert "bytes of shared memory: Cannot allocate memory" in done.stderr


def test_the_error_is_the_same_where_python_has_no_memory_left(monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr("sharedmem.arrays.shared_array.Segment", no_memory)
    with pytest.raises(MemoryError, match="cannot get 80000 bytes of shared memory: Cannot alloc"):
        sharedmem.empty(10_000)


def test_a_thousand_segments_are_freed():
    spare_memory.release()
    before = descriptors(), len(MAPS.read_text().splitlines())
    for _ in range(1000):
        sharedmem.ones(10_000)
    made = [Segment(1 + k) for k in range(1000)]
    assert all(find_segment(segment.address, segment.nbytes) is segment for segment in made)
    del made
    spare_memory.release()
    assert descriptors() == before[0]
    assert len(MAPS.read_text().splitlines()) <= before[1] + 5
    assert all(ref() for ref in memory_files.by_page.values())


def test_is_mapped_shared():
    segment = Segment(HUGE_PAGE)
    start = segment.address
    assert segments.is_mapped_shared(start, start + HUGE_PAGE)
    assert not segments.is_mapped_shared(0, 1)
    assert not segments.is_mapped_shared(np.ones(3).ctypes.data, np.ones(3).ctypes.data + 8)
