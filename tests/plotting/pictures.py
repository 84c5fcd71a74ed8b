"""A map for pictures, made of numbers that tell each node and feature, and a look at what is drawn."""

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.io.models import model_dataset


def model_of(lattice, features=("a", "b", "c"), epochs=4):
    """A model whose weights are ``100 node + feature``, so that no two nodes can be mistaken for each other."""
    node, feature = np.arange(lattice.n_nodes)[:, None], np.arange(len(features))[None, :]
    decay = np.linspace(2.0, 1.0, epochs + 1)
    return model_dataset(
        points=100.0 * node + feature,
        space=FeatureSpace.plain(len(features)),
        hits=np.arange(lattice.n_nodes),
        history={
            "quantization_error": decay,
            "topographic_error": decay / 10,
            "radius": np.append(decay[:-1], np.nan),
        },
        features=features,
        lattice=lattice,
        attrs={
            "rows": lattice.rows,
            "cols": lattice.cols,
            "topology": lattice.topology,
            "boundary": lattice.boundary,
            "samples": int(lattice.n_nodes * (lattice.n_nodes - 1) / 2),
            "input": "cells.zarr",
            "seed": 0,
            "radii": None,
        },
    )


def centers_of(collection):
    """Middle of each drawn polygon, (n, 2): its corners without the one that closes it."""
    return np.array([path.vertices[:-1].mean(axis=0) for path in collection.get_paths()])
