"""Expressions of arrays, described without being stored."""

import json
import os
import re
import signal
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

import sharedmem
from sharedmem.cli import containers
from sharedmem.cli.main import main
from tests.cli.helpers import assert_describes, describe

SPEED = "sqrt(u*u + v*v)"
SHAPE = 200, 300


@pytest.fixture(scope="module")
def wind():
    u, v = np.random.default_rng(1).normal(size=(2, *SHAPE))
    u[3, :7] = np.nan
    return u, v


def save(kind, **arrays):
    """Save arrays in one file, or in one each; return the arguments that name them."""
    if kind == "npz":
        np.savez("all.npz", **arrays)
        return ["all.npz"]
    if kind == "h5":
        with h5py.File("all.h5", "w") as file:
            for name, values in arrays.items():
                file.create_dataset(f"group/{name}", data=values, chunks=(50, 300))
        return ["all.h5"]
    if kind == "zarr":
        group = zarr.open_group("all.zarr", mode="w")
        for name, values in arrays.items():
            group.create_array(name, data=values, chunks=(50, 300))
        cleanup_resources()
        return ["all.zarr"]
    for name, values in arrays.items():
        if kind == "raw":
            values.tofile(name)
        else:
            np.save(f"{name}.npy", np.asfortranarray(values) if kind == "fortran" else values)
    if kind == "raw":
        return ["--dtype", "f8", "--shape", "200,300", *(f"{name}={name}" for name in arrays)]
    return [f"{name}.npy" for name in arrays]


def comparable(found):
    return {name: value for name, value in found.items() if name not in ("name", "seconds")}


KINDS = ["npy", "fortran", "npz", "h5", "zarr", "raw"]


@pytest.mark.parametrize("options", ["", "--axis 0", "--axis 1", "--range 0 2"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_expression_is_described_like_its_stored_result(kind, options, wind, capsys):
    u, v = wind
    (found,) = describe(capsys, *save(kind, u=u, v=v), "--expr", SPEED, *options.split())
    assert found["name"] == SPEED
    w = sharedmem.evaluate(SPEED, u=u, v=v)
    stored = [argument.removeprefix("w=") for argument in save(kind, w=w)]
    (expected,) = describe(
        capsys, *(x + "[group/w]" if x == "all.h5" else x for x in stored), *options.split()
    )
    assert comparable(found) == comparable(expected)
    if not options:
        assert_describes(found, np.asarray(w))


def test_text(wind, capsys):
    u, v = wind
    assert main(["stats", *save("npy", u=u, v=v), "--expr", SPEED]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["stats", *save("npy", w=sharedmem.evaluate(SPEED, u=u, v=v))]) == 0
    expected = capsys.readouterr().out.splitlines()
    assert lines[0] == SPEED
    assert lines[1:-1] == expected[1:-1]
    assert lines[-1].startswith("Read 960 kB twice (once with --range LO HI) in")


@pytest.mark.parametrize(
    ("files", "expression", "result"),
    [
        ("all.npz x.npy", "u - v*x", lambda u, v, x: u - v * x),
        ("a=x.npy b=all.npz[v]", "a + b", lambda u, v, x: x + v),
        ("u=all.npz:v all.npz", "u", lambda u, v, x: v),
        ("all.npz all.zarr[group/y] x.npy", "v + y", lambda u, v, x: v + 1),
        ("e=x.npy", "e + pi", lambda u, v, x: x + np.pi),
        ("all.npz", " u >\n v ", lambda u, v, x: u > v),
        ("all.npz all.zarr", "number * v", lambda u, v, x: 3 * v),
        ("all.npz", "v - mean(v, axis=0)", lambda u, v, x: v - sharedmem.mean(v, axis=0)),
        ("all.zarr", "max(y) - mean(y)*number", lambda u, v, x: np.array(-2.0)),
        ("all.zarr", "2 ** (number - 1)", lambda u, v, x: np.array(4)),
        ("all.npz", "abs(u + 1j*v)", lambda u, v, x: abs(u + 1j * v)),
    ],
)
def test_names_of_arrays(files, expression, result, wind, capsys):
    u, v = wind
    x = np.arange(300.0)
    save("npz", u=u, v=v)
    np.save("x.npy", x)
    group = zarr.open_group("all.zarr", mode="w")
    group.create_array("group/y", data=np.ones(SHAPE), chunks=(60, 200))
    group.create_array("number", data=np.int64(3))
    (found,) = describe(capsys, *files.split(), "--expr", expression)
    cleanup_resources()
    assert found["name"] == " ".join(expression.split())
    values = result(u, v, x)
    assert (found["dtype"], found["shape"]) == (str(values.dtype), list(values.shape))
    finite = values[np.isfinite(values)]
    assert found["count"] - found["n_nan"] == finite.size
    assert found["min"] == pytest.approx(finite.min(), rel=1e-12)
    assert found["mean"] == pytest.approx(finite.mean(), rel=1e-10, abs=1e-15)


def test_several_expressions(wind, capsys):
    u, v = wind
    files = save("zarr", u=u, v=v)
    both = describe(capsys, *files, "--expr", "u + v", "--expr", "v - 1", "--axis", "0")
    assert [found["name"] for found in both] == ["u + v", "v - 1"]
    np.testing.assert_allclose(both[1]["mean"], (v - 1).mean(0), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "u.npy --expr u+w",
            r"--expr 'u\+w': w is none of u; give it as w=FILE or w=FILE\[member\]",
        ),
        ("all.npz u.npy --expr u+v", r"--expr 'u\+v': u may be any of all.npz\[u\], u.npy; .*"),
        ("u=all.npz --expr u", r"--expr 'u': u may be any of all.npz\[u\], all.npz\[v\].*"),
        ("u=u.npy u=v.npy --expr u", "--expr 'u': u may be any of u.npy, v.npy; give .*"),
        ("x=u.npy v.npy --expr v", "x=u.npy: x is not in 'v'"),
        ("u.npy missing.npy --expr u", "missing.npy: No such file or directory"),
        ("u.npy damaged.npz --expr u", "damaged.npz: File is not a zip file"),
        ("more.npz --expr text*2", r"more.npz\[text\]: not an .npy file"),
        ("more.npz --expr names*2", "--expr 'names.*"),
        ("u.npy v.npy --expr u+1j*v", "u.1j.v: dtype complex128 is not supported; statistics .*"),
        ("u.npy v.npy --expr u&v", "--expr 'u&v': ufunc 'bitwise_and' not supported.*"),
        ("u.npy all.npz more.npz --expr more+v", "--expr: 'more.v' cannot be evaluated, .*shape.*"),
        ("u.npy --expr sum(u,axis=2)", "--expr: 'sum.* axis 2 is out of bounds .*"),
        ("u.npy --expr u.T", "--expr: 'u.T' cannot be evaluated: .*"),
        ("u.npy --expr u+", r"--expr: 'u\+' is not an expression: .*"),
        ("u.npy --expr 1+pi", r"--expr '1\+pi' contains no name of an array, such as u"),
        ("u.npy --expr u --axis 2", "u: axis 2 is out of bounds for an array of dimension 2"),
    ],
)
def test_errors_are_one_line_before_anything_is_read(arguments, message, wind, capsys):
    u, v = wind
    save("npy", u=u, v=v)
    save("npz", u=u, v=v)
    np.savez("more.npz", more=np.ones(7), names=np.array(["a", "b"]))
    with zipfile.ZipFile("more.npz", "a") as archive:
        archive.writestr("text", "no array")
    Path("damaged.npz").write_bytes(b"no archive at all")
    assert main(["stats", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"sharedmem stats: {message}\n", err)


def test_only_members_that_are_used_are_read(capsys):
    np.savez("a.npz", first=np.arange(1e5), second=np.arange(5.0))
    content = bytearray(Path("a.npz").read_bytes())
    content[content.find(b"\x93NUMPY") + 300_000] ^= 255
    Path("a.npz").write_bytes(content)
    (found,) = describe(capsys, "a.npz", "--expr", "second * 2")
    assert_describes(found, np.arange(5.0) * 2)
    assert main(["stats", "a.npz", "--expr", "first + 1"]) == 2
    message = "sharedmem stats: first + 1: a.npz[first]: Bad CRC-32 for file 'first.npy'\n"
    assert capsys.readouterr().err == message


def test_a_crash_of_a_reader_costs_one_expression(wind, capsys, monkeypatch):
    u, v = wind
    save("h5", u=u)
    np.save("v.npy", v)

    def crash(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    listing, _ = containers.LIBRARIES["h5py"]
    monkeypatch.setitem(containers.LIBRARIES, "h5py", (listing, crash))
    assert main(["stats", "all.h5", "v.npy", "--expr", "u + v", "--expr", "v", "--json"]) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(r"sharedmem stats: u \+ v: the process .* crashed \(SIGKILL\).*\n", err)
    assert [found["name"] for found in json.loads(out)["arrays"]] == ["v"]


@pytest.mark.usefixtures("open_fonts")
def test_plot(capsys):
    np.save("u.npy", np.arange(1.0, 9))
    assert main(["stats", "u.npy", "--expr", "1 / u", "--plot", "picture.svg"]) == 0
    assert Path("picture.svg").read_text().startswith("<?xml")
