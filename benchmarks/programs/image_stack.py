"""Each image of a stack, smoothed."""

from __future__ import annotations

import numpy as np

import sharedmem

SIDE = 1024
SIGMA = 2


def prepare(n_images: int) -> np.ndarray:
    stack = np.empty((n_images, SIDE, SIDE), "f4")
    stack[...] = np.random.default_rng(0).random((SIDE, SIDE), "f4")
    return stack


def ours(stack: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    smooth: np.ndarray = sharedmem.empty_like(stack)
    with sharedmem.MapReduce() as pool:
        pool.map(lambda k: gaussian_filter(stack[k], SIGMA, output=smooth[k]), range(len(stack)))
    return smooth


def plain(stack: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    smooth = np.empty_like(stack)
    for image, out in zip(stack, smooth, strict=True):
        gaussian_filter(image, SIGMA, output=out)
    return smooth


def peer(stack: np.ndarray) -> np.ndarray:
    import joblib
    from scipy.ndimage import gaussian_filter

    smooth = joblib.delayed(gaussian_filter)
    return np.array(joblib.Parallel(n_jobs=sharedmem.cpu_count())(smooth(x, SIGMA) for x in stack))
