"""What users of 0.3.8, joblib, and PyTorch have asked for, a short program for each."""

import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import sharedmem


def test_a_sparse_matrix_of_which_workers_change_rows():
    sparse = pytest.importorskip("scipy.sparse")
    counts = sparse.random_array((60, 40), density=0.2, format="csr", rng=1)
    shared = sharedmem.share(counts)
    with sharedmem.MapReduce(np=2) as pool:

        def normalize(i):
            row = slice(shared.indptr[i], shared.indptr[i + 1])
            shared.data[row] /= shared.data[row].sum()

        pool.map(normalize, np.flatnonzero(np.diff(counts.indptr)))
    sums = counts.sum(axis=1)
    np.testing.assert_allclose(shared.sum(axis=1), (sums > 0).astype(float))
    assert type(shared) is type(counts)


def test_the_parts_of_a_sparse_product_on_a_pool_that_stays():
    sparse = pytest.importorskip("scipy.sparse")
    a = sparse.random_array((200, 100), density=0.1, format="csr", rng=2)
    shared = sharedmem.share(a)
    with sharedmem.MapReduce(np=2, persistent=True) as pool:
        parts = pool.map(
            lambda part, i: part[i : i + 50].sum(),
            [(shared, i) for i in range(0, 200, 50)],
            star=True,
        )
    assert sum(parts) == pytest.approx(a.sum())


def test_a_dict_of_arrays_that_workers_update():
    table = {k: np.full(4, float(k)) for k in range(10)}
    shared = sharedmem.share(table)
    with sharedmem.MapReduce(np=2) as pool:

        def double(k):
            shared[k] *= 2

        pool.map(double, range(10))
    assert type(shared) is dict or isinstance(shared, dict)
    assert {k: float(v.sum()) for k, v in shared.items()} == {k: 8.0 * k for k in range(10)}
    assert table[3][0] == 3


def test_a_dict_of_thousands_of_arrays_needs_no_descriptor_for_each():
    table = {k: np.arange(100) + k for k in range(4000)}
    before = descriptors()
    shared = sharedmem.share(table)
    assert descriptors() - before <= 2
    assert all(shared[k][99] == k + 99 for k in table)
    assert len(pickle.dumps(shared)) < 100_000


def descriptors():
    return len([*Path("/proc/self/fd").iterdir()])


def test_values_of_a_large_frame_are_right_in_workers():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.arange(300_000.0).reshape(-1, 3), columns=list("abc"))
    shared = sharedmem.share(frame)
    with sharedmem.MapReduce(np=2, persistent=True) as pool:
        found = pool.map(lambda f: (f["a"].sum(), f.shape, [*f.columns]), [shared] * 4)
    assert found == [(frame["a"].sum(), frame.shape, ["a", "b", "c"])] * 4


def test_a_function_on_each_group_of_a_frame_with_strings():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"name": np.array(["x", "yy", "zzz"] * 100), "value": np.arange(300)})
    shared = sharedmem.share(frame)
    with sharedmem.MapReduce(np=2) as pool:
        sums = pool.map(
            lambda name: int(shared.loc[shared["name"] == name, "value"].sum()), ["x", "yy", "zzz"]
        )
    assert sums == frame.groupby("name")["value"].sum().tolist()


def test_a_matrix_that_scipy_sorts_in_place():
    """The memmaps of joblib are read-only, so that scipy and scikit-learn fail on some matrices."""
    sparse = pytest.importorskip("scipy.sparse")
    unsorted = sparse.csr_matrix((np.array([2.0, 1, 4, 3]), [1, 0, 1, 0], [0, 2, 4]))
    shared = sharedmem.share(unsorted)
    with sharedmem.MapReduce(np=1, persistent=True) as pool:
        assert pool.map(lambda a: a.astype("f4").toarray().tolist(), [shared]) == [[[1, 2], [3, 4]]]


N_SAMPLES = 40_000


def samples():
    return [
        {"path": f"pictures/{k:08}.jpg", "label": k, "box": (k, 1, 2, 3)} for k in range(N_SAMPLES)
    ]


def private_bytes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private"))


def read_all(dataset):
    before = private_bytes()
    total = sum(dataset[k]["label"] for k in range(len(dataset)))
    return total, private_bytes() - before


def test_reading_samples_in_forked_workers_takes_no_memory():
    plain = samples()
    shared = sharedmem.SharedList(plain)
    context = multiprocessing.get_context("fork")
    grown = {}
    for dataset in plain, shared:
        receive, send = context.Pipe(duplex=False)
        worker = context.Process(target=lambda d, end: end.send(read_all(d)), args=(dataset, send))
        worker.start()
        total, grown[type(dataset).__name__] = receive.recv()
        worker.join()
        assert total == N_SAMPLES * (N_SAMPLES - 1) // 2
    # Reference counts are written into each page of the plain list.
    assert grown["SharedList"] < 2**20 < 2**21 < grown["list"]


def test_samples_travel_to_a_spawned_loader_by_reference():
    shared = sharedmem.SharedList(samples())
    assert isinstance(shared, Sequence)
    message = pickle.dumps(shared)
    assert len(message) < 1024
    program = """
import pickle, sys
dataset = pickle.load(sys.stdin.buffer)
print(len(dataset), dataset[-1]["label"], dataset[7]["path"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input=message, capture_output=True, check=True
    )
    assert done.stdout.decode().split() == [
        str(N_SAMPLES),
        str(N_SAMPLES - 1),
        "pictures/00000007.jpg",
    ]


def test_ragged_arrays_written_by_workers():
    shared = sharedmem.share([np.zeros(k % 5) for k in range(1000)])
    with sharedmem.MapReduce(np=2) as pool:

        def fill(start):
            for k in range(start, start + 100):
                shared[k][:] = k

        pool.map(fill, range(0, 1000, 100))
    assert all((array == k).all() and len(array) == k % 5 for k, array in enumerate(shared))


FEW_DESCRIPTORS = """
import resource
import sharedmem

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
arrays = [sharedmem.full(8, k) for k in range(50_000)]
with sharedmem.MapReduce(np=2) as pool:
    made = pool.map(lambda k: sharedmem.full(8, k), range(2000))
print(sum(a[0] for a in arrays[::1000]), sum(a[7] for a in made))
"""


def test_many_arrays_with_few_descriptors():
    done = subprocess.run([sys.executable, "-c", FEW_DESCRIPTORS], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (
        f"{1000.0 * sum(range(50))} {float(sum(range(2000)))}\n",
        "",
    )
