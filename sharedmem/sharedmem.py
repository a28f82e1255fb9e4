"""The names of version 0.3, for programs that import them from here."""

from sharedmem.arrays.constructors import copy, empty, empty_like, full, full_like
from sharedmem.arrays.readers import fromiter
from sharedmem.arrays.shared_array import anonymousmemmap
from sharedmem.errors import LostExceptionType, StopProcessGroup, WorkerException
from sharedmem.machine.limits import cpu_count, total_memory
from sharedmem.pool.backends import ProcessBackend, ThreadBackend
from sharedmem.pool.background import background
from sharedmem.pool.debug import get_debug, set_debug
from sharedmem.pool.mapreduce import MapReduce, MapReduceByThread

Pool = MapReduce
TPool = MapReduceByThread

__all__ = [
    "LostExceptionType",
    "MapReduce",
    "MapReduceByThread",
    "Pool",
    "ProcessBackend",
    "StopProcessGroup",
    "TPool",
    "ThreadBackend",
    "WorkerException",
    "anonymousmemmap",
    "background",
    "copy",
    "cpu_count",
    "empty",
    "empty_like",
    "fromiter",
    "full",
    "full_like",
    "get_debug",
    "set_debug",
    "total_memory",
]
