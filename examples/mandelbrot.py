"""
Mandelbrot set
==============

The Mandelbrot set, computed by a kernel that takes the position of its chunk.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

import numba
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

import sharedmem

CENTER = (-0.7436, 0.1317)
WIDTH = 0.008
N_CHUNKS = 64  # many more than workers, since rows differ greatly in work


@numba.njit(nogil=True)
def escape_times(picture, position, center, step, limit):
    """Write the number of steps of z = z^2 + c until each c leaves a large circle, smoothed."""
    for i in range(picture.shape[0]):
        for j in range(picture.shape[1]):
            c_x = center[0] + step * (position[1] + j)
            c_y = center[1] + step * (position[0] + i)
            x, y, n = c_x, c_y, 0
            while x * x + y * y < 1e6 and n < limit:
                x, y, n = x * x - y * y + c_x, 2 * x * y + c_y, n + 1
            picture[i, j] = limit
            if n < limit:
                picture[i, j] = n + 1 - math.log(math.log(x * x + y * y) / 2) / math.log(2.0)


def numpy_escape_times(
    shape: tuple[int, int], corner: tuple[float, float], step: float, limit: int
) -> NDArray[np.float64]:
    """Return the same picture, computed with whole arrays."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    c = (corner[0] + step * x) + 1j * (corner[1] + step * y)
    z, picture = c.copy(), np.full(shape, float(limit))
    for n in range(limit):
        with np.errstate(invalid="ignore", over="ignore"):
            size = z.real**2 + z.imag**2
            out = (size >= 1e6) & (picture == limit)
            picture[out] = n + 1 - np.log2(np.log(size[out]) / 2)
            z = np.where(picture == limit, z * z + c, np.inf)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="compute a small picture")
    parser.add_argument("--output", type=Path, default=Path("docs/pictures/mandelbrot.png"))
    options = parser.parse_args()
    shape, limit = ((120, 160), 200) if options.quick else ((1200, 1600), 1000)
    step = WIDTH / shape[1]
    corner = (CENTER[0] - WIDTH / 2, CENTER[1] - step * shape[0] / 2)

    picture, alone = sharedmem.empty(shape), np.empty(shape)
    grid = sharedmem.chunks(picture, n=N_CHUNKS)
    arguments = (corner, step, limit)
    escape_times(alone, (0, 0), *arguments)
    serial, parallel = [], []
    with sharedmem.MapReduce() as pool:
        for _ in range(3):
            start = time.perf_counter()
            escape_times(alone, (0, 0), *arguments)
            serial.append(time.perf_counter() - start)
            start = time.perf_counter()
            pool.map_chunks(escape_times, picture, args=arguments, chunks=grid, position=True)
            parallel.append(time.perf_counter() - start)
    if not np.array_equal(picture, alone):
        sys.exit("the parallel picture differs from the serial one")
    small = np.empty((60, 80))
    escape_times(small, (0, 0), corner, WIDTH / 80, 100)
    wanted = numpy_escape_times((60, 80), corner, WIDTH / 80, 100)
    if (
        not np.isclose(small, wanted, rtol=1e-6).mean() > 0.99
    ):  # rounding errors grow with each step
        sys.exit("the kernel differs from NumPy")
    a, b = statistics.median(serial), statistics.median(parallel)
    print(f"{shape[1]} x {shape[0]} points, at most {limit} steps, medians of 3; the same bits")
    print(f"serial {a:.3f} s, {pool.np} workers {b:.3f} s: {a / b:.2f} x faster")
    plt.imsave(options.output, np.log(picture[::2, ::2]), cmap="twilight_shifted", origin="lower")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
