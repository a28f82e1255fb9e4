"""Tests of the source distribution and the wheel."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SOURCES = ["sharedmem", "kernels", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"]


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def build(kind, source, target):
    """Build a distribution offline, with the packages of the test environment."""
    return run(
        sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", target, source,
        cwd=target.parent,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    copy = tmp_path_factory.mktemp("source") / "checkout"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def distributions(checkout, tmp_path_factory):
    """Return the paths of the sdist, the wheel, and a wheel built from the sdist."""
    folder = tmp_path_factory.mktemp("distributions")
    found = {}
    for kind in ("sdist", "wheel"):
        done = build(kind, checkout, folder / kind)
        assert done.returncode == 0, done.stderr
        (found[kind],) = (folder / kind).iterdir()
    shutil.unpack_archive(found["sdist"], folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    done = build("wheel", unpacked, folder / "second")
    assert done.returncode == 0, done.stderr
    (found["wheel from the sdist"],) = (folder / "second").iterdir()
    return found


@pytest.mark.parametrize("kind", ["sdist", "wheel", "wheel from the sdist"])
def test_installs_into_a_clean_environment(kind, distributions, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin/python"
    # NumPy and numba come from this environment. Python reads no .pth files of a folder that is
    # added like this, so an editable install of the checkout is not found.
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    done = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-compile", "--no-deps",
        "--no-index", "--no-build-isolation", distributions[kind],
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    program = "import sharedmem, sharedmem.kernels.sums as sums; print(sums.__file__)"
    done = run(python, "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(site_packages)
    assert not (site_packages / "kernels").exists()
    assert (site_packages / "sharedmem/py.typed").exists()
    assert (site_packages / "sharedmem/__init__.pyi").exists()

    done = run(environment / "bin/sharedmem", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "sharedmem 1.0.0\n")


def test_a_build_without_the_link_to_the_kernels_fails(checkout, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(checkout, damaged, symlinks=True)
    (damaged / "sharedmem/kernels").unlink()
    done = build("wheel", damaged, tmp_path / "wheel")
    assert done.returncode != 0
    assert "sharedmem/kernels" in done.stdout + done.stderr
    assert not list(tmp_path.glob("wheel/*.whl"))
