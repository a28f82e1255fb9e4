"""The floors of the package, what its import costs, and the sizes that it keeps to."""

import ast
import builtins
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sharedmem

ROOT = Path(__file__).parents[1]

# A module imports only what stands before it, so that no cycle can arise.
FLOORS = {
    "ground": "errors checks signals forking freeing mapping files machine memory keys thread_pool "
    "filling kernels",
    "1": "chunks array conversion array_files constructors claims open_files failures locks sync "
    "parcels "
    "transport blas foreign",
    "2": "team tasks tracing worker processes threads",
    "3": "lines compiling runs operands natural_runs byte_sorting sorting scanning ranks regions "
    "masks reducing stores engine overlap expressions binding lowering vector_math float_errors "
    "stages fusing whole_arrays lost_writes "
    "progress contexts calls background stored_scans couriers dask_arrays cluster_locks remote "
    "cluster_calls distributed far_arrays",
    "4": "array_calls mapreduce",
    "5": "chunkwise nonfinite conventions elementwise reductions positions statistics "
    "nanreductions histograms selection ordering searching scans stored_quantiles quantiles "
    "nanquantiles products random",
    "roof": "__init__ sharedmem sources stats report info cli __main__",
}
ORDER = " ".join(FLOORS.values()).split()

MODULES = sorted((ROOT / "sharedmem").glob("*.py"))
KERNELS = sorted((ROOT / "kernels").glob("*.py"))
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

MODULE_LINES = 320  # about 300
BODY_LINES = 50


def name_of(path: Path) -> str:
    return path.stem


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path.name}: a relative import"
            if node.module == "sharedmem":
                names = {alias.name for alias in node.names}
                inside = names & {*ORDER}
                yield from (f"sharedmem.{name}" for name in inside)
                if names - inside:
                    yield "sharedmem"
            else:
                yield node.module


def imported_floors(path: Path) -> set[str]:
    """The entries of ORDER that a file imports."""
    found = set()
    for module in imports(path):
        package, _, rest = module.partition(".")
        if package == "sharedmem":
            found.add(rest.partition(".")[0] or "__init__")
    return found


def test_each_module_has_a_place():
    assert sorted(ORDER) == sorted(["kernels", *map(name_of, MODULES)])


def test_the_design_says_what_each_module_does():
    table = re.findall(r"^\|[^|]*\|([^|]*)\|", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)/?`", "".join(table))) == sorted(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_import_downward_only(path):
    above = ORDER[ORDER.index(path.stem) :]
    assert not imported_floors(path) & {*above}


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_kernels_know_numpy_and_numba_and_each_other(path):
    ours = {module for module in imports(path) if module.startswith("sharedmem")}
    assert all(module.startswith("sharedmem.kernels") for module in ours)
    others = {module.partition(".")[0] for module in imports(path)} - {"sharedmem"}
    assert others - set(sys.stdlib_module_names) <= {"numpy", "numba", "llvmlite"}
    assert "multiprocessing" not in others


@pytest.mark.parametrize("late", sorted(LATE))
def test_import_leaves_the_heavy_packages_for_first_use(late, modules_after_import):
    assert late not in modules_after_import


@pytest.fixture(scope="module")
def modules_after_import():
    program = "import sys, sharedmem; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def prose_lines(node: ast.AST) -> int:
    """Lines of the docstrings in a tree."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    total = 0
    for part in ast.walk(node):
        if isinstance(part, documented) and ast.get_docstring(part) is not None:
            text = part.body[0]
            total += (text.end_lineno or 0) - text.lineno + 1
    return total


@pytest.mark.parametrize(
    "path", MODULES + KERNELS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_modules_and_functions_stay_small(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) - prose_lines(tree) <= MODULE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            lines = node.body[-1].end_lineno - node.body[0].lineno + 1
            assert lines - prose_lines(node) <= BODY_LINES, f"{node.name} does too much"


def test_help_and_dir_name_what_is_public():
    public = {*sharedmem.__all__, *sharedmem._BUILTINS}
    assert {name for name in dir(sharedmem) if not name.startswith("__")} == public
    assert set(re.findall(r"(?<!`)`(\w+)`(?!`)", sharedmem.__doc__)) == public
    assert not public & {*dir(builtins)} - sharedmem._BUILTINS
