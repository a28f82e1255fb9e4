"""The programs in the pages of the site run, and print what the pages say."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
# A page with this in its front matter is one program; elsewhere each section is one.
ONE_PROGRAM = "program: page"
MARK = "==== end of block ===="


def programs() -> Iterator[pytest.param]:
    """Yield each program of each page as a list of its blocks with their output, if stated."""
    for page in PAGES:
        text = page.read_text()
        one = ONE_PROGRAM in text.split("---")[1] if text.startswith("---") else False
        sections = [text] if one else re.split(r"^(?=## )", text, flags=re.MULTILINE)
        for section in sections:
            blocks = BLOCK.findall(section)
            if blocks:
                title = re.findall(r"^#+ (.*)$", section, re.MULTILINE)
                name = f"{page.relative_to(ROOT / 'docs')}-{title[0] if title else ''}"
                yield pytest.param(blocks, id=name)


def missing(program: str) -> set[str]:
    """Return the packages that a program imports and that are not installed."""
    nodes = [*ast.walk(ast.parse(program))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    roots = {name.partition(".")[0] for name in names}
    return {root for root in roots if importlib.util.find_spec(root) is None}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("blocks", list(programs()))
def test_programs_print_what_the_page_says(blocks, tmp_path):
    program = f"print('{MARK}')\n".join(code for code, _ in blocks)
    if packages := missing(program):
        pytest.skip(f"not installed: {', '.join(sorted(packages))}")
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "SHAREDMEM_QUIET": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    outputs = done.stdout.split(f"{MARK}\n")
    for (code, stated), printed in zip(blocks, outputs, strict=True):
        assert printed == stated, code
