"""FCS files of cytometers as input, one or many: events are samples, channels are features. Needs flowio."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.io.files import is_url, local_path

__all__ = ["EVENTS", "fcs_names", "is_fcs", "name_transform", "open_fcs_files", "parse_transform"]

EVENTS = "events"  # the name of the values as they are, on their linear scale
ARCSINH = re.compile(r"arcsinh\((.*)\)", re.DOTALL)
EXACT_BITS = 24  # whole numbers of so many bits are exact in float32
MOST_SHOWN = 8
Cofactor = float | Mapping[str, float]


def is_fcs(source: Any) -> bool:
    """Whether something is the path of an FCS file, or a sequence of such paths."""
    if isinstance(source, (list, tuple)):
        return bool(source) and all(isinstance(each, (str, os.PathLike)) and is_fcs(each) for each in source)
    return isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(".fcs")


def name_transform(cofactor: Cofactor | None) -> str:
    """Return the name of the variable that is transformed by arcsinh(x / cofactor); "events" without a cofactor.

    Raises
    ------
    ParameterError
        If a cofactor is not a positive number.
    """
    if cofactor is None:
        return EVENTS
    name = f"arcsinh({json.dumps(dict(cofactor) if isinstance(cofactor, Mapping) else cofactor)})"
    parse_transform(name)
    return name


def parse_transform(name: str) -> Cofactor | None:
    """Return the cofactor that the name of a variable says: a number, or one for each of some channels.

    Raises
    ------
    ParameterError
        If there is no such variable in an FCS file.
    """
    if name == EVENTS:
        return None
    found = ARCSINH.fullmatch(name)
    try:
        cofactor = json.loads(found[1]) if found else None
    except ValueError:
        cofactor = None
    numbers = list(cofactor.values()) if isinstance(cofactor, dict) else [cofactor]
    if not all(_is_positive(number) for number in numbers):
        if found:
            raise ParameterError(f"a cofactor must be a positive number, as 5 for mass or 150 for flow: {found[1]}")
        raise ParameterError(f"an FCS file has no variable {name!r}, only 'events' or, as an example, 'arcsinh(5)'")
    return cofactor


def _is_positive(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0 < number < np.inf


@dataclass(frozen=True)
class Header:
    """What the text of an FCS file says.

    Attributes
    ----------
    path : str
    n_events : int
    channels, markers : tuple of str
        $PnN and $PnS of each channel; empty where a channel has no marker.
    dtype : numpy.dtype
        float32 if that holds the stored values, otherwise float64.
    """

    path: str
    n_events: int
    channels: tuple[str, ...]
    markers: tuple[str, ...]
    dtype: np.dtype

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each channel: its marker, or $PnN if it has none that no other has."""
        owners = Counter(name for both in zip(self.channels, self.markers, strict=True) for name in set(both))
        both = zip(self.channels, self.markers, strict=True)
        return tuple(marker if marker and owners[marker] == 1 else channel for channel, marker in both)

    def find(self, name: str) -> int:
        """Return the index of the channel with a name, $PnN or else $PnS.

        Raises
        ------
        ParameterError
            If there is none, or more than one.
        """
        by_channel, by_marker = ([i for i, n in enumerate(ns) if n == name] for ns in (self.channels, self.markers))
        found = by_channel or by_marker
        if len(found) == 1:
            return found[0]
        if found:
            raise ParameterError(f"{self.path} has {len(found)} channels {name!r}; name one by its $PnN")
        shown = ", ".join(self.names[:MOST_SHOWN]) + (" ..." if len(self.names) > MOST_SHOWN else "")
        raise ParameterError(f"{self.path} has no channel {name!r}; it has {shown}")


def _read(path: str, *, only_text: bool) -> Any:
    if is_url(path):
        raise StorageError(f"{path} can't be read over the network; copy it here")
    if not os.path.exists(path):
        raise StorageError(f"{path} does not exist; check the path")
    try:
        import flowio
    except ImportError as error:
        raise ParameterError("FCS files need the package flowio: pip install 'som_dask[cells]'") from error
    try:
        return flowio.FlowData(path, only_text=only_text)
    except Exception as error:  # of many kinds, where a file is cut off or no FCS file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StorageError(f"can't read {path} as an FCS file: {reason}") from error


def read_header(path: str) -> Header:
    """Read the text of an FCS file, and none of its events.

    Raises
    ------
    StorageError
        If it can't be read.
    """
    data = _read(path, only_text=True)
    bits = [int(data.text.get(f"p{i + 1}b", "64").strip("* ") or 64) for i in range(data.channel_count)]
    small = data.data_type.upper() == "F" or (data.data_type.upper() == "I" and max(bits, default=0) <= EXACT_BITS)
    return Header(
        path,
        data.event_count,
        tuple(str(name).strip() for name in data.pnn_labels),
        tuple(str(name).strip() for name in data.pns_labels),
        np.dtype(np.float32 if small else np.float64),
    )


def fcs_names(source: Any) -> set[str]:
    """Return all names by which the channels of the first file can be chosen."""
    header = read_header(_paths_of(source)[0])
    return {*header.channels, *header.markers} - {""}


def _paths_of(source: Any) -> list[str]:
    paths = list(source) if isinstance(source, (list, tuple)) else [source]
    return [os.fspath(p) if is_url(p) else os.path.abspath(local_path(p)) for p in paths]


def open_fcs_files(
    source: Any, names: Sequence[str] | None, features: Sequence[str] | None
) -> tuple[tuple[xr.DataArray, ...], str]:
    """Open FCS files as one table; their events are read when a block is computed, file by file.

    Parameters
    ----------
    source : path or sequence of paths
        Files that have the same channels, in any order.
    names : sequence of str, optional
        Variables: "events", the default, or "arcsinh(5)" for another scale.
    features : sequence of str, optional
        Channels, each by $PnN or $PnS; they are called by what they are chosen by.

    Returns
    -------
    variables : tuple of DataArray
        On "sample" and "feature"; with the coordinate ``file`` (sample), the number of the file, if there are
        several.
    description : str

    Raises
    ------
    StorageError
        If a file can't be read.
    DataError
        If there are no events, or a file lacks a channel of the first.
    ParameterError
        If a channel or variable that was asked for is not there.
    """
    headers = [read_header(path) for path in _paths_of(source)]
    shown = [os.fspath(path) for path in (source if isinstance(source, (list, tuple)) else [source])]
    where = shown[0] if len(shown) == 1 else f"{len(shown)} FCS files, {shown[0]} to {shown[-1]}"
    chosen = tuple(features) if features else headers[0].names
    columns = [_find_channels(header, chosen, features is not None, headers[0]) for header in headers]
    full = [(header, found) for header, found in zip(headers, columns, strict=True) if header.n_events]
    if not full:
        raise DataError(f"{where} has no samples: there are no events in it")
    coords: dict[str, Any] = {"feature": np.array(chosen, dtype=object)}
    if len(headers) > 1:
        numbers = np.repeat(np.arange(len(headers), dtype=np.int32), [header.n_events for header in headers])
        coords["file"] = ("sample", numbers, {"long_name": "number of the file"})
    variables = []
    for name in names or (EVENTS,):
        factors = _spread_cofactor(parse_transform(name), chosen, headers[0])
        dtype = np.result_type(*(header.dtype for header, _ in full))
        array = _build_array([(header, found) for header, found in full], factors, dtype)
        attrs = {"units": "1" if name == EVENTS else name}
        variables.append(xr.DataArray(array, dims=("sample", "feature"), coords=coords, name=name, attrs=attrs))
    return tuple(variables), where


def _find_channels(header: Header, names: Sequence[str], are_asked_for: bool, first: Header) -> np.ndarray:
    """Return the columns of the channels in a file."""
    try:
        return np.array([header.find(name) for name in names])
    except ParameterError as error:
        if header is first or are_asked_for:
            raise
        raise DataError(
            f"the files have other channels: {error}, but {first.path} has; choose those that all have by `features`"
        ) from error


def _spread_cofactor(cofactor: Cofactor | None, names: Sequence[str], header: Header) -> np.ndarray | None:
    """Return the cofactor of each channel, (D,) float64, NaN where values stay as they are; None if all do."""
    if cofactor is None:
        return None
    if not isinstance(cofactor, Mapping):
        return np.full(len(names), float(cofactor))
    places = {header.find(name): i for i, name in enumerate(names)}
    factors = np.full(len(names), np.nan)
    for name, factor in cofactor.items():
        place = header.find(name)
        if place not in places:
            raise ParameterError(f"there is a cofactor for {name!r}, which is not among the channels")
        factors[places[place]] = factor
    return factors


def _build_array(files: Sequence[tuple[Header, np.ndarray]], factors: np.ndarray | None, dtype: np.dtype) -> Any:
    """Make a dask array (n, D) of a block for each file."""
    token = dask.base.tokenize([(h.path, os.stat(h.path).st_mtime_ns, c) for h, c in files], factors, dtype)
    name = f"fcs-{token}"
    graph = {(name, i, 0): (_read_events, h.path, h.n_events, c, factors, dtype) for i, (h, c) in enumerate(files)}
    chunks = (tuple(header.n_events for header, _ in files), (len(files[0][1]),))
    return dask.array.Array(graph, name, chunks=chunks, dtype=dtype)


def _read_events(
    path: str, n_events: int, columns: np.ndarray, factors: np.ndarray | None, dtype: np.dtype
) -> np.ndarray:
    """Read the events of a file on the linear scale, (n, D), and transform them by arcsinh(x / factor)."""
    data = _read(path, only_text=False)
    values = data.as_array()[:, columns]
    if len(values) != n_events:
        raise DataError(f"{path} says that it has {n_events} events, but holds {len(values)}; restore the file")
    if factors is not None:
        known = ~np.isnan(factors)
        values[:, known] = np.arcsinh(values[:, known] / factors[known])
    return values.astype(dtype)
