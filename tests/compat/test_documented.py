"""The documented behavior of version 0.3.8, as programs that run on both versions."""

import ctypes
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy
import pytest

import sharedmem

PRODUCT_CASES = [
    [(1, 2), (3, 4)],
    [[1, 2], [3, 4]],
    numpy.array([[1, 2], [3, 4]]),
]


@pytest.fixture(params=["processes", "threads", "serial"])
def pool(request):
    if request.param == "threads":
        return sharedmem.MapReduceByThread(np=2)
    return sharedmem.MapReduce(np=2 if request.param == "processes" else 0)


@pytest.fixture
def debug_mode():
    sharedmem.set_debug(True)
    yield
    sharedmem.set_debug(False)


# Examples of the documentation


def test_example_sum_of_a_large_array_with_progress(capsys):
    input = numpy.arange(1024 * 8, dtype="f8")
    output = sharedmem.empty(1024 * 8, dtype="f8")
    with sharedmem.MapReduce() as pool:
        chunksize = 1024

        def work(i):
            s = slice(i, i + chunksize)
            output[s] = input[s]
            return i, sum(input[s])

        def reduce(i, r):
            print("chunk", i, "done")
            return r

        r = pool.map(work, range(0, len(input), chunksize), reduce=reduce)
    assert numpy.sum(r) == input.sum() == output.sum()
    assert capsys.readouterr().out.count("done") == 8


def test_example_count_of_bacon_and_eggs(tmp_path):
    files = [tmp_path / f"{i}.txt" for i in range(5)]
    for i, file in enumerate(files):
        file.write_text("bacon eggs spam " * i + "eggs")
    word_count = {"bacon": 0, "eggs": 0}
    with sharedmem.MapReduce() as pool:

        def work(filename):
            wc = dict(word_count)
            for word in open(filename).read().split():
                if word in wc:
                    wc[word] += 1
            return filename, wc

        def reduce(filename, wc):
            for key in word_count:
                word_count[key] += wc[key]

        pool.map(work, files, reduce=reduce)
    assert word_count == {"bacon": 10, "eggs": 15}


def test_example_ordered_hello(capfd):
    with sharedmem.MapReduce() as pool:

        def work(i):
            with pool.ordered:
                print("Hello World from rank", i, "/", pool.np, flush=True)

        pool.map(work, range(pool.np))
    lines = capfd.readouterr().out.splitlines()
    assert lines == [f"Hello World from rank {i} / {pool.np}" for i in range(pool.np)]


def test_example_critical_counter():
    counter = sharedmem.empty(1)
    counter[:] = 0
    with sharedmem.MapReduce() as pool:

        def work(i):
            with pool.critical:
                counter[:] += i

        pool.map(work, range(10))
    assert counter == 45


def test_example_local_rank():
    with sharedmem.MapReduce() as pool:

        def work(i):
            return i + pool.local.rank

        results = pool.map(work, range(10))
    assert all(i <= result < i + pool.np for i, result in enumerate(results))


def test_example_background():
    def function(*args, **kwargs):
        return args, kwargs

    bg = sharedmem.background(function, 1, 2, key="value")
    rt = bg.wait()
    assert rt == ((1, 2), {"key": "value"})


# map


def test_results_come_in_the_order_of_the_sequence(pool):
    with pool:
        assert pool.map(lambda i: i * i, range(100)) == [i * i for i in range(100)]


def test_all_arguments_of_map_by_keyword(pool):
    with pool:
        result = pool.map(
            func=lambda a, b: a + b,
            sequence=[(1, 2)],
            reduce=lambda x: 2 * x,
            star=True,
            minlength=0,
        )
    assert result == [6]


def test_all_arguments_of_map_by_position(pool):
    with pool:
        assert pool.map(lambda i: i, range(3), lambda x: -x, False, 5) == [0, -1, -2]


@pytest.mark.parametrize("sequence", PRODUCT_CASES)
def test_star_unpacks_the_items(sequence, pool):
    with pool:
        assert pool.map(lambda a, b: a * b, sequence, star=True) == [2, 12]


@pytest.mark.parametrize(
    ("sequence", "items"),
    [
        (numpy.arange(3), [0, 1, 2]),
        ("abc", ["a", "b", "c"]),
        ({"a": 1, "b": 2}.keys(), ["a", "b"]),
        ({3}, [3]),
        ([], []),
    ],
)
def test_kinds_of_sequences(sequence, items, pool):
    with pool:
        assert pool.map(lambda item: item, sequence) == items


def test_an_array_is_a_sequence_of_its_rows(pool):
    with pool:
        assert pool.map(lambda row: row.shape, numpy.zeros((3, 4))) == [(4,)] * 3


def test_a_sequence_needs_only_length_and_index(pool):
    class Tens:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            if i >= 3:
                raise IndexError
            return 10 * i

    with pool:
        assert pool.map(lambda i: i, Tens()) == [0, 10, 20]


@pytest.mark.improved("raises TypeError: a generator has no len()")
def test_a_sequence_may_be_a_generator(pool):
    with pool:
        assert pool.map(lambda i: i, (i * i for i in range(4))) == [0, 1, 4, 9]


@pytest.mark.parametrize(
    ("result", "arguments"),
    [((), ()), ((1,), (1,)), ((1, 2), (1, 2)), ([1, 2], ([1, 2],)), (None, (None,)), (1, (1,))],
)
def test_reduce_gets_a_tuple_as_its_arguments(result, arguments, pool):
    with pool:
        assert pool.map(lambda _: result, range(2), reduce=lambda *args: args) == [arguments] * 2


def test_reduce_may_return_none(pool):
    with pool:
        assert pool.map(lambda i: i, range(3), reduce=lambda i: None) == [None] * 3


def test_reduce_runs_in_the_coordinator(pool):
    total = {"sum": 0}
    with pool:

        def reduce(i, square):
            total["sum"] += square
            return os.getpid()

        assert set(pool.map(lambda i: (i, i * i), range(10), reduce=reduce)) == {os.getpid()}
    assert total == {"sum": 285}


def test_an_exception_of_reduce_is_raised_unchanged(pool):
    def reduce(i):
        raise ZeroDivisionError(i)

    with pytest.raises(ZeroDivisionError), pool:
        pool.map(lambda i: i, range(3), reduce=reduce)


def test_func_is_not_pickled(pool):
    class Local:
        value = 3

    lock = open(os.devnull)
    with pool, lock:
        assert pool.map(lambda i: (lock.closed, i * Local.value)[1], range(3)) == [0, 3, 6]


@pytest.mark.improved("raises AttributeError: it has no 'ordered' yet")
def test_map_works_without_the_with_block():
    assert sharedmem.MapReduce(np=2).map(lambda i: i, range(3)) == [0, 1, 2]


def test_np():
    assert sharedmem.MapReduce(np=3).np == 3
    assert sharedmem.MapReduce(np=0).np == 0
    assert sharedmem.MapReduce().np == sharedmem.cpu_count()


def test_np_0_starts_no_process():
    with sharedmem.MapReduce(np=0) as pool:
        assert (
            pool.map(lambda i: (os.getpid(), pool.local.rank), range(2)) == [(os.getpid(), 0)] * 2
        )


# Exceptions


def failing(i):
    if i == 2:
        raise KeyError("two")
    return i


def test_an_exception_is_wrapped(request):
    with pytest.raises(sharedmem.WorkerException) as caught, sharedmem.MapReduce(np=2) as pool:
        pool.map(failing, range(5))
    reason, traceback = caught.value.reason, caught.value.traceback
    assert type(reason) is KeyError
    assert reason.args == ("two",)
    assert "in failing" in traceback
    assert 'raise KeyError("two")' in traceback
    assert traceback in str(caught.value)


def test_an_exception_in_a_thread_is_wrapped():
    with (
        pytest.raises(sharedmem.WorkerException) as caught,
        sharedmem.MapReduceByThread(np=2) as pool,
    ):
        pool.map(failing, range(5))
    assert type(caught.value.reason) is KeyError


def test_np_0_raises_the_exception_itself():
    with pytest.raises(KeyError), sharedmem.MapReduce(np=0) as pool:
        pool.map(failing, range(5))


@pytest.mark.usefixtures("debug_mode")
def test_debug_mode_raises_the_exception_itself():
    assert sharedmem.get_debug()
    with pytest.raises(KeyError), sharedmem.MapReduce(np=2) as pool:
        pool.map(failing, range(5))


@pytest.mark.usefixtures("debug_mode")
def test_debug_mode_runs_tasks_in_the_coordinator():
    with sharedmem.MapReduce(np=2) as pool:
        assert (
            pool.map(lambda i: (os.getpid(), pool.local.rank), range(2)) == [(os.getpid(), 0)] * 2
        )
        assert pool.np == 2


def test_an_exception_that_cannot_be_pickled_loses_its_type():
    class UnpicklableError(Exception):
        pass

    def work(i):
        raise UnpicklableError("the text stays")

    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        with pytest.raises(sharedmem.WorkerException) as caught, sharedmem.MapReduce(np=2) as pool:
            pool.map(work, range(2))
    assert type(caught.value.reason) is Exception
    assert "the text stays" in str(caught.value.reason)
    assert sharedmem.sharedmem.LostExceptionType in [warning.category for warning in issued]


def test_a_killed_worker_raises():
    def work(i):
        if i == 2:
            os.kill(os.getpid(), 9)
        return i

    with pytest.raises(sharedmem.WorkerException), sharedmem.MapReduce(np=2) as pool:
        pool.map(work, range(4))


def test_an_exit_in_a_task_raises():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(sharedmem.WorkerException), sharedmem.MapReduce(np=2) as pool:
            pool.map(lambda i: sys.exit(3), range(4))


@pytest.mark.improved("raises queue.Empty after two seconds, and StopProcessGroup with np=0")
def test_stop_process_group_ends_a_worker_quietly(pool):
    def work(i):
        if i >= 3:
            raise sharedmem.StopProcessGroup
        return i

    with pool:
        assert pool.map(work, range(8)) == [0, 1, 2]


# Sections


@pytest.mark.parametrize("make", [sharedmem.MapReduce, sharedmem.MapReduceByThread])
def test_ordered_sections_run_in_the_order_of_the_tasks(make, tmp_path):
    log = tmp_path / "log"
    with make(np=3) as pool:

        def work(i):
            with pool.ordered, open(log, "a") as file:
                file.write(f"{i}\n")

        pool.map(work, range(30))
    assert log.read_text().split() == [str(i) for i in range(30)]


@pytest.mark.parametrize("make", [sharedmem.MapReduce, sharedmem.MapReduceByThread])
def test_critical_sections_exclude_each_other(make):
    counter = sharedmem.full(1, 0, dtype="i8")
    with make(np=3) as pool:

        def work(i):
            with pool.critical:
                counter[0] += 1

        pool.map(work, range(500))
    assert counter[0] == 500


@pytest.mark.parametrize("make", [sharedmem.MapReduce, sharedmem.MapReduceByThread])
def test_critical_is_a_lock(make):
    counter = sharedmem.full(1, 0, dtype="i8")
    with make(np=3) as pool:

        def work(i):
            pool.critical.acquire()
            try:
                counter[0] += 1
            finally:
                pool.critical.release()

        pool.map(work, range(500))
    assert counter[0] == 500


@pytest.mark.improved("raises AttributeError")
def test_sections_with_np_0():
    with sharedmem.MapReduce(np=0) as pool:

        def work(i):
            with pool.ordered, pool.critical:
                return i

        assert pool.map(work, range(3)) == [0, 1, 2]


@pytest.mark.improved("raises AttributeError")
@pytest.mark.usefixtures("debug_mode")
def test_sections_in_debug_mode():
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            with pool.ordered, pool.critical:
                return i

        assert pool.map(work, range(3)) == [0, 1, 2]


@pytest.mark.improved("hangs")
def test_a_task_may_skip_its_ordered_section():
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            if i % 3:
                with pool.ordered:
                    return i
            return -i

        assert pool.map(work, range(6)) == [0, 1, 2, -3, 4, 5]


# background


def test_background_takes_function_by_keyword():
    assert sharedmem.background(function=lambda a: a, a=4).wait() == 4


def test_background_wraps_exceptions():
    def function():
        raise KeyError("gone")

    call = sharedmem.background(function)
    with pytest.raises(sharedmem.WorkerException) as caught:
        call.wait()
    assert type(caught.value.reason) is KeyError


def test_background_runs_while_the_caller_works():
    flag = sharedmem.full(1, False, dtype="?")

    def function():
        while not flag[0]:
            pass
        return "seen"

    call = sharedmem.background(function)
    flag[0] = True
    assert call.wait() == "seen"


@pytest.mark.improved("raises AttributeError")
def test_background_can_be_waited_for_twice():
    call = sharedmem.background(lambda: 3)
    assert (call.wait(), call.wait()) == (3, 3)


# Arrays

SHAPES = [3, numpy.int64(3), (3,), [3], (2, 3), 0, (0, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_empty(shape):
    array = sharedmem.empty(shape)
    assert array.shape == numpy.empty(shape).shape
    assert array.dtype == "f8"
    assert isinstance(array, sharedmem.sharedmem.anonymousmemmap)


@pytest.mark.parametrize("shape", SHAPES)
def test_full(shape):
    array = sharedmem.full(shape, 7)
    numpy.testing.assert_array_equal(array, numpy.full(shape, 7.0), strict=False)
    assert array.dtype == "f8"


def test_empty_and_full_by_keyword():
    assert sharedmem.empty(shape=3, dtype="i4").dtype == "i4"
    assert sharedmem.full(shape=2, value=5, dtype="i4").tolist() == [5, 5]


@pytest.mark.parametrize("array", [numpy.zeros((2, 3), "i4"), [1, 2, 3]])
def test_like(array):
    like = numpy.asarray(array)
    for made in (sharedmem.empty_like(array), sharedmem.full_like(array, 2)):
        assert (made.shape, made.dtype) == (like.shape, like.dtype)
    assert sharedmem.empty_like(array=array, dtype="f4").dtype == "f4"
    full = sharedmem.full_like(array=array, value=2, dtype="f4")
    assert full.dtype == "f4"
    assert (full == 2).all()


class Particle(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("mass", ctypes.c_double)]


@pytest.mark.parametrize(
    "dtype",
    [
        "?",
        "i1",
        "u8",
        "f4",
        "c16",
        "M8[D]",
        "U5",
        "S3",
        [("a", "f8"), ("b", "i4", 2)],
        ctypes.c_int,
    ],
)
def test_dtypes(dtype):
    array = sharedmem.empty(3, dtype)
    assert array.dtype == numpy.dtype(dtype)
    array[...] = numpy.zeros(3, dtype)
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            array[i] = numpy.ones(3, dtype)[i]

        pool.map(work, range(3))
    assert array.tobytes() == numpy.ones(3, dtype).tobytes()


def test_ctypes_structures():
    array = sharedmem.empty(3, Particle)
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            array[i] = (i, i / 2)

        pool.map(work, range(3))
    assert array["mass"].tolist() == [0, 0.5, 1]


def test_fromiter():
    array = sharedmem.sharedmem.fromiter(range(3), "i8", 3)
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("array", [numpy.arange(6.0).reshape(2, 3), numpy.arange(9)[::2]])
def test_copy(array):
    copied = sharedmem.copy(array)
    numpy.testing.assert_array_equal(copied, array)
    assert copied.dtype == array.dtype
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            copied[i] += 1

        pool.map(work, range(len(array)))
    numpy.testing.assert_array_equal(copied, array + 1)


def test_an_unpickled_array_shares_memory_in_the_same_process():
    array = sharedmem.full(3, 1.0)
    again = pickle.loads(pickle.dumps(array))
    again[0] = 9
    assert array[0] == 9


def test_a_view_that_a_task_returns_shares_memory():
    array = sharedmem.copy(numpy.arange(10.0))
    with sharedmem.MapReduce(np=2) as pool:
        views = pool.map(lambda i: array[i : i + 2], range(3))
    views[0][0] = 99
    assert array[0] == 99
    assert [view.tolist() for view in views] == [[99, 1], [1, 2], [2, 3]]


@pytest.mark.improved("dies of a segmentation fault")
def test_an_array_made_by_a_task_reaches_the_coordinator():
    with sharedmem.MapReduce(np=2) as pool:
        made = pool.map(lambda i: sharedmem.full(3, i), range(3))
    assert [array.tolist() for array in made] == [[i] * 3 for i in range(3)]


# Machine and names


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"PBS_NUM_PPN": "5"}, 5),
        ({"OMP_NUM_THREADS": "3", "PBS_NUM_PPN": "5"}, 3),
    ],
)
def test_cpu_count_follows_the_environment(variables, count, monkeypatch):
    for name in ("OMP_NUM_THREADS", "PBS_NUM_PPN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert sharedmem.cpu_count() == sharedmem.MapReduce().np == count


@pytest.mark.improved("raises NameError on Python 3")
def test_total_memory_is_in_bytes():
    assert sharedmem.total_memory() > 2**20


def test_old_names():
    assert sharedmem.Pool is sharedmem.MapReduce
    assert sharedmem.TPool is sharedmem.MapReduceByThread
    module = sharedmem.sharedmem
    assert module.MapReduce is sharedmem.MapReduce
    with module.MapReduce(module.ThreadBackend, 2) as pool:
        assert pool.map(lambda i: os.getpid(), range(2)) == [os.getpid()] * 2
    with module.MapReduce(backend=module.ProcessBackend, np=2) as pool:
        assert os.getpid() not in pool.map(lambda i: os.getpid(), range(2))


def test_import_sharedmem_provides_the_old_module():
    program = "import sharedmem; print(sharedmem.sharedmem.empty(2).shape)"
    folder = Path(sharedmem.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=folder)
    assert done.stdout == b"(2,)\n"
