"""Memory of freed arrays serves the next ones, and never one that another process can see."""

import errno
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from forks import in_child, watcher
from sharedmem.memory import memory_files, segments, spare_memory
from sharedmem.memory.memory_files import HUGE_PAGE
from sharedmem.memory.segments import Segment, find_segment

SIZES = [70_000, 100_000, 1 << 18, 1 << 20, 3 << 20, 20 << 20]


@pytest.fixture(autouse=True)
def nothing_is_kept():
    segments.supports_collapse()
    spare_memory.release()


def memory_of(array):
    """Return a weak reference to the memory of an array, without asking for its descriptor."""
    return weakref.ref(find_segment(array.__array_interface__["data"][0], 1)._memory)


def kept():
    return [memory for shelf in spare_memory._shelves for memory in shelf]


@pytest.mark.parametrize("nbytes", SIZES)
def test_memory_serves_the_next_array_of_its_size(nbytes):
    array = sharedmem.empty(nbytes, "u1")
    array[:] = 7
    memory = memory_of(array)
    view = array[1:]
    del array
    assert not kept()
    del view
    assert kept() == [memory()]
    other = sharedmem.empty(nbytes + 2 * HUGE_PAGE, "u1")
    assert kept() == [memory()]
    again = sharedmem.empty(nbytes, "u1")
    assert memory_of(again) == memory
    assert not kept()
    assert not np.shares_memory(again, other)
    assert (again == 7).all()


@pytest.mark.parametrize("nbytes", SIZES)
def test_what_is_made_with_memory_that_was_used_before(nbytes):
    values = np.arange(nbytes) % 251
    for _ in range(2):
        array = sharedmem.full(nbytes, 255, "u1")
        assert (array == 255).all()
        del array
        assert not sharedmem.zeros(nbytes, "u1").any()
        assert (sharedmem.array(values, "u1") == values).all()
        assert (sharedmem.copy(values[::-1]) == values[::-1]).all()
        assert not sharedmem.zeros_like(values, "u1").any()


def share_by_fork(array):
    in_child(lambda: True)


def share_by_a_map(array):
    sharedmem.MapReduce(np=2).map(abs, range(2))


def share_by_background(array):
    sharedmem.background(abs, 1).wait()


def share_by_pickle(array):
    pickle.dumps(array)


def share_by_descriptor(array):
    os.close(os.dup(find_segment(array.ctypes.data, 1).fd))


SHARES = [share_by_fork, share_by_a_map, share_by_background, share_by_pickle, share_by_descriptor]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("nbytes", [100_000, 3 << 20])
def test_memory_that_others_may_see_is_freed(share, nbytes):
    array = sharedmem.ones(nbytes, "u1")
    memory = memory_of(array)
    share(array)
    del array
    assert memory() is None
    assert not kept()


@pytest.mark.parametrize("nbytes", [100_000, 3 << 20])
def test_memory_of_another_process_is_never_kept(nbytes):
    (array,) = sharedmem.MapReduce(np=1).map(lambda _: sharedmem.ones(nbytes, "u1"), [0])
    memory = memory_of(array)
    assert sharedmem.is_shared(array)
    del array
    assert memory() is None


@pytest.mark.parametrize("nbytes", [100_000, 3 << 20])
def test_an_old_pickle_never_finds_the_next_array(nbytes):
    array = sharedmem.ones(nbytes, "u1")
    stream = pickle.dumps(array)
    del array
    others = [sharedmem.full(nbytes, 2, "u1") for _ in range(3)]
    with pytest.raises(ReferenceError, match="has been freed there"):
        pickle.loads(stream)
    assert in_child(lambda: raises_reference_error(stream))
    assert all((other == 2).all() for other in others)


def raises_reference_error(stream):
    try:
        pickle.loads(stream)
    except ReferenceError:
        return True
    return False


@pytest.mark.parametrize("nbytes", [100_000, 3 << 20])
def test_a_child_keeps_what_it_inherited(nbytes):
    """The parent frees the array, and others of its size follow."""
    live = {1: sharedmem.ones(nbytes, "u1")}
    end = watcher(lambda: all(is_intact(each, value) for value, each in live.items()))
    live.clear()
    others = [sharedmem.full(nbytes, 2, "u1") for _ in range(3)]
    assert end() == 0
    assert all((other == 2).all() for other in others)


def test_a_fork_frees_what_is_kept_before_and_afterwards():
    """Other threads may free arrays between the hook and the fork."""
    for nbytes in SIZES:
        sharedmem.empty(nbytes, "u1")
    assert len(kept()) >= 5
    assert in_child(lambda: not kept())
    assert not kept()
    assert not spare_memory._forking
    sharedmem.ones(100_000, "u1")
    assert kept()


def test_what_is_made_while_another_thread_forks_is_not_kept(monkeypatch):
    """The array may be dropped after the fork, and before the hooks that follow it."""
    monkeypatch.setattr(spare_memory, "_forking", [None])
    sharedmem.ones(100_000, "u1")
    assert not kept()


def test_forked_processes_keep_small_memory_only():
    def work():
        sharedmem.ones(100_000, "u1")
        sharedmem.ones(3 << 20, "u1")
        return [memory.length for memory in kept()] == [102_400]

    assert in_child(work)


def test_what_is_kept_is_bounded():
    largest = spare_memory.largest_kept()
    sharedmem.empty(largest + 1, "u1")
    assert not kept()
    for nbytes in (100_000, 1 << 20, largest // 8, largest // 4, largest):
        arrays = [sharedmem.empty(nbytes, "u1") for _ in range(40)]
        del arrays
    lengths = [memory.length for memory in kept()]
    assert sum(lengths) <= 3 * largest + (32 << 20)
    assert len(lengths) <= 42
    assert largest <= sharedmem.total_memory() // 64


def test_a_small_machine_keeps_little(monkeypatch):
    monkeypatch.setattr(spare_memory, "total_memory", lambda: 512 << 20)
    spare_memory.largest_kept.cache_clear()
    try:
        sharedmem.empty((8 << 20) + 1, "u1")
        sharedmem.empty(8 << 20, "u1")
        assert [memory.length for memory in kept()] == [8 << 20]
    finally:
        spare_memory.largest_kept.cache_clear()


def test_a_large_array_frees_what_is_kept():
    sharedmem.empty(3 << 20, "u1")
    sharedmem.empty(spare_memory.largest_kept() + 1, "u1")
    assert not kept()


def test_what_is_kept_is_freed_where_memory_is_refused(monkeypatch):
    sharedmem.empty(3 << 20, "u1")
    map_file = memory_files.map_file

    def refuse(*arguments):
        if kept():
            raise MemoryError("no memory")
        return map_file(*arguments)

    monkeypatch.setattr(memory_files, "map_file", refuse)
    array = sharedmem.zeros(5 << 20, "u1")
    assert not array.any()


def test_what_is_kept_is_closed_where_descriptors_are_refused(monkeypatch):
    sharedmem.empty(100_000, "u1")
    create = os.memfd_create

    def refuse(*arguments):
        if kept():
            raise OSError(errno.EMFILE, "no descriptor")
        return create(*arguments)

    monkeypatch.setattr(os, "memfd_create", refuse)
    array = sharedmem.empty(200_000, "u1")
    assert find_segment(array.ctypes.data, 1).fd >= 0


def test_memory_whose_descriptor_was_closed_has_none():
    """The number may be that of another file now."""
    array = sharedmem.ones(100_000, "u1")
    descriptor = memory_of(array)().fd
    del array
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, descriptor)
    array = sharedmem.ones(100_000, "u1")
    assert find_segment(array.ctypes.data, 1).fd == -1
    stream = pickle.dumps(array)
    assert np.shares_memory(pickle.loads(stream), array)
    del array
    assert os.read(descriptor, 1) == b""
    os.close(descriptor)
    os.close(other)


def test_memory_without_a_file_is_kept(monkeypatch):
    monkeypatch.setattr(memory_files, "memfd_flags", lambda: None)
    memory = memory_of(sharedmem.ones(100_000, "u1"))
    assert memory_of(sharedmem.empty(100_000, "u1")) == memory
    assert not sharedmem.zeros(100_000, "u1").any()


def test_garbage_that_is_collected_leaves_its_memory():
    array = sharedmem.ones(3 << 20, "u1")
    memory = memory_of(array)
    cycle = [array]
    cycle.append(cycle)
    del array, cycle
    gc.collect()
    assert kept() == [memory()]


def test_threads_never_get_the_same_memory():
    wrong = []

    def work(rank):
        for i in range(300):
            array = sharedmem.empty(100_000, "u1")
            other = sharedmem.zeros(100_000, "u1")
            array[:] = rank
            if other.any() or (array != rank).any():
                wrong.append((rank, i))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(1, 5)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        in_child(lambda: True)
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_is_said_at_exit():
    program = (
        "import sharedmem\n"
        "a = [sharedmem.ones(n) for n in (10, 10**6)]\n"
        "del a\n"
        "b = [sharedmem.ones(n) for n in (20, 2 * 10**6)]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ACTIONS = st.one_of(
    st.tuples(st.just("empty"), st.sampled_from(SIZES[:5])),
    st.tuples(st.just("zeros"), st.sampled_from(SIZES[:5])),
    st.tuples(st.just("free"), st.integers(0, 5)),
    st.tuples(st.just("free"), st.integers(0, 5)),
    st.tuples(st.just("pickle"), st.integers(0, 5)),
    st.tuples(st.just("load"), st.integers(0, 5)),
    st.tuples(st.just("fork"), st.just(0)),
)


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=30))
def test_no_two_arrays_ever_share_memory(actions):
    """Each array has a number of its own in all of its bytes, here and in children."""
    live, streams, children = {}, {}, []
    try:
        for number, (action, which) in enumerate(actions, 1):
            at = list(live)[which % len(live)] if live else None
            if action in ("empty", "zeros"):
                array = getattr(sharedmem, action)(which, "u1")
                assert action == "empty" or not array.any()
                array[:] = number
                live[number] = array
                del array
            elif action == "free" and live:
                del live[at]
            elif action == "pickle" and live:
                streams[at] = pickle.dumps(live[at])
            elif action == "load" and streams:
                old = list(streams)[which % len(streams)]
                if old in live:
                    loaded = pickle.loads(streams[old])
                    assert np.shares_memory(loaded, live[old])
                    del loaded
                else:
                    assert raises_reference_error(streams[old])
            elif action == "fork":
                children.append(
                    watcher(lambda: all(is_intact(each, value) for value, each in live.items()))
                )
            assert all(is_intact(each, value) for value, each in live.items())
    finally:
        live.clear()
        codes = [end() for end in reversed(children)]  # later ones inherit pipes of earlier ones
    assert codes == [0] * len(codes)


def is_intact(array, number):
    return (array[:: max(array.size // 50, 1)] == number).all()


def test_segments_say_whether_their_memory_is_new():
    segment = Segment(100_000)
    assert segment.is_zero
    del segment
    assert not Segment(100_000).is_zero
