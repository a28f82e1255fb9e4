"""Plain Dask clusters whose workers share large arrays: a plugin of `distributed`."""

from sharedmem.cluster.node_arrays import ShareArrays

__all__ = ["ShareArrays"]
