"""Composites: a panel for each node, north on top, dots where the difference is significant."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.composites import plot_composites
from som_dask.plotting.kinds import draw_picture_of_kind
from tests.plotting.pictures import model_of

MODEL = model_of(Lattice(2, 3))


@pytest.fixture
def found(rng):
    dims, shape = ("row", "col", "lon", "lat"), (2, 3, 5, 4)
    values = rng.normal(size=shape)
    values[1, 2, 0, 0] = np.nan
    coords = {"lat": [40.0, 30.0, 20.0, 10.0], "lon": np.arange(5) * 10.0}
    variables = {"composite": (dims, values, {"units": "mm"}), "significant": (dims, values > 0.5)}
    return xr.Dataset(variables, coords)


def test_each_place_and_each_dot_lies_where_it_should(found):
    panels = plot_composites(MODEL, found)
    assert [ax.get_title() for ax in panels] == ["0, 0", "0, 1", "0, 2", "1, 0", "1, 1", "1, 2"]
    most = float(np.abs(found["composite"]).max())
    for ax, node in zip(panels, np.ndindex(2, 3), strict=True):
        mesh, dots = ax.collections
        here = found.isel(row=node[0], col=node[1]).transpose("lat", "lon")
        np.testing.assert_array_equal(mesh.get_array().filled(np.nan), here["composite"])
        assert mesh.get_clim() == (-most, most)
        wanted = {(float(here["lon"][j]), float(here["lat"][i])) for i, j in np.argwhere(here["significant"].values)}
        assert {tuple(place) for place in dots.get_offsets().tolist()} == wanted
        low, high = ax.get_ylim()
        assert low < high
    lazy = draw_picture_of_kind(MODEL, "composites", Figure().subplots(2), composites=found.chunk(), nodes=[(1, 0)])
    np.testing.assert_array_equal(lazy[0].collections[0].get_array(), panels[3].collections[0].get_array())


def test_one_of_several_fields_and_stipples_of_a_fine_one(found, rng):
    several = xr.concat([found, found.assign(composite=-found["composite"])], "level")
    several = several.assign_coords(level=[500, 850])
    with pytest.raises(ParameterError, match="use select"):
        plot_composites(MODEL, several)
    ax = plot_composites(MODEL, several, [(0, 1)], select={"level": 850})[0]
    np.testing.assert_array_equal(ax.collections[0].get_array(), -found["composite"][0, 1].transpose("lat", "lon"))
    dims = ("row", "col", "y", "x")
    fine = xr.Dataset({"composite": (dims, rng.normal(size=(2, 3, 30, 120)))})
    fine["significant"] = fine["composite"] > -99
    (ax,) = plot_composites(MODEL, fine, [(0, 0)])
    offsets = ax.collections[1].get_offsets()
    assert len(offsets) == 8 * 30
    assert set(np.diff(np.unique(offsets[:, 0])).tolist()) == {4.0}


def test_composites_that_can_not_be_drawn(found):
    for bad, options, words in (
        (found["composite"], {}, "are a Dataset"),
        (found, {"nodes": [(2, 0)]}, "within 2 x 3"),
        (found.isel(row=[0]), {}, "not of a 2 x 3 map"),
        (found, {"select": {"level": 5}}, "nothing at"),
    ):
        with pytest.raises(ParameterError, match=words):
            plot_composites(MODEL, bad, **options)
