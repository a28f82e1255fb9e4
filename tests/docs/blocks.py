"""The blocks of programs in the pages of the site."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A block of Python, and the block of its output, if there is one directly below.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg",
}  # fmt: skip
