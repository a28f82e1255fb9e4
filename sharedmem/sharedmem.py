"""The names of version 0.3, for programs that import them from here."""

from sharedmem.arrays.constructors import (
    empty as empty,
    empty_like as empty_like,
    full as full,
    full_like as full_like,
)
from sharedmem.arrays.from_data import copy as copy, fromiter as fromiter
from sharedmem.arrays.shared_array import anonymousmemmap as anonymousmemmap
from sharedmem.errors import (
    LostExceptionType as LostExceptionType,
    StopProcessGroup as StopProcessGroup,
    WorkerException as WorkerException,
)
from sharedmem.machine.limits import cpu_count as cpu_count, total_memory as total_memory
from sharedmem.pool.backends import ProcessBackend as ProcessBackend, ThreadBackend as ThreadBackend
from sharedmem.pool.background import background as background
from sharedmem.pool.debug import get_debug as get_debug, set_debug as set_debug
from sharedmem.pool.mapreduce import MapReduce as MapReduce, MapReduceByThread as MapReduceByThread

Pool = MapReduce
TPool = MapReduceByThread
