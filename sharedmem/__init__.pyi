"""The public names, each stated once: `sharedmem/__init__.py` loads them from here."""

from . import kernels as kernels, random as random, sharedmem as sharedmem
from .arrays.binary_files import (
    fromfile as fromfile,
)
from .arrays.chunks import (
    Chunk as Chunk,
    chunks as chunks,
)
from .arrays.constructors import (
    empty as empty,
    empty_like as empty_like,
    full as full,
    full_like as full_like,
    ones as ones,
    ones_like as ones_like,
    zeros as zeros,
    zeros_like as zeros_like,
)
from .arrays.from_data import (
    array as array,
    copy as copy,
    fromiter as fromiter,
)
from .arrays.shared_array import (
    SharedArray as SharedArray,
    anonymousmemmap as anonymousmemmap,
)
from .cluster.backend import (
    DaskBackend as DaskBackend,
)
from .errors import (
    DeadWorkerError as DeadWorkerError,
    LostExceptionType as LostExceptionType,
    StopProcessGroup as StopProcessGroup,
    WorkerException as WorkerException,
)
from .functions.averages import (
    average as average,
)
from .functions.binning import (
    bincount as bincount,
)
from .functions.chunkwise import (
    apply_ufunc as apply_ufunc,
    map_chunks as map_chunks,
    map_overlap as map_overlap,
    reduce as reduce,
)
from .functions.cumulative import (
    accumulate as accumulate,
    cumprod as cumprod,
    cumsum as cumsum,
    nancumprod as nancumprod,
    nancumsum as nancumsum,
)
from .functions.differences import (
    diff as diff,
)
from .functions.elementwise import (
    clip as clip,
    where as where,
)
from .functions.evaluate import (
    evaluate as evaluate,
)
from .functions.extrema import (
    argmax as argmax,
    argmin as argmin,
    max as max,
    min as min,
    minmax as minmax,
    ptp as ptp,
)
from .functions.groups import (
    group_reduce as group_reduce,
)
from .functions.histograms import (
    histogram as histogram,
    histogram2d as histogram2d,
    histogramdd as histogramdd,
)
from .functions.linear_algebra import (
    dot as dot,
    norm as norm,
    vdot as vdot,
)
from .functions.nan_quantiles import (
    nanmedian as nanmedian,
    nanpercentile as nanpercentile,
    nanquantile as nanquantile,
)
from .functions.nan_reductions import (
    nanargmax as nanargmax,
    nanargmin as nanargmin,
    nanmax as nanmax,
    nanmean as nanmean,
    nanmin as nanmin,
    nanprod as nanprod,
    nansum as nansum,
)
from .functions.quantiles import (
    median as median,
    percentile as percentile,
    quantile as quantile,
)
from .functions.reductions import (
    all as all,
    any as any,
    count_nonzero as count_nonzero,
    mean as mean,
    prod as prod,
    sum as sum,
)
from .functions.searching import (
    digitize as digitize,
    searchsorted as searchsorted,
)
from .functions.selection import (
    compress as compress,
    flatnonzero as flatnonzero,
    nonzero as nonzero,
    take as take,
)
from .functions.sorting import (
    argsort as argsort,
    partition as partition,
    sort as sort,
)
from .functions.topk import (
    topk as topk,
)
from .functions.unique import (
    unique as unique,
)
from .functions.variance import (
    moments as moments,
    nanstd as nanstd,
    nanvar as nanvar,
    std as std,
    var as var,
)
from .kernels import (
    Reduction as Reduction,
)
from .machine.limits import (
    available_memory as available_memory,
    cpu_count as cpu_count,
    total_memory as total_memory,
)
from .objects.shared_list import (
    SharedList as SharedList,
)
from .objects.sharing import (
    is_shared as is_shared,
    share as share,
)
from .pool.async_result import (
    AsyncResult as AsyncResult,
)
from .pool.backends import (
    ProcessBackend as ProcessBackend,
    ThreadBackend as ThreadBackend,
)
from .pool.background import (
    background as background,
)
from .pool.debug import (
    get_debug as get_debug,
    set_debug as set_debug,
)
from .pool.executor import (
    Executor as Executor,
)
from .pool.mapreduce import (
    MapReduce as MapReduce,
    MapReduceByThread as MapReduceByThread,
)
from .pool.spawn_backend import (
    SpawnBackend as SpawnBackend,
)
from .pool.trace import (
    Trace as Trace,
)
from .sharedmem import (
    Pool as Pool,
    TPool as TPool,
)

__version__: str
