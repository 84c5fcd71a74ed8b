"""Values that pictures show: of the right nodes, and refused where they do not fit."""

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.values import compute_relative_weights, select_node_values
from tests.plotting.pictures import model_of


def test_values_are_put_in_the_order_of_the_map():
    model = model_of(Lattice(3, 4))
    wanted = np.arange(12.0).reshape(3, 4)
    array = xr.DataArray(wanted, dims=("row", "col"), name="v")
    for given in (array, array.transpose(), wanted):
        np.testing.assert_array_equal(select_node_values(model, given).values, wanted)
    np.testing.assert_array_equal(select_node_values(model, array.to_dataset(), "v").values, wanted)
    np.testing.assert_array_equal(select_node_values(model, "hits").values, model["hits"].values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("portrait", "no variable 'portrait'"),
        ("codebook", "dimensions row and col"),
        (np.zeros((4, 3)), "has 3 x 4 nodes"),
        (xr.DataArray(np.zeros((2, 4)), dims=("row", "col")), "has 3 x 4 nodes"),
        (xr.Dataset({"x": 1}), "only x"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        select_node_values(model_of(Lattice(3, 4)), values)


def test_weights_relative_to_their_range(rng):
    model = model_of(Lattice(2, 3), ["a", "b", "c", "d"])
    model["codebook"].values[:] = rng.normal(size=model["codebook"].shape)
    model["codebook"][..., 1] = 7.0
    model["codebook"][..., 2] = np.nan
    weights = compute_relative_weights(model)
    values = model["codebook"].values[..., 0].ravel()
    np.testing.assert_allclose(weights[:, 0], (values - values.min()) / (values.max() - values.min()))
    assert np.all(weights[:, 1] == 0.5)
    assert np.isnan(weights[:, 2]).all()
