"""
Reaction and diffusion on a grid
================================

The Gray-Scott reaction-diffusion system: a stencil on a periodic grid, 1,000 steps.
"""

import argparse
import sys
import time
from pathlib import Path

import numba
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

import sharedmem

FEED, KILL = 0.0545, 0.062
DIFFUSION = (1.0, 0.5)  # of u and v, with unit grid spacing and time step
N_CHUNKS = 4


@numba.njit(nogil=True)
def advance(u, v, u_next, v_next, diffusion, feed, kill):
    """Advance by one step: u + 2 v -> 3 v; u is fed, v is removed, both diffuse."""
    for i in range(u_next.shape[0]):
        for j in range(u_next.shape[1]):
            here_u, here_v = u[i + 1, j + 1], v[i + 1, j + 1]
            near_u = u[i, j + 1] + u[i + 1, j] + u[i + 1, j + 2] + u[i + 2, j + 1]
            near_v = v[i, j + 1] + v[i + 1, j] + v[i + 1, j + 2] + v[i + 2, j + 1]
            far_u = u[i, j] + u[i, j + 2] + u[i + 2, j] + u[i + 2, j + 2]
            far_v = v[i, j] + v[i, j + 2] + v[i + 2, j] + v[i + 2, j + 2]
            laplace_u = 0.2 * near_u + 0.05 * far_u - here_u
            laplace_v = 0.2 * near_v + 0.05 * far_v - here_v
            reaction = here_u * here_v * here_v
            u_next[i, j] = here_u + diffusion[0] * laplace_u - reaction + feed * (1 - here_u)
            v_next[i, j] = here_v + diffusion[1] * laplace_v + reaction - (feed + kill) * here_v


Field = NDArray[np.float64]


def start(n: int) -> tuple[Field, Field]:
    """Return shared arrays with u = 1 and v = 0, except in some squares."""
    u, v = sharedmem.ones((n, n)), sharedmem.zeros((n, n))
    for i, j in np.random.default_rng(3).integers(0, n - 12, (n * n // 2500, 2)):
        u[i : i + 12, j : j + 12], v[i : i + 12, j : j + 12] = 0.5, 0.25
    return u, v


def run_alone(n: int, n_steps: int) -> Field:
    """Run without sharedmem: pad the arrays and call the kernel on them."""
    (u, v), (u_next, v_next) = start(n), start(n)
    for _ in range(n_steps):
        padded = np.pad(u, 1, mode="wrap"), np.pad(v, 1, mode="wrap")
        advance(*padded, u_next, v_next, DIFFUSION, FEED, KILL)
        u, v, u_next, v_next = u_next, v_next, u, v
    return v


def run_on_pool(n: int, n_steps: int, pool: sharedmem.MapReduce) -> Field:
    now, after = start(n), start(n)
    grid = sharedmem.chunks(now[0], n=N_CHUNKS)
    args = DIFFUSION, FEED, KILL
    for _ in range(n_steps):
        pool.map_overlap(advance, now, after, depth=1, boundary="periodic", chunks=grid, args=args)
        now, after = after, now
    return now[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run few steps on a small grid")
    parser.add_argument("--output", type=Path, default=Path("docs/pictures/gray_scott.png"))
    options = parser.parse_args()
    n, n_steps = (96, 50) if options.quick else (512, 1000)
    run_alone(8 * N_CHUNKS, 1)  # compiles

    clock = [time.perf_counter()]
    alone = run_alone(n, n_steps)
    clock.append(time.perf_counter())
    serial = run_on_pool(n, n_steps, sharedmem.MapReduce(np=0))
    clock.append(time.perf_counter())
    pool = sharedmem.MapReduce()
    field = run_on_pool(n, n_steps, pool)
    clock.append(time.perf_counter())
    if not (np.array_equal(field, alone) and np.array_equal(serial, alone)):
        sys.exit("the results differ")
    a, b, c = np.diff(clock)
    print(f"{n_steps} steps on {n} x {n} points; the same bits")
    print(f"numba on arrays padded by NumPy {a:.2f} s, serial map_overlap {b:.2f} s,")
    print(f"map_overlap with {pool.np} workers {c:.2f} s: {a / c:.2f} x faster than numba alone")
    plt.imsave(options.output, field, cmap="magma", origin="lower")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
