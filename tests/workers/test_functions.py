"""Functions by reference: workers see what they refer to as it is now, and load them once."""

import functools
import gc
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.arrays.shared_array import segment_of
from sharedmem.workers import functions
from sharedmem.workers.channel import Channel, Kind
from sharedmem.workers.functions import pack_any, pack_result, referred
from sharedmem.workers.module_globals import note_globals
from sharedmem.workers.pickling import OUT_OF_BAND_BYTES

SETTING: Any = 0
DATABASE: Any = None


class Peer:
    """A forked process that calls what it is sent."""

    def __init__(self) -> None:
        self._ours, theirs = Channel.pair(windowed=False)
        self._pid = os.fork()
        if self._pid:
            theirs.close()
            return
        try:
            self._ours.close()
            while message := theirs.receive(block=True):
                func, *args = message.value
                try:
                    result = func(*args)
                except BaseException:
                    result = traceback.format_exc()
                theirs.send(Kind.TASKS, 0, pack_result([result]))
        finally:
            os._exit(0)

    def __call__(self, func: Callable[..., Any], *args: Any) -> Any:
        self._ours.send(Kind.TASKS, 0, pack_any([referred(func), *args]))
        message = self._ours.receive(block=True)
        assert message is not None
        return message.value[0]

    def close(self) -> None:
        self._ours.close()
        os.waitpid(self._pid, 0)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()
    functions._references.clear()


def n_loaded() -> int:
    return len(functions._functions)


class Model:
    factor: Any = 1

    def __init__(self) -> None:
        self.values: Any = 0

    def __call__(self) -> Any:
        return self.values, self.factor

    def read(self) -> Any:
        return self()


NUMBERS = st.integers(-3, 3) | st.floats(-3, 3) | st.booleans() | st.none() | st.text(max_size=2)
PLAIN = st.recursive(
    NUMBERS,
    lambda each: st.lists(each, max_size=3) | st.tuples(each) | st.dictionaries(NUMBERS, each),
    max_leaves=5,
)
ARRAYS = st.lists(st.integers(-3, 3), min_size=1, max_size=4).map(np.array)


@given(st.data())
@settings(max_examples=60)
@pytest.mark.slow
def test_a_worker_sees_each_change_of_a_value(peer: Peer, data: st.DataObject) -> None:
    cell: Any = 0
    inside: dict[str, Any] = {"a": [0], "array": np.zeros(3)}
    large = np.zeros(OUT_OF_BAND_BYTES)
    model = Model()

    class Local(Model):
        pass

    local = Local()

    def func(default: Any = 0) -> Any:
        return repr((cell, inside, SETTING, default, model(), local(), large[0], other()))

    def other() -> Any:
        return cell, SETTING

    def rebind(value: Any) -> None:
        nonlocal cell
        cell = value

    changes: dict[str, Callable[[Any], object]] = {
        "a cell": rebind,
        "a list in a cell": lambda value: inside["a"].append(value),
        "a dict in a cell": lambda value: inside.update(b=value),
        "a global variable": lambda value: globals().update(SETTING=value),
        "a default": lambda value: setattr(func, "__defaults__", (value,)),
        "an attribute": lambda value: setattr(model, "values", value),
        "an attribute of a class": lambda value: setattr(Local, "factor", value),
        "an attribute of a local object": lambda value: setattr(local, "values", value),
    }
    forms = {
        "a closure": func,
        "a partial": functools.partial(func, 1),
        "an object": model,
        "a method": model.read,
    }
    form = data.draw(st.sampled_from(sorted(forms)))
    for _ in range(3):
        assert repr(peer(forms[form])) == repr(forms[form]())
        change = data.draw(st.sampled_from(sorted(changes)))
        changes[change](data.draw(PLAIN | ARRAYS))
        if data.draw(st.booleans()):
            inside["array"][data.draw(st.integers(0, 2))] += 1
        if data.draw(st.booleans()):
            large[:] += 1
    assert repr(peer(forms[form])) == repr(forms[form]())


def test_a_function_is_pickled_once(peer: Peer) -> None:
    values = [1, 2]

    def func() -> Any:
        values.append(threading.get_ident())
        return len(values)

    assert [peer(func) for _ in range(3)] == [3, 4, 5]  # what a worker changes, stays there
    assert referred(func) is referred(func)
    # A closure that is made anew is the same, as long as it refers to the same.
    assert referred(make(3)) is referred(make(3))
    assert referred(make(3)) is not referred(make(4))


def make(value: Any) -> Callable[[], Any]:
    return lambda: value


@pytest.mark.parametrize("named", [make, Model, len, np.sum, np.add, Model.read])
def test_what_can_be_imported_is_its_name(named: Any, peer: Peer) -> None:
    assert len(pack_any(named).stream) < 200
    assert peer(lambda: named) is named


def test_a_large_array_is_copied_once_for_all_functions(peer: Peer) -> None:
    large = np.arange(1e5)
    assert peer(lambda: large.sum()) == large.sum()
    copies = dict(functions._copies._copies)
    for k in range(3):
        assert peer(lambda k=k: large[k]) == k
    assert functions._copies._copies == copies
    assert len(copies) == 1


def test_a_large_array_is_writable_in_private(peer: Peer) -> None:
    large, fixed = np.zeros((300, 400), order="F"), np.zeros(100_000)
    fixed.flags.writeable = False

    def write() -> Any:
        large[0, 1] += 1
        return large[0, 1], large.flags.f_contiguous, fixed.flags.writeable

    assert peer(write) == (1, True, False)
    assert peer(write) == (2, True, False)
    assert large[0, 1] == 0


def test_shared_arrays_stay_shared(peer: Peer) -> None:
    shared = sharedmem.zeros(3)

    def write() -> Any:
        shared[0] += 1
        return shared

    assert peer(write)[0] == 1
    assert shared[0] == 1


@pytest.mark.parametrize("size", [3, 100_000])
def test_plain_views_of_shared_arrays_stay_shared(peer: Peer, size: int) -> None:
    shared = sharedmem.zeros(size)
    view = np.asarray(shared)

    def write() -> Any:
        view[0] += 1
        return view[0], type(view)

    assert peer(write) == (1, np.ndarray)
    shared[0] = 5
    assert peer(write) == (6, np.ndarray)
    assert shared[0] == 6


def test_nothing_is_kept_alive(peer: Peer) -> None:
    def call() -> list[Any]:
        large, shared = np.zeros(100_000), sharedmem.zeros(100_000)

        def func() -> Any:
            return large[0] + shared[0]

        assert peer(func) == 0
        return [weakref.ref(each) for each in (large, segment_of(shared), func)]

    ends = call()
    gc.collect()
    assert [end() for end in ends] == [None] * 3
    assert not functions._copies._copies
    # A worker drops what the coordinator has forgotten.
    assert peer(lambda: None) is None
    assert peer(n_loaded) == 1


def connect() -> None:
    global DATABASE
    DATABASE = "connected"


def test_tasks_see_what_an_initializer_has_set(peer: Peer) -> None:
    def set_it() -> None:
        global SETTING
        SETTING = "set"

    globals()["SETTING"] = 1
    peer(set_it)
    assert peer(lambda: SETTING) == "set"
    globals()["SETTING"] = 2
    assert peer(lambda: SETTING) == 2
    assert peer(note_globals, connect) is None
    assert peer(connect) is None
    assert peer(lambda: DATABASE) == "connected"


def test_large_streams_travel_by_reference(peer: Peer) -> None:
    text = [str(k) for k in range(100_000)]
    assert peer(lambda: text) == text
    assert len(pack_any(referred(lambda: text)).stream) < 2000


def test_recursion_and_errors(peer: Peer) -> None:
    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    assert peer(factorial, 5) == 120
    lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        referred(lambda: lock)
    assert "initializer" in caught.value.__notes__[0]


def test_results_of_local_classes(peer: Peer) -> None:
    class Point:
        x = 1

    assert type(peer(lambda: Point())) is Point
    assert peer(lambda: make(3))() == 3
