"""Choose the final radius of training by samples that are drawn at random in the first pass over the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from som_dask.algorithm.intrinsic_dimension import choose_final_radius, intrinsic_dimension
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import DataError
from som_dask.training.config import AUTO, MapConfig
from som_dask.training.phases import number_to_draw, number_to_measure
from som_dask.training.prepared import PreparedData

__all__ = ["settle_radius"]


def settle_radius(
    data: PreparedData, lattice: Lattice, config: MapConfig
) -> tuple[PreparedData, MapConfig, float | None]:
    """Return a configuration whose final radius is a number.

    The samples, and so the number, depend on the data and `config.seed` alone: not on blocks, workers or the machine.

    Parameters
    ----------
    data : PreparedData
    lattice : Lattice
    config : MapConfig

    Returns
    -------
    data : PreparedData
        With all samples drawn that a rough phase needs too.
    config : MapConfig
    dimension : float or None
        Intrinsic dimension of the samples, where it was measured.

    Raises
    ------
    DataError
        If too few samples are different and without gaps.
    """
    if config.final_radius != AUTO:
        return data, config, None
    shape = data.summary.taken, data.samples.n_features
    n = number_to_measure(config, *shape)
    drawn = data.take_drawn(max(n, number_to_draw(config, lattice, *shape)), config)
    values, weights = drawn.points[:n].astype(np.float64), drawn.weights
    parts = data.space.parts(values, None if weights is None else weights[:n])
    complete = [part.values for part in parts if part.complete]
    try:
        dimension = intrinsic_dimension(np.concatenate([*complete, np.empty((0, data.space.n_used))]))
    except DataError as error:
        raise DataError(f"{error}; give `final_radius` as a number") from error
    radius = choose_final_radius(dimension, data.summary.taken, lattice.n_nodes)
    return replace(data, drawn=drawn), replace(config, final_radius=radius), dimension
