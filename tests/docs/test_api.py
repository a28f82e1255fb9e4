"""Each public name is on exactly one page of the API reference."""

import argparse
import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import sharedmem
from sharedmem.cli.options import parser

PAGES = (Path(__file__).parents[2] / "docs/api").glob("*.rst")
CHAPTERS = {path.stem: path.read_text() for path in PAGES}
LIST = re.compile(r"^\.\. autosummary::\n(?:   :.*\n)*\n((?:   .*\n)+)", re.MULTILINE)
CLASSES = ("AsyncResult", "Chunk", "DaskBackend", "Executor", "MapReduce", "Trace", "background")
MODULE = re.compile(r"^\.\. (?:current)?module:: sharedmem\.?(\w*)$", re.MULTILINE)
# Modules whose names are not names of the package.
MODULES = ("dask", "joblib", "random")
# Modules of classes that users get, and do not make.
RESULTS = ("arrays.", "kernels.", "pool.", "workers.")
# What the pool asks of a backend, and what the package asks of a pool.
OF_BACKENDS = (
    "admit", "array_runner", "check_options", "enter", "executor", "leave", "n_workers",
)  # fmt: skip
INTERNAL = {
    *(f"DaskBackend.{name}" for name in (*OF_BACKENDS, "run_imap", "run_map")),
    "MapReduce.runner",
    *(f"MapReduce.{name}" for name in ("display", "new_trace")),
    *(f"Trace.{name}" for name in ("add", "add_kernel", "add_tasks", "finish", "make_room")),
}


def listed() -> Counter[str]:
    """Return how often each name is in a list of a chapter, or stated there."""
    names: list[str] = []
    for text in CHAPTERS.values():
        _, *parts = MODULE.split(text)
        for module, part in zip(parts[::2], parts[1::2], strict=True):
            prefix = f"{module}." if module in MODULES else ""
            for lines in LIST.findall(part):
                names += (prefix + name.lstrip("~") for name in lines.split())
        names += re.findall(r"^\.\. py:data:: (\w+)$", text, re.MULTILINE)
        names += re.findall(r"^\.\. module:: sharedmem\.([\w.]+)$", text, re.MULTILINE)
    return Counter(names)


def public() -> set[str]:
    """Return the public names, and those of the members of classes."""
    names = {*dir(sharedmem)}
    for name in MODULES:
        module = importlib.import_module(f"sharedmem.{name}")
        members = inspect.getmembers(module, lambda m: inspect.isfunction(m) or inspect.isclass(m))
        given = getattr(module, "__all__", ())
        names |= {
            f"{name}.{own}" for own, m in members if own in given or m.__module__ == module.__name__
        }
    for owner in CLASSES:
        for base in getattr(sharedmem, owner).__mro__:
            if base.__module__.startswith("sharedmem"):
                members = {n for n, m in vars(base).items() if callable(m) or type(m) is property}
                names |= {f"{owner}.{name}" for name in members}
    return {name for name in names if not re.search(r"(^|\.)_", name)} - INTERNAL


def test_each_public_name_is_on_exactly_one_page():
    found = listed()
    assert not {name for name, count in found.items() if count > 1}
    assert {name for name in found if not name.startswith(RESULTS)} == public()


def test_chapters_are_in_the_contents():
    contents = CHAPTERS["index"].rpartition(":hidden:")[2].split()
    assert sorted([*contents, "index"]) == sorted(CHAPTERS)
    assert re.findall(r"^:doc:`([\w-]+)`$", CHAPTERS["index"], re.MULTILINE) == contents


def test_old_names_are_those_of_the_module():
    text = CHAPTERS["old-names"].rpartition("These are still there")[2]
    names = {name for name in vars(sharedmem.sharedmem) if not name.startswith("_")}
    assert {*re.findall(r"`(\w+)`", text)} == names


def test_options_of_the_command_line_are_those_of_its_parser():
    (commands,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    text = CHAPTERS["command-line"]
    assert {*commands.choices} == {*re.findall(r"^``sharedmem (\w+)``$", text, re.MULTILINE)}
    stated = re.findall(r"^\.\. option:: (--\w+)", text, re.MULTILINE)
    actions = commands.choices["stats"]._actions
    options = {option for action in actions for option in action.option_strings}
    assert {*stated} == options - {"-h"} | {"--version"}
