"""Opening samples: which of the variables of a Dataset they are."""

import pytest
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.samples.open import open_samples


def test_a_variable_without_dimensions_is_none_to_choose(tmp_path, rng):
    grid = xr.Dataset({"t": (("time", "cell"), rng.normal(size=(50, 3))), "spatial_ref": ((), 0)})
    grid.to_zarr(tmp_path / "grid.zarr", consolidated=False)
    for data in (grid, tmp_path / "grid.zarr"):
        assert open_samples(data).array.shape == (50, 3)
    grid["u"] = grid["t"]
    with pytest.raises(ParameterError, match=r"has 2 variables \['t', 'u'\]"):
        open_samples(grid)
