"""Rows of 4 GiB arrays, if all contenders fit into memory at once."""

from __future__ import annotations

from harness.contenders import PRANGE
from harness.timing import GIB, MIB, NUMPY, OURS, Row, SetUp
from rows.foundation import MADE
from rows.reductions import contenders

SIZE = 4 * GIB
# Arrays that all contenders hold together.
N_ARRAYS = {"full": 1, "copy": 3, "sum": 3}
FOUND: dict[str, dict[str, SetUp]] = {**MADE, "sum": contenders("sum")}

ROWS = {
    name: Row(
        f"{name}, 4 GiB", SIZE // 8, MIB // 64,
        {
            which: set_up
            for which, set_up in FOUND[name].items()
            if which in (OURS, NUMPY, PRANGE)
        },
        needs=n_arrays * SIZE + GIB, warms_up=True,
    )
    for name, n_arrays in N_ARRAYS.items()
}  # fmt: skip
