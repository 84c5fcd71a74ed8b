"""The table of many maps, and the choice of a size by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.training.config import MapConfig

__all__ = ["MapRow", "choose_size", "make_table"]

HELD_OUT = "held_out_quantization_error"


@dataclass(frozen=True)
class MapRow:
    """A row of the table.

    Attributes
    ----------
    rows, cols : int
        Of the lattice.
    seed : int
    final_radius : float
        Radius sigma of the last epoch, in lattice units.
    bootstrap : int or None
        Seed of the bootstrap weights.
    epochs : int
        Number of epochs done.
    quantization_error, topographic_error : float
        On the samples that the map was trained on, with their weights.
    held_out_quantization_error, held_out_topographic_error : float
        On those held out; nan if there are none.
    seconds : float
        Time that all threads together have spent on this map alone, without reading.
    """

    rows: int
    cols: int
    seed: int
    final_radius: float
    bootstrap: int | None
    epochs: int
    quantization_error: float
    topographic_error: float
    held_out_quantization_error: float
    held_out_topographic_error: float
    seconds: float

    @classmethod
    def of(
        cls,
        model: xr.Dataset,
        config: MapConfig,
        *,
        bootstrap: int | None,
        held_out: tuple[float, float] | None,
        seconds: float,
    ) -> MapRow:
        """Describe a trained map."""
        rows, cols = (int(n) for n in model["codebook"].shape[:2])
        radii = config.radii or (model.attrs["final_radius"],)  # which may have been chosen
        quantization, topographic = held_out or (math.nan, math.nan)
        return cls(
            rows=rows,
            cols=cols,
            seed=config.seed,
            final_radius=float(radii[-1] or 0),
            bootstrap=bootstrap,
            epochs=int(model.attrs["epochs_done"]),
            quantization_error=float(model["quantization_error"].values[-1]),
            topographic_error=float(model["topographic_error"].values[-1]),
            held_out_quantization_error=quantization,
            held_out_topographic_error=topographic,
            seconds=seconds,
        )


def make_table(rows: Sequence[MapRow]) -> pd.DataFrame:
    """Make the table of many maps: a column for each attribute of `MapRow`.

    If samples are held out there is one more column, ``chosen`` (bool): whether the map has the size that
    `choose_size` chooses.
    """
    table = pd.DataFrame([asdict(row) for row in rows])
    table["bootstrap"] = table["bootstrap"].astype("Int64")
    if table[HELD_OUT].notna().all():
        size = choose_size(table)
        table["chosen"] = (table["rows"] == size[0]) & (table["cols"] == size[1])
    return table


def choose_size(table: pd.DataFrame) -> tuple[int, int]:
    """Choose the smallest size whose quantization error on held-out samples is as low as the lowest, but for chance.

    The maps of a size (all seeds, bootstrap weights and radii) have a mean error and a standard error of it,
    ``s / sqrt(n)``; with one map it is 0. The size with the fewest nodes is chosen whose mean is no more than the
    lowest mean plus that size's standard error. This is the one-standard-error rule of Breiman et al., Classification
    and Regression Trees, 1984, section 3.4.3.

    The error on held-out samples falls with the number of nodes until nodes have few samples each. With many samples
    the rule therefore chooses the largest of the sizes, and their topographic errors tell more.

    Parameters
    ----------
    table : pandas.DataFrame
        As `make_table` makes it.

    Returns
    -------
    rows, cols : int

    Raises
    ------
    ParameterError
        If the table has no errors on held-out samples.

    Examples
    --------
    >>> import pandas as pd
    >>> import som_dask as som
    >>> errors = [1.5, 1.6, 1.04, 1.08, 0.9, 1.1]
    >>> sides = [4, 4, 6, 6, 8, 8]
    >>> table = pd.DataFrame({"rows": sides, "cols": sides, "held_out_quantization_error": errors})
    >>> som.choose_size(table)
    (6, 6)
    """
    if HELD_OUT not in table or len(table) == 0 or not table[HELD_OUT].notna().all():
        raise ParameterError("a size is chosen by errors on held-out samples; train with `holdout`, such as 0.1")
    sizes = table.groupby(["rows", "cols"])[HELD_OUT].agg(["mean", "std", "count"]).reset_index()
    sizes["error"] = np.where(sizes["count"] > 1, sizes["std"] / np.sqrt(sizes["count"]), 0.0)
    sizes["nodes"] = sizes["rows"] * sizes["cols"]
    best = sizes.loc[sizes["mean"].idxmin()]
    good = sizes[sizes["mean"] <= best["mean"] + best["error"]]
    chosen = good.sort_values(["nodes", "mean"]).iloc[0]
    return int(chosen["rows"]), int(chosen["cols"])
