"""Messages of common mistakes: what was given, the rule, and what to do."""

import os
import pickle
import re
import tempfile

import numpy as np
import pytest

import sharedmem
from sharedmem import MapReduce, WorkerException

POOL = MapReduce(np=2)
SHARED = sharedmem.ones(10)
READ_ONLY = sharedmem.ones(10)
READ_ONLY.flags.writeable = False


def kernel(x, *outs):
    raise AssertionError("a mistake is found before work starts")


def one_array(x):
    raise AssertionError("a mistake is found before work starts")


def open_for_reading():
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.name, 80)
        POOL.map_chunks(kernel, SHARED, out=np.memmap(file.name, "f8", "r"))


def load_what_is_freed():
    array = sharedmem.ones(10_000)
    stream = pickle.dumps(array)
    del array
    pickle.loads(stream)


PRIVATE = (
    "is in private memory, where the writes of worker processes are lost; make it with "
    "sharedmem.copy(a) or sharedmem.empty_like(a), or use threads: MapReduceByThread, or a kernel "
    "compiled with numba.njit(nogil=True)"
)
MISTAKES = {
    "private out": (
        lambda: POOL.map_chunks(kernel, SHARED, out=np.ones(10)),
        ValueError,
        f"out, of shape (10,) and dtype float64, {PRIVATE}",
    ),
    "lambda on a private array": (
        lambda: POOL.map_chunks(lambda x: x.fill(1), np.ones(10)),
        ValueError,
        f"an array to be worked on in place, of shape (10,) and dtype float64, {PRIVATE}",
    ),
    "read-only out": (
        lambda: POOL.map_chunks(kernel, SHARED, out=READ_ONLY),
        ValueError,
        "out, of shape (10,) and dtype float64, is read-only; give a writable array as out",
    ),
    "out in a file opened for reading": (
        open_for_reading,
        ValueError,
        "out, of shape (10,) and dtype float64, is read-only; give a writable array as out",
    ),
    "out overlaps": (
        lambda: POOL.map_chunks(kernel, SHARED[1:], out=SHARED[:-1]),
        ValueError,
        "an array that is written to, of shape (9,) and dtype float64, shares memory with another "
        "array, of shape (9,), whose chunks are at other places; give a separate array as out, "
        "such as sharedmem.empty_like(a)",
    ),
    "lengths that differ": (
        lambda: POOL.map_chunks(kernel, SHARED, np.ones(9)),
        ValueError,
        "arrays of shapes (10,), (9,) cannot be cut together along axis 0: they must have the same "
        "length along it",
    ),
    "shapes that differ": (
        lambda: sharedmem.evaluate("a + b", a=SHARED, b=np.ones((3, 9))),
        ValueError,
        "'a + b' cannot be evaluated, since its shapes cannot be broadcast together: a has shape "
        "(10,), b has shape (3, 9); compared from the last axis, lengths must be equal or 1",
    ),
    "shapes that differ in a reduction": (
        lambda: sharedmem.reduce(sharedmem.Reduction(kernel, max), (SHARED, np.ones((3, 9)))),
        ValueError,
        "the shapes (10,), (3, 9) cannot be broadcast together: compared from the last axis, "
        "lengths must be equal or 1",
    ),
    "chunks of one's own": (
        lambda: POOL.map_chunks(kernel, SHARED, chunks=[slice(0, 5)]),
        TypeError,
        "chunks must come from sharedmem.chunks, got list",
    ),
    "chunks of another array": (
        lambda: POOL.map_chunks(kernel, SHARED, chunks=sharedmem.chunks(9, n=2)),
        ValueError,
        "the chunks are those of lengths (9,) along axes (0,), not of an array of shape (10,); "
        "make them with sharedmem.chunks(a)",
    ),
    "kernel by name": (
        lambda: POOL.map_chunks("kernel", SHARED),
        TypeError,
        "kernel must be callable, got 'kernel'",
    ),
    "no ufunc": (
        lambda: POOL.apply_ufunc(len, SHARED),
        TypeError,
        "apply_ufunc needs a ufunc, got <built-in function len>; for functions, see map_chunks",
    ),
    "ufunc for a reduction": (
        lambda: sharedmem.reduce(np.add, SHARED),
        TypeError,
        "the first argument of reduce must be a sharedmem.Reduction or a mapping of them, and the "
        "second the array; got "
        "the ufunc <ufunc 'add'>. Make a Reduction(chunk, combine) from two functions; instead of "
        "a ufunc, use its function, such as sharedmem.sum for numpy.add",
    ),
    "array before the reduction": (
        lambda: sharedmem.reduce(SHARED, sharedmem.Reduction(chunk=max, combine=max)),
        TypeError,
        "the first argument of reduce must be a sharedmem.Reduction or a mapping of them, and the "
        "second the array; got "
        "an array of shape (10,). Make a Reduction(chunk, combine) from two functions; instead of "
        "a ufunc, use its function, such as sharedmem.sum for numpy.add",
    ),
    "two arrays to reduce": (
        lambda: POOL.reduce(sharedmem.Reduction(chunk=max, combine=max), SHARED, SHARED),
        TypeError,
        "axis must be an integer, a tuple of integers, or None, got an array of shape (10,); "
        "several arrays are given as a tuple, reduce(reduction, (x, w))",
    ),
    "arrays for a reduction of one": (
        lambda: sharedmem.reduce(sharedmem.Reduction(one_array, max), (SHARED, SHARED)),
        TypeError,
        "the reduction's one_array(x) would be called with 2 arrays: it must take a piece of each "
        "array that is reduced; several arrays are given as a tuple, reduce(reduction, (x, w))",
    ),
    "no reduction in a mapping": (
        lambda: sharedmem.reduce({"total": np.add}, SHARED),
        TypeError,
        "the mapping of reductions has none under 'total'; got the ufunc <ufunc 'add'>. Make a "
        "Reduction(chunk, combine) from two functions; instead of a ufunc, use its function, such "
        "as sharedmem.sum for numpy.add",
    ),
    "no reductions": (
        lambda: sharedmem.reduce({}, SHARED),
        ValueError,
        "the mapping of reductions is empty: give at least one, such as {'rms': reduction}",
    ),
    "array of objects": (
        lambda: sharedmem.array([None, 1]),
        TypeError,
        "dtype object contains pointers to Python objects, which are invalid in other processes; "
        "use a dtype of fixed size",
    ),
    "shape of a fraction": (
        lambda: sharedmem.zeros(2.5),
        TypeError,
        "shape must be an integer or integers, got 2.5",
    ),
    "too much memory": (
        lambda: sharedmem.zeros(1 << 50, "u1"),
        MemoryError,
        "cannot allocate 1125899906842624 bytes of shared memory: this machine, or the control "
        "group of this process, has {} bytes; use numpy.memmap for an array in a file, which all "
        "functions of sharedmem accept",
    ),
    "pickle of a freed array": (
        load_what_is_freed,
        ReferenceError,
        "the shared array that process {} pickled (80000 bytes) has been freed there; keep a "
        "reference, or send a copy instead: array.copy()",
    ),
    "dict for a sequence": (
        lambda: POOL.map(abs, {1: 2}),
        TypeError,
        "a dict cannot be indexed by position: pass list(it), or list(it.items()) with star=True",
    ),
    "number for a sequence": (
        lambda: POOL.map(abs, 5),
        TypeError,
        "map needs a sequence or something to iterate over, got 5",
    ),
    "sequence for a function": (
        lambda: POOL.map([1, 2], abs),
        TypeError,
        "func must be callable, got [1, 2]; it comes first, then the sequence",
    ),
    "reduce that cannot be called": (
        lambda: POOL.map(abs, [1], reduce=3),
        TypeError,
        "reduce must be callable, got 3",
    ),
    "number of workers as the backend": (
        lambda: MapReduce(4),
        TypeError,
        "backend must be ProcessBackend, SpawnBackend, ThreadBackend, or DaskBackend, got 4; give "
        "the number of workers by name: MapReduce(np=4)",
    ),
    "negative number of workers": (
        lambda: MapReduce(np=-1),
        ValueError,
        "np must be at least 0, got -1",
    ),
    "rng outside of a task": (
        lambda: POOL.rng,
        RuntimeError,
        "pool.rng was used outside a task: use it in the function that pool.map calls, and "
        "numpy.random.default_rng() elsewhere",
    ),
    "name without an array": (
        lambda: sharedmem.evaluate("a + b", a=SHARED),
        ValueError,
        "no array is given for b; given: a",
    ),
    "and for &": (
        lambda: sharedmem.evaluate("a > 1 and a < 2", a=SHARED),
        ValueError,
        "'a > 1 and a < 2' cannot be evaluated: use & for and, with parentheses around comparisons",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), MISTAKES.values(), ids=MISTAKES)
def test_messages_of_mistakes(call, error, text):
    pattern = re.escape(text).replace(r"\{\}", r"\d+")
    with pytest.raises(error, match=f"^{pattern}$"):
        call()


IN_TASKS = {
    "a result that cannot be pickled": (
        lambda i: lambda: i,
        AttributeError,
        r"Can't .*local object(?s:.*)Task 0 in worker 0 \(pid \d+\):(?s:.*)"
        r"The result, of type function, is pickled to reach the coordinator: return data, or write "
        r"to a shared array\.",
    ),
    "an exception": (
        lambda i: 1 // i,
        ZeroDivisionError,
        r"ZeroDivisionError: integer division or modulo by zero(?s:.*)"
        r"Task 0 in worker 0 \(pid \d+\):(?s:.*)lambda i: 1 // i",
    ),
    "critical inside critical": (
        lambda i: [POOL.critical.__enter__(), POOL.critical.__enter__()],
        RuntimeError,
        r"pool\.critical was entered inside pool\.critical, and would wait for itself: leave the "
        r"first block before the second",
    ),
    "ordered inside critical": (
        lambda i: [POOL.critical.__enter__(), POOL.ordered.__enter__()],
        RuntimeError,
        r"pool\.ordered was entered inside pool\.critical, for which earlier tasks may be "
        r"waiting: enter pool\.ordered first, and pool\.critical inside it",
    ),
}


@pytest.mark.parametrize(("func", "reason", "text"), IN_TASKS.values(), ids=IN_TASKS)
def test_messages_of_mistakes_in_tasks(func, reason, text):
    with pytest.raises(WorkerException, match=text) as caught:
        POOL.map(func, range(1))
    assert type(caught.value.reason) is reason


def test_the_note_of_an_item_that_cannot_be_pickled():
    with pytest.raises(AttributeError, match="local object") as caught:
        list(POOL.imap(callable, [lambda: 0]))
    assert caught.value.__notes__ == [
        "Item 0, of type function, is pickled to reach a worker: yield data, or use map, whose "
        "workers inherit the items."
    ]


def test_the_message_of_a_killed_worker():
    text = (
        r"^DeadWorkerError: Worker 0 \(pid \d+\) was killed by SIGKILL while it ran task 0 "
        r"\(item: 'x'\)\. The system may have run out of memory; see "
        r"sharedmem\.available_memory\(\)\.$"
    )
    with pytest.raises(WorkerException, match=text):
        POOL.map(lambda item: os.kill(os.getpid(), 9), ["x"])


def test_a_pool_works_outside_its_with_block():
    with POOL as pool:
        pass
    assert pool.map(abs, [-1]) == [1]
