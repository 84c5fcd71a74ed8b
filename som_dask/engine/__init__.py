"""Best matching units and sums of one block of samples, on a CPU or a GPU."""

from som_dask import numerics as _numerics  # noqa: F401  # compiled functions are to find its cache
