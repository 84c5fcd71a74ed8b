"""Self-organizing maps on Dask: exact, reproducible, for data that does not fit one machine."""

__version__ = "0.1.0"
