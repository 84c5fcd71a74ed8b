"""Exact arithmetic whose results are the same bits on every machine and in any order of adding."""

import contextlib

# Before any function is decorated. It builds on what is not public: numba before 0.62 lacks it, later ones may too;
# then each process compiles its functions for itself.
with contextlib.suppress(ImportError):
    from som_dask.numerics.compile_cache import install

    install()
