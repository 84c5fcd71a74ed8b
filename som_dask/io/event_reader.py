"""Reading a log of events back: as a table of all of them, and as the epochs of each run."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from som_dask.errors import StorageError

__all__ = ["epochs_table", "read_events"]

EVERY_EVENT = ("time", "level", "event", "run_id")
OF_AN_EPOCH = {
    "quantization_error": "mean distance of the samples to their best matching units, in the data's units",
    "topographic_error": "share of the samples whose two best matching units are not neighbors",
    "radius": "sigma of the epoch's update, in lattice units",
    "seconds": "wall time",
}


def read_events(place: str | os.PathLike[str]) -> pd.DataFrame:
    """All events of a log, in the order they were written.

    Parameters
    ----------
    place : path
        A file of JSON lines as `som_dask.io.event_log.telemetry` writes it; it may be of a run that goes on.

    Returns
    -------
    pandas.DataFrame
        One row for each event: ``time`` (datetime64, UTC), ``level``, ``event``, ``run_id``, then a column for each
        field in the order they first appear, missing where an event does not have it. What is nested, such as
        ``parameters`` and ``error``, is a dict.

    Raises
    ------
    StorageError
        If the file can't be read.

    Warns
    -----
    UserWarning
        If lines are no whole events, such as the last one of a run that was killed; they are passed over.
    """
    events, skipped = _events(place)
    if skipped:
        warnings.warn(f"{place}: passed over {skipped} of its lines, which are not whole events", stacklevel=2)
    columns = dict.fromkeys([*EVERY_EVENT, *(name for event in events for name in event)])
    table = pd.DataFrame(events, columns=list(columns))
    table["time"] = pd.to_datetime(table["time"], utc=True, format="ISO8601", errors="coerce")
    return table


def _events(place: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], int]:
    """The events in a file, and how many lines are none."""
    events, skipped = [], 0
    try:
        with open(place, "rb") as file:
            for line in file:
                event = _event(line)
                if event is not None:
                    events.append(event)
                elif line.strip():
                    skipped += 1
    except OSError as error:
        raise StorageError(f"can't read the log {place}: {error.strerror}; check the path") from error
    return events, skipped


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:  # cut, or not UTF-8
        return None
    return event if isinstance(event, dict) and "event" in event else None


def epochs_table(place: str | os.PathLike[str]) -> xr.Dataset:
    """The epochs of all training runs in a log.

    Parameters
    ----------
    place : path
        As for `read_events`.

    Returns
    -------
    xarray.Dataset
        ``quantization_error``, ``topographic_error``, ``radius`` and ``seconds``, (run, epoch) float64, on the
        coordinates ``run`` (run ids in the order the runs began) and ``epoch`` (from the first that is in the log to
        the last); NaN where a run has not done an epoch. ``ds.sel(run=run_id)`` or ``ds.isel(run=-1)`` is one run.

    Raises
    ------
    StorageError
        If the file can't be read.

    Warns
    -----
    UserWarning
        As `read_events`.
    """
    events = read_events(place)
    epochs = events[events["event"] == "epoch_finished"].reindex(columns=["run_id", "epoch", *OF_AN_EPOCH])
    epochs = epochs.dropna(subset=["run_id", "epoch"])
    run, runs = pd.factorize(epochs["run_id"])
    numbers = epochs["epoch"].to_numpy(dtype=np.int64)
    first, last = (numbers.min(), numbers.max()) if len(numbers) else (0, -1)
    dataset = xr.Dataset(coords={"run": np.array(runs, dtype=str), "epoch": np.arange(first, last + 1)})
    for name, meaning in OF_AN_EPOCH.items():
        values = np.full((len(runs), last - first + 1), np.nan)
        values[run, numbers - first] = pd.to_numeric(epochs[name], errors="coerce")
        dataset[name] = (("run", "epoch"), values, {"long_name": meaning})
    dataset["seconds"].attrs["units"] = "s"
    return dataset
