import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from matplotlib.figure import Figure
from scipy import stats as scipy_stats
from zarr.core.sync import cleanup_resources

from sharedmem.cli import main
from tests.kernels.strategies import dtypes

ROOT = Path(__file__).parents[1]


@pytest.fixture
def field():
    values = np.random.default_rng(1).gamma(2.0, size=(30, 40))
    values[0, :3] = np.nan
    values[1, :2] = [np.inf, -np.inf]
    return values


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def describe(capsys, *arguments):
    """The JSON of the arrays."""
    assert main(["stats", "--json", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)["arrays"]


def assert_describes(found, values):
    finite = values[np.isfinite(values)].astype("f8")
    assert found["shape"] == list(values.shape)
    assert found["dtype"] == str(values.dtype)
    assert found["count"] == values.size
    assert found["n_nan"] == np.isnan(values).sum()
    assert found["n_inf"] == np.isinf(values).sum()
    assert (found["min"], found["max"]) == (finite.min(), finite.max())
    measured = [found[name] for name in ("mean", "std", "skew", "kurtosis")]
    expected = finite.mean(), finite.std(), scipy_stats.skew(finite), scipy_stats.kurtosis(finite)
    np.testing.assert_allclose(measured, expected, rtol=1e-12, atol=1e-13)


def assert_histogram(found, values, bins, limits=None):
    counts, edges = np.histogram(values[np.isfinite(values)].astype("f8"), bins, limits)
    assert found["histogram"]["counts"] == counts.tolist()
    np.testing.assert_allclose(found["histogram"]["edges"], edges, rtol=1e-15)


def test_npy(field, capsys):
    np.save("field.npy", field)
    (found,) = describe(capsys, "field.npy")
    assert found["name"] == "field.npy"
    assert_describes(found, field)
    assert_histogram(found, field, 20)
    assert found["passes"] == 2


@pytest.mark.parametrize("workers", ["0", "1", "3"])
def test_large_npy_for_any_number_of_workers(workers, capsys):
    values = np.random.default_rng(2).normal(3, 2, 5_000_000)
    values[1234567] = np.nan
    np.save("large.npy", values)
    (found,) = describe(capsys, "large.npy", "--workers", workers, "--range", "-1", "5")
    assert_describes(found, values)
    assert_histogram(found, values, 20, (-1, 5))
    assert found["passes"] == 1


@pytest.mark.parametrize("dtype", dtypes("?", "f2", others=(">i4", "u8")))
def test_dtypes(dtype, capsys):
    values = np.random.default_rng(3).integers(0, 100, 500).astype(dtype)
    np.save("numbers.npy", values)
    (found,) = describe(capsys, "numbers.npy")
    assert_describes(found, values)
    assert_histogram(found, values, 20)


def test_large_integers_are_exact(capsys):
    values = np.array([2**62 + 1, 3], "i8")
    np.save("integers.npy", values)
    (found,) = describe(capsys, "integers.npy")
    assert (found["min"], found["max"]) == (3, 2**62 + 1)


def test_ends_of_the_range_may_be_negative_and_in_scientific_notation(capsys):
    values = np.linspace(-3, 3, 100)
    np.save("numbers.npy", values)
    (found,) = describe(capsys, "numbers.npy", "--range", "-2e-1", "-.1")
    assert_histogram(found, values, 20, (-0.2, -0.1))


def test_fortran_order(field, capsys):
    np.save("field.npy", np.asfortranarray(field))
    (found,) = describe(capsys, "field.npy")
    assert_describes(found, field)


def test_members_of_npz(field, capsys):
    np.savez_compressed("fields.npz", first=field, second=np.arange(5))
    first, second = describe(capsys, "fields.npz")
    assert [first["name"], second["name"]] == ["fields.npz[first]", "fields.npz[second]"]
    assert_describes(first, field)
    assert_describes(second, np.arange(5))


def test_datasets_of_h5(field, capsys):
    with h5py.File("fields.h5", "w") as file:
        file["group/first"] = field
        file.create_dataset("second", data=np.arange(5), chunks=(2,))
    first, second = describe(capsys, "fields.h5")
    assert [first["name"], second["name"]] == ["fields.h5[group/first]", "fields.h5[second]"]
    assert_describes(first, field)
    assert_describes(second, np.arange(5))


def test_zarr(field, capsys):
    group = zarr.open_group("fields.zarr", mode="w")
    group.create_array("first", data=field, chunks=(7, 11))
    group.create_array("group/second", data=np.arange(5))
    zarr.create_array("field.zarr", data=field)
    alone, first, second = describe(capsys, "field.zarr", "fields.zarr")
    cleanup_resources()
    assert alone["name"] == "field.zarr"
    assert {first["name"], second["name"]} == {"fields.zarr[first]", "fields.zarr[group/second]"}
    assert_describes(alone, field)
    for found in (first, second):
        assert_describes(found, field if "first" in found["name"] else np.arange(5))


def test_raw(field, capsys):
    field.astype("f4").tofile("field.dat")
    (flat,) = describe(capsys, "field.dat", "--dtype", "f4")
    assert_describes(flat, field.astype("f4").ravel())
    (shaped,) = describe(capsys, "field.dat", "--dtype", "float32", "--shape", "30,40")
    assert_describes(shaped, field.astype("f4"))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis(field, axis, capsys):
    np.save("field.npy", field)
    (found,) = describe(capsys, "field.npy", "--axis", str(axis))
    finite = np.where(np.isfinite(field), field, np.nan)
    np.testing.assert_allclose(found["mean"], np.nanmean(finite, axis))
    np.testing.assert_allclose(found["std"], np.nanstd(finite, axis))
    np.testing.assert_array_equal(found["max"], np.nanmax(finite, axis))
    assert found["n_nan"] == np.isnan(field).sum(axis).tolist()
    assert found["histogram"] is None


def test_nothing_finite_is_null(capsys):
    np.save("nan.npy", np.full(3, np.nan))
    np.save("empty.npy", np.empty((0, 3)))
    for found in describe(capsys, "nan.npy", "empty.npy"):
        assert (found["min"], found["mean"], found["histogram"]) == (None, None, None)


def test_scalar(capsys):
    np.save("scalar.npy", np.float64(3))
    (found,) = describe(capsys, "scalar.npy")
    assert (found["shape"], found["count"], found["mean"], found["std"]) == ([], 1, 3, 0)


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


def test_text_says_how_many_elements_are_outside_of_the_range(capsys):
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


@pytest.fixture(scope="module")
def open_fonts():
    """Let matplotlib open its font files, which it keeps open, before tests look for leaks."""
    figure = Figure()
    figure.text(0, 0, "text")
    figure.savefig(io.BytesIO())


@pytest.mark.usefixtures("open_fonts")
@pytest.mark.parametrize("axis", [[], ["--axis", "0"]])
def test_plot(field, axis, capsys):
    np.save("field.npy", field)
    assert main(["stats", "field.npy", "--plot", "picture.png", *axis]) == 0
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def faulty_files(field):
    np.save("good.npy", field)
    np.save("complex.npy", np.ones(3, complex))
    np.save("objects.npy", np.array([{}, []], object))
    Path("damaged.npy").write_bytes(b"no array at all")
    Path("short.npy").write_bytes(Path("good.npy").read_bytes()[:500])
    np.savez("nothing.npz")
    Path("damaged.npz").write_bytes(b"no archive at all")
    Path("raw.dat").write_bytes(bytes(20))
    Path("folder").mkdir()
    h5py.File("nothing.h5", "w").close()
    Path("damaged.h5").write_bytes(b"no file at all")
    zarr.open_group("nothing.zarr", mode="w")
    yield
    cleanup_resources()


@pytest.mark.usefixtures("faulty_files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.npy", "missing.npy: No such file or directory"),
        ("folder", "folder: Is a directory"),
        ("good.npy missing.npz", "missing.npz: No such file or directory"),
        ("complex.npy", "complex.npy: statistics are of real numbers.*complex128"),
        ("objects.npy", "objects.npy: .*"),
        ("damaged.npy", "damaged.npy: .*"),
        ("short.npy", "short.npy: .*"),
        ("damaged.npz", "damaged.npz: File is not a zip file"),
        ("nothing.npz", "nothing.npz: it holds no array"),
        ("nothing.h5", "nothing.h5: it holds no array"),
        ("damaged.h5", "damaged.h5: .*"),
        ("nothing.zarr", "nothing.zarr: it holds no array"),
        ("missing.zarr", "missing.zarr: .*"),
        ("raw.dat", "raw.dat: it has no suffix that tells, so --dtype has to say what it holds"),
        ("raw.dat --dtype f8", "raw.dat: its 20 bytes are no multiple of the 8 of float64"),
        ("raw.dat --dtype f4 --shape 2,3", r"raw.dat: it has 20 bytes, but .*\(2, 3\).* needs 24"),
        ("raw.dat --dtype f4 --shape 2,x", ".*'2,x' is not a shape; write 100,200"),
        ("raw.dat --dtype f4 --shape=-5", ".*'-5' is not a shape; write 100,200"),
        ("raw.dat --dtype float31", ".*'float31' is not a dtype of NumPy"),
        ("raw.dat --shape 5", "--shape needs --dtype.*"),
        ("good.npy --dtype f8", "--dtype and --shape are for raw files.*"),
        ("good.npy --axis 2", r"good.npy: there is no axis 2 in \(30, 40\)"),
        ("good.npy --axis 0 --bins 5", "--bins and --range are for the histogram.*"),
        ("good.npy --bins 0", ".*'0' is not a positive integer"),
        ("good.npy --bins many", ".*'many' is not a positive integer"),
        ("good.npy --range 2 1", "--range 2 1 is no interval: LO has to be less than HI"),
        ("good.npy --range 0 inf", "--range 0 inf is no interval.*"),
        ("good.npy --range 0", ".*--range: expected 2 arguments"),
        ("good.npy --workers -1", "--workers -1 is less than 0"),
        (
            "good.npy --plot picture.xyz",
            "--plot picture.xyz: the name has to end in one of .*png.*",
        ),
        ("good.npy --plot no/p.png", "--plot no/p.png: there is no folder no"),
        ("good.npy --frobnicate", ".*unrecognized arguments: --frobnicate"),
        ("", ".*the following arguments are required: FILE"),
    ],
)
def test_faults_are_one_line_and_exit_code_2(arguments, message, capsys):
    try:
        code = main(["stats", *arguments.split()])
    except SystemExit as end:  # from argparse
        code = end.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert re.fullmatch(rf"sharedmem( stats)?: {message}\n", err)


def test_no_command_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_plot_without_matplotlib(field, capsys, monkeypatch):
    np.save("field.npy", field)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["stats", "field.npy", "--plot", "p.png"]) == 2
    assert "pip install 'sharedmem[plot]'" in capsys.readouterr().err


def test_info(capsys):
    assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {"cores", "workers", "memory", "memfd", "sharedmem", "Python"} <= set(lines)
    assert "MADV_COLLAPSE" in lines["huge"]
    assert lines["Python"] == ".".join(map(str, sys.version_info[:3]))


def test_module_is_the_same_command():
    command = [sys.executable, "-m", "sharedmem", "stats", "missing.npy"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "sharedmem stats: missing.npy: No such file or directory\n"


def test_a_reader_may_stop_reading():
    np.save("numbers.npy", np.arange(10))
    command = f"{sys.executable} -m sharedmem stats {'numbers.npy ' * 50} | head -1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("numbers.npy\n", "")


def test_progress_is_shown_on_a_terminal_only(tmp_path):
    np.save("large.npy", np.ones(5_000_000))
    command = [sys.executable, "-m", "sharedmem", "stats", "large.npy"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert done.returncode == 0
    assert b"100%" in shown
    assert b"%" not in done.stdout
