"""
Anomalies by month
==================

A day in January is warm or cold compared with other days in January, at the same place. Such an
anomaly needs the mean and the standard deviation of each month at each place.
:func:`sharedmem.group_reduce` computes both in one pass over the days, in parallel, and the means
of the months of each year in the same way.
"""

import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# Simulated temperatures
# ----------------------
#
# The data has a value per day and per cell of a grid, as reanalyses of the weather have. Summers
# of the south are winters of the north, and far from the equator they differ more. All places
# warm by 0.03 degrees per year, and are colder for two years after a volcano erupts in 1991. In
# the winter of 1997, a part of the ocean is warm. The weather adds noise to all places together,
# and to each place.

days = np.arange("1980-01-01", "2020-01-01", dtype="M8[D]")
years = days.astype("M8[Y]").astype(int) + 1970
months = days.astype("M8[M]").astype(int) % 12 + 1
latitudes, longitudes = np.arange(-87.5, 90, 5), np.arange(2.5, 360, 5)

rng = np.random.default_rng(3)
age = (days - days[0]).astype("f4") / 365.25  # in years
since = np.maximum(age - 11.5, 0)
common = np.interp(age, np.arange(0, 41, 0.25), rng.normal(0, 0.1, 164)).astype("f4")
change = 0.03 * age - 0.8 * since * np.exp(-1.5 * since) + common
north, east = np.deg2rad(latitudes).astype("f4")[:, None], longitudes.astype("f4")
sea = np.exp(-((north / 0.15) ** 2) - ((east - 230) / 40) ** 2)
is_warm = np.abs(age - 17.9) < 0.3

shape = len(days), len(latitudes), len(longitudes)
temperature = sharedmem.random.normal(size=shape, dtype="f4", seed=3)
sharedmem.evaluate(
    "28 - 38*sin(north)**2 - 14*sin(north)*cos(2*pi*(age - 0.05)) + change"
    " + where(is_warm, 2*sea, 0) + 3*weather",
    north=north,
    age=age[:, None, None],
    change=change[:, None, None],
    is_warm=is_warm[:, None, None],
    sea=sea,
    weather=temperature,
    out=temperature,
)
print(f"{temperature.nbytes / 1e6:.0f} MB")

# %%
# Means and standard deviations of months
# ---------------------------------------
#
# The labels lie along the last axis of the array, so the days are moved there, which makes a view.
# The result has the months in the place of the days.

by_place = np.moveaxis(temperature, 0, -1)
(normal, spread), names = sharedmem.group_reduce(by_place, months, func=["mean", "std"])
print(normal.shape, names)

# %%
# The same for one cell in NumPy:

cell = by_place[30, 2].astype("f8")
expected = [cell[months == month].mean() for month in names]
assert np.allclose(normal[30, 2], expected, atol=1e-5)

# %%
# Anomalies
# ---------
#
# Two arrays of labels give a group for each month of each year. Its anomaly is the distance from
# the mean of this month in all years.

found, *labels = sharedmem.group_reduce(by_place, years, months, func="mean")
anomaly = found - normal[..., np.newaxis, :]
print(anomaly.shape, [len(each) for each in labels])

# %%
# The mean of all places, weighted by area, shows the trend and the eruption; the weather of single
# places has averaged out.

area = np.cos(np.deg2rad(latitudes))[:, np.newaxis] * np.ones(len(longitudes))
series = np.tensordot(area / area.sum(), anomaly, axes=2).reshape(-1)
time = labels[0][0] + np.arange(series.size) / 12

figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
axes.bar(time, series, width=1 / 12, color=np.where(series > 0, "tab:red", "tab:blue"))
axes.set(title="Anomaly of all months", xlabel="year", ylabel="degrees")
plt.show()

assert 0.02 < np.polyfit(time, series, 1)[0] < 0.04

# %%
# A map of a single month, in standard deviations of a mean of 31 days. There is more noise in the
# mean of a single place, but the warm ocean stands out.

year, month = 1998, 1
at = int(np.searchsorted(labels[0], year)), int(np.searchsorted(labels[1], month))
in_deviations = anomaly[(..., *at)] / (spread[..., at[1]] / np.sqrt(31))

figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
shown = axes.pcolormesh(longitudes, latitudes, in_deviations, cmap="RdBu_r", vmin=-6, vmax=6)
axes.set(title="January 1998", xlabel="longitude (degrees)", ylabel="latitude (degrees)")
figure.colorbar(shown, label="anomaly (standard deviations)", extend="both")
plt.show()

# %%
# Bins of temperatures
# --------------------
#
# Labels may be measured values: with the edges of bins, each temperature belongs to a bin. Here
# the days of each bin are counted by month, for the cells around 52.5 degrees north.

rows = by_place[np.abs(latitudes - 52.5) < 1]
edges = np.arange(-25, 35, 2.5)
counts, bins, _ = sharedmem.group_reduce(
    rows, rows, months, func="count", expected_groups=(edges, None), isbin=(True, False)
)
share = counts / counts.sum(axis=0)

figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
shown = axes.pcolormesh(names, bins.mean(axis=1), share, cmap="magma")
axes.set(title="Temperatures at 52.5 degrees north", xlabel="month", ylabel="degrees")
axes.set_xticks(names)
figure.colorbar(shown, label="share of the days of a month")
plt.show()

assert np.allclose(share.sum(axis=0), 1)
