"""Units of the features: in a model, and whether samples have the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from som_dask.errors import SchemaError
from som_dask.io.coordinates import is_time_unit

__all__ = ["FEATURE_UNITS", "check_units", "describe_units", "feature_units_of", "units_in"]

FEATURE_UNITS = "feature_units"  # the coordinate of a model that holds the units of each feature
SPELLINGS = {
    "1": ("dimensionless", "unitless", "none"),
    "K": ("kelvin", "kelvins", "degk", "deg_k", "degree_kelvin", "degrees_kelvin"),
    "degC": ("celsius", "degc", "deg_c", "degree_c", "degrees_c", "degree_celsius", "degrees_celsius", "\u00b0c"),
    "m": ("meter", "meters", "metre", "metres"),
    "%": ("percent",),
    "Pa": ("pascal", "pascals"),
    "hPa": ("hectopascal", "hectopascals", "millibar", "millibars", "mbar", "mb"),
}  # fmt: skip
SYMBOLS = {spelling: symbol for symbol, spellings in SPELLINGS.items() for spelling in spellings}


def units_in(attrs: Mapping[Any, Any]) -> str:
    """Return the units that attributes tell, as text; empty if they tell none."""
    units = attrs.get("units")
    return "" if units is None else str(units).strip()


def describe_units(units: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return how a codebook tells its units.

    Parameters
    ----------
    units : sequence of str
        Units of each feature, empty where they are unknown.

    Returns
    -------
    attrs : dict
        The attribute "units", if all features share it. Units such as days or hours are left out, because readers
        would take the values for durations.
    coords : dict
        Otherwise the coordinate `FEATURE_UNITS`, if the units of any feature are known.
    """
    if not any(units):
        return {}, {}
    if len(set(units)) == 1 and not is_time_unit(units[0]):
        return {"units": units[0]}, {}
    return {}, {FEATURE_UNITS: ("feature", np.array(units, dtype=object), {"long_name": "units of the feature"})}


def feature_units_of(model: xr.Dataset) -> tuple[str, ...]:
    """Return the units of each feature of a model, empty where they are unknown."""
    if FEATURE_UNITS in model.coords:
        return tuple(str(units) for units in model[FEATURE_UNITS].values)
    return (units_in(model["codebook"].attrs),) * model.sizes["feature"]


def check_units(model: xr.Dataset, units: Sequence[str], where: str) -> None:
    """Check that samples have the units that a model was trained on, for each feature of which both are known.

    Spellings such as ``m/s``, ``m s-1`` and ``m s**-1`` are the same.

    Parameters
    ----------
    model : xarray.Dataset
    units : sequence of str
        Units of each feature of the samples, empty where they are unknown; or nothing at all.
    where : str
        Description of the samples, for messages.

    Raises
    ------
    SchemaError
        If units differ.
    """
    wanted = feature_units_of(model)
    if not any(units) or not any(wanted):
        return
    different = [
        i for i, (one, other) in enumerate(zip(units, wanted, strict=True))
        if one and other and one != other and _spell(one) != _spell(other)
    ]  # fmt: skip
    if different:
        found, expected = units[different[0]], wanted[different[0]]
        shared = len(different) == len(wanted) and len({*units}) == len({*wanted}) == 1
        which = "values" if shared else f"feature {str(model['feature'].values[different[0]])!r}"
        raise SchemaError(
            f"{where} has {which} in {found!r}, the model was trained on {expected!r}; convert the samples, or "
            f"correct their attribute units if it is wrong"
        )


def _spell(units: str) -> str:
    """Spell units in one way, as sorted symbols with exponents; what is not understood stays as it is."""
    text = re.sub(r"\s*(\*\*|\^)\s*(?=[-+]?\d)", "", units)  # the exponent follows its symbol
    text = re.sub(r"(?<=[A-Za-z%\d])[*\u00b7](?=[A-Za-z])|(?<=[A-Za-z])\.(?=[A-Za-z])", " ", text)
    symbols = []
    for stroke, symbol in re.findall(r"(/?)\s*([^/\s]+)", text):
        found = re.fullmatch(r"([A-Za-z_%\u00b0]+)([-+]?\d+)?", symbol)
        if found is None and symbol not in ("1", "-"):
            return " ".join(units.split())
        base = SYMBOLS.get(found[1].lower(), found[1]) if found is not None else "1"
        if found is not None and base != "1":
            symbols.append(f"{base}{int(found[2] or 1) * (-1 if stroke else 1)}")
    return " ".join(sorted(symbols))
