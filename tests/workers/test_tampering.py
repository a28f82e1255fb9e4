"""Damaged messages and pickles raise errors, do not crash, and leave nothing behind."""

import os

import pytest
from hypothesis import given, strategies as st

import sharedmem
from sharedmem.memory.segments import Segment
from sharedmem.workers.channel import Channel, Kind
from sharedmem.workers.pickling import UnpackingError, pack
from targets import SEGMENT, TYPES, header, load, load_bytes, receive, sizes

INTEGERS = st.sampled_from([-1, 0, 1, 2, 100, 5000, 1 << 16]) | st.integers(
    -(1 << 63), (1 << 63) - 1
)


def a_message(size=SEGMENT.nbytes, n_segments=1, n_stream=5):
    return header(Kind.RESULTS, 0, 7, 0, n_stream, 0, n_segments) + sizes(size) + b"hello"


def a_file(*lengths, stream=b"hello"):
    content = sizes(*lengths).ljust(64, b"\0") if lengths else b""
    return content + stream.ljust(64, b"\0") + bytes(sum(lengths))


def test_a_valid_message_is_received():
    receive(a_message(), b"", 1, has_file=False)
    ours, theirs = Channel.pair(windowed=False)
    theirs.send(Kind.RESULTS, 7, pack([b"x" * 100_000, sharedmem.full(3, 5)]))
    text, array = ours.receive(block=False).value
    assert len(text) == 100_000
    assert array.tolist() == [5, 5, 5]
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("message", "n_segments", "has_file"),
    [
        (b"x", 0, False),
        (a_message()[:-5], 0, False),
        (a_message(), 0, False),
        (a_message(), 3, False),
        (a_message(size=0), 1, False),
        (a_message(size=1 << 40), 1, False),
        (a_message(n_segments=-1), 1, False),
        (a_message(n_segments=1 << 40), 1, False),
        (header(99, 0, 0, 0, 0, 0, 0), 0, False),
        (header(Kind.RESULTS, 1, 0, 0, 5, 0, 0), 0, False),
        (header(Kind.RESULTS, 1, 0, 0, 1 << 40, 0, 0), 0, True),
        (header(Kind.RESULTS, 1, 0, 0, -5, 0, 0), 0, True),
        (header(Kind.RESULTS, 1, 0, 0, 5, 1 << 40, 0), 0, True),
        (header(Kind.RESULTS, 1, 0, 0, 5, -1, 0), 0, True),
    ],
)
def test_damaged_messages_are_refused(message, n_segments, has_file, monkeypatch):
    monkeypatch.setattr("targets.MESSAGE_ERRORS", ())
    with pytest.raises(UnpackingError):
        receive(message, a_file(10), n_segments, has_file)


@given(
    fields=st.lists(INTEGERS, min_size=5, max_size=5),
    kind=st.integers(0, 8),
    more=st.lists(INTEGERS, max_size=3),
    content=st.binary(max_size=100) | st.just(a_file(10)),
    n_segments=st.integers(0, 3),
    has_file=st.booleans(),
)
def test_any_message_is_received_or_refused(fields, kind, more, content, n_segments, has_file):
    receive(header(kind, has_file, *fields) + sizes(*more), content, n_segments, has_file)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "pid": INTEGERS,
            "fd": INTEGERS,
            "started": INTEGERS,
            "nbytes": INTEGERS,
            "identity": st.tuples(INTEGERS, INTEGERS),
            "boot": st.text(max_size=3),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "offset": INTEGERS,
            "shape": st.lists(INTEGERS, max_size=4).map(tuple),
            "strides": st.lists(INTEGERS, max_size=4).map(tuple),
            "dtype": st.sampled_from(TYPES),
        },
    ),
)
def test_any_key_and_layout_is_loaded_or_refused(key, layout):
    load(key, layout)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_bytes_of_a_pickle_are_loaded_or_refused(changes):
    load_bytes(changes)


def test_a_key_opens_no_other_file():
    for changes in ({"pid": "self"}, {"fd": "../../../etc/passwd"}, {"nbytes": None}):
        load({**changes, "identity": (1, 2)}, {})


def test_segments_have_no_names():
    """Nobody can guess, or open, what is only a descriptor."""
    before = os.listdir("/dev/shm")
    segment = Segment(5000)
    assert os.readlink(f"/proc/self/fd/{segment.fd}").startswith("/memfd:sharedmem-")
    sharedmem.MapReduce(np=2).map(lambda i: sharedmem.full(3, i), range(4))
    assert set(os.listdir("/dev/shm")) <= set(before)


def test_sockets_have_no_names():
    ours, theirs = Channel.pair(windowed=False)
    assert ours.socket.getsockname() == theirs.socket.getsockname() == ""
    assert not os.get_inheritable(ours.socket.fileno())
    ours.close()
    theirs.close()
