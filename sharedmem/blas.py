"""How many threads BLAS and OpenMP libraries may start."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_found: tuple[int, ThreadpoolController] | None = None


def libraries() -> ThreadpoolController:
    """Return the thread pools of the libraries that are loaded now.

    The search takes 0.3 ms, so it is made again only when modules were imported since.
    """
    from threadpoolctl import ThreadpoolController

    global _found
    n_modules = len(sys.modules)
    if _found is None or _found[0] != n_modules:
        _found = n_modules, ThreadpoolController()
    return _found[1]


@contextlib.contextmanager
def limited(n_threads: int | None) -> Iterator[None]:
    """Limit the threads of all libraries in this block; None leaves them alone."""
    if n_threads is None:
        yield
        return
    # ThreadpoolController.limit does the same in 100 x the time.
    pools = [(pool, pool.get_num_threads()) for pool in libraries().lib_controllers]
    for pool, _ in pools:
        pool.set_num_threads(n_threads)
    try:
        yield
    finally:
        for pool, before in pools:
            pool.set_num_threads(before)
