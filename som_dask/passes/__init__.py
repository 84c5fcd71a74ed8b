"""Passes over all samples on Dask, and the results that they compute."""
