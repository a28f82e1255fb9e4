"""The contenders of the benchmark agree, so that it compares the same work."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(client, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("cluster", BENCHMARKS / "cluster.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cluster", module)
    spec.loader.exec_module(module)
    path = str(BENCHMARKS)
    client.run(lambda: sys.path.insert(0, path))
    monkeypatch.setattr(module, "client", lambda: client)
    monkeypatch.setattr(module, "folder", lambda: tmp_path / str(len(list(tmp_path.iterdir()))))
    yield module
    client.run(lambda: sys.path.remove(path))


@pytest.mark.parametrize("name", ["tasks-100", "histogram", "stencil"])
def test_contenders_agree(benchmark, client, name):
    from timing import end

    row = benchmark.ROWS[name]
    with client.as_current():
        results = {}
        for which, set_up in row.contenders.items():
            found = set_up(row.quick_size)()
            results[which] = [end(found, at) for at in (0, -1)]
    assert len({tuple(result) for result in results.values()}) == 1
