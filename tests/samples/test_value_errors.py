"""Errors of values beside samples: of arrays, frames and stores, in the order of the values."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.samples.open import open_samples


def tables_of(samples):
    """The values and the errors of opened samples."""
    assert samples.value_errors
    values, errors = np.hsplit(samples.array.compute(), 2)
    assert values.shape == (samples.n_samples, samples.n_features)
    return values, errors


@pytest.fixture
def survey(rng):
    """Fluxes of two instruments with their errors, on two sample dimensions."""
    near, far = rng.random((4, 6, 3)), rng.random((6, 4))
    return xr.Dataset(
        {
            "near": (("y", "x", "band"), near),
            "far": (("x", "y"), far),
            "near_error": (("band", "x", "y"), 1 + near.transpose(2, 1, 0)),
            "far_error": (("y", "x"), 3 + far.T),
        },
        coords={"band": ["u", "g", "r"]},
    )


@pytest.mark.parametrize("stored", [False, True])
def test_variables_of_a_store(stored, survey, tmp_path):
    source = survey.chunk(y=3, x=2)
    if stored:
        source.to_zarr(tmp_path / "s.zarr", consolidated=False)
        source = tmp_path / "s.zarr"
    options = {"variables": ["near", "far"], "value_errors": ["near_error", "far_error"]}
    samples = open_samples(source, sample_dims=["y", "x"], **options)
    values, errors = tables_of(samples)
    np.testing.assert_array_equal(errors, values + np.array([1, 1, 1, 3]))
    assert (samples.n_features, samples.row_bytes) == (4, 64)
    some = open_samples(source, sample_dims=["y", "x"], features=["far", "near band=g"], **options)
    assert some.feature_names == ("far", "near band=g")
    values, errors = tables_of(some)
    np.testing.assert_array_equal(errors, values + np.array([3, 1]))
    one = open_samples(source, sample_dims=["y", "x"], features=["near band=r"], **options)
    values, errors = tables_of(one)
    np.testing.assert_array_equal(errors, values + 1)
    np.testing.assert_array_equal(values[:, 0], survey["near"].values[..., 2].ravel())
    turned = samples.choose_features([2, 0])
    values, errors = tables_of(turned)
    np.testing.assert_array_equal(errors, values + 1)
    cut = samples.cut(5)
    assert max(cut.block_rows) <= 5
    values, errors = tables_of(cut)
    np.testing.assert_array_equal(errors, values + np.array([1, 1, 1, 3]))


def test_arrays_and_frames(rng):
    values = rng.random((20, 3))
    for source, errors in (
        (values, values + 1),
        (values, (values + 1).tolist()),
        (values, xr.DataArray((values + 1).T, dims=("feature", "sample"))),
        (pd.DataFrame(values, columns=list("abc")), pd.DataFrame(values[:, ::-1] + 1, columns=list("cba"))),
        (pd.DataFrame(values, columns=list("abc")), pd.DataFrame(values + 1, columns=["ea", "eb", "ec"])),
    ):
        found, sharp = tables_of(open_samples(source, value_errors=errors))
        np.testing.assert_array_equal(sharp, found + 1)
    frame, errors = (pd.DataFrame(table, columns=list("abc")) for table in (values, values + 1))
    samples = open_samples(frame, features=["c", "a"], value_errors=errors)
    np.testing.assert_array_equal(tables_of(samples)[1], values[:, [2, 0]] + 1)


def test_masks_and_nodata_are_missing_errors(rng):
    values = rng.random((20, 3))
    errors = np.full((20, 3), 2.0)
    errors[0] = -99
    _, found = tables_of(open_samples(values, value_errors=errors, nodata=-99))
    assert np.isnan(found[0]).all()
    _, found = tables_of(open_samples(values, value_errors=np.ma.masked_less(errors, 0)))
    assert np.isnan(found[0]).all()


def test_errors_that_do_not_fit(survey, tmp_path):
    values = np.zeros((20, 3))
    for errors, words in (
        (np.ones((3, 20)), r"shape \(3, 20\), the values \(20, 3\)"),
        (xr.DataArray(np.ones(20), dims="sample"), "dimensions"),
        (xr.DataArray(np.ones((19, 3)), dims=("sample", "feature")), "differ along 'sample'"),
    ):
        with pytest.raises(ParameterError, match=words):
            open_samples(values, value_errors=errors)
    with pytest.raises(DataError, match="real numbers"):
        open_samples(values, value_errors=np.full((20, 3), "a"))
    chosen = {"variables": ["near", "far"], "sample_dims": ["y", "x"]}
    with pytest.raises(ParameterError, match="errors of 1 variables for the 2"):
        open_samples(survey, value_errors="near_error", **chosen)
    with pytest.raises(ParameterError, match="no variable 'noise' beside it for the errors"):
        open_samples(survey, value_errors=["noise", "far_error"], **chosen)
    with pytest.raises(ParameterError, match="opened already"):
        open_samples(open_samples(values), value_errors=values)
    moved = survey["near"].assign_coords(x=np.arange(6))
    with pytest.raises(ParameterError, match="differ along 'x'"):
        open_samples(moved, feature_dims="band", value_errors=moved.assign_coords(x=np.arange(6) + 1))
    survey[["far", "far_error"]].chunk(x=2).to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False)
    (tmp_path / "s.zarr" / "far_error" / "0.0").unlink()
    with pytest.raises(StorageError, match="far_error lacks 1 of its chunks"):
        open_samples(tmp_path / "s.zarr", variable="far", value_errors="far_error", sample_dims=["y", "x"]).allow_for(
            "error"
        )
