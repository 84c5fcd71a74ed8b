"""Coordinates in a form that a store holds and gives back as it was."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from som_dask.errors import DataError
from som_dask.io.digest import dataset_digest, to_json

__all__ = ["check_names", "check_text", "is_time_unit", "make_storable"]

OF_STORES = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}  # files of a store, not arrays in it
# Attributes by which a reader turns the stored values into others.
DECODED_BY = (
    "_ARRAY_DIMENSIONS", "_FillValue", "_Unsigned", "add_offset", "calendar", "coordinates", "dtype", "missing_value",
    "scale_factor",
)  # fmt: skip
TIME_UNITS = re.compile(r"(days|hours|minutes|(|milli|micro|nano)seconds)|.* since .*", re.IGNORECASE | re.DOTALL)


def check_names(names: Iterable[str], where: str) -> None:
    """Check that a Zarr store can hold dimensions and coordinates of these names.

    Parameters
    ----------
    names : iterable of str
    where : str
        What they are of, for messages.

    Raises
    ------
    DataError
        If UTF-8 can't encode a name, or if it is empty, holds a slash, or is that of a file of the store itself.
    """
    for name in names:
        check_text([name], f"a name of {where}")
        if not name or "/" in name or name in (".", "..") or name in OF_STORES:
            raise DataError(f"{where} has a dimension or coordinate {name!r}, which no store can hold; rename it")


def is_time_unit(units: Any) -> bool:
    """Whether a reader that decodes times, as xarray does, turns numbers of such units into times."""
    return isinstance(units, str) and TIME_UNITS.fullmatch(units.strip()) is not None


def make_storable(variable: xr.Variable, name: str) -> xr.Variable:
    """Return a coordinate that a Zarr store gives back as it was: the same one, if it can be.

    Parameters
    ----------
    variable : xarray.Variable
        It is loaded.
    name : str
        What it is called in messages.

    Returns
    -------
    xarray.Variable
        Numbers, times or text. Numbers whose attributes make times of them are decoded; if they can't be, the units
        become a comment. Whatever else there is, such as periods, intervals and times with a zone, becomes text;
        a missing value becomes an empty one.

    Raises
    ------
    DataError
        If there is text that UTF-8 can't encode.
    """
    values = _simplify(variable.values)
    if values.dtype.kind == "O":  # before xarray makes text of pandas of them, which pyarrow may refuse
        check_text([value for value in values.ravel() if isinstance(value, str)], name)
    plain = xr.Variable(variable.dims, values, _simplify_attrs(variable.attrs))
    check_text([json.dumps(to_json(plain.attrs), ensure_ascii=False)], f"an attribute of {name}")
    if _is_plain(plain):
        return plain
    for form in (plain, _decode_times(plain), _with_comment(plain)):
        if form is not None and _survives(form):
            return form
    texts = np.where(pd.isna(plain.values), "", [str(value) for value in plain.values]).astype(object)
    check_text(texts, name)
    return xr.Variable(plain.dims, texts, _with_comment(plain).attrs)


def check_text(texts: Any, name: str) -> None:
    """Check that a store can hold texts.

    Raises
    ------
    DataError
        If UTF-8 can't encode one of them.
    """
    for text in texts:
        try:
            str(text).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{name} has text that can't be stored, {str(text)[:40]!r}: {error.reason}; rename it"
            ) from error


def _simplify(values: np.ndarray) -> np.ndarray:
    """Return text as objects, and objects that are all numbers as an array of numbers."""
    values = np.asarray(values)
    if values.dtype.kind in "UT":
        return values.astype(object)
    if values.dtype.kind == "O" and all(isinstance(value, (bool, int, float, np.number)) for value in values):
        return np.array(values.tolist()) if len(values) else values
    return values


def _simplify_attrs(attrs: Any) -> dict[str, Any]:
    """Return attributes as JSON can hold them; what it can't hold becomes text."""
    return {str(name): value if _is_json(value) else str(value) for name, value in attrs.items()}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)
    except (TypeError, ValueError):
        return False
    return True


def _is_plain(variable: xr.Variable) -> bool:
    """Whether there is nothing to try out: numbers or text, without attributes that change them on reading."""
    if any(name in variable.attrs for name in DECODED_BY) or is_time_unit(variable.attrs.get("units")):
        return False
    kind = variable.dtype.kind
    if kind == "O" and all(isinstance(value, str) for value in variable.values):
        return True
    return kind in "biuf" and variable.dtype.itemsize <= 8


def _decode_times(variable: xr.Variable) -> xr.Variable | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = xr.conventions.decode_cf_variable("coordinate", variable, decode_timedelta=True).load()
    except Exception:  # units that don't make times raise errors of many kinds
        return None
    return xr.Variable(decoded.dims, decoded.values, decoded.attrs)


def _with_comment(variable: xr.Variable) -> xr.Variable:
    """Return the variable with a comment in place of the attributes that change its values on reading."""
    taken = {name: variable.attrs[name] for name in DECODED_BY if name in variable.attrs}
    if is_time_unit(variable.attrs.get("units")):
        taken["units"] = variable.attrs["units"]
    attrs = {name: value for name, value in variable.attrs.items() if name not in taken}
    if taken:
        words = [attrs["comment"]] if "comment" in attrs else []
        attrs["comment"] = "; ".join([*words, *(f"{name}: {value}" for name, value in sorted(taken.items()))])
    return xr.Variable(variable.dims, variable.values, attrs)


def _survives(variable: xr.Variable) -> bool:
    """Whether a store gives the variable back as it was."""
    dataset = xr.Dataset(coords={"coordinate": variable.copy()})
    store = zarr.storage.MemoryStore()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.to_zarr(store, zarr_format=3, consolidated=False)
            return dataset_digest(xr.open_zarr(store, chunks=None, consolidated=False)) == dataset_digest(dataset)
    except Exception:  # what xarray and zarr can't store they refuse by errors of many kinds
        return False
