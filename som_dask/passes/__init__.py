"""Passes over all samples on Dask, and the results that they compute."""

from som_dask import numerics as _numerics  # noqa: F401  # compiled functions are to find its cache
