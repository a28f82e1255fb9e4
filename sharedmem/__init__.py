"""Parallel programming on one shared-memory machine, for people who think in NumPy arrays.

Functions with a name of NumPy's take its arguments and give its results, in parallel, on the
innermost ``with MapReduce()`` or on a pool of their own. The methods of arrays, and NumPy's
functions, stay as they are: ``sharedmem.sum(a)`` is parallel, and ``a.sum()`` is not. A star import
leaves out those that would hide Python's own: `all`, `any`, `max`, `min`, `random`, and `sum`.

Arrays in shared memory
    `empty`, `zeros`, `ones`, `full`, and each with ``_like``: new ones (`empty_like`, `zeros_like`,
    `ones_like`, `full_like`); `array`, `copy`: of what there is; `fromiter`, `fromfile`: of items,
    and of a file; `SharedArray` (once `anonymousmemmap`): their type; `is_shared`: whether workers
    see writes to an array
Workers
    `MapReduce` (`Pool`), `MapReduceByThread` (`TPool`): pools; `ProcessBackend`, `ThreadBackend`,
    `DaskBackend`: what their workers are; `background`: one call while others go on; `Trace`: what
    the workers of a call did when
Work on the chunks of arrays
    `chunks`: cut an array into a sequence of `Chunk`; `map_chunks`, `map_overlap`: call your kernel
    on them; `apply_ufunc`, `evaluate`: a ufunc, and an expression; `reduce`: by your own
    `Reduction`
Sums and statistics
    `sum`, `prod`, `mean`, `average`, `var`, `std`, `moments`, `median`, `quantile`, `percentile`;
    without NaN: `nansum`, `nanprod`, `nanmean`, `nanvar`, `nanstd`, `nanmedian`, `nanquantile`,
    `nanpercentile`
Extrema and truth
    `min`, `max`, `minmax`, `ptp`, `argmin`, `argmax`, `nanmin`, `nanmax`, `nanargmin`, `nanargmax`,
    `all`, `any`, `count_nonzero`
Products
    `dot`, `vdot`, `norm`
Running along an axis
    `cumsum`, `cumprod`, `nancumsum`, `nancumprod`, `diff`; `accumulate`: by any of some ufuncs
Counts in bins
    `histogram`, `histogram2d`, `histogramdd`, `bincount`, `digitize`
Order
    `sort`, `argsort`, `partition`, `topk`, `unique`, `searchsorted`
Choice
    `take`, `compress`, `where`, `nonzero`, `flatnonzero`, `clip`
Random numbers
    `random`: a module, whose numbers do not depend on the number of workers
Machine
    `cpu_count`, `total_memory`, `available_memory`; `get_debug`, `set_debug`: whether pools do
    everything serially
Errors
    `WorkerException`, `DeadWorkerError`, `LostExceptionType`; `StopProcessGroup`: ends a worker
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError(
        "sharedmem needs the fork of a POSIX system, and Windows has none; it runs in the Windows "
        "Subsystem for Linux"
    )

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.arrays.constructors import (
    array,
    copy,
    empty,
    empty_like,
    fromfile,
    fromiter,
    full,
    full_like,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from sharedmem.arrays.shared_array import SharedArray, anonymousmemmap, is_shared
from sharedmem.errors import (
    DeadWorkerError,
    LostExceptionType,
    StopProcessGroup,
    WorkerException,
)
from sharedmem.machine.limits import (
    available_memory,
    cpu_count,
    get_debug,
    set_debug,
    total_memory,
)
from sharedmem.pool.background import background
from sharedmem.pool.mapreduce import MapReduce, MapReduceByThread
from sharedmem.workers.process_team import ProcessBackend
from sharedmem.workers.recorder import Trace
from sharedmem.workers.thread_team import ThreadBackend

if TYPE_CHECKING:
    from sharedmem import random as random
    from sharedmem.cluster.backend import DaskBackend
    from sharedmem.functions.arg_extrema import argmax, argmin
    from sharedmem.functions.averages import average
    from sharedmem.functions.chunkwise import apply_ufunc, map_chunks, map_overlap, reduce
    from sharedmem.functions.cumulative import (
        accumulate,
        cumprod,
        cumsum,
        diff,
        nancumprod,
        nancumsum,
    )
    from sharedmem.functions.elementwise import clip, where
    from sharedmem.functions.evaluate import evaluate
    from sharedmem.functions.histograms import bincount, histogram, histogram2d, histogramdd
    from sharedmem.functions.linear_algebra import dot, norm, vdot
    from sharedmem.functions.nan_quantiles import nanmedian, nanpercentile, nanquantile
    from sharedmem.functions.nan_reductions import (
        nanargmax,
        nanargmin,
        nanmax,
        nanmean,
        nanmin,
        nanprod,
        nanstd,
        nansum,
        nanvar,
    )
    from sharedmem.functions.quantiles import median, percentile, quantile
    from sharedmem.functions.reductions import (
        all as all,
        any as any,
        count_nonzero,
        max as max,
        mean,
        min as min,
        minmax,
        prod,
        ptp,
        sum as sum,
    )
    from sharedmem.functions.searching import digitize, searchsorted
    from sharedmem.functions.selection import compress, flatnonzero, nonzero, take
    from sharedmem.functions.sorting import argsort, partition, sort
    from sharedmem.functions.topk import topk
    from sharedmem.functions.unique import unique
    from sharedmem.functions.variance import moments, std, var
    from sharedmem.kernels import Reduction

__version__ = "1.0.0"

Pool = MapReduce
TPool = MapReduceByThread

# These need numba or asyncio, and come with their first use.
_LATE = {
    "functions.chunkwise": "apply_ufunc map_chunks map_overlap reduce",
    "cluster.backend": "DaskBackend",
    "functions.evaluate": "evaluate",
    "functions.histograms": "bincount histogram histogram2d histogramdd",
    "kernels": "Reduction",
    "functions.nan_reductions": (
        "nanargmax nanargmin nanmax nanmean nanmin nanprod nanstd nansum nanvar"
    ),
    "functions.sorting": "argsort partition sort",
    "functions.topk": "topk",
    "functions.unique": "unique",
    "functions.searching": "digitize searchsorted",
    "functions.averages": "average",
    "functions.linear_algebra": "dot norm vdot",
    "functions.nan_quantiles": "nanmedian nanpercentile nanquantile",
    "functions.quantiles": "median percentile quantile",
    "functions.cumulative": "accumulate cumprod cumsum diff nancumprod nancumsum",
    "functions.elementwise": "clip where",
    "functions.selection": "compress flatnonzero nonzero take",
    "functions.arg_extrema": "argmax argmin",
    "functions.reductions": "all any count_nonzero max mean min minmax prod ptp sum",
    "functions.variance": "moments std var",
}
_MODULE_OF = {name: module for module, names in _LATE.items() for name in names.split()}
# A star import must not hide Python's own.
_BUILTINS = frozenset({"all", "any", "max", "min", "random", "sum"})

__all__ = [
    "Chunk",
    "DaskBackend",
    "DeadWorkerError",
    "LostExceptionType",
    "MapReduce",
    "MapReduceByThread",
    "Pool",
    "ProcessBackend",
    "Reduction",
    "SharedArray",
    "StopProcessGroup",
    "TPool",
    "ThreadBackend",
    "Trace",
    "WorkerException",
    "accumulate",
    "anonymousmemmap",
    "apply_ufunc",
    "argmax",
    "argmin",
    "argsort",
    "array",
    "available_memory",
    "average",
    "background",
    "bincount",
    "chunks",
    "clip",
    "compress",
    "copy",
    "count_nonzero",
    "cpu_count",
    "cumprod",
    "cumsum",
    "diff",
    "digitize",
    "dot",
    "empty",
    "empty_like",
    "evaluate",
    "flatnonzero",
    "fromfile",
    "fromiter",
    "full",
    "full_like",
    "get_debug",
    "histogram",
    "histogram2d",
    "histogramdd",
    "is_shared",
    "map_chunks",
    "map_overlap",
    "mean",
    "median",
    "minmax",
    "moments",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
    "nonzero",
    "norm",
    "ones",
    "ones_like",
    "partition",
    "percentile",
    "prod",
    "ptp",
    "quantile",
    "reduce",
    "searchsorted",
    "set_debug",
    "sort",
    "std",
    "take",
    "topk",
    "total_memory",
    "unique",
    "var",
    "vdot",
    "where",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        found = getattr(importlib.import_module(f"sharedmem.{_MODULE_OF[name]}"), name)
        globals()[name] = found  # the next time nobody asks here
        return found
    if name in ("random", "sharedmem"):
        return importlib.import_module(f"sharedmem.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    own = {name for name in globals() if name.startswith("__")}
    return sorted({*own, *__all__, *_BUILTINS})
