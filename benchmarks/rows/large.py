"""Rows of large inputs, to be run by hand: `run.py --only large`."""

from __future__ import annotations

import numpy as np

import sharedmem
from harness.contenders import PRANGE
from harness.timing import GIB, MIB, NUMPY, OURS, Row, SetUp
from rows.files import SMALL, reductions as reductions_of_files, zeros
from rows.foundation import MADE
from rows.orders import by
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
} | {
    "argsort": Row(
        "argsort, 1 GiB", GIB // 8, 1 << 14, {OURS: by(sharedmem.argsort), NUMPY: by(np.argsort)},
        needs=6 * GIB,
    ),
    "file": Row(
        "sum of a 30 GB file of zeros", 30 * 10**9, SMALL, reductions_of_files("sum", zeros),
        "no peer faster",
    ),
}  # fmt: skip
