"""
Word count
==========

Which words are the most frequent in the library that comes with Python? Counting words in many
files is the classic example of map and reduce: :meth:`sharedmem.MapReduce.map` reads and counts the
files in forked workers, and ``reduce`` adds up their counters in the calling process. The function
is an ordinary closure, and the results may be of any type that can be pickled. The picture shows
Zipf's law: the frequency of a word falls with its rank.
"""

import re
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# The corpus is the source code of the library, without its tests. A task gets several files, so
# that fewer counters have to be sent and added. The largest files are dealt out first, like cards,
# so that all tasks have about the same amount of text.

library = Path(sysconfig.get_path("stdlib"))
apart = {"site-packages", "test", "tests", "idle_test"}
files = [file for file in library.rglob("*.py") if not apart & set(file.parts)]
files.sort(key=lambda file: (file.stat().st_size, str(file)), reverse=True)
N_TASKS = 16
tasks = [files[i::N_TASKS] for i in range(N_TASKS)]

# %%
# Map and reduce
# --------------
#
# ``reduce`` is called on each result as it arrives, never twice at the same time. It needs no lock,
# and may be the method of an object that only the calling process has.


def count(files):
    words = Counter()
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace").lower()
        words.update(re.findall(r"[a-z]{2,}", text))
    return words


total = Counter()
with sharedmem.MapReduce() as pool:
    pool.map(count, tasks, reduce=total.update)

for word, number in total.most_common(8):
    print(f"{word:8} {number:7,}")

# %%
# With ``np=0`` the same pool runs serially in the calling process, for debugging and comparison.

serial = Counter()
with sharedmem.MapReduce(np=0) as pool:
    pool.map(count, tasks, reduce=serial.update)
assert total == serial

# %%
# Zipf's law
# ----------
#
# In natural languages, the frequency of a word is nearly inversely proportional to its rank. Source
# code is no natural language, but comes close: a few names and keywords are everywhere, and most
# words are rare.

frequency = np.array([number for _, number in total.most_common()])
rank = np.arange(1, frequency.size + 1)
share = frequency / frequency.sum()
zipf = share[:100].sum() / (1 / rank[:100]).sum() / rank

figure, panel = plt.subplots(figsize=(8, 5), layout="constrained")
panel.loglog(rank, share, ".", markersize=4, label="words of Python's library")
panel.loglog(rank, zipf, "k--", label="1 / rank")
for i in [0, 1, 3, 9, 31, 99, 316, 999]:
    word = total.most_common(i + 1)[-1][0]
    offset = (-4, -14) if i < 5 else (4, 5)
    panel.annotate(word, (rank[i], share[i]), offset, textcoords="offset points")
panel.set(
    xlabel="rank of the word",
    ylabel="share of all words",
    xlim=(0.6, None),
    title=f"{frequency.sum():,} words, {frequency.size:,} different ones",
)
panel.legend()
plt.show()
