"""The Sammon map of a codebook: how far apart the nodes lie in the data's space, in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.sammon import map_by_sammon, principal_coordinates
from som_dask.analysis.by_node import NODES
from som_dask.errors import ParameterError
from som_dask.io.attributes import make_plain
from som_dask.io.models import feature_space_of, lattice_of, open_model, positions_of, scaled_codebook_of

__all__ = ["sammon"]

MOST_NODES = 4096  # whose distances take 128 MiB, a few times


def sammon(model: Any, *, iterations: int = 500, tolerance: float = 1e-9) -> xr.Dataset:
    r"""Place the nodes in the plane so that their distances are like those of their weights (Sammon, 1969).

    A map that unfolds well gives a smooth grid; folds and twists are seen where its lines cross. The start is the
    plane of the two largest principal components (classical scaling); nothing is random. See
    `som_dask.algorithm.sammon.map_by_sammon` for the formulas.

    Parameters
    ----------
    model : xarray.Dataset, path or URL of a saved model
        Of up to 4096 nodes.
    iterations : int
        Maximum number.
    tolerance : float
        It ends when the stress falls by less than this share in an iteration.

    Returns
    -------
    xarray.Dataset
        ``sammon_x`` and ``sammon_y`` (row, col), float64, in units of the distances in the map's own space (for
        "cosine" and "correlation" Euclidean distances on the unit sphere), turned and mirrored to lie as much like
        the lattice as they can. ``stress``, Sammon's measure of what is lost, from 0. The attributes hold the number
        of iterations and whether the stress has settled.

    Raises
    ------
    ParameterError
        If an option can't be used, or the map has too many nodes.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 2))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> found = som.sammon(model)
    >>> found["sammon_x"].shape, bool(found["stress"] < 1e-3)
    ((4, 5), True)
    """
    if not isinstance(iterations, (int, np.integer)) or iterations < 0:
        raise ParameterError(f"`iterations` must be an integer from 0, got {iterations!r}")
    if not tolerance >= 0:
        raise ParameterError(f"`tolerance` must be 0 or more, got {tolerance!r}")
    model = open_model(model)
    lattice, rule = lattice_of(model), feature_space_of(model).rule
    if lattice.n_nodes > MOST_NODES:
        raise ParameterError(
            f"a Sammon map of {lattice.n_nodes:,} nodes takes too much memory; up to {MOST_NODES:,} can be placed"
        )
    codebook = scaled_codebook_of(model)
    distances = np.stack(
        [rule.distances(codebook, np.full(len(codebook), i), codebook) for i in range(len(codebook))]
    )
    distances = rule.to_euclidean(distances)
    distances = (distances + distances.T) / 2  # the same but for rounding
    found = map_by_sammon(distances, principal_coordinates(distances), iterations=iterations, tolerance=tolerance)
    x, y = _turn(found.points, lattice.positions()).T.reshape(2, *lattice.shape)
    variables = {
        "sammon_x": (NODES, x, {"long_name": "x of the node in the Sammon map"}),
        "sammon_y": (NODES, y, {"long_name": "y of the node in the Sammon map"}),
        "stress": ((), found.stress, {"long_name": "Sammon's stress", "units": "1"}),
    }
    attrs = {"iterations": found.iterations, "settled": found.settled, "som_dask_version": __version__}
    return make_plain(xr.Dataset(variables, positions_of(lattice), attrs))


def _turn(points: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Turn and mirror the points so that they lie as on the lattice, as far as a rotation can do (Procrustes).

    Points that wrap or are folded may lie otherwise.
    """
    points = points - points.mean(axis=0)
    left, _, right = np.linalg.svd(points.T @ (positions - positions.mean(axis=0)))
    return points @ (left @ right)
