"""Units: told by a codebook or for each feature, and compared with those of samples."""

import numpy as np
import pytest
import xarray as xr

from som_dask.errors import SchemaError
from som_dask.io.units import check_units, describe_units, feature_units_of, units_in

NAMES = np.array(["a", "b"], dtype=object)


def codebook(units):
    attrs, coords = describe_units(units)
    given = {"codebook": (("row", "col", "feature"), np.zeros((1, 1, 2)), attrs)}
    return xr.Dataset(given, coords={"feature": NAMES, **coords})


@pytest.mark.parametrize(
    ("units", "attrs", "has_coordinate"),
    [
        (("K", "K"), {"units": "K"}, False),
        (("K", "m"), {}, True),
        (("K", ""), {}, True),
        (("", ""), {}, False),
        ((), {}, False),
        (("hours", "hours"), {}, True),  # which readers would take for durations
        (("days since 2000-01-01",) * 2, {}, True),
    ],
)
def test_one_attribute_or_a_coordinate(units, attrs, has_coordinate):
    model = codebook(units)
    assert model["codebook"].attrs == attrs
    assert ("feature_units" in model.coords) == has_coordinate
    assert feature_units_of(model) == (units or ("", ""))


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        (("K", "K"), ()),
        (("K", "K"), ("", "K")),
        (("", "K"), ("m", "K")),
        (("m/s", "W m-2"), ("m s**-1", "W/m^2")),
        (("kelvin", "Celsius"), ("K", "degrees_C")),
        (("1", "percent"), ("dimensionless", "%")),
        (("kg m-3", "W/m2 K"), ("m-3 kg", "W K m**-2")),
        (("1/s", "meters"), ("s-1", "m")),
        (("m.s-1", "kg*m"), ("m s-1", "kg m")),
        (("log(re 1 mW)", "a  b"), ("log(re 1 mW)", "a b")),
    ],
)
def test_the_same_units(trained, given):
    check_units(codebook(trained), given, "it")


@pytest.mark.parametrize(
    ("trained", "given", "match"),
    [
        (("K", "K"), ("degC", "degC"), "it has values in 'degC', the model was trained on 'K'; convert"),
        (("K", "m"), ("K", "km"), "it has feature 'b' in 'km', the model was trained on 'm'"),
        (("K", ""), ("degC", "m"), "it has feature 'a' in 'degC', the model was trained on 'K'"),
        (("m s-1", "m s-1"), ("m s-2", "m s-1"), "feature 'a' in 'm s-2'"),
        (("Pa", "Pa"), ("hPa", "hPa"), "'hPa'"),
        (("mm", "mm"), ("Mm", "Mm"), "'Mm'"),
        (("0.1 m", "m"), ("1 m", "m"), "'1 m'"),
        (("days", "days"), ("hours", "hours"), "'hours'"),
        (("log(m)", "m"), ("log(s)", "m"), "'log"),
        (("m/s", "m"), ("s/m", "m"), "'s/m'"),
    ],
)
def test_other_units(trained, given, match):
    with pytest.raises(SchemaError) as caught:
        check_units(codebook(trained), given, "it")
    assert match in str(caught.value)


def test_units_in_attributes():
    assert [units_in(a) for a in ({}, {"units": None}, {"units": " K "}, {"units": 1})] == ["", "", "K", "1"]
