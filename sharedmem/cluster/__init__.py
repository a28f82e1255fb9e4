"""The same calls on the workers of a Dask cluster."""
