"""The kinds of pools, and an array that is cut into chunks."""

import numpy as np

import sharedmem

TEAMS = {
    "serial": lambda: sharedmem.MapReduce(np=0),
    "processes": lambda: sharedmem.MapReduce(np=2),
    "threads": lambda: sharedmem.MapReduceByThread(np=3),
}


def make_array():
    a = sharedmem.empty((300, 4))
    a[:] = np.arange(1200).reshape(300, 4)
    return a
