"""The blocks of the page on Jupyter print the same as cells of a notebook."""

import json
import subprocess
import sys

import pytest

from tests.docs.blocks import BLOCK, ENVIRONMENT, ROOT

for name in "ipykernel", "nbclient", "nbformat":
    pytest.importorskip(name)

PAGE = ROOT / "docs/how-to/jupyter.md"
# In a process of its own: nbclient leaves an event loop open.
RUN = """
import json, sys, nbclient, nbformat
cells = [nbformat.v4.new_code_cell(code) for code in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook).execute()
texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
print(json.dumps(texts))
"""


@pytest.mark.timeout(120)
def test_cells_print_what_the_page_says(tmp_path):
    blocks = BLOCK.findall(PAGE.read_text())
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([code for code, _ in blocks]),
        env=ENVIRONMENT,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for text, (code, stated) in zip(json.loads(done.stdout), blocks, strict=True):
        assert text == stated, code
