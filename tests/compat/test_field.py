"""Uses of version 0.3.8 in other projects, a short program for each."""

import collections
import contextlib
import functools
import multiprocessing
import time

import numpy
import pytest

import sharedmem


def test_closures_write_to_shared_arrays():
    field = numpy.arange(10_000.0)
    root = sharedmem.empty_like(field)
    with sharedmem.MapReduce(np=2) as pool:
        chunksize = 1000

        def work(i):
            root[i : i + chunksize] = field[i : i + chunksize] ** 0.5

        pool.map(work, range(0, len(field), chunksize))
    numpy.testing.assert_array_equal(numpy.array(root), numpy.sqrt(field))


def test_a_word_count_with_a_dict_per_task():
    texts = ["spam eggs", "spam spam bacon", "", "eggs"] * 5
    total = collections.Counter()
    with sharedmem.MapReduce(np=2) as pool:
        pool.map(lambda text: dict(collections.Counter(text.split())), texts, reduce=total.update)
    assert total == {"spam": 15, "eggs": 10, "bacon": 5}


def test_results_written_to_a_file_in_order(tmp_path):
    with open(tmp_path / "results", "w") as file, sharedmem.MapReduce(np=2) as pool:

        def work(i):
            line = f"{i} {i * i}\n"
            with pool.ordered:
                file.write(line)
                file.flush()

        pool.map(work, range(50))
    expected = "".join(f"{i} {i * i}\n" for i in range(50))
    assert (tmp_path / "results").read_text() == expected


def test_a_histogram_under_critical():
    values = numpy.random.default_rng(1).integers(0, 10, 1000)
    counts = sharedmem.full(10, 0, dtype="i8")
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            part = numpy.bincount(values[i : i + 10], minlength=10)
            with pool.critical:
                counts[:] += part

        pool.map(work, range(0, 1000, 10))
    assert counts.tolist() == numpy.bincount(values).tolist()


def test_a_reduce_that_prints_progress(capsys):
    done = [0]
    with sharedmem.MapReduce(np=2) as pool:

        def reduce(i):
            done[0] += 1
            print(f"\r{done[0]} of 20", end="")

        pool.map(lambda i: i, range(20), reduce=reduce)
    assert capsys.readouterr().out.endswith("20 of 20")


def test_the_next_file_is_fetched_in_the_background(tmp_path):
    files = [tmp_path / f"{i}.npy" for i in range(4)]
    for i, file in enumerate(files):
        numpy.save(file, numpy.full(1000, i))
    sums = []
    fetch = sharedmem.background(numpy.load, files[0])
    for following in [*files[1:], None]:
        data = fetch.wait()
        if following is not None:
            fetch = sharedmem.background(numpy.load, following)
        sums.append(int(data.sum()))
    assert sums == [0, 1000, 2000, 3000]


@pytest.mark.improved("raises NameError in total_memory() on Python 3")
def test_a_number_of_workers_from_total_memory():
    per_worker = 2**30
    np = min(sharedmem.cpu_count(), max(1, int(sharedmem.total_memory() / per_worker)))
    with sharedmem.MapReduce(np=np) as pool:
        assert pool.map(lambda i: i, range(3)) == [0, 1, 2]


def test_scalar_arrays():
    total = sharedmem.empty((), dtype="f8")
    total[...] = 0
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            with pool.critical:
                total[...] += i

        pool.map(work, range(10))
    assert float(total) == 45


@pytest.mark.improved("raises IndexError in full(())")
def test_filled_scalar_arrays():
    total = sharedmem.full((), 1.5)
    assert (total.shape, float(total)) == ((), 1.5)


def test_structured_arrays():
    particles = sharedmem.empty(100, dtype=[("position", "f8", 3), ("id", "i8")])
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            particles["id"][i] = i
            particles[i]["position"][:] = (i, 2 * i, 3 * i)

        pool.map(work, range(100))
    assert particles["id"].sum() == 4950
    assert numpy.array(particles["position"])[7].tolist() == [7, 14, 21]


def test_a_stop_flag_in_a_shared_bool_array():
    stop = sharedmem.full(1, False, dtype=bool)

    def watch():
        turns = 0
        while not stop[0]:
            turns += 1
            time.sleep(0.001)
        return turns

    watcher = sharedmem.background(watch)
    time.sleep(0.05)
    stop[0] = True
    assert watcher.wait() > 0


def test_one_row_of_a_buffer_per_worker():
    with sharedmem.MapReduce(np=3) as pool:
        buffer = sharedmem.full((pool.np, 4), 0.0)

        def work(i):
            buffer[pool.local.rank, i % 4] += i

        pool.map(work, range(100))
    assert numpy.array(buffer).sum(axis=0).tolist() == [1200, 1225, 1250, 1275]


def test_one_row_of_a_buffer_per_worker_in_serial_mode():
    with sharedmem.MapReduce(np=0) as pool:
        buffer = sharedmem.full((max(pool.np, 1), 4), 0.0)

        def work(i):
            buffer[pool.local.rank, i % 4] += i

        pool.map(work, range(100))
    assert buffer.sum() == 4950


def add_index(array, i):
    array[i] += i
    return i


@pytest.mark.improved("hangs: the pickle is an address that the older process never mapped")
def test_a_partial_with_a_shared_array_reaches_an_older_multiprocessing_pool():
    older = multiprocessing.get_context("fork").Pool(2)
    with contextlib.closing(older):
        array = sharedmem.full(5, 1.0)
        assert older.map(functools.partial(add_index, array), range(5)) == [0, 1, 2, 3, 4]
        assert array.tolist() == [1, 2, 3, 4, 5]
    older.join()


def test_a_serial_pool_inside_a_worker():
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            with sharedmem.MapReduce(np=0) as inner:
                return sum(inner.map(lambda j: i * j, range(4)))

        assert pool.map(work, range(5)) == [0, 6, 12, 18, 24]


@pytest.mark.improved("raises AssertionError: daemonic processes have no children")
def test_a_parallel_pool_inside_a_worker():
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            with sharedmem.MapReduce(np=2) as inner:
                return sum(inner.map(lambda j: i * j, range(4)))

        assert pool.map(work, range(5)) == [0, 6, 12, 18, 24]


def test_threads_inside_threads():
    with sharedmem.MapReduceByThread(np=2) as pool:

        def work(i):
            with sharedmem.MapReduceByThread(np=2) as inner:
                return sum(inner.map(lambda j: i * j, range(4)))

        assert pool.map(work, range(5)) == [0, 6, 12, 18, 24]


@pytest.mark.improved("returns garbage: the copy is pickled by the address of private memory")
@pytest.mark.parametrize(
    "take",
    [
        lambda array, i: array[i : i + 2].copy(),
        lambda array, i: array[(array >= i) & (array < i + 2)],
        lambda array, i: array[[i, i + 1]],
        lambda array, i: numpy.sort(array)[i : i + 2],
    ],
    ids=["copy", "mask", "fancy index", "sort"],
)
def test_copies_of_shared_arrays_return_from_workers(take):
    array = sharedmem.copy(numpy.arange(10.0))
    with sharedmem.MapReduce(np=2) as pool:
        parts = pool.map(lambda i: take(array, i), range(5))
    assert [part.tolist() for part in parts] == [[i, i + 1] for i in range(5)]
    parts[0][0] = 99
    assert array[0] == 0


def test_a_pool_can_be_entered_many_times():
    pool = sharedmem.MapReduce(np=2)
    for k in range(3):
        with pool:
            assert pool.map(lambda i: i + k, range(3)) == [k, k + 1, k + 2]
            assert pool.map(lambda i: -i, range(2)) == [0, -1]
    assert pool.np == 2


def test_a_pool_is_usable_after_a_failure():
    pool = sharedmem.MapReduce(np=2)
    with pytest.raises(sharedmem.WorkerException), pool:
        pool.map(lambda i: 1 / 0, range(3))
    with pool:
        assert pool.map(lambda i: i, range(3)) == [0, 1, 2]


Point = collections.namedtuple("Point", "x y")


def test_a_namedtuple_is_unpacked_like_a_tuple():
    with sharedmem.MapReduce(np=2) as pool:
        assert pool.map(lambda i: Point(i, 2 * i), range(3), reduce=lambda x, y: y) == [0, 2, 4]


def test_reduce_gets_results_as_they_complete():
    seen = []
    with sharedmem.MapReduce(np=2) as pool:

        def work(i):
            time.sleep(0.5 if i == 0 else 0)
            return i

        pool.map(work, range(6), reduce=seen.append)
    assert sorted(seen) == list(range(6))
    assert seen[-1] == 0


def test_work_by_rank_as_in_openmp():
    data = numpy.arange(1000)
    partial_sums = sharedmem.full(sharedmem.cpu_count(), 0, dtype="i8")
    with sharedmem.MapReduce() as pool:

        def work(rank):
            partial_sums[rank] = data[rank * 1000 // pool.np : (rank + 1) * 1000 // pool.np].sum()

        pool.map(work, range(pool.np))
    assert int(partial_sums.sum()) == data.sum()


class Matrix:
    """A sparse matrix of three arrays, as packages make them."""

    def __init__(self, data, indices, ends):
        self.data, self.indices, self.ends = data, indices, ends

    def dot_row(self, i, vector):
        row = slice(self.ends[i], self.ends[i + 1])
        return float(self.data[row] @ vector[self.indices[row]])


def test_a_sparse_matrix_over_shared_arrays():
    data, indices = numpy.arange(1.0, 7.0), numpy.array([0, 2, 2, 0, 1, 2])
    matrix = Matrix(
        sharedmem.copy(data), sharedmem.copy(indices), sharedmem.copy(numpy.array([0, 2, 3, 6]))
    )
    vector = numpy.array([1.0, 10.0, 100.0])
    with sharedmem.MapReduce(np=2) as pool:
        assert pool.map(lambda i: matrix.dot_row(i, vector), range(3)) == [201, 300, 654]

        def halve(i):
            matrix.data[matrix.ends[i] : matrix.ends[i + 1]] /= 2

        pool.map(halve, range(3))
    assert matrix.data.tolist() == (data / 2).tolist()


def test_a_dict_of_shared_arrays():
    columns = {name: sharedmem.copy(numpy.arange(5.0)) for name in "abc"}
    with sharedmem.MapReduce(np=2) as pool:

        def square(name):
            columns[name] **= 2
            return name

        pool.map(square, sorted(columns))
    assert {name: float(column.sum()) for name, column in columns.items()} == dict.fromkeys(
        "abc", 30.0
    )


def test_tens_of_thousands_of_small_arrays():
    arrays = [sharedmem.empty(3, "i8") for _ in range(25_000)]
    with sharedmem.MapReduce(np=2) as pool:

        def fill(start):
            for i in range(start, start + 1000):
                arrays[i][:] = i

        pool.map(fill, range(0, len(arrays), 1000))
    assert all(int(array[0]) == i == int(array[2]) for i, array in enumerate(arrays))
