"""Features beside those of a model: what is told of each difference, and what to do."""

import numpy as np
import pytest
import xarray as xr

from som_dask.errors import SchemaError
from som_dask.io.features import check_features

MANY = tuple(f"f{i}" for i in range(101))


def model_of(features, **coords):
    return xr.Dataset(
        coords={"feature": np.array(features, dtype=object), **{name: ("feature", c) for name, c in coords.items()}},
        attrs={"sample_dtype": "float32"},
    )


@pytest.mark.parametrize("features", [("a", "b", "c"), None])
def test_the_same_or_without_names(features):
    check_features(model_of(list("abc")), features, 3, np.float32, "it")
    check_features(model_of(list("abc")).assign_attrs(features_named=False), ("x", "y", "z"), 3, np.float32, "it")


@pytest.mark.parametrize(
    ("expected", "features", "told"),
    [
        ("abc", "bac", 'the model\'s features in another order; open the samples with `features=["a", "b", "c"]`'),
        ("abc", "bxac", '4 features, 1 more than the model; open the samples with `features=["a", "b", "c"]`'),
        ("abc", "ab", "2 features, the model was trained on 3: it lacks c; add them, or train a model without"),
        (
            "abc",
            "abx",
            "x that the model does not know, only a, b, c; rename them, or train a model on them",
        ),
        (MANY, MANY[::-1], "another order; open the samples with `features`, all of the model's in its own order"),
    ],
    ids=["order", "more", "fewer", "other", "many"],
)
def test_what_is_told_of_names(expected, features, told):
    with pytest.raises(SchemaError) as caught:
        check_features(model_of(list(expected)), tuple(features), len(features), np.float32, "it")
    assert str(caught.value).startswith("it has ")
    assert str(caught.value).endswith(told)


def test_what_is_told_of_places():
    names, others = ("lat=1 lon=2", "lat=1 lon=3", "lat=1 lon=4"), ("lat=2 lon=2", "lat=2 lon=3", "lat=2 lon=4")
    model = model_of(names, lat=[1, 1, 1], lon=[2, 3, 4])
    told = "lat=2 lon=2, lat=2 lon=3 and 1 more that the model does not .*; bring them to the model's lat, lon"
    with pytest.raises(SchemaError, match=told):
        check_features(model, others, 3, np.float32, "it")


def test_what_is_told_of_a_number_and_a_dtype():
    with pytest.raises(SchemaError, match="2 features, the model was trained on 3: a, b, c; take these alone"):
        check_features(model_of(list("abc")), None, 2, np.float32, "it")
    with pytest.raises(SchemaError, match=r'float64, the model .* float32; open the samples with `dtype="float32"`'):
        check_features(model_of(list("abc")), ("a", "b", "c"), 3, np.float64, "it")
