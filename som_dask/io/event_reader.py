"""Read a log of events back, as a table of all events or as the epochs of each run."""

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
EPOCH_FIELDS = {
    "quantization_error": "mean distance of the samples to their best matching units, in the data's units",
    "topographic_error": "share of the samples whose two best matching units are not neighbors",
    "radius": "sigma of the epoch's update, in lattice units",
    "seconds": "wall time",
}
PHASE = "phase of training, whose samples the errors are of"  # as models say


def read_events(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read all events of a log, in the order in which they were written.

    Parameters
    ----------
    path : path-like
        A local file of JSON lines, as `som_dask.io.event_log.telemetry` writes it. The run may still be going on.

    Returns
    -------
    pandas.DataFrame
        One row for each event, with the columns ``time`` (datetime64, UTC), ``level``, ``event`` and ``run_id``,
        and then one column for each field, in the order in which they first appear. Values are missing where an
        event does not have the field. Nested fields, such as ``parameters`` and ``error``, are dicts.

    Raises
    ------
    StorageError
        If the file can't be read.

    Warns
    -----
    UserWarning
        If lines are not complete events, such as the last line of a run that was killed. They are skipped.

    Examples
    --------
    >>> from som_dask.io.event_log import telemetry
    >>> from som_dask.io.event_reader import read_events
    >>> with telemetry("train", {"rows": 4}, file="run.jsonl"):
    ...     pass
    >>> read_events("run.jsonl")["event"].tolist()
    ['run_started', 'run_finished']
    """
    events, skipped = _parse(path)
    if skipped:
        warnings.warn(f"{path}: passed over {skipped} of its lines, which are not whole events", stacklevel=2)
    columns = dict.fromkeys([*EVERY_EVENT, *(name for event in events for name in event)])
    table = pd.DataFrame(events, columns=list(columns))
    table["time"] = pd.to_datetime(table["time"], utc=True, format="ISO8601", errors="coerce")
    return table


def _parse(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], int]:
    """Return the events in a file, and the number of lines that are not events."""
    events, skipped = [], 0
    try:
        with open(path, "rb") as file:
            for line in file:
                event = _parse_line(line)
                if event is not None:
                    events.append(event)
                elif line.strip():
                    skipped += 1
    except OSError as error:
        raise StorageError(f"can't read the log {path}: {error.strerror}; check the path") from error
    return events, skipped


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:  # cut off, or not UTF-8
        return None
    return event if isinstance(event, dict) and "event" in event else None


def epochs_table(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read the epochs of all training runs in a log.

    Parameters
    ----------
    path : path-like
        A local file, as for `read_events`.

    Returns
    -------
    xarray.Dataset
        ``quantization_error``, ``topographic_error``, ``radius`` and ``seconds``, each (run, epoch) float64, with
        the coordinates ``run`` (run ids, in the order in which the runs began) and ``epoch`` (from the first to the
        last in the log). Values are NaN where a run does not have the epoch. If any run has two phases, the
        coordinate ``phase`` (run, epoch) is "rough" or "fine-tuning", and "" where there is none: errors of rough
        epochs are those of a few samples. Select one run by ``ds.sel(run=run_id)`` or ``ds.isel(run=-1)``.

    Raises
    ------
    StorageError
        If the file can't be read.

    Warns
    -----
    UserWarning
        As for `read_events`.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> from som_dask.io.event_log import telemetry
    >>> from som_dask.io.event_reader import epochs_table
    >>> with telemetry("train", file="run.jsonl") as log:
    ...     model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5), on_epoch=log.epoch)
    >>> dict(epochs_table("run.jsonl").sizes)
    {'run': 1, 'epoch': 5}
    """
    events = read_events(path)
    epochs = events[events["event"] == "epoch_finished"].reindex(columns=["run_id", "epoch", "phase", *EPOCH_FIELDS])
    epochs = epochs.dropna(subset=["run_id", "epoch"])
    run, runs = pd.factorize(epochs["run_id"])
    numbers = epochs["epoch"].to_numpy(dtype=np.int64)
    first, last = (numbers.min(), numbers.max()) if len(numbers) else (0, -1)
    dataset = xr.Dataset(coords={"run": np.array(runs, dtype=str), "epoch": np.arange(first, last + 1)})
    for name, meaning in EPOCH_FIELDS.items():
        values = np.full((len(runs), last - first + 1), np.nan)
        values[run, numbers - first] = pd.to_numeric(epochs[name], errors="coerce")
        dataset[name] = (("run", "epoch"), values, {"long_name": meaning})
    dataset["seconds"].attrs["units"] = "s"
    phase = epochs["phase"].fillna("").to_numpy(dtype=str)
    if any(phase):
        phases = np.full((len(runs), last - first + 1), "", dtype=object)
        phases[run, numbers - first] = phase
        dataset = dataset.assign_coords(phase=(("run", "epoch"), phases, {"long_name": PHASE}))
    return dataset
