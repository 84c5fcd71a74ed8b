"""Zarr stores, opened for reading."""

import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from som_dask.errors import DataError, StorageError
from som_dask.io.stores import open_dataset, open_zarr_node


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_dataset_is_opened_without_a_warning(consolidated, zarr_format, tmp_path):
    place = tmp_path / "some.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset({"a": ("x", np.arange(3.0))}).to_zarr(place, consolidated=consolidated, zarr_format=zarr_format)
    np.testing.assert_array_equal(open_dataset(place)["a"], [0, 1, 2])


def test_a_node_is_a_group_or_an_array(tmp_path):
    zarr.create_group(tmp_path / "some.zarr").create_array("a", data=np.arange(3))
    assert isinstance(open_zarr_node(tmp_path / "some.zarr"), zarr.Group)
    assert isinstance(open_zarr_node(tmp_path / "some.zarr" / "a"), zarr.Array)


def test_what_is_no_store(tmp_path):
    (tmp_path / "empty").mkdir()
    for open_store in (open_zarr_node, open_dataset):
        with pytest.raises(StorageError, match="does not exist; check the path"):
            open_store(tmp_path / "none")
        with pytest.raises(StorageError, match=r"can't open .*empty as a Zarr store"):
            open_store(tmp_path / "empty")
        with pytest.raises(StorageError, match="can't open nothing://bucket as a Zarr store"):
            open_store("nothing://bucket")


@pytest.mark.parametrize("version", [2, 3])
def test_arrays_without_names_of_dimensions(version, tmp_path):
    group = zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=version)
    group.create_array("X", data=np.ones((3, 2)))
    with pytest.raises(DataError, match=r"no names of dimensions.*cells.zarr/X"):
        open_dataset(tmp_path / "cells.zarr")
