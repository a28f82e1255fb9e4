"""Tests of the modules' layers and sizes, of what the import loads, and of the public names."""

import ast
import builtins
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import sharedmem

ROOT = Path(__file__).parents[2]

MODULES = sorted(
    {*(ROOT / "sharedmem").rglob("*.py")} - {*(ROOT / "sharedmem").glob("kernels/**/*.py")}
)
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))
LATE = {
    "asyncio",
    "numba",
    "dask",
    "distributed",
    "cloudpickle",
    "matplotlib",
    "tqdm",
    "scipy",
    "multiprocessing",
}

MODULE_LINES = 320
BODY_LINES = 50


def named(table: str) -> Iterator[str]:
    """Yield the modules in a table of docs/design.md, each with its folder."""
    folder = ""
    for first, second in re.findall(r"^\|([^|]*)\| `(\w+)` \|", table, re.MULTILINE):
        if first.strip(" `") or second in ("dask", "errors", "joblib", "random", "sharedmem"):
            folder = first.strip(" `")
        yield f"{folder}{second}"


def test_the_architecture_page_lists_each_module():
    paths = [path for path in MODULES + KERNELS if not path.stem.startswith("__")]
    names = [
        str(path.relative_to(ROOT).with_suffix("")).removeprefix("sharedmem/") for path in paths
    ]
    assert sorted(named((ROOT / "docs/design.md").read_text())) == sorted(
        name.removeprefix("sharedmem/") for name in names
    )


def test_the_architecture_page_follows_the_layers():
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    lines = [re.findall(r"\w+", line) for line in layers["contracts"][0]["layers"]]
    order = {name: -at for at, names in enumerate(lines) for name in names}
    folders = [name.partition("/")[0] for name in named((ROOT / "docs/design.md").read_text())]
    places = [order[folder] for folder in folders]
    assert places == sorted(places)


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_kernels_import_numpy_and_llvmlite_only(path):
    roots = {name.partition(".")[0] for name in imports(path)}
    assert roots - {*sys.stdlib_module_names} <= {"numpy", "llvmlite", "sharedmem"}
    assert "multiprocessing" not in roots


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, at any level."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path.name}: a relative import"
            yield node.module


@pytest.mark.parametrize("late", sorted(LATE))
def test_importing_the_package_loads_no_heavy_module(late, modules_after_import):
    assert late not in modules_after_import


@pytest.fixture(scope="module")
def modules_after_import():
    program = "import sys, sharedmem; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


LOCAL_CALLS = """
import sys
import sharedmem

def halve(x):
    x /= 2

a = sharedmem.ones(8)
with sharedmem.MapReduce(np=2) as pool:
    assert pool.map(abs, range(3)) == [0, 1, 2]
    sharedmem.map_chunks(halve, a, chunks=sharedmem.chunks(a, n=2))
assert sharedmem.sum(a) == 4
print(*sys.modules)
"""


def test_local_calls_import_nothing_of_the_cluster():
    command = [sys.executable, "-c", LOCAL_CALLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert not [name for name in modules if re.match(r"dask|distributed|sharedmem\.cluster", name)]


def prose_lines(node: ast.AST) -> int:
    """Return the number of lines of docstrings in a tree."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    total = 0
    for part in ast.walk(node):
        if isinstance(part, documented) and ast.get_docstring(part) is not None:
            text = part.body[0]
            total += (text.end_lineno or 0) - text.lineno + 1
    return total


@pytest.mark.parametrize("path", MODULES + KERNELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) - prose_lines(tree) <= MODULE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            lines = node.body[-1].end_lineno - node.body[0].lineno + 1
            assert lines - prose_lines(node) <= BODY_LINES, (
                f"{node.name} has more than {BODY_LINES} lines"
            )


def test_help_and_dir_list_the_public_names():
    public = re.findall(r"(?<!`)`(\w+)`(?!`)", sharedmem.__doc__)
    assert sorted({*public}) == sorted(dir(sharedmem))
    assert {*dir(sharedmem)}.isdisjoint({*dir(sys), "Any", "annotations", "importlib"})


def test_a_star_import_hides_no_builtin():
    assert "zeros" in sharedmem.__all__
    hidden = {*dir(sharedmem)} - {*sharedmem.__all__}
    assert hidden == {"all", "any", "max", "min", "sum", "kernels", "random", "sharedmem"}
    assert hidden - {*dir(builtins)} == {"kernels", "random", "sharedmem"}


@pytest.mark.parametrize("name", ["kernels", "random", "sharedmem"])
def test_public_modules_are_attributes(name):
    assert getattr(sharedmem, name) is importlib.import_module(f"sharedmem.{name}")


def test_a_function_is_not_imported_as_a_module():
    with pytest.raises(ModuleNotFoundError, match=r"sharedmem\.chunks"):
        importlib.import_module("sharedmem.chunks")


def test_all_names_can_be_loaded_with_the_package():
    command = [sys.executable, "-c", "import sharedmem; print(sharedmem.sum([2, 3]))"]
    environment = {**os.environ, "EAGER_IMPORT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("5\n", "")
