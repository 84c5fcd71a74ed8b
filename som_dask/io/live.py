"""Names by which training and the page on the dashboard find each other at a scheduler."""

from __future__ import annotations

__all__ = ["MAPS", "PAGE", "TOPIC"]

TOPIC = "som_dask"  # topic of the events
PAGE = "som_dask-page"  # key of the metadata: there is a page
MAPS = "maps"  # key below `PAGE`: what the page draws
