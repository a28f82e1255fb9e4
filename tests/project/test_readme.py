import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(
    r"```python\n(.*?)```\n\n```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
)


def test_the_readme_has_four_programs():
    assert len(PROGRAMS) == (ROOT / "README.md").read_text().count("```python") == 4


@pytest.mark.parametrize(
    ("program", "output"), PROGRAMS, ids=["array", "map", "kernel", "reduction"]
)
def test_programs_print_what_the_readme_says(program, output, tmp_path):
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (output, "")
