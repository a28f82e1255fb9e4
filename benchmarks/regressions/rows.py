"""All rows as asv benchmarks, a class per family: sharedmem alone, in one process."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.families import FAMILIES, rows
from harness.timing import OURS, in_bytes


class _Rows:
    """Calls of sharedmem; a turn of repeated short calls is timed as a whole."""

    family: str
    number, repeat, warmup_time, timeout = 1, (3, 15, 5.0), 0, 600

    def setup(self, name: str) -> None:
        """Set up the row, and make the first call, which may compile."""
        row = rows(self.family)[name]
        self.call = row.contenders[OURS](row.size)
        self.call()

    def time_row(self, _: str) -> None:
        """Make the call."""
        self.call()


for _family in FAMILIES:
    try:
        _found = rows(_family)
    except ImportError:  # the commit lacks what the family imports: its rows fail
        continue
    _names = [name for name, row in _found.items() if row.show is not in_bytes]
    _members = {"family": _family, "params": [_names], "param_names": ["row"]}
    globals()[_family] = type(_family, (_Rows,), {**_members, "__module__": __name__})
