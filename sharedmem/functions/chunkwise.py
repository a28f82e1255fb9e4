"""Custom kernels and reductions, and ufuncs, over the chunks of arrays, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from sharedmem.engine import apply_ufunc as ufuncs, map_chunks as kernels, map_overlap as stencils
from sharedmem.engine.line_view import as_lines
from sharedmem.engine.reduce_array import reduce_array
from sharedmem.engine.runners import ArrayRunner
from sharedmem.machine.tuning import tuning
from sharedmem.pool.entered import innermost
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.signatures import as_function


@as_function(of=kernels.map_chunks)
def map_chunks(*args: Any, **options: Any) -> Any:  # noqa: D103 - see `as_function`
    return kernels.map_chunks(current_pool().runner, *args, **options)


@as_function(of=stencils.map_overlap)
def map_overlap(*args: Any, **options: Any) -> Any:  # noqa: D103
    return stencils.map_overlap(current_pool().runner, *args, **options)


@as_function(of=ufuncs.apply_ufunc)
def apply_ufunc(*args: Any, **options: Any) -> Any:  # noqa: D103
    return ufuncs.apply_ufunc(current_pool().runner, *args, **options)


@as_function(of=reduce_array)
def reduce(*args: Any, **options: Any) -> Any:  # noqa: D103
    return reduce_array(current_pool().runner, *args, **options)


def threads_of_caller(a: NDArray[Any]) -> int:
    """Return in how many threads of the caller a kernel reads an array; 0 if the pool has to say.

    The pool shows or records its calls, or has workers that open the array themselves.
    """
    if a.nbytes < 2 * tuning.thread_bytes and innermost() is None:
        return 1
    runner = current_pool().runner
    is_local = type(runner) is ArrayRunner and runner.watch is None
    return runner.n_threads(a.nbytes) if is_local else 0


def any_chunk(a: NDArray[Any], test: Callable[[NDArray[Any]], Any]) -> bool:
    """Return whether a test is true of any chunk of an array; stop at the first that is found."""
    lines = as_lines(a, frozenset(range(a.ndim)))
    found: list[int] = []

    def look(index: int) -> None:
        if not found and test(lines.chunk(index)):
            found.append(index)

    look(0)
    if len(lines.grid) > 1 and not found:
        current_pool().runner.run(a.nbytes)(look, range(1, len(lines.grid)))
    return bool(found)
