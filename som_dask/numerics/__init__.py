"""Exact arithmetic whose results are the same bits on every machine and in any order of adding."""

from som_dask.numerics.compile_cache import install

install()  # before any function is decorated
