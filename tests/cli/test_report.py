"""Text, tables, and pictures."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sharedmem.cli import inputs, report
from sharedmem.cli.main import main
from sharedmem.cli.statistics import Statistics
from sharedmem.kernels.moments import Summary


def test_text(field, capsys):
    np.save("field.npy", field)
    assert main(["stats", "field.npy", "--bins", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "field.npy"
    shown = dict(line.split(maxsplit=1) for line in lines[1:12])
    assert shown["shape"] == "30 x 40"
    assert shown["dtype"] == "float64, 9.6 kB"
    assert shown["count"] == "1,200"
    assert (shown["NaN"], shown["inf"]) == ("3", "2")
    assert float(shown["mean"]) == pytest.approx(field[np.isfinite(field)].mean(), rel=1e-5)
    bars = [line for line in lines if line.startswith("  [")]
    assert len(bars) == 5
    assert max(map(len, lines)) <= 80
    counts = [int(re.search(r"[\])] +([\d,]+)", bar)[1].replace(",", "")) for bar in bars]
    assert sum(counts) == 1195
    lengths = [bar.count("█") for bar in bars]
    assert lengths.index(max(lengths)) == counts.index(max(counts))
    assert re.fullmatch(r"Read 9.6 kB twice \(.*\) in \S+ s: \S+ GB/s", lines[-1])


def test_text_counts_elements_outside_of_the_range(capsys):
    np.save("numbers.npy", np.arange(10))
    assert main(["stats", "numbers.npy", "--range", "2", "5", "--bins", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line.split() for line in lines if "outside" in line) == ["outside", "6"]
    assert lines[-1].startswith("Read 80 bytes in")


def test_table_of_an_axis(capsys):
    np.save("field.npy", np.arange(300.0).reshape(100, 3))
    assert main(["stats", "field.npy", "--axis", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.lstrip().startswith("line"))
    assert lines[header].split() == [
        "line", "count", "NaN", "inf", "min", "max", "mean", "std", "skew", "kurtosis",
    ]  # fmt: skip
    rows = [line.split() for line in lines[header + 1 : header + 22]]
    assert rows[0][:7] == ["0", "3", "0", "0", "0", "2", "1"]
    assert set(rows[10]) == {"..."}
    assert rows[-1][0] == "99"
    assert float(rows[-1][6]) == 298


def test_lines_of_more_axes_are_named_by_all_their_indices(capsys):
    np.save("field.npy", np.zeros((2, 5, 3)))
    assert main(["stats", "field.npy", "--axis", "1"]) == 0
    assert "\n  1, 2      5" in capsys.readouterr().out


@pytest.mark.usefixtures("open_fonts")
@pytest.mark.parametrize("axis", [[], ["--axis", "0"]])
def test_plot(field, axis, capsys):
    np.save("field.npy", field)
    assert main(["stats", "field.npy", "--plot", "picture.png", *axis]) == 0
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("open_fonts")
@pytest.mark.parametrize(
    ("values", "remark"),
    [
        (np.full(1000, 1e17), "no histogram: float64 cannot resolve 20 bins"),
        (1_760_000_000_000_000_000 + np.arange(500), "float64 cannot resolve 20 bins"),
        (np.array([1e308, -1e308, 1e308]), "the range of the values overflows float64"),
        (np.full(3, np.nan), "no element is finite"),
        (np.empty(0), "the array is empty"),
    ],
)
def test_a_missing_histogram_is_explained(values, remark, capsys):
    np.save("a.npy", values)
    assert main(["stats", "a.npy", "--plot", "a.png"]) == 0
    out, err = capsys.readouterr()
    assert f"count     {values.size:,}" in out
    assert remark in out
    assert err == ""
    if values.dtype.kind == "i":
        assert f"{values.max():,}" in out


def test_pictures_name_lines_like_the_text():
    cube = np.random.default_rng(0).normal(size=(4, 50, 10))
    summary = Summary(*(np.zeros((4, 50)) for _ in Summary._fields))
    source = inputs.StoredArray("cube.npy", cube.shape, cube.dtype, lambda: cube)
    found = Statistics(source, 2, summary, None, None, "", 1, 1.0)
    panel = Figure().subplots()
    report.draw_lines(panel, found)
    name = panel.xaxis.get_major_formatter()
    assert [name(line, 0) for line in (0, 199, 200)] == ["0, 0", "3, 49", ""]
    legend = panel.get_legend()
    assert legend.get_bbox_to_anchor().x0 >= panel.bbox.x1  # beside the data
    constant = Summary(*(np.zeros(()) for _ in range(7)), np.array(np.nan), np.array(np.nan))
    assert report.remarks(found._replace(summary=constant)).startswith("skew -, kurtosis -")
