import errno
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from matplotlib.figure import Figure
from scipy import stats as scipy_stats
from zarr.core.sync import cleanup_resources

import sharedmem
from sharedmem.cli import inputs, report
from sharedmem.cli.main import main
from sharedmem.cli.statistics import Statistics
from sharedmem.kernels.moments import Summary
from tests.kernels.strategies import dtypes

ROOT = Path(__file__).parents[2]


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
        ("good.npy --bins 3000000000", ".*3000000000 is more than 1000000"),
        ("good.npy --range 1e17 100000000000000016", "--range .*: Too many bins.*"),
        ("/dev/null --dtype f8", "/dev/null: it is no regular file"),
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
    text = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert {"cores", "workers", "memory", "memfd", "sharedmem", "Python"} <= set(lines)
    assert "MADV_COLLAPSE" in lines["huge"]
    assert lines["Python"] == ".".join(map(str, sys.version_info[:3]))
    cache = Path(next(line for line in text.splitlines() if "numba cache" in line).split()[2])
    np.testing.assert_array_equal(sharedmem.bincount(np.zeros(10**6, "i8")), [10**6])
    assert any("tally" in file.name for file in cache.iterdir())


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


def make_file(kind):
    """A file of one format: its name, and the parts of it that may be damaged."""
    values = np.random.default_rng(0).normal(size=(40, 25))
    if kind == "npy":
        np.save("a.npy", values)
    elif kind == "npz":
        np.savez("a.npz", x=values, y=np.arange(30))
    elif kind == "compressed.npz":
        np.savez_compressed("a.compressed.npz", x=values, y=np.arange(30))
    elif kind == "h5":
        with h5py.File("a.h5", "w") as file:
            file["x"] = np.arange(300)
            file.create_dataset("y", data=values, chunks=(10, 25), compression="gzip")
    else:
        zarr.create_array("a.zarr", data=values, chunks=(20, 25), overwrite=True)
        return "a.zarr", ["a.zarr/zarr.json", "a.zarr/c/0/0"]
    return f"a.{kind}", [f"a.{kind}"]


@pytest.mark.parametrize(
    ("kind", "n"), [("npy", 40), ("npz", 40), ("compressed.npz", 40), ("h5", 12), ("zarr", 12)]
)
def test_a_damaged_file_is_a_line_or_described(kind, n, capsys):
    rng = np.random.default_rng(1)
    for at in range(n):
        name, parts = make_file(kind)
        part = Path(parts[at % len(parts)])
        content = bytearray(part.read_bytes())
        # Headers are short, and have most of what can be wrong.
        place = int(rng.integers(min(len(content), 300) if at % 3 else len(content)))
        if at % 2:
            del content[place:]
        else:
            content[place : place + 1 + at % 4] = rng.bytes(1 + at % 4)
        part.write_bytes(content)
        code = main(["stats", name, "--workers", "2"])
        out, err = capsys.readouterr()
        damage = f"{part} at {place}: {err}"
        assert code in (0, 2), damage
        assert "Traceback" not in err, damage
        lines = err.splitlines()
        assert all(line.startswith(f"sharedmem stats: {name}") for line in lines), damage
        assert bool(lines) is (code == 2), damage
        assert out or code == 2, damage
    cleanup_resources()


def header(shape, descr="'<f8'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


SHAPES = ["(True, 5)", "(-1,)", "(9, -1)", f"({10**15},)", f"({2**61},)", f"({2**63}, 0)", "5"]


@pytest.mark.parametrize("shape", SHAPES)
def test_headers_that_lie(shape, capsys):
    Path("a.npy").write_bytes(header(shape) + bytes(80))
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("a.npy", header(shape) + bytes(80))
    for name in ("a.npy", "a.npz"):
        assert main(["stats", name]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"sharedmem stats: {name}[^\n]*: [^\n]+\n", err)


def test_a_damaged_member_does_not_keep_the_others_from_being_described(capsys):
    np.savez("a.npz", first=np.arange(100.0), second=np.arange(5))
    content = bytearray(Path("a.npz").read_bytes())
    content[content.find(b"\x93NUMPY") + 500] ^= 255
    Path("a.npz").write_bytes(content)
    assert main(["stats", "a.npz"]) == 2
    out, err = capsys.readouterr()
    assert err == "sharedmem stats: a.npz[first]: Bad CRC-32 for file 'first.npy'\n"
    assert "a.npz[second]\n" in out
    content[content.rfind(b"PK\x01\x02") + 8] |= 1  # encrypted, it says
    Path("a.npz").write_bytes(content)
    assert main(["stats", "a.npz:second"]) == 2
    assert "encrypted" in capsys.readouterr().err
    content[content.rfind(b"PK\x01\x02") + 8] &= 254
    content[content.rfind(b"PK\x01\x02") + 10] = 77  # a method of compression that is not known
    Path("a.npz").write_bytes(content)
    assert main(["stats", "a.npz:second"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("moment", ["listed", "read"])
@pytest.mark.parametrize("suffix", ["h5", "zarr"])
def test_a_reader_that_crashes_takes_one_file_along(moment, suffix, field, capsys, monkeypatch):
    name, library = f"a.{suffix}", {"h5": "h5py", "zarr": "zarr"}[suffix]
    with h5py.File("a.h5", "w") as file:
        file["x"] = field
    zarr.open_group("a.zarr", mode="w").create_array("x", data=field)
    np.save("good.npy", field)
    both = list(inputs._LIBRARIES[library])

    def crash(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    both[moment == "read"] = crash
    monkeypatch.setitem(inputs._LIBRARIES, library, tuple(both))
    assert main(["stats", name, "good.npy", "--json"]) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"sharedmem stats: {name}.*: its reader has crashed \(SIGKILL\).*\n", err)
    assert [found["name"] for found in json.loads(out)["arrays"]] == ["good.npy"]
    cleanup_resources()


@pytest.fixture
def mixed_files(field):
    with h5py.File("a.h5", "w") as file:
        file["x"] = field
        file["title"] = "a title"
        file["group/y"] = np.arange(3)
        file["group/z"] = np.ones(3, complex)
        file["nothing"] = h5py.Empty("f8")
        file["dangling"] = h5py.SoftLink("/nowhere")
    np.savez("a.npz", x=field, label=np.array(["a", "b"]), meta=np.array({}, object))
    group = zarr.open_group("a.zarr", mode="w")
    group.create_array("x", data=field)
    group.create_array("group/y", data=np.arange(3))
    group.create_array("label", data=np.ones(3, complex))
    np.save("good.npy", field)
    np.save("complex.npy", np.ones(3, complex))
    Path("GOOD.NPY").write_bytes(Path("good.npy").read_bytes())
    Path("a[1].npy").write_bytes(Path("good.npy").read_bytes())
    yield
    cleanup_resources()


@pytest.mark.usefixtures("mixed_files")
@pytest.mark.parametrize(
    ("files", "found", "left_out", "code"),
    [
        ("a.h5", "a.h5[group/y] a.h5[x]", "a.h5[group/z] a.h5[nothing] a.h5[title]", 0),
        ("a.npz", "a.npz[x]", "a.npz[label] a.npz[meta]", 0),
        ("a.zarr", "a.zarr[group/y] a.zarr[x]", "a.zarr[label]", 0),
        ("a.h5[x]", "a.h5[x]", "", 0),
        ("a.h5:/group/y", "a.h5[group/y]", "", 0),
        ("a.h5:group", "a.h5[group/y]", "a.h5[group/z]", 0),
        ("a.npz:x a.zarr:group", "a.npz[x] a.zarr[group/y]", "", 0),
        ("a.npz:label", "", "a.npz[label]", 2),
        ("good.npy complex.npy", "good.npy", "complex.npy", 2),
        ("a.h5:nix good.npy", "good.npy", "a.h5", 2),
        ("GOOD.NPY a[1].npy", "GOOD.NPY a[1].npy", "", 0),
        ("a.h5 --axis 1", "a.h5[x]", "a.h5[group/y] a.h5[group/z] a.h5[nothing] a.h5[title]", 2),
    ],
)
def test_what_is_no_number_is_left_out(files, found, left_out, code, capsys):
    assert main(["stats", "--json", *files.split()]) == code
    out, err = capsys.readouterr()
    seen = json.loads(out) if out else {"arrays": [], "left_out": []}
    assert sorted(array["name"] for array in seen["arrays"]) == found.split()
    named = sorted(line.split(": ")[1] for line in err.splitlines())
    assert named == left_out.split()
    assert not out or sorted(part["name"] for part in seen["left_out"]) == named


@pytest.mark.usefixtures("open_fonts")
@pytest.mark.parametrize(
    ("values", "remark"),
    [
        (np.full(1000, 1e17), "no histogram: float64 does not tell 20 bins"),
        (np.full(100, 9.96921e36, "f4"), "no histogram: float64 does not tell 20 bins"),
        (1_760_000_000_000_000_000 + np.arange(500), "no histogram: float64 does not tell 20 bins"),
        (np.array([1e308, -1e308, 1e308]), "the range overflows float64"),
        (np.full(3, np.nan), "no element is finite"),
        (np.empty(0), "there are no elements"),
    ],
)
def test_why_there_is_no_histogram_is_said(values, remark, capsys):
    np.save("a.npy", values)
    assert main(["stats", "a.npy", "--plot", "a.png"]) == 0
    out, err = capsys.readouterr()
    assert f"count     {values.size:,}" in out
    assert remark in out
    assert err == ""
    if values.dtype.kind == "i":
        assert f"{values.max():,}" in out


class Full(io.TextIOWrapper):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_streams_that_cannot_be_written_to(field, capsys, monkeypatch):
    np.save("a.npy", field)
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert main(["stats", "a.npy"]) == 2
        assert capsys.readouterr().err == "sharedmem stats: the standard output is closed\n"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            assert main(["stats", "a.npy"]) == 0
            assert main(["stats", "missing.npy"]) == 2
            with sharedmem.MapReduce(np=2, progress=True) as pool:
                assert pool.map(abs, [-1, 1]) == [1, 1]
        capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full(io.BytesIO()))
        assert main(["stats", "a.npy"]) == 1
    err = capsys.readouterr().err
    assert "the standard output cannot be written to: No space left on device" in err


@pytest.mark.usefixtures("open_fonts")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_and_bars_on_any_terminal(field, encoding, monkeypatch):
    name = os.fsdecode("größe ".encode() + b"\xe9 $a$b^.npy")
    with open(name, "wb") as file:
        np.save(file, field)
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["stats", name, "--plot", "a.png"]) == 0
    assert main(["stats", f"{name}x"]) == 2
    shown = out.buffer.getvalue().decode(encoding)
    assert r"\udce9 $a$b^.npy" in shown
    assert ("#" if encoding != "utf-8" else "█") in shown
    assert "No such file" in err.buffer.getvalue().decode(encoding)


def test_backends_of_matplotlib_that_are_not_there(field):
    np.save("a.npy", field)
    command = [sys.executable, "-m", "sharedmem", "stats", "a.npy", "--plot", "a.nix"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "nonsense"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "the name has to end in one of" in done.stderr


def test_pictures_say_what_the_text_says():
    cube = np.random.default_rng(0).normal(size=(4, 50, 10))
    summary = Summary(*(np.zeros((4, 50)) for _ in Summary._fields))
    source = inputs.Source("cube.npy", cube.shape, cube.dtype, lambda: cube)
    found = Statistics(source, 2, summary, None, None, "", 1, 1.0)
    panel = Figure().subplots()
    report._draw_lines(panel, found)
    name = panel.xaxis.get_major_formatter()
    assert [name(line, 0) for line in (0, 199, 200)] == ["0, 0", "3, 49", ""]
    legend = panel.get_legend()
    assert legend.get_bbox_to_anchor().x0 >= panel.bbox.x1  # beside the data
    constant = Summary(*(np.zeros(()) for _ in range(7)), np.array(np.nan), np.array(np.nan))
    assert report._remarks(found._replace(summary=constant)).startswith("skew -, kurtosis -")
