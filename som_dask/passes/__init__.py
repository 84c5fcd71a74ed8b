"""One pass over all samples on Dask, and what such passes compute."""
