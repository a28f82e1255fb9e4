"""
Log files of a web server
=========================

A web server writes an access log per hour. We want the requests and errors of each minute of the
day, and one file with all failed requests in the order of time. Each task of
:meth:`sharedmem.MapReduce.map` reads one log; ``reduce`` collects the counts in the calling process
as they arrive; and ``pool.ordered`` lets the tasks write to a common file one after another, in the
order of the hours. The picture shows what happened on that day.
"""

import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# Write a day of logs
# -------------------
#
# The logs are made up, in the format of Apache and nginx: traffic with a low at night and a peak in
# the evening, and, after 14:20, a database that does not answer for half an hour. The tasks of this
# map write their files in parallel. ``pool.rng`` gives them random numbers that depend on the seed
# and on the hour, but not on the worker.

folder = tempfile.TemporaryDirectory(prefix="access-logs-")
logs = [Path(folder.name) / f"access-{hour:02}.log" for hour in range(24)]
PAGES = [
    "/",
    "/search?q=lamp",
    "/cart",
    "/checkout",
    "/item/4711",
    "/static/site.css",
    "/api/stock",
]

with sharedmem.MapReduce(seed=3) as pool:

    def write_log(hour):
        rng = pool.rng
        minutes = hour + np.arange(60) / 60
        rate = 130 - 110 * np.cos((minutes - 4) * np.pi / 12)
        rate += 60 * np.exp(-((minutes - 20) ** 2))
        broken = (minutes >= 14 + 20 / 60) & (minutes < 14 + 50 / 60)
        with open(logs[hour], "w") as log:
            for minute, n_requests in enumerate(rng.poisson(rate)):
                p_error = 0.35 if broken[minute] else 0.004
                seconds = np.sort(rng.integers(0, 60, n_requests))
                hosts = rng.integers(1, 255, (n_requests, 2))
                pages = rng.choice(PAGES, n_requests)
                p_status = [0.97 - p_error, 0.03, p_error]
                status = rng.choice([200, 404, 503], n_requests, p=p_status)
                nbytes = rng.lognormal(8, 1, n_requests).astype(int)
                for s, (a, b), page, code, size in zip(
                    seconds, hosts, pages, status, nbytes, strict=True
                ):
                    log.write(
                        f"10.7.{a}.{b} - - "
                        f"[29/Nov/2026:{hour:02}:{minute:02}:{s:02} +0000] "
                        f'"GET {page} HTTP/1.1" {code} {size}\n'
                    )

    pool.map(write_log, range(24))

nbytes = sum(log.stat().st_size for log in logs)
print(f"{nbytes / 1e6:.1f} MB in {len(logs)} files, for example")
print(logs[14].read_text().splitlines()[5000])

# %%
# Count, and collect the failures
# -------------------------------
#
# The file for the failed requests is opened before the workers are forked, so all of them have it.
# What a task writes in its ordered section reaches the file before the next task enters its own.
# Workers read and count in any order before that; only the writing waits.
#
# A tuple that a task returns is spread over the arguments of ``reduce``. ``progress=True`` shows a
# progress bar; here it is shown if the program runs in a terminal.

LINE = re.compile(r'\[[^:]+:(\d\d):(\d\d):\d\d [^]]+\] "[^"]*" (\d{3}) ')
day = np.zeros((2, 24 * 60), int)  # requests and errors of each minute
failures = Path(folder.name) / "failures.log"

with (
    open(failures, "w") as report,
    sharedmem.MapReduce(progress=sys.stderr.isatty()) as pool,
):

    def read_log(log):
        counts = np.zeros((2, 24 * 60), int)
        failed = []
        for line in log.read_text().splitlines(keepends=True):
            hour, minute, status = map(int, LINE.search(line).groups())
            counts[0, 60 * hour + minute] += 1
            if status >= 500:
                counts[1, 60 * hour + minute] += 1
                failed.append(line)
        with pool.ordered:
            report.writelines(failed)
        return log.name, counts

    def add(name, counts):
        np.add(day, counts, out=day)
        return name, counts[0].sum(), counts[1].sum()

    summary = pool.map(read_log, logs, reduce=add)

requests, errors = day
worst = max(summary, key=lambda row: row[2])
print(f"{requests.sum():,} requests, {errors.sum():,} errors")
print(f"most errors: {worst[0]}, with {worst[2]:,}")

# %%
# The file has each failed request, in the order of time, and the counts are those of a search
# through all files without workers.

lines = failures.read_text().splitlines()
stamps = [line.split("[")[1].split("]")[0] for line in lines]
everything = "".join(log.read_text() for log in logs)
assert stamps == sorted(stamps)
assert len(lines) == errors.sum() == len(re.findall(r'" 5\d\d ', everything))
assert requests.sum() == everything.count("\n")

# %%
# The day
# -------
#
# The requests of each minute, with a moving average over a quarter of an hour, and the share
# of them that failed, in steps of five minutes.

minutes = np.arange(24 * 60) / 60
average = np.convolve(requests, np.ones(15) / 15, mode="same")
figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(9, 5), sharex=True, layout="constrained", height_ratios=[3, 2]
)
top.plot(
    minutes,
    requests,
    ".",
    markersize=2,
    color="#88aacc",
    label="requests of a minute",
)
top.plot(minutes[7:-7], average[7:-7], label="average over 15 minutes")
top.set(
    ylabel="requests per minute",
    ylim=(0, None),
    title="Access logs of 29 November 2026",
)
top.legend(loc="upper left")
in_five = day.reshape(2, -1, 5).sum(axis=2)
failed = 100 * in_five[1] / in_five[0]
bottom.stairs(failed, np.append(minutes[::5], 24), fill=True, color="#cc3311")
bottom.annotate(
    "database does not answer",
    (14.83, 28),
    (16.2, 27),
    arrowprops={"arrowstyle": "->"},
)
bottom.set(
    ylabel="failed (%)",
    xlabel="time of day (hours)",
    xlim=(0, 24),
    ylim=(0, None),
)
bottom.set_xticks(range(0, 25, 3))
plt.show()

folder.cleanup()
