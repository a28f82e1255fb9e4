"""The programs in the pages of the site run, and print what the pages say."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import BLOCK, ENVIRONMENT, ROOT

DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text())]
# A page with this in its front matter is one program; elsewhere each section is one.
ONE_PROGRAM = "program: page"
MARK = "==== end of block ===="
# A process for a page, since most of the time goes into imports.
RUN = f"""
import os, runpy, sys
for program in sys.argv[1:]:
    os.chdir(os.path.dirname(program))
    runpy.run_path(program, run_name="__main__")
    print("{MARK}")
"""


def programs(page: Path) -> list[list[tuple[str, str]]]:
    """Return the programs of a page, each as its blocks with the output, if it is stated."""
    text = page.read_text()
    is_one = text.startswith("---") and ONE_PROGRAM in text.split("---")[1]
    sections = [text] if is_one else re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return [blocks for section in sections if (blocks := BLOCK.findall(section))]


def missing(blocks: list[tuple[str, str]]) -> set[str]:
    """Return the packages that a program imports and that are not installed."""
    nodes = [node for code, _ in blocks for node in ast.walk(ast.parse(code))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    roots = {name.partition(".")[0] for name in names}
    return {root for root in roots if importlib.util.find_spec(root) is None}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_programs_print_what_the_page_says(page, tmp_path):
    every = programs(page)
    blocks, paths = [], []
    for number, program in enumerate(program for program in every if not missing(program)):
        path = tmp_path / str(number) / "program.py"
        path.parent.mkdir()
        # Not after the last block: a spawned process runs the program as a module, too.
        path.write_text(f"print('{MARK}')\n".join(code for code, _ in program))
        paths.append(path)
        blocks += program
    done = subprocess.run(
        [sys.executable, "-c", RUN, *paths],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *outputs, rest = done.stdout.split(f"{MARK}\n")
    assert rest == ""
    for (code, stated), printed in zip(blocks, outputs, strict=True):
        assert printed == stated, code
    if packages := set().union(*map(missing, every)):
        pytest.skip(f"not installed: {', '.join(sorted(packages))}")
