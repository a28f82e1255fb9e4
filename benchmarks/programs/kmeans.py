"""Ten steps of Lloyd's algorithm."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import sharedmem

N_CLUSTERS, N_STEPS, N_AXES = 8, 10, 3
POINT = np.dtype([("at", "f8", (N_AXES,)), ("label", "i8")])
_kernel = numba.njit(nogil=True, cache=True, fastmath=True)


def prepare(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(n, N_AXES))
    points += 3 * rng.integers(0, 2, (n, N_AXES))
    return points


@_kernel  # type: ignore[untyped-decorator, unused-ignore]
def assign(points: Any, centers: Any) -> None:
    for k in range(points.size):
        nearest, least = 0, np.inf
        for c in range(len(centers)):
            distance = 0.0
            for d in range(N_AXES):
                distance += (points[k].at[d] - centers[c, d]) ** 2
            if distance < least:
                nearest, least = c, distance
        points[k].label = nearest


@_kernel  # type: ignore[untyped-decorator, unused-ignore]
def total(points: Any) -> Any:
    found = np.zeros((N_CLUSTERS, N_AXES + 1))
    for k in range(points.size):
        sums = found[points[k].label]
        for d in range(N_AXES):
            sums[d] += points[k].at[d]
        sums[N_AXES] += 1
    return found


TOTALS = sharedmem.Reduction(chunk=total, combine=np.add)


def ours(data: np.ndarray) -> np.ndarray:
    points: np.ndarray = sharedmem.empty(len(data), POINT)
    points["at"] = data
    centers = data[:N_CLUSTERS].copy()
    for _ in range(N_STEPS):
        sharedmem.map_chunks(assign, points, args=(centers,))
        sums = sharedmem.reduce(TOTALS, points)
        centers = sums[:, :N_AXES] / sums[:, N_AXES:]
    return np.round(centers, 4)


def plain(data: np.ndarray) -> np.ndarray:
    centers = data[:N_CLUSTERS].copy()
    for _ in range(N_STEPS):
        distances = [((data - center) ** 2).sum(axis=1) for center in centers]
        labels = np.argmin(distances, axis=0)
        counts = np.bincount(labels, minlength=N_CLUSTERS)
        for d in range(N_AXES):
            centers[:, d] = np.bincount(labels, data[:, d], N_CLUSTERS) / counts
    return np.round(centers, 4)


def peer(data: np.ndarray) -> np.ndarray:
    from sklearn.cluster import KMeans

    model = KMeans(N_CLUSTERS, init=data[:N_CLUSTERS], n_init=1, max_iter=N_STEPS, tol=0)
    centers: np.ndarray = model.fit(data).cluster_centers_
    return np.round(centers, 4)
