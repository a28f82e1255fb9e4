"""
Mandelbrot set
==============

Points of the Mandelbrot set need up to a thousand steps each, points outside of it only a few, so
parts of the picture of the same size differ greatly in work. :func:`sharedmem.map_chunks` runs a
numba function on chunks of rows in several threads; ``position=True`` tells the kernel where its
chunk lies in the picture, and many small chunks keep all cores busy to the end. We compare the
picture with the same loop without sharedmem, and with NumPy.
"""

import math

import numba
import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# The kernel
# ----------
#
# It writes the number of steps of z = z² + c until z leaves a large circle, with a fraction that
# makes colors continuous. ``position`` is the index of the first element of the chunk.


@numba.njit(nogil=True)
def escape_times(picture, position, corner, step, limit):
    for i in range(picture.shape[0]):
        for j in range(picture.shape[1]):
            c_x = corner[0] + step * (position[1] + j)
            c_y = corner[1] + step * (position[0] + i)
            x, y, n = c_x, c_y, 0
            while x * x + y * y < 1e6 and n < limit:
                x, y, n = x * x - y * y + c_x, 2 * x * y + c_y, n + 1
            picture[i, j] = limit
            if n < limit:
                picture[i, j] = n + 1 - math.log2(math.log(x * x + y * y) / 2)


# %%
# The picture
# -----------
#
# By default, chunks have about 4 MiB. Here there are 100 chunks instead, many more than workers.

WIDTH = 0.008
HEIGHT = WIDTH * 3 / 4
corner = (-0.7436 - WIDTH / 2, 0.1317 - HEIGHT / 2)


def arguments(n_columns, limit):
    return corner, WIDTH / n_columns, limit


picture = sharedmem.empty((900, 1200))
sharedmem.map_chunks(
    escape_times,
    picture,
    args=arguments(1200, 1000),
    chunks=sharedmem.chunks(picture, n=100),
    position=True,
)

figure, panel = plt.subplots(figsize=(8.4, 5.4), layout="constrained")
image = panel.imshow(
    picture,
    norm="log",
    cmap="twilight_shifted",
    origin="lower",
    extent=(corner[0], corner[0] + WIDTH, corner[1], corner[1] + HEIGHT),
)
panel.ticklabel_format(useOffset=False)
panel.set(xlabel="Re c", ylabel="Im c", xticks=[-0.747, -0.745, -0.743, -0.741])
figure.colorbar(image, label="steps until |z| > 1000")
plt.show()

# %%
# Comparisons
# -----------
#
# One call of the kernel for the whole picture, without sharedmem, gives the same bits.

alone = np.empty(picture.shape)
escape_times(alone, (0, 0), *arguments(1200, 1000))
assert np.array_equal(picture, alone)

# %%
# NumPy does each step for a whole picture, here a small one of at most 100 steps. Rounding errors
# grow with the steps, so a few points at the edge of the set may differ.

y, x = np.ogrid[:60, :80]
step = WIDTH / 80
c = (corner[0] + step * x) + 1j * (corner[1] + step * y)
z, by_numpy = c.copy(), np.full(c.shape, 100.0)
for n in range(100):
    square = z.real**2 + z.imag**2
    out = (square >= 1e6) & (by_numpy == 100)
    by_numpy[out] = n + 1 - np.log2(np.log(square[out]) / 2)
    z = np.where(by_numpy == 100, z * z + c, 1e6)

small = sharedmem.map_chunks(
    escape_times, sharedmem.empty(c.shape), args=arguments(80, 100), position=True
)
same = np.isclose(small, by_numpy, rtol=1e-6).mean()
print(f"{same:.1%} of {c.size} points are the same")
assert same > 0.99
