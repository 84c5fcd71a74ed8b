"""Choose features by their names: what is not needed is not read."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.samples.dims import Features, Roles, features_of

__all__ = ["Choice", "check_names", "choose_features"]

MOST_SHOWN = 8
MOST_READ = 4  # features read for each that is wanted; a slice is read faster than a list of places


@dataclass(frozen=True)
class Choice:
    """Features that were chosen, and what they are read from.

    Attributes
    ----------
    variables : tuple of DataArray
        Those that hold the features; of one with a single feature dimension, the part where these are.
    columns : (d,) int, optional
        Which columns of these variables the features are, if they are not all of them in order.
    features : Features
        In the order that was asked for.
    taken : tuple of (int, dict)
        The place of each of these variables among those given, and the part of it, as `DataArray.isel` takes it.
    """

    variables: tuple[xr.DataArray, ...]
    columns: np.ndarray | None
    features: Features
    taken: tuple[tuple[int, dict[str, Any]], ...]


def choose_features(variables: Sequence[xr.DataArray], roles: Roles, names: Sequence[str], where: str) -> Choice:
    """Choose features by their names.

    Parameters
    ----------
    variables : sequence of DataArray
    roles : Roles
    names : sequence of str
        In the order of the features.
    where : str
        Description of the input, for messages.

    Raises
    ------
    ParameterError
        If the input does not name its features, lacks one of the names, or a name is given twice.
    """
    every = features_of(variables, roles, where)
    check_names(names, every.names, where)
    places = {name: place for place, name in enumerate(every.names or ())}
    wanted = np.array([places[name] for name in names])
    sizes = [math.prod(v.sizes[dim] for dim in roles.feature_dims_of(v)) for v in variables]
    starts = np.cumsum([0, *sizes])
    owners = np.searchsorted(starts, wanted, side="right") - 1
    kept: list[xr.DataArray] = []
    taken: list[tuple[int, dict[str, Any]]] = []
    layout: list[np.ndarray] = []  # the columns, numbered as before, that the kept variables have
    for owner in dict.fromkeys(owners.tolist()):
        dims = roles.feature_dims_of(variables[owner])
        own = wanted[owners == owner] - starts[owner]
        own = _choose_to_read(own) if len(dims) == 1 else np.arange(sizes[owner])
        taken.append((owner, {dims[0]: _as_slice(own)} if len(dims) == 1 else {}))
        kept.append(variables[owner].isel(taken[-1][1]))
        layout.append(own + starts[owner])
    found = {column: place for place, column in enumerate(np.concatenate(layout).tolist())}
    columns = np.array([found[column] for column in wanted.tolist()])
    return Choice(
        tuple(kept),
        None if np.array_equal(columns, np.arange(len(found))) else columns,
        Features(
            tuple(names),
            {name: coordinate[wanted] for name, coordinate in every.coords.items()},
            tuple(every.units[column] for column in wanted),
        ),
        tuple(taken),
    )


def check_names(names: Sequence[str], known: Sequence[str] | None, where: str) -> None:
    """Check that names are of features that there are, each given once.

    Raises
    ------
    ParameterError
        If they are not.
    """
    if not names:
        raise ParameterError("`features` names none; name one or more")
    if known is None:
        raise ParameterError(f"{where} does not name its features, so that none can be chosen by `features`")
    there = set(known)
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, known, n=1)
            shown = ", ".join(known[:MOST_SHOWN]) + (" ..." if len(known) > MOST_SHOWN else "")
            hint = f"did you mean {near[0]!r}?" if near else f"it has {shown}"
            raise ParameterError(f"{where} has no feature {name!r}; {hint}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ParameterError(f"`features` names {twice!r} twice; name each once")


def _choose_to_read(numbers: np.ndarray) -> np.ndarray:
    """Return the numbers that are read for those that are wanted: all between them, unless these are too many."""
    first, last = int(numbers.min()), int(numbers.max())
    return np.arange(first, last + 1) if last - first < MOST_READ * len(numbers) else np.sort(numbers)


def _as_slice(numbers: np.ndarray) -> np.ndarray | slice:
    """Return numbers that follow each other as a slice, which is read faster."""
    first, last = int(numbers[0]), int(numbers[-1])
    return slice(first, last + 1) if np.array_equal(numbers, np.arange(first, last + 1)) else numbers
