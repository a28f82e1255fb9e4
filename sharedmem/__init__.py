"""Parallel programming with NumPy arrays in shared memory.

Functions named as in NumPy take NumPy's arguments and return NumPy's results. They run in parallel
on the pool of the innermost ``with MapReduce()`` block, or on a default pool. Methods of arrays and
NumPy's own functions are unchanged: ``sharedmem.sum(a)`` is parallel, ``a.sum()`` is not. A star
import omits the modules, and the functions that would hide Python's own (`all`, `any`, `max`,
`min`, and `sum`).

Arrays in shared memory
    Create: `empty`, `zeros`, `ones`, `full`, `empty_like`, `zeros_like`, `ones_like`, `full_like`.
    From existing data: `array`, `copy`, `fromiter`, `fromfile`. The class: `SharedArray` (its name
    in version 0.3: `anonymousmemmap`). Objects and sequences with their arrays: `share`,
    `SharedList`. Test whether processes share an array, or an object: `is_shared`.
Pools of workers
    `MapReduce` (`Pool`), `MapReduceByThread` (`TPool`); the kinds of workers: `ProcessBackend`,
    `SpawnBackend`, `ThreadBackend`, `DaskBackend`; one call in the background: `background`; an
    executor of `concurrent.futures`: `Executor`; what a pool does not wait for: `AsyncResult`; a
    timeline of a call: `Trace`.
Kernels and expressions
    Cut an array into a sequence of `Chunk`: `chunks`. Call a function on each chunk: `map_chunks`,
    `map_overlap`. Apply a ufunc: `apply_ufunc`. Evaluate an expression: `evaluate`. Reduce with a
    custom `Reduction`: `reduce`. Reduce groups of equal labels: `group_reduce`.
Sums and statistics
    `sum`, `prod`, `mean`, `average`, `var`, `std`, `moments`, `median`, `quantile`, `percentile`;
    ignoring NaN: `nansum`, `nanprod`, `nanmean`, `nanvar`, `nanstd`, `nanmedian`, `nanquantile`,
    `nanpercentile`.
Extrema and logic
    `min`, `max`, `minmax`, `ptp`, `argmin`, `argmax`, `nanmin`, `nanmax`, `nanargmin`, `nanargmax`,
    `all`, `any`, `count_nonzero`.
Products and norms
    `dot`, `vdot`, `norm`.
Cumulative functions and differences
    `cumsum`, `cumprod`, `nancumsum`, `nancumprod`, `diff`; with another ufunc: `accumulate`.
Histograms
    `histogram`, `histogram2d`, `histogramdd`, `bincount`, `digitize`.
Sorting and searching
    `sort`, `argsort`, `partition`, `topk`, `unique`, `searchsorted`.
Selection
    `take`, `compress`, `where`, `nonzero`, `flatnonzero`, `clip`.
Machine and settings
    `cpu_count`, `total_memory`, `available_memory`; serial mode: `get_debug`, `set_debug`.
Exceptions
    `WorkerException`, `DeadWorkerError`, `LostExceptionType`; raised by a task to end its worker:
    `StopProcessGroup`.
Modules
    `random`: random numbers that do not depend on the number of workers. `kernels`: the compiled
    kernels. `sharedmem`: the names of version 0.3.
"""

import builtins
import importlib
import sys

import lazy_loader

if sys.platform == "win32":
    raise ImportError(
        "sharedmem needs fork(), which Windows does not have; use the Windows Subsystem for Linux"
    )

# Loaded here and not on first use: a process forked while another thread imports a module inherits
# that module's lock, which is never released. Hooks that run after a fork are registered here, too.
for _module in ("arrays.binary_files", "pool.background", "pool.mapreduce", "pool.spawn_backend"):
    importlib.import_module(f"sharedmem.{_module}")

__version__ = "1.0.0"

# The stub __init__.pyi lists the public names; numba and asyncio come with the first use of one.
__getattr__, __dir__, _public = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted({*_public} - {*dir(builtins), "kernels", "random", "sharedmem"})  # for import *
