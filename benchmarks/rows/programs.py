"""Rows of whole programs: with sharedmem, plain, and with the peer that a user would pick."""

from __future__ import annotations

import ast
import functools
import inspect
from types import ModuleType
from typing import TypeGuard

from harness.contenders import DASK, JOBLIB, SKLEARN, present
from harness.timing import OURS, POOL, Call, Row, SetUp
from programs import file_statistics, image_stack, kmeans, monte_carlo, word_count

PLAIN = "plain NumPy or Python"
# The title, the large and the small input size, the peer, and the bytes that all need together.
PROGRAMS: dict[ModuleType, tuple[str, int, int, str, int]] = {
    word_count: ("word count, {} files of 1 MiB", 32, 2, POOL, 0),
    image_stack: ("Gaussian filter of {} images of 1024 x 1024", 32, 2, JOBLIB, 2 << 30),
    file_statistics: (
        "mean, deviation, and extrema of {} float64 in a file, 1 GB", 125_000_000, 10_000, DASK,
        2 << 30,
    ),
    monte_carlo: ("Asian option, {} batches of 10,000 paths", 64, 4, JOBLIB, 0),
    kmeans: ("k-means, {} points in 3 dimensions", 1_000_000, 10_000, SKLEARN, 1 << 30),
}  # fmt: skip


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the functions and constants of a module by name."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                del node.body[0]
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            names = [x.id for target in node.targets for x in ast.walk(target) if is_name(x)]
            found.update(dict.fromkeys(names, node))
    return found


def is_name(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def n_lines(module: ModuleType, version: str) -> int:
    """Count the lines of code of a version and of the functions and constants that it uses.

    Imports, comments, and docstrings do not count.
    """
    defined = definitions(ast.parse(inspect.getsource(module)))
    needed = [defined[version]]
    for node in needed:  # which grows
        used = [defined[x.id] for x in ast.walk(node) if is_name(x) and x.id in defined]
        needed += [part for part in dict.fromkeys(used) if part not in needed]
    return sum(len(ast.unparse(node).splitlines()) for node in needed)


def on_input(module: ModuleType, version: str) -> SetUp:
    def set_up(size: int) -> Call:
        return functools.partial(getattr(module, version), module.prepare(size))

    return set_up


def row(module: ModuleType) -> Row:
    title, size, small, peer, needs = PROGRAMS[module]
    versions = {OURS: "ours", PLAIN: "plain", peer: "peer"}
    return Row(
        title.format(f"{size:,}"), size, small,
        present({which: on_input(module, version) for which, version in versions.items()}),
        needs=needs, lines={which: n_lines(module, name) for which, name in versions.items()},
    )  # fmt: skip


ROWS = {module.__name__.rpartition(".")[2]: row(module) for module in PROGRAMS}
