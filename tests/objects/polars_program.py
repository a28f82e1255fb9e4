"""Share frames of polars: a program of its own, since polars starts threads, which forks lose."""

import pickle
import subprocess
import sys

import numpy as np
import polars as pl

from sharedmem import is_shared, share

N = 2000
OTHER = "import pickle, sys; x = pickle.load(sys.stdin.buffer); print(x['i'].sum())"

frame = pl.DataFrame(
    {
        "i": np.arange(N),
        "f": np.arange(N) / 3,
        "s": [None if i % 3 else f"a rather long text {i}" for i in range(N)],
        "l": [[1, 2]] * N,
        "b": np.arange(N) % 2 == 0,
        "t": pl.Series(np.arange(N)).cast(pl.Datetime("us", "UTC")),
        "d": pl.Series(np.arange(N)).cast(pl.Decimal(20, 3)),
        "r": [{"a": 1, "b": "x"}] * N,
        "n": pl.Series([None] * N),
    }
)
shared = share({"frame": frame, "series": frame["s"]})
stream = pickle.dumps(shared)
assert len(stream) < 5000, len(stream)
for each in shared, pickle.loads(stream), pickle.loads(pickle.dumps(pickle.loads(stream))):
    assert each["frame"].equals(frame)
    assert each["frame"].schema == frame.schema
    assert each["series"].equals(frame["s"])
    assert each["series"].name == "s"
    assert is_shared(each)
done = subprocess.run(
    [sys.executable, "-c", OTHER], input=pickle.dumps(shared["frame"]), capture_output=True
)
assert int(done.stdout) == N * (N - 1) // 2, done.stderr

# Frames in private memory are pickled as before, and so is what is made from shared ones.
assert not is_shared(frame)
for private in frame, shared["frame"].with_columns(i=pl.col("i") + 1, f=-pl.col("f")):
    assert pickle.loads(pickle.dumps(private)).equals(private)
assert len(pickle.dumps(frame)) > 8 * N


def refusal(obj):
    try:
        share(obj)
    except TypeError as error:
        return str(error)
    raise AssertionError(f"{obj} was shared")


# Polars copies the codes of categories.
for dtype in pl.Categorical, pl.Enum(["a", "b"]):
    series = pl.Series("c", ["a", "b", None], dtype=dtype)
    assert share(series).equals(series)
    assert share(series).dtype == dtype
    large = pl.DataFrame({"i": np.arange(100_000), "c": pl.Series(["a"] * 100_000, dtype=dtype)})
    assert "copies its memory" in refusal(large)
    assert "copies its memory" in refusal(large["c"])
assert "share frame.collect()" in refusal(frame.lazy())
assert "dtype Object" in refusal(pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))

# Arrow lacks some dtypes; frames that have them are pickled as before.
wide = pl.Series("w", [1, 2], dtype=pl.Int128)
assert "Int128" in refusal(wide)
assert pickle.loads(pickle.dumps(wide)).equals(wide)
assert share(pl.Series([1, 2])).name == ""
