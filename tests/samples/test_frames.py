"""What is in memory: DataFrames of all kinds of columns, and inputs that are refused in one line."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.errors import DataError, SomError
from som_dask.samples.open import open_samples

FRAMES = {
    "whole numbers and floats": ({"a": [1, 2], "b": [0.5, 1.5]}, np.float64),
    "small ones": ({"a": np.array([1, 2], "i2"), "b": np.array([0.5, 1.5], "f4")}, np.float32),
    "booleans": ({"a": [True, False], "b": [False, False]}, bool),
    "booleans and floats": ({"a": [True, False], "b": [0.5, 1.5]}, np.float64),
    "booleans that may be missing": ({"a": pd.array([True, None], "boolean"), "b": [0.5, 1.5]}, np.float64),
    "whole numbers that may be missing": ({"a": pd.array([1, None], "Int64"), "b": [1, 2]}, np.float64),
    "floats that may be missing": ({"a": pd.array([1, None], "Float32")}, np.float32),
    "objects that are numbers": ({"a": pd.Series([1, None], dtype=object), "b": [1, 2]}, np.float64),
    "objects that may be missing": ({"a": pd.Series([1.5, pd.NA], dtype=object), "b": [True, False]}, np.float64),
    "decimals": ({"a": [Decimal("1.5"), Decimal("2")]}, np.float64),
    "sparse columns": ({"a": pd.arrays.SparseArray([0.0, 1.0]), "b": [1, 2]}, np.float64),
}


@pytest.mark.parametrize(("columns", "dtype"), FRAMES.values(), ids=FRAMES)
def test_frames_of_numbers(columns, dtype):
    frame = pd.DataFrame(columns)
    found = open_samples(frame).array.compute()
    assert found.dtype == dtype
    wanted = [[np.nan if pd.isna(value) else float(value) for value in row] for row in frame.itertuples(index=False)]
    np.testing.assert_array_equal(found.astype(float), wanted)


def test_an_index_with_a_name_labels_the_samples():
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index([5, 7], name="id"))
    np.testing.assert_array_equal(open_samples(frame).coords["sample"], [5, 7])


def test_numbers_of_arrow():
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": pd.array([1, None], pd.ArrowDtype(pa.int32())), "b": [0.5, 1.5]})
    np.testing.assert_array_equal(open_samples(frame).array.compute(), [[1, 0.5], [np.nan, 1.5]])


@pytest.mark.parametrize(
    "column",
    [
        ["x", "y"],
        pd.Categorical([1, 2]),
        pd.to_datetime(["2000", "2001"]),
        [1j, 2],
        pd.Series(["x", 1], dtype=object),
    ],
    ids=["text", "categories", "times", "complex", "mixed"],
)
def test_columns_that_are_not_of_numbers_are_named(column):
    frame = pd.DataFrame({"a": [1.0, 2.0], "kind": column})
    with pytest.raises(DataError, match=r"not of real numbers: kind \(\w+.*\); choose the others by `features`"):
        open_samples(frame)
    np.testing.assert_array_equal(open_samples(frame, features=["a"]).array.compute(), frame[["a"]])


class DaskFrame:
    """A dask DataFrame as far as it can be told from others; to make one takes pyarrow."""

    def to_dask_array(self, lengths):
        raise AssertionError

    def __array__(self, dtype=None, copy=None):
        raise AssertionError


def rows():
    yield [1, 2]


REFUSED = {
    "dask frame": (DaskFrame(), r"a dask DaskFrame; give its to_dask_array\(lengths=True\)"),
    "dict": ({"a": [1, 2]}, r"are a dict; make it a table by pandas.DataFrame"),
    "dicts": ([{"a": 1}, {"a": 2}], r"are a list of dicts; make it a table by pandas.DataFrame"),
    "series": (pd.Series([1, 2]), r"to_frame\(\)"),
    "None": (None, "can't be None; give a path"),
    "a number": (3, "can't be of the type int; give a path"),
    "a set": ({1, 2}, "can't be of the type set; give a path"),
    "a generator": (rows(), "can't be of the type generator; give a path"),
    "ragged lists": ([[1, 2], [3]], "a list, make no array.*; give a path"),
    "text in lists": ([["a", "b"]], "the list has dtype <U1, real numbers are needed; "),
    "text": ("1,2\n3,4", r"'1,2\\n3,4' does not exist"),
    "objects": (xr.DataArray(np.array([["a", 1]], object), name="x"), "variable x has dtype object, .*astype"),
    "times": (xr.Dataset({"t": (("s", "f"), np.zeros((2, 2), "M8[s]"))}), r"variable t has dtype datetime64\[s\]"),
    "complex": (np.ones((2, 2), complex), "complex128, .*the real and the imaginary part"),
}


@pytest.mark.parametrize(("source", "match"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused_in_one_line(source, match):
    with pytest.raises(SomError, match=match) as caught:
        open_samples(source)
    assert "\n" not in str(caught.value)
