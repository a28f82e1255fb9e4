"""Tests of share with objects of other packages: equal, of the same type, and by reference."""

import copy
import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sharedmem import is_shared, share

N = 2000


def check(obj, equal, limit=2000):
    """Share an object, check what is returned and loaded, and return both."""
    shared = share(obj)
    stream = pickle.dumps(shared)
    loaded = pickle.loads(stream)
    assert type(shared) is type(loaded) is type(obj)
    assert equal(shared, obj)
    assert equal(loaded, obj)
    assert len(stream) < limit < len(pickle.dumps(obj))
    assert len(pickle.dumps(loaded)) < limit
    return shared, loaded


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil"])
@pytest.mark.parametrize("is_array", [False, True], ids=["matrix", "array"])
def test_sparse(form, is_array):
    sparse = pytest.importorskip("scipy.sparse")
    kind = getattr(sparse, f"{form}_{'array' if is_array else 'matrix'}")
    random = sparse.random(300, 300, 0.05, random_state=0, format="coo")
    obj = kind(sparse.diags(np.ones((5, 300)), range(5)) if form == "dia" else random)
    if form == "lil":  # arrays of lists
        assert (share(obj) != obj).nnz == 0
        return
    shared, loaded = check(obj, lambda a, b: not (a - b).count_nonzero())
    loaded.data[...] = 3
    assert (shared.data == 3).all()
    assert np.allclose(shared @ np.ones(300), np.asarray(shared.sum(axis=1)).ravel())


def frames(pd):
    values, words = np.arange(N) * 1.0, [f"x{i}" for i in range(N)]
    gaps = [1, None] * (N // 2)
    days = pd.date_range("2020", periods=N)
    frame = pd.DataFrame({"a": values, "b": np.arange(N), "c": values, "d": words})
    grown = pd.DataFrame({"a": values})
    grown["b"], grown["c"] = values * 2, values * 3
    return {
        "float": pd.Series(values, name="x", index=values[::-1]),
        "str": pd.Series(words),
        "categorical": pd.Series(pd.Categorical(["a", "b"] * (N // 2))),
        "days": pd.Series(days),
        "zoned": pd.Series(days.tz_localize("UTC")),
        "timedelta": pd.Series(pd.timedelta_range("1s", periods=N)),
        "period": pd.Series(pd.period_range("2020", periods=N, freq="D")),
        "Int64": pd.Series(pd.array(gaps, dtype="Int64")),
        "Float64": pd.Series(pd.array(gaps, dtype="Float64")),
        "boolean": pd.Series(pd.array([True, None] * (N // 2), dtype="boolean")),
        "sparse": pd.Series(pd.arrays.SparseArray(values % 9)),
        "interval": pd.Series(pd.interval_range(0, N)),
        "arrow": pd.Series(np.arange(N), dtype="int64[pyarrow]"),
        "arrow chunks": pd.concat([pd.Series(words[:999]), pd.Series(words[999:])]),
        "index float": pd.Index(values),
        "index int": pd.Index(np.arange(N)[::-1].copy()),
        "index days": days,
        "index zoned": days.tz_localize("Europe/Berlin"),
        "index timedelta": pd.timedelta_range("1s", periods=N),
        "index period": pd.period_range("2020", periods=N, freq="D"),
        "index categorical": pd.CategoricalIndex(["a", "b"] * (N // 2)),
        "index str": pd.Index(words),
        "index Int64": pd.Index(pd.array(gaps, dtype="Int64")),
        "index interval": pd.interval_range(0, N),
        "index multi": pd.MultiIndex.from_arrays([np.arange(N) // 2, words]),
        "frame": frame,
        "frame grown": grown,
        "frame F": pd.DataFrame(np.asfortranarray(np.arange(2.0 * N).reshape(-1, 2))),
        "frame multi": frame.set_index(["a", "d"]),
    }


def test_pandas():
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for name, obj in frames(pd).items():
        shared, loaded = check(obj, lambda a, b: a.equals(b), limit=2500)
        assert shared.equals(loaded), name


def test_writes_to_a_frame_are_seen(elsewhere):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": np.arange(5.0), "b": np.arange(5.0), "c": np.arange(5)})
    shared = share(frame)
    elsewhere("x.iloc[0, 0] = 10; x.loc[x.a < 2, 'c'] = -1; x.loc[3, 'b'] = 11", shared)
    assert shared.to_dict("list") == {
        "a": [10, 1, 2, 3, 4],
        "b": [0, 1, 2, 11, 4],
        "c": [0, -1, 2, 3, 4],
    }
    # A new column, and a column that is replaced, are private.
    elsewhere("x['a'] = 0.0; x['d'] = 1", shared)
    assert shared.a[0] == 10
    assert "d" not in shared
    fixed = share(frame, readonly=True)
    with pytest.raises(ValueError, match="read-only"):
        fixed.iloc[0, 0] = 1


def test_what_pandas_copies_on_write_is_private():
    pd = pytest.importorskip("pandas")
    shared = share(pd.DataFrame({"a": np.arange(5.0)}))
    same_memory = pickle.loads(pickle.dumps(shared))
    column = shared["a"]
    shared.iloc[0, 0] = -1
    assert column[0] == same_memory.a[0] == 0
    assert not is_shared(shared)
    assert pickle.loads(pickle.dumps(shared)).equals(shared)


def test_new_elements_of_a_sparse_matrix_are_private():
    sparse = pytest.importorskip("scipy.sparse")
    shared = share(sparse.lil_array(np.eye(300)).tocsr())
    same_memory = pickle.loads(pickle.dumps(shared))
    shared[3, 3] = 5
    shared *= 2
    assert same_memory[3, 3] == 10
    with pytest.warns(sparse.SparseEfficiencyWarning):
        shared[3, 4] = 7
    assert not is_shared(shared)
    assert (pickle.loads(pickle.dumps(shared)) != shared).nnz == 0
    assert same_memory[3, 4] == 0


def test_operations_on_a_shared_frame_give_the_usual_results():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"k": [1, 2, 1, 2], "v": [1.0, 2, 3, 4], "s": ["a", "b", "c", "d"]})
    shared = share(frame)
    results = {
        "groupby": lambda x: x.groupby("k").v.sum(),
        "merge": lambda x: x.merge(x, on="k"),
        "sort": lambda x: x.sort_values("v", ascending=False),
        "pivot": lambda x: x.pivot_table(index="k", values="v"),
        "concat": lambda x: pd.concat([x, x]),
        "arithmetic": lambda x: x[["k", "v"]] * 2 + 1,
        "mask": lambda x: x[x.v > 2],
        "rolling": lambda x: x.v.rolling(2).mean(),
        "describe": lambda x: x.describe(),
        "fillna": lambda x: x.reindex(range(6)).fillna({"v": 0.0}),
        "str": lambda x: x.s.str.upper(),
        "T": lambda x: x[["k", "v"]].T,
    }
    for name, operation in results.items():
        assert operation(shared).equals(operation(frame)), name
    assert shared.equals(frame)


def test_arrow(elsewhere):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "i": np.arange(N),
            "s": [None if i % 3 else f"x{i}" for i in range(N)],
            "l": [[1, 2]] * N,
            "d": pa.array(["a", "b"] * (N // 2)).dictionary_encode(),
            "t": pa.array([{"a": 1, "b": "x"}] * N),
        }
    )
    shared, _ = check(table, lambda a, b: a.equals(b), limit=3000)
    assert elsewhere("answer = x.column('i').to_pylist()[-1]", shared) == N - 1
    check(table.to_batches()[0], lambda a, b: a.equals(b), limit=3000)
    check(table.column("s"), lambda a, b: a.equals(b))
    # Memory of other tables is pickled by value, in each protocol.
    for protocol in range(2, 6):
        stream = pickle.dumps(table, protocol)
        assert len(stream) > 8 * N
        assert pickle.loads(stream).equals(table)
    buffers = []
    stream = pickle.dumps(table, 5, buffer_callback=buffers.append)
    assert pickle.loads(stream, buffers=buffers).equals(table)
    assert buffers
    buffer = pa.py_buffer(b"private")
    assert copy.copy(buffer).equals(copy.deepcopy(buffer))


def test_polars():
    pytest.importorskip("pyarrow")
    if importlib.util.find_spec("polars") is None:
        pytest.skip("polars is not installed")
    program = Path(__file__).parent / "polars_program.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_empty_objects():
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    for obj in (
        *(pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(index=range(3)), pd.Index([])),
        *(
            pa.table({}),
            pa.table({"a": pa.array([], pa.int64())}),
            pa.chunked_array([], pa.int32()),
        ),
        *(pa.array([None]), pa.array([1, 2, 3])[1:]),
    ):
        shared = share(obj)
        assert shared.equals(obj)
        assert pickle.loads(pickle.dumps(shared)).equals(obj)


def test_xarray(elsewhere):
    xr = pytest.importorskip("xarray")
    data = xr.DataArray(
        np.arange(N * 2.0).reshape(N, 2),
        dims=("x", "y"),
        coords={"x": np.arange(N) * 0.5, "y": ["a", "b"], "z": ("x", np.arange(N))},
        attrs={"unit": "m"},
        name="data",
    )
    shared, _ = check(data, lambda a, b: a.identical(b), limit=4000)
    elsewhere("x[3, 1] = -1; x.z[2] = 100", shared)
    assert shared[3, 1] == -1
    assert shared.z[2] == 100
    dataset = xr.Dataset({"a": data, "b": data * 2})
    check(dataset, lambda a, b: a.identical(b), limit=6000)


def test_quantities():
    units = pytest.importorskip("astropy.units")
    shared, loaded = check(np.arange(N) * 1.0 * units.m, lambda a, b: (a == b).all())
    loaded[3] = 7 * units.km
    assert shared[3].value == 7000
    assert shared.unit == units.m
    pint = pytest.importorskip("pint")
    check(np.arange(N) * 1.0 * pint.get_application_registry().m, lambda a, b: (a == b).all())
