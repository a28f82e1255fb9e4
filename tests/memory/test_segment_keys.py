"""Keys of segments are verified field by field; see test_shared_array.py for pickles."""

import os

import pytest

from sharedmem.memory import segment_keys
from sharedmem.memory.segment_keys import key_of, open_segment
from sharedmem.memory.segments import Segment, find_identity


def test_open_segment_returns_a_live_segment():
    segment = Segment(100)
    assert open_segment(key_of(segment)) is segment


@pytest.fixture
def owner():
    """The key of a segment that only a forked process has."""
    ready, tell = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if not pid:
        segment = Segment(5000)
        segment.buffer[:5] = b"hello"
        os.write(tell, repr(tuple(key_of(segment))).encode())
        os.close(end)
        os.read(wait, 1)
        os._exit(0)
    os.close(tell)
    os.close(wait)
    yield segment_keys.SegmentKey(*eval(os.read(ready, 1000)))
    os.close(end)
    os.waitpid(pid, 0)
    os.close(ready)


def test_open_segment_attaches_a_segment_of_another_process(owner):
    assert find_identity(owner.identity) is None
    segment = open_segment(owner)
    assert bytes(segment.buffer[:5]) == b"hello"
    assert open_segment(owner) is segment
    assert os.get_inheritable(segment.fd) is False


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"boot": "x"}, ReferenceError, "another machine, or before a restart"),
        ({"pid_namespace": "pid:[1]"}, ReferenceError, "in another container"),
        ({"started": 1}, ReferenceError, "the process has ended"),
        ({"pid": 2**22 + 1}, ReferenceError, "the process has ended"),
        ({"fd": 0}, ReferenceError, "has been freed there"),
        ({"fd": 999}, ReferenceError, "has been freed there"),
        ({"fd": -1}, ReferenceError, "has no memfd"),
        ({"identity": (1, 2)}, ReferenceError, "has been freed there"),
        ({"nbytes": 9000}, ValueError, "not the memory of a shared array of 9000 bytes"),
    ],
    ids=str,
)
def test_each_field_of_a_key_is_verified(owner, change, error, message):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(error, match=message):
        open_segment(owner._replace(**change))
    assert os.listdir("/proc/self/fd") == before


def test_a_zombie_has_no_start_time():
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert segment_keys._start_time(pid) is None
    os.waitpid(pid, 0)


def test_without_memfd_forked_processes_find_the_inherited_segment(monkeypatch):
    monkeypatch.setattr("sharedmem.memory.memory_files.memfd_flags", lambda: None)
    segment = Segment(100)
    key = key_of(segment)
    pid = os.fork()
    if not pid:
        os._exit(0 if open_segment(key) is segment else 1)
    assert os.waitpid(pid, 0)[1] == 0
