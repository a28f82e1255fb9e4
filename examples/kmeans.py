"""
k-means clustering of colors
============================

A photograph has tens of thousands of colors; which 12 of them are enough to show it? k-means
clustering finds centers such that the sum of the squared distances of all pixels from their
nearest center is small. Each step has two halves. A kernel that writes to an array, called by
:func:`sharedmem.map_chunks`, labels each pixel with its nearest center; a
:class:`sharedmem.Reduction` then finds the mean color of each label. The pixels are records in a
shared array, whose fields have the color and the label.
"""

import matplotlib.cbook
import numba
import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# sphinx_gallery_thumbnail_number = 2

# %%
# Pixels as records
# -----------------
#
# The photograph comes with matplotlib: Grace Hopper, who wrote one of the first compilers.

file = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
photograph = plt.imread(file)

PIXEL = np.dtype([("color", "f4", (3,)), ("label", "i4"), ("square", "f4")])
pixels = sharedmem.empty(photograph.shape[:2], dtype=PIXEL)
pixels["color"] = photograph / np.float32(255)
n_distinct = len(np.unique(photograph.reshape(-1, 3), axis=0))
print(f"{pixels.size:,} pixels, {n_distinct:,} colors")

# %%
# Two kernels
# -----------
#
# The first kernel labels pixels, and keeps the squared distance from the center. It needs no
# array of all distances, which would be twelve times as long as that of the pixels.


@numba.njit(nogil=True)
def assign(pixels, centers):
    for i in range(pixels.shape[0]):
        for j in range(pixels.shape[1]):
            least = np.inf
            for k in range(len(centers)):
                square = 0.0
                for d in range(3):
                    square += (pixels[i, j].color[d] - centers[k, d]) ** 2
                if square < least:
                    least = square
                    pixels[i, j].label = k
            pixels[i, j].square = least


# %%
# The state of the reduction is an array with a row per label: the sums of red, green, and blue,
# and the number of pixels. States of two chunks are added. The order of the additions does not
# depend on the number of workers, and neither does any bit of the result.

N_COLORS = 12


@numba.njit(nogil=True)
def add_up(pixels):
    sums = np.zeros((N_COLORS, 4))
    for pixel in pixels:
        for d in range(3):
            sums[pixel.label, d] += pixel.color[d]
        sums[pixel.label, 3] += 1
    return sums


sums_by_label = sharedmem.Reduction(chunk=add_up, combine=np.add)

# %%
# The first centers
# -----------------
#
# The result depends on the centers at the start. k-means++ takes random pixels, each with a
# probability proportional to its squared distance from the nearest center so far (D. Arthur and
# S. Vassilvitskii, *k-means++: The advantages of careful seeding*, 2007). Few pixels are enough
# for that.

rng = np.random.default_rng(4)
sample = pixels["color"].reshape(-1, 3)[::64].astype("f8")
centers = np.empty((N_COLORS, 3))
square = np.ones(len(sample))
for k in range(N_COLORS):
    centers[k] = sample[rng.choice(len(sample), p=square / square.sum())]
    square = ((sample[:, None] - centers[: k + 1]) ** 2).sum(axis=2).min(axis=1)

# %%
# Lloyd's algorithm
# -----------------
#
# The two halves take turns (S. P. Lloyd, *Least squares quantization in PCM*, 1982). Neither can
# increase the sum of the squares, so it decreases until nothing changes any more.

errors = []
for _ in range(100):
    sharedmem.map_chunks(assign, pixels, args=(centers,))
    errors.append(sharedmem.sum(pixels["square"]) / pixels.size)
    sums = sharedmem.reduce(sums_by_label, pixels)
    previous, centers = centers, sums[:, :3] / sums[:, 3:]
    if np.array_equal(centers, previous):
        break
print(f"no pixel changes its label after {len(errors)} steps")

# %%
# The same for all pixels in NumPy. Rounding may let a sum of squares grow by its last bits.

colors = pixels["color"].reshape(-1, 3).astype("f8")
labels = pixels["label"].ravel()
squares = np.array([((colors - center) ** 2).sum(axis=1) for center in centers])
assert np.allclose(squares.min(axis=0), squares[labels, np.arange(labels.size)])
means = [colors[labels == k].mean(axis=0) for k in range(N_COLORS)]
assert np.allclose(centers, means)
assert np.diff(errors).max() < 1e-6 * errors[0]

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.plot(
    np.arange(1, len(errors) + 1),
    255 * np.sqrt(errors),
    "o-",
    color="tab:red",
    ms=4,
)
axes.set(
    xlabel="step",
    ylabel="RMS distance (levels of 255)",
    title="Convergence of k-means",
)
axes.grid(alpha=0.3)

# %%
# The picture in twelve colors
# ----------------------------
#
# Each pixel is shown in the color of its label. Bars show how many pixels have each color.

order = np.argsort(sums[:, 3])
figure, panels = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
panels[0].imshow(photograph)
panels[0].set_title(f"{n_distinct:,} colors")
panels[1].imshow(centers[pixels["label"]])
panels[1].set_title(f"{N_COLORS} colors")
panels[2].barh(
    np.arange(N_COLORS),
    100 * sums[order, 3] / pixels.size,
    color=centers[order],
    height=0.9,
)
panels[2].set(title="The colors", xlabel="share of pixels (%)", yticks=[])
for axes in panels[:2]:
    axes.axis("off")
for side in "top", "right", "left":
    panels[2].spines[side].set_visible(False)
plt.show()
