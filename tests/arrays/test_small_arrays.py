"""Small arrays share segments; no two of them ever share memory, in any process."""

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from forks import in_child, watcher
from sharedmem.arrays import small_arrays
from sharedmem.arrays.shared_array import SharedArray
from sharedmem.machine.tuning import tuning
from sharedmem.memory import spare_memory

LARGEST = tuning.arena_bytes


@pytest.fixture(autouse=True)
def nothing_is_kept():
    small_arrays.release()
    spare_memory.release()


def n_mappings():
    return sum("memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())


def segment_of(array):
    while not hasattr(array, "blocks"):
        array = array.base
    return array


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("make", [sharedmem.empty, sharedmem.zeros, sharedmem.ones])
def test_many_arrays_take_few_descriptors_and_mappings(make):
    before = len(os.listdir("/proc/self/fd")), n_mappings()
    arrays = [make(25, "f4") for _ in range(20_000)]
    assert len(os.listdir("/proc/self/fd")) < before[0] + 12
    assert n_mappings() < before[1] + 12
    starts = sorted(map(address, arrays))
    assert all(np.diff(starts) >= 100)
    for number, array in enumerate(arrays):
        array[:] = number
    assert all((array == number).all() for number, array in enumerate(arrays))
    del array, arrays
    small_arrays.release()
    spare_memory.release()
    assert (len(os.listdir("/proc/self/fd")), n_mappings()) == before


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 8192, LARGEST - 1, LARGEST, LARGEST + 1])
def test_arrays_of_all_sizes_are_apart(nbytes):
    arrays = [sharedmem.full(nbytes, k, "u1") for k in range(40)]
    assert all((array == k).all() for k, array in enumerate(arrays))
    assert all(address(array) % 64 == 0 for array in arrays)
    assert not any(sharedmem.zeros(nbytes, "u1").any() for _ in range(40))
    assert all(sharedmem.ones(nbytes, "u1").all() for _ in range(40))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), 7, (7,), (2, 3), (2, 0), [3, 1]])
@pytest.mark.parametrize("dtype", ["f8", "i2", ">f4", "S3", "M8[s]", "i4,f8", "?", bool, None])
def test_memory_that_served_before_is_filled(shape, dtype):
    for _ in range(2):
        used = [sharedmem.empty(shape, dtype) for _ in range(200)]
        for array in used:
            array.view(np.ndarray).reshape(-1).view("u1")[...] = 255
        del used, array
        for made in [sharedmem.zeros(shape, dtype) for _ in range(200)]:
            np.testing.assert_array_equal(made, np.zeros(shape, dtype))
        np.testing.assert_array_equal(sharedmem.ones(shape, dtype), np.ones(shape, dtype))


def test_the_arguments_of_arrays_that_are_ready():
    for _ in range(3):
        for dtype in ("f8", float, None, np.dtype("f8")):
            assert sharedmem.empty(5, dtype).dtype == "f8"
        assert sharedmem.empty(True).shape == (1,)
        marked = np.dtype("f8", metadata={"unit": "m"})
        assert sharedmem.empty(5, marked).dtype.metadata == {"unit": "m"}
        with pytest.raises(TypeError, match="shape must be an integer"):
            sharedmem.empty(5.0)
        with pytest.raises(ValueError, match="order must be"):
            sharedmem.empty(5, order="X")
        assert sharedmem.empty(5, [("x", "f8")]).dtype.names == ("x",)
        assert sharedmem.zeros(5, "i4").dtype == sharedmem.ones(5, "i4").dtype == "i4"


VIEWS = {
    "view": lambda a: a[1:],
    "view of a view": lambda a: np.asarray(a[1:])[::2].T,
    "another type": lambda a: a.view("u1").view(np.recarray),
    "memoryview": lambda a: memoryview(a[:]),
    "frombuffer": np.frombuffer,
    "DLPack": lambda a: np.from_dlpack(np.asarray(a)),
    "ctypes": lambda a: np.ctypeslib.as_ctypes(np.asarray(a)),
    "pointer": lambda a: a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    "iterator": lambda a: a.flat,
    "strided": lambda a: np.lib.stride_tricks.as_strided(a, (2, 2), (8, 8)),
    "broadcast": lambda a: np.broadcast_to(a, (3, *a.shape)),
    "masked": lambda a: np.ma.array(a, copy=False),
    "nditer": lambda a: np.nditer(a),
    "pickled": lambda a: pickle.loads(pickle.dumps(a)),
    "pickled view": lambda a: pickle.loads(pickle.dumps(a[2:])),
    "buffer": lambda a: np.ndarray((2,), "f8", a.data),
}


@pytest.mark.parametrize("name", VIEWS)
def test_any_view_keeps_the_memory(name):
    a = sharedmem.full(13, 7.0)
    place = address(a)
    others = [sharedmem.full(13, 7.0) for _ in range(100)]
    view = VIEWS[name](a)
    del a, others
    made = [sharedmem.full(13, -1.0) for _ in range(5000)]
    assert place not in map(address, made)
    assert ctypes.c_double.from_address(place).value == 7.0
    del view


def test_views_in_garbage_keep_the_memory():
    """The garbage collector clears weak references before it calls `__del__`."""

    class Node:
        def __init__(self):
            self.itself, self.array = self, sharedmem.full(13, 7.0)

        def __del__(self):
            made = [sharedmem.full(13, -1.0) for _ in range(1000)]
            seen.append((self.array == 7).all())
            del made

    seen = []
    for _ in range(50):
        Node()
    gc.collect()
    assert seen == [True] * 50


def memory_in_use():
    """Return the resident memory of arrays in KiB."""
    small_arrays.release()
    spare_memory.release()
    parts = Path("/proc/self/smaps").read_text().split("memfd:")[1:]
    return sum(int(part.split("Rss:")[1].split()[0]) for part in parts)


def test_memory_of_dropped_arrays_serves_again():
    """Whether all of them are dropped, or most, or in another order."""
    before = memory_in_use()
    kept = []
    for step in range(40):
        arrays = [sharedmem.ones(13) for _ in range(2000)]
        kept += arrays[:: 500 + step]
        assert len({id(segment_of(array)) for array in arrays}) < 10
        del arrays
    assert all((array == 1).all() for array in kept)
    assert memory_in_use() - before < 3000  # KiB; 12,800 without


def test_a_loop_takes_no_more_memory():
    array = sharedmem.empty(1000)
    first = segment_of(array)
    places = set()
    for _ in range(2000):
        array = sharedmem.empty(1000)
        places.add(address(array))
    assert len(places) <= first.nbytes // 8000
    assert segment_of(array) is first


def test_a_pickled_array_is_never_given_again():
    streams = {}
    for value in range(300):
        array = sharedmem.full(13, value)
        streams[value] = pickle.dumps(array), address(array)
        del array
    made = [sharedmem.full(13, -1.0) for _ in range(3000)]
    assert not {place for _, place in streams.values()} & set(map(address, made))
    for value, (stream, _) in streams.items():
        with contextlib.suppress(ReferenceError):  # its arena is gone
            assert (pickle.loads(stream) == value).all()


def test_an_array_that_a_child_has_is_never_given_again():
    def count():
        return sum((array == 1).all() for array in arrays)

    arrays = [sharedmem.ones(13) for _ in range(300)]
    end = watcher(lambda: count() == 300)
    arrays.clear()
    made = [sharedmem.full(13, 2) for _ in range(3000)]
    assert end() == 0
    assert all((array == 2).all() for array in made)


def test_a_child_takes_other_memory_than_its_parent():
    parents = [sharedmem.ones(13) for _ in range(300)]

    def work():
        mine = [sharedmem.full(13, 3) for _ in range(3000)]
        return all((array == 1).all() for array in parents) and all(a.sum() == 39 for a in mine)

    end = watcher(work, now=True)
    made = [sharedmem.full(13, 2) for _ in range(3000)]
    assert end() == 0
    assert all((array == 2).all() for array in made)
    assert all((array == 1).all() for array in parents)


def test_forks_alone_make_no_arenas():
    arrays = []
    for _ in range(10):
        arrays.append(sharedmem.zeros(3))
        assert in_child(lambda: True)
    assert len({id(segment_of(array)) for array in arrays}) == 1


def test_results_lie_in_few_segments():
    before = len(os.listdir("/proc/self/fd")), n_mappings()
    with sharedmem.MapReduce(np=2) as pool:
        results = pool.map(lambda i: sharedmem.full(1000, i), range(2000))
    assert [int(a[-1]) for a in results] == list(range(2000))
    assert all(type(a) is SharedArray for a in results)
    assert len(os.listdir("/proc/self/fd")) < before[0] + 40
    assert n_mappings() < before[1] + 40


def add_one(array):
    array += 1
    return array


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"persistent": True}])
def test_arrays_that_are_sent_again_and_again(options):
    with sharedmem.MapReduce(np=2, **options) as pool:
        for _ in range(15):
            arrays = [sharedmem.full(13, i) for i in range(40)]
            results = pool.map(add_one, arrays)
            assert all(np.shares_memory(a, b) for a, b in zip(arrays, results, strict=True))
            assert [int(a[5]) for a in arrays] == list(range(1, 41))
    assert n_mappings() < 60


def test_an_unrelated_process_attaches_them():
    arrays = [sharedmem.full(5, k) for k in range(100)]
    stream = pickle.dumps(arrays)
    assert len(stream) < 60 * 100
    program = "import pickle, sys; [a.__iadd__(1) for a in pickle.load(sys.stdin.buffer)]"
    done = subprocess.run([sys.executable, "-c", program], input=stream, capture_output=True)
    assert done.stderr == b""
    assert [int(array[2]) for array in arrays] == list(range(1, 101))


def test_threads_never_get_the_same_memory():
    wrong = []

    def work(rank):
        kept = []
        for i in range(400):
            array, other = sharedmem.empty(5 + i % 3), sharedmem.zeros(5)
            array[:] = rank
            kept.append(array)
            if other.any() or any((each != rank).any() for each in kept[-9:]):
                wrong.append((rank, i))
            if i % 50 == 49:
                del kept[::2]
        wrong.extend(rank for each in kept if (each != rank).any())

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(1, 5)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        in_child(lambda: all(sharedmem.full(5, 9).sum() == 45 for _ in range(200)))
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("last", ["", "del a", "os.register_at_fork(before=a.__len__); del a"])
def test_the_interpreter_ends_with_arenas(last):
    """What the hooks of `os.fork` refer to dies after all modules."""
    program = f"import os, sharedmem; a = [sharedmem.ones(n) for n in (5, 5, 5, 10**5)]; {last}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


LENGTHS = [0, 3, 8, 9, 100, 2000, LARGEST // 8]
ACTIONS = st.one_of(
    st.tuples(
        st.sampled_from(["empty", "zeros", "ones", "copy", "many"]), st.sampled_from(LENGTHS)
    ),
    st.tuples(st.just("drop"), st.integers(0, 50)),
    st.tuples(st.just("drop half"), st.integers(0, 1)),
    st.tuples(st.sampled_from(["view", "pickle", "alias"]), st.integers(0, 50)),
    st.tuples(st.sampled_from(["fork", "fork and write", "thread"]), st.sampled_from(LENGTHS)),
)


class Model:
    """Arrays, each of which has a number of its own in all of its elements."""

    def __init__(self):
        self.live, self.streams, self.children, self.last = {}, [], [], 0

    def add(self, array):
        self.last += 1
        array[...] = self.last
        self.live.setdefault(self.last, []).append(array)

    def step(self, action, which):
        at = list(self.live)[which % len(self.live)] if self.live else None
        if action in ("empty", "zeros", "ones"):
            array = getattr(sharedmem, action)(which)
            assert action == "empty" or (array == (action == "ones")).all()
            self.add(array)
        elif action == "copy":
            self.add(sharedmem.copy(np.arange(which)))
        elif action == "many":
            for _ in range(min(200, 40_000 // (which + 1))):
                self.add(sharedmem.empty(which))
        elif action == "thread":
            thread = threading.Thread(target=self.step, args=("many", which))
            thread.start()
            thread.join()
        elif action == "fork":
            self.children.append(watcher(self.is_intact))
        elif action == "fork and write":
            end = watcher(lambda: self.step("many", which) or self.is_intact(), now=True)
            assert end() == 0
        elif at is None:
            pass
        elif action == "drop":
            del self.live[at]
        elif action == "drop half":
            for number in list(self.live)[which::2]:
                del self.live[number]
        elif action == "view":
            self.live[at] = [self.live[at][0][::2]]
        elif action == "pickle":
            pickle.dumps(self.live[at][0])
        else:
            self.live[at] = [pickle.loads(pickle.dumps(self.live[at][0]))]

    def is_intact(self):
        return all((a == number).all() for number, each in self.live.items() for a in each)

    def end(self):
        self.live.clear()
        return [end() for end in reversed(self.children)]


def run(actions):
    model = Model()
    try:
        for action in actions:
            model.step(*action)
            assert model.is_intact(), action
    finally:
        codes = model.end()
    assert codes == [0] * len(codes)


@settings(max_examples=40)
@given(st.lists(ACTIONS, max_size=15))
def test_no_two_arrays_ever_share_memory(actions):
    run(actions)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.lists(ACTIONS, max_size=30))
def test_no_two_arrays_share_memory_in_long_programs(actions):
    run(actions)


@pytest.mark.slow
def test_signal_handlers_that_allocate_and_fork():
    """Wherever they strike, parent and child never take the same memory afterwards."""
    children, main, kept, made_in, forking = [], os.getpid(), [], [], []

    def handler(*_):
        kept.append(sharedmem.full(13, 0))
        # Within the hooks of a fork, locks of Python's own modules are held.
        if not forking and len(children) < 20 and os.getpid() == main:
            forking.append(None)
            if pid := os.fork():
                children.append(pid)
            forking.clear()
        kept.append(sharedmem.full(13, 0))

    before = signal.signal(signal.SIGVTALRM, handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.0201)
    try:
        while len(children) < 20 and len(made_in) < 1000:
            began_in = os.getpid()
            array = sharedmem.empty(13)
            array[:] = began_in
            if began_in != main:  # otherwise it may have been made before the fork
                made_in.append(array)
            elif os.getpid() == main:
                kept = [*kept[-500:], array]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        if os.getpid() != main:
            os._exit(not all((array == os.getpid()).all() for array in made_in))
    assert {os.waitpid(pid, 0)[1] for pid in children} == {0}
    assert {int(array[0]) for array in kept} <= {0, main}
    assert all((array == array[0]).all() for array in kept)
