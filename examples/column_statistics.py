"""
Column statistics of a large matrix
===================================

A radio receiver writes a hundred spectra per second to a file: a matrix with a row per spectrum
and a column per frequency, which soon is larger than memory. :func:`sharedmem.moments` and
:func:`sharedmem.quantile` accept an array in a file of zarr or h5py, or a mapped ``.npy`` file,
where they accept an array in memory. They read it chunk by chunk, in parallel, so that memory
holds a few chunks. The matrix here has only 205 MB, but the memory that the calls need is
measured.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
import zarr
from matplotlib import pyplot as plt

import sharedmem

# %%
# Simulated spectra
# -----------------
#
# The spectra contain the band of the receiver, the line of hydrogen at 1420.4 MHz, and a
# transmitter that sends now and then. The noise obeys the radiometer equation: relative to the
# power, its standard deviation is one over the square root of bandwidth times duration (R. H.
# Dicke, *The measurement of thermal radiation at microwave frequencies*, 1946).

N_SPECTRA, N_CHANNELS = 50_000, 1024
BANDWIDTH = 20e3  # of a channel, in Hz
DURATION = 0.01  # of a spectrum, in seconds
RELATIVE_NOISE = (BANDWIDTH * DURATION) ** -0.5

frequency = 1410 + np.arange(N_CHANNELS) * BANDWIDTH / 1e6  # in MHz
x = np.linspace(-1, 1, N_CHANNELS)
power = 30 * (1 - x**8) * (1 + 0.05 * np.sin(9 * x)) + 6  # in kelvin
power += 4 * np.exp(-((frequency - 1420.41) ** 2) / (2 * 0.12**2))
transmitter = 60 * np.exp(-((frequency - 1424) ** 2) / (2 * 0.1**2))

# %%
# The stored chunks matter. A quantile of a column needs all rows of it, so a stored chunk should
# not hold whole rows. Here it has 6,250 spectra and 32 channels, 0.8 MB.

folder = tempfile.TemporaryDirectory()
spectra = zarr.create_array(
    Path(folder.name, "spectra.zarr"),
    shape=(N_SPECTRA, N_CHANNELS),
    chunks=(6250, 32),
    dtype="f4",
    compressors=None,
)

# %%
# Workers fill the file. A task writes the spectra of one chunk of rows, between stored chunks, so
# no two tasks write to the same stored chunk. ``pool.rng`` is a random generator of the task, and
# with a seed its numbers are the same for any number of workers.

with sharedmem.MapReduce(seed=5) as pool:

    def observe(rows):
        n = rows.stop - rows.start
        is_on = pool.rng.random((n, 1), dtype="f4") < 0.03
        received = np.where(is_on, power + transmitter, power).astype("f4")
        noise = pool.rng.standard_normal((n, N_CHANNELS), dtype="f4")
        spectra[rows] = received * (1 + np.float32(RELATIVE_NOISE) * noise)

    pool.map(observe, sharedmem.chunks(spectra, axis=0, size=6250))

# %%
# Statistics of all columns
# -------------------------
#
# Linux tells how much memory a process had at most since the peak was last reset. A small array
# comes first, because the first call of a function compiles it, which needs memory, too. The
# number of workers is set to two, since each worker holds the chunk that it works on.


def memory(name):
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1000


def with_peak(function, *args, **options):
    function(zarr.array(np.ones((100, 32), "f4")), *args, **options)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    result = function(spectra, *args, **options)
    used = memory("VmHWM") - before
    size = spectra.nbytes / 1e6
    print(f"{function.__name__} of {size:.0f} MB used {used:.0f} MB")
    return result


with sharedmem.MapReduce(np=2):
    mean, variance, skew, kurtosis = with_peak(sharedmem.moments, axis=0)
    low, median, high = with_peak(sharedmem.quantile, [0.01, 0.5, 0.99], axis=0)

# %%
# ``moments`` combines states of chunks: ten times as many spectra would need about as much
# memory. A quantile needs all values of a column at the same time. ``quantile`` reads as many
# columns as a stored chunk has, so its memory grows with the number of rows, but not with the
# number of columns.
#
# Some columns are compared with NumPy, and all with theory:

some = np.array(spectra[:, 320:352], dtype="f8")
assert np.allclose(mean[320:352], some.mean(axis=0))
assert np.allclose(variance[320:352], some.var(axis=0))
assert np.allclose(median[320:352], np.median(some, axis=0))
quiet = transmitter < 1e-3
assert np.allclose(mean[quiet], power[quiet], rtol=2e-3)
noise = np.sqrt(variance[quiet]) / power[quiet]
assert np.allclose(noise, RELATIVE_NOISE, rtol=0.02)

# %%
# Pictures
# --------
#
# The transmitter raises the mean, but hardly the median, since it sends during 3% of the time.

figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
axes.fill_between(frequency, low, high, color="lightblue", label="1% to 99%")
axes.plot(frequency, mean, color="tab:red", lw=1, label="mean")
axes.plot(frequency, median, color="tab:blue", lw=1, label="median")
axes.set(xlabel="frequency (MHz)", xlim=frequency[[0, -1]])
axes.set(ylabel="power (K)", ylim=(0, 75), title=f"{N_SPECTRA:,} spectra")
axes.legend(loc="upper left", ncols=3)
arrow = {"arrowstyle": "->"}
axes.annotate("hydrogen", (1420.4, 47), (1419, 60), arrowprops=arrow)
axes.annotate("transmitter", (1424.15, 55), (1425.2, 60), arrowprops=arrow)

# %%
# Noise has a kurtosis of zero with a standard deviation of the square root of 24 / *n*. A signal
# that comes and goes has another kurtosis. It is found without knowledge of the power that the
# channels should have (G. M. Nita and D. E. Gary, *The generalized spectral kurtosis estimator*,
# 2010).

limit = 6 * np.sqrt(24 / N_SPECTRA)
found = abs(kurtosis) > limit
figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
axes.semilogy(frequency, abs(kurtosis), ".", color="tab:gray", ms=3)
axes.semilogy(frequency[found], abs(kurtosis[found]), ".", color="tab:red", ms=5)
axes.axhline(limit, color="black", ls="--", label="6 deviations of noise")
axes.set(
    xlabel="frequency (MHz)",
    ylabel="|kurtosis|",
    xlim=frequency[[0, -1]],
    ylim=(1e-4, 1e2),
)
axes.legend(loc="upper left")
first, last = frequency[found][[0, -1]]
print(f"transmitter found at {first:.2f} to {last:.2f} MHz")
assert not found[quiet].any()
plt.show()
folder.cleanup()
