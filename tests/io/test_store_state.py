"""The state of a stored input changes with every write to it, and with nothing else."""

import numpy as np
import pytest
import xarray as xr
import zarr

from som_dask.io.store_state import store_state


@pytest.fixture(params=["path", "memory", "s3"])
def place(request, tmp_path):
    if request.param == "path":
        return str(tmp_path / "in.zarr")
    folder = request.getfixturevalue("bucket") if request.param == "s3" else f"memory://{tmp_path.name}"
    return f"{folder}/in.zarr"


def test_every_write_changes_it(place):
    data = xr.Dataset({"a": ("x", np.arange(6.0)), "b": ("x", np.zeros(6))}, coords={"c": ("x", np.arange(6))})
    data.to_zarr(place, encoding={"a": {"chunks": [2]}}, consolidated=False)
    every, of_a = store_state(place), store_state(place, ["a"])
    if place.startswith("memory"):
        assert every is None  # it tells nothing of its objects
        return
    assert (every, of_a) == (store_state(f"{place}/"), store_state(place, ["a", "a"]))
    assert of_a == store_state(f"{place}/a")
    zarr.open(place, mode="r+")["b"][3] = 1.0
    assert store_state(place) != every
    assert store_state(place, ["a"]) == of_a
    zarr.open(place, mode="r+")["a"][3] = 9.0
    assert store_state(place, ["a"]) != of_a


def test_what_is_not_there_has_none(tmp_path):
    assert store_state("s3://no-such-bucket-here/x") is None
    assert store_state("nothing://x") is None
    (tmp_path / "file").write_text("no store")
    assert store_state(tmp_path / "file", ["a"]) is None
