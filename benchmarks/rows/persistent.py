"""Rows of programs that call a pool many times, or hand it tasks one by one."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing.pool
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import EMCEE, FORK, FUTURES, JOBLIB, MPIRE, is_there, negative, present
from harness.timing import GIB, MIB, OURS, POOL, REFERENCE, Call, Measured, Row, SetUp, per_item

WORKERS = 2
THREADS = "threads"
# Called with a pool and a size.
Program = Callable[[Any, int], Any]


def by_mpire() -> Any:
    from mpire.pool import WorkerPool

    return WorkerPool(WORKERS, start_method="fork", keep_alive=True)


# The reference forks its workers at each call of `map`.
POOLS: dict[str, Callable[[], Any]] = {
    OURS: functools.partial(sharedmem.MapReduce, np=WORKERS, persistent=True),
    REFERENCE: functools.partial(sharedmem.MapReduce, np=WORKERS),
    POOL: functools.partial(FORK.Pool, WORKERS),
    FUTURES: functools.partial(concurrent.futures.ProcessPoolExecutor, WORKERS, FORK),
    THREADS: functools.partial(multiprocessing.pool.ThreadPool, WORKERS),
    MPIRE: by_mpire,
}


def started(make: Callable[[], Any], program: Program) -> SetUp:
    """Time a program with the start and the end of its pool."""

    def set_up(size: int) -> Call:
        def call() -> Any:
            with make() as pool:
                result = program(pool, size)
            if isinstance(pool, multiprocessing.pool.Pool):
                pool.join()  # for the processor time of its workers
            return result

        return call

    return set_up


def processor_time(set_up: SetUp) -> SetUp:
    """Measure processor seconds, with those of the workers, which end within the call."""

    def spent() -> float:
        return sum(os.times()[:4])

    def set_up_measured(size: int) -> Call:
        call = set_up(size)

        def measured() -> Measured:
            start = spent()
            result = call()
            return Measured(spent() - start, result)

        return measured

    return set_up_measured


def pools(program: Program, *without: str) -> dict[str, SetUp]:
    return present(
        {which: started(make, program) for which, make in POOLS.items() if which not in without}
    )


def both(
    name: str, title: str, size: int, small: int, contenders: Mapping[str, SetUp], target: str
) -> dict[str, Row]:
    """Return a row of the time that passes and one of the processor time."""
    measured = {which: processor_time(set_up) for which, set_up in contenders.items()}
    return {
        name: Row(title, size, small, contenders, target),
        f"{name}-processor": Row(f"{title}: processor time", size, small, measured, target),
    }


# The programs.


def many_maps(pool: Any, n: int) -> Any:
    return [list(pool.map(negative, range(8))) for _ in range(n)]


@functools.cache
def compiled_later() -> Any:
    import numba

    @numba.njit  # type: ignore[untyped-decorator, unused-ignore]
    def wave(start: int) -> float:
        total = 0.0
        for k in range(1000):
            total += np.sin(start + k)
        return total

    return wave


def compiled(i: int) -> float:
    """Call a function that the worker compiles at its first task, and keeps."""
    return float(compiled_later()(i))


def maps_of_a_compiled_function(pool: Any, n: int) -> Any:
    import numba  # noqa: F401 - by the caller, as a program that has such functions does

    compiled_later.cache_clear()  # what threads have compiled before
    return [list(pool.map(compiled, range(8))) for _ in range(n)]


N_POINTS = 2000


def log_probability(theta: Any, x: Any, y: Any) -> float:
    """Return that of a straight line with unknown scatter."""
    slope, offset, log_scatter = theta
    variance = np.exp(2 * log_scatter)
    for _ in range(8):  # as long as a model of 0.3 ms
        total = float(np.sum((y - slope * x - offset) ** 2 / variance + np.log(variance)))
    return -0.5 * total


def sample(pool: Any, n_steps: int) -> Any:
    import emcee

    rng = np.random.default_rng(1)
    x = np.linspace(0, 10, N_POINTS)
    data = x, 1.5 * x - 0.7 + rng.normal(0, 0.3, x.size)
    start = (1.5, -0.7, -1.0) + 1e-3 * rng.normal(size=(32, 3))

    np.random.seed(2)
    sampler = emcee.EnsembleSampler(*start.shape, log_probability, args=data, pool=pool)
    sampler.run_mcmc(start, n_steps)
    return sampler.get_chain()


def rosenbrock(x: Any) -> float:
    for _ in range(20):
        total = float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))
    return total


def evolve(pool: Any, n_generations: int) -> Any:
    from scipy.optimize import Bounds, differential_evolution

    bounds = Bounds([-2.0] * 4, [2.0] * 4)
    found = differential_evolution(
        rosenbrock, bounds, popsize=10, maxiter=n_generations, tol=0, polish=False, rng=1,
        updating="deferred", workers=pool.map,
    )  # fmt: skip
    return found.x


# Executors.


def submitted(make: Callable[[], concurrent.futures.Executor]) -> SetUp:
    def set_up(n: int) -> Call:
        def call() -> Any:
            with make() as executor:
                futures = [executor.submit(negative, i) for i in range(n)]
                return [future.result() for future in futures]

        return call

    return set_up


EXECUTORS = {
    OURS: submitted(lambda: sharedmem.Executor(WORKERS)),
    FUTURES: submitted(lambda: concurrent.futures.ProcessPoolExecutor(WORKERS, FORK)),
    THREADS: submitted(lambda: concurrent.futures.ThreadPoolExecutor(WORKERS)),
}


# joblib.

N_SLICES = 8


def by_backend(name: str) -> SetUp:
    """Sum slices of an array that the tasks' closure refers to."""

    def set_up(n_bytes: int) -> Call:
        import joblib

        if name == OURS:
            import sharedmem.joblib  # noqa: F401 - which registers the backend

        values = np.full(n_bytes // 8, 0.5)

        def total(i: int) -> float:
            return float(values[i::N_SLICES].sum())

        def call() -> Any:
            with joblib.parallel_config(name, n_jobs=WORKERS):
                return joblib.Parallel()(joblib.delayed(total)(i) for i in range(N_SLICES))

        return call

    return set_up


NOT_SLOWER = "no slower than Pool"
ROWS = {
    **both("maps", "1,000 maps of 8 trivial tasks", 1000, 10, pools(many_maps), NOT_SLOWER),
    "compiled": Row(
        "40 maps of 8 tasks that workers compile with numba", 40, 2,
        pools(maps_of_a_compiled_function, REFERENCE), NOT_SLOWER,
    ),
    # The map of mpire splits arrays into chunks, not into items.
    **both(
        "evolution", "SciPy's differential_evolution, 200 generations of 40", 200, 2,
        pools(evolve, MPIRE), NOT_SLOWER,
    ),
    "submit": Row(
        "a submitted task, 10,000 trivial tasks", 10_000, 100, EXECUTORS,
        "faster than concurrent.futures", per_item,
    ),
}  # fmt: skip
if is_there(EMCEE):
    title = "emcee, 300 steps of 32 walkers, 0.3 ms per task"
    ROWS |= both("emcee", title, 300, 2, pools(sample, MPIRE), NOT_SLOWER)
if is_there(JOBLIB):
    backends = {OURS: OURS, JOBLIB: "loky", THREADS: "threading"}
    ROWS["joblib"] = Row(
        "joblib, 8 tasks with a closure over {size}", GIB, MIB,
        {which: by_backend(name) for which, name in backends.items()},
        "faster than loky", needs=8 * GIB,
    )  # fmt: skip
