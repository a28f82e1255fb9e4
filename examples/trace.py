"""
Trace of a pool
===============

Four workers should be four times as fast as one. If they are not, a trace shows why: a pool made
with ``trace=True`` records what each worker does, and when, and :meth:`sharedmem.Trace.plot` draws
it. This page has a picture for each of four calls with the same 40 tasks, which take between 2 and
80 ms. They show what the order of the tasks, ``chunksize``, and a critical section do to the time
of a call, and which remedy helps.
"""

# sphinx_gallery_thumbnail_number = 4
import time

from matplotlib import pyplot as plt

import sharedmem

# %%
# The tasks sleep instead of working, so that the pictures look alike on machines with few cores and
# with many. Each takes 2 ms longer than the one before, as if they were the rows of a triangular
# matrix.


def work(milliseconds):
    time.sleep(milliseconds / 1000)
    return milliseconds


tasks = range(2, 82, 2)

# %%
# The default
# -----------
#
# A bar is a claim: the tasks that a worker takes at a time. By default a claim has more than one
# task only while tasks are short. A worker that is done takes the next claim, so all of them are
# busy until no tasks are left. The title says for which share of the time they were busy, and by
# how much the busiest worker worked longer than the mean: the imbalance. On the left, before the
# first tasks, the workers are forked.

with sharedmem.MapReduce(np=4, trace=True) as pool:
    results = pool.map(work, tasks)
    plt.figure(pool.trace.plot())
    plt.show()
assert results == list(tasks)

# %%
# Claims that are too large
# -------------------------
#
# With ``chunksize=10`` there is one claim for each worker. The last worker gets the longest tasks,
# and the others wait for it: the white space on the right is lost. Large claims pay off for very
# short tasks only, and then the default makes them by itself.

with sharedmem.MapReduce(np=4, trace=True) as pool:
    pool.map(work, tasks, chunksize=10)
    plt.figure(pool.trace.plot())
    plt.show()
large_claims = pool.trace.summary()

# %%
# Long tasks first
# ----------------
#
# In the first picture, the last tasks are the longest ones, and some workers are done before the
# others. If long tasks come first, the short ones fill the gaps at the end.

with sharedmem.MapReduce(np=4, trace=True) as pool:
    pool.map(work, sorted(tasks, reverse=True))
    plt.figure(pool.trace.plot())
    plt.show()
long_first = pool.trace.summary()
assert long_first.imbalance < large_claims.imbalance

# %%
# Waiting for a lock
# ------------------
#
# Now a third of each task is inside of ``pool.critical``, where one worker at a time may be. The
# red bars are the time that workers wait for it. More workers would not help: the remedy is to
# compute outside of the section and to keep only the update of shared memory inside of it.

total = sharedmem.zeros(1)
with sharedmem.MapReduce(np=4, trace=True) as pool:

    def work_and_add(milliseconds):
        time.sleep(milliseconds / 1500)
        with pool.critical:
            time.sleep(milliseconds / 3000)
            total[0] += milliseconds

    pool.map(work_and_add, sorted(tasks, reverse=True))
    plt.figure(pool.trace.plot())
    plt.show()
assert total[0] == sum(tasks)

# %%
# The same as numbers
# -------------------
#
# A summary has the figures of a trace, and the claims that took longest.
# :meth:`sharedmem.Trace.save` writes all events to a file for `Perfetto
# <https://ui.perfetto.dev>`_, which can zoom into long traces.

summary = pool.trace.summary()
print(summary)
assert summary.waiting_critical.sum() > 0
