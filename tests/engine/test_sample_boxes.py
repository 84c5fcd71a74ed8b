"""Vector operations on 16 samples and boxes: each does what its plain loop does."""

import numba
import numpy as np
import pytest

from som_dask.engine.sample_boxes import bound_boxes, project_samples
from som_dask.engine.sample_lanes import TOGETHER


@numba.njit
def project(samples, frame, products):
    project_samples(samples.ctypes.data, len(samples), frame.ctypes.data, products.ctypes.data)


@numba.njit
def bound(places, boxes, lowest):
    bound_boxes(places.ctypes.data, boxes.ctypes.data, len(boxes), lowest.ctypes.data)


@pytest.mark.parametrize("n_features", [1, 3, 18])
def test_products_with_three_vectors(n_features, rng):
    samples = rng.normal(size=(n_features, TOGETHER)).astype(np.float32)
    frame = rng.normal(size=(n_features, 3)).astype(np.float32)
    products = np.empty((3, TOGETHER), dtype=np.float32)
    project(samples, frame, products)
    np.testing.assert_allclose(products, frame.T.astype(np.float64) @ samples, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_nearest_of_some_boxes(count, rng):
    places = rng.normal(size=(4, TOGETHER)).astype(np.float32)
    places[2:] = np.sort(np.abs(places[2:]), axis=0)
    ends = np.sort(rng.normal(size=(count, 3, 2)), axis=2).astype(np.float32)
    lowest = np.empty(TOGETHER, dtype=np.float32)
    bound(places, ends.reshape(count, 6), lowest)
    for i in range(TOGETHER):
        along, across, least, most = places[:, i].astype(np.float64)
        wanted = np.inf
        for box in ends:
            sides = zip(box, ((along, along), (across, across), (least, most)), strict=True)
            out = [max(start - high, low - end, 0.0) for (start, end), (low, high) in sides]
            wanted = min(wanted, sum(distance**2 for distance in out))
        np.testing.assert_allclose(lowest[i], wanted, rtol=1e-5, atol=1e-7)
