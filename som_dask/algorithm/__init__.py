"""The self-organizing map on arrays, as in a textbook: lattice, neighborhood, batch rule, online rule, measures."""

from som_dask import numerics as _numerics  # noqa: F401  # compiled functions are to find its cache
