"""Histograms of a value by node, and the distribution of samples of which only the nodes are known."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.analysis.bin_counts import BinCounts, ValueRange, parse_bins, spread_edges
from som_dask.analysis.by_node import (
    NODES,
    add_up_by_node,
    lattice_from,
    numbers_beside,
    weights_of,
)
from som_dask.errors import DataError, ParameterError
from som_dask.io.attributes import make_plain
from som_dask.io.models import positions_of

__all__ = ["calibrate_histogram", "summarize_histograms"]


def summarize_histograms(
    labels: xr.Dataset,
    values: Any,
    model: Any,
    *,
    bins: Any = 20,
    sample_weights: Any = None,
    density: bool = False,
) -> xr.Dataset:
    """Make a histogram of the values of each node's samples.

    Samples are counted block by block, and counts are added up in a tree, so that a task never holds more than a few
    arrays of nodes x bins.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`.
    values : xarray.DataArray or array
        Numbers or booleans, such as redshifts, on the dimensions of the labels or some of them; NaN and masked values
        are left out. In memory, or lazy.
    model : xarray.Dataset, path or URL of a saved model, or Lattice
    bins : int or (B + 1,) numbers
        The number of bins of one width from the least value to the greatest, which one more pass finds; or the edges
        of the bins. At most 4096 bins. A value on an edge belongs to the bin on its right, on the last edge to the
        last bin.
    sample_weights : "area", DataArray or array, optional
        How much each sample counts, as for `som_dask.summarize_labels`.
    density : bool
        Whether to give each node's histogram as a density, too.

    Returns
    -------
    xarray.Dataset
        ``histogram (row, col, bin)``: int64, with weights float64 sums of weights, whose last digits may depend on
        the blocks; ``below`` and ``above (row, col)``, the same of the values before the first edge and behind the
        last. With `density`, ``density (row, col, bin)``: the histogram divided by the width of the bin and by all
        values of the node, those below and above included, so that it adds up to the share within the bins; NaN for
        nodes without values. The coordinate ``bin`` is the middle of each bin, ``bin_left`` and ``bin_right`` are its
        edges. The attributes hold the numbers of samples counted and left out.

    Raises
    ------
    DataError
        If dimensions, sizes or dtypes do not fit, there are infinities, or no sample has both a node and a value.
    ParameterError
        If the bins are no bins.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> found = som.summarize_histograms(
    ...     som.infer(colors, model), colors.mean(axis=1), model, bins=np.linspace(0, 1, 6)
    ... )
    >>> found["histogram"].sizes["bin"], int(found["histogram"].sum())
    (5, 40)
    """
    lattice, bins = lattice_from(model), parse_bins(bins)
    array = numbers_beside(labels, values, "the values")
    weights = weights_of(labels, sample_weights)
    if isinstance(bins, int):
        found: ValueRange
        (found,) = add_up_by_node(labels, [array], ValueRange.of, lattice, weights)
        bins = spread_edges(found, bins)
    counts: BinCounts
    (counts,) = add_up_by_node(labels, [array], functools.partial(BinCounts.of, bins), lattice, weights)
    if not counts.samples:
        raise DataError(f"no sample has both a node and a value{'' if weights is None else ' and a weight above 0'}")
    table = counts.counts.reshape(*lattice.shape, -1)
    what = f"{'number' if weights is None else 'weight'} of the values"
    result = xr.Dataset(
        {
            "histogram": ((*NODES, "bin"), table[..., 1:-1], {"long_name": what, "units": "1"}),
            "below": (NODES, table[..., 0], {"long_name": f"{what} below the bins", "units": "1"}),
            "above": (NODES, table[..., -1], {"long_name": f"{what} above the bins", "units": "1"}),
        },
        coords={**_bins_of(bins, array, values), **positions_of(lattice)},
        attrs={
            "samples": counts.samples,
            "samples_without_node": counts.no_node,
            "samples_without_value": counts.no_value,
            **({} if weights is None else {"samples_of_weight_zero": counts.no_weight}),
            "weighted": weights is not None,
            "som_dask_version": __version__,
        },
    )
    if density:
        total = table.sum(axis=-1, keepdims=True) * np.diff(bins)
        shares = np.divide(table[..., 1:-1], total, out=np.full(total.shape, np.nan), where=total > 0)
        result["density"] = ((*NODES, "bin"), shares, {"long_name": "density of the node's values"})
    return make_plain(result)


def _bins_of(edges: np.ndarray, array: xr.DataArray, values: Any) -> dict[str, Any]:
    """Return the coordinates of the bins, with the name and the units of the values."""
    units = {"units": array.attrs["units"]} if "units" in array.attrs else {}
    name = str(array.attrs.get("long_name") or (values.name if isinstance(values, xr.DataArray) else "") or "value")
    left, right = edges[:-1], edges[1:]
    return {
        "bin": ("bin", left + (right - left) / 2, {"long_name": name, **units}),
        "bin_left": ("bin", left, {"long_name": f"least {name} of the bin", **units}),
        "bin_right": ("bin", right, {"long_name": f"greatest {name} of the bin", **units}),
    }


def calibrate_histogram(histograms: xr.Dataset, target: Any) -> xr.Dataset:
    """Estimate the distribution of a value over target samples of which only the nodes are known.

    Each target sample has the distribution of the reference samples of its node: with the histogram ``h_cb`` of node
    c, all its values ``H_c``, and the target count ``t_c``::

        n_b = sum_{c: H_c > 0} t_c h_cb / H_c

    So redshift distributions n(z) are calibrated (Masters et al., *Mapping the galaxy color-redshift relation*, ApJ
    813, 53, 2015; Wright et al., *Photometric redshift calibration with self-organising maps*, A&A 637, A100, 2020).
    Target samples on nodes without reference values are left out, and the result tells how many these are.

    Parameters
    ----------
    histograms : xarray.Dataset
        Of the reference samples, by `som_dask.summarize_histograms`.
    target : xarray.Dataset, DataArray or array
        The number, or weight, of the target samples on each node: ``target_count`` of `som_dask.coverage`, a
        DataArray ``(row, col)`` such as ``model["hits"]``, or an array (rows, cols).

    Returns
    -------
    xarray.Dataset
        ``histogram (bin)``, n; ``density (bin)``, n divided by the width of the bin and by the target count of all
        nodes with reference values; ``below`` and ``above``, the target expected outside the bins, so that
        ``histogram``, ``below`` and ``above`` add up to ``covered_count``; ``covered_count`` and
        ``uncovered_count``, the target on nodes with and without reference values; ``covered_share``. All float64.

    Raises
    ------
    DataError
        If no target sample lies on a node with reference values.
    ParameterError
        If these are no histograms, or there is not one target count of 0 or more for each node.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> known = som.summarize_histograms(som.infer(colors[:20], model), colors[:20].mean(axis=1), model, bins=5)
    >>> found = som.calibrate_histogram(known, model["hits"])
    >>> float(found["covered_count"] + found["uncovered_count"])
    40.0
    """
    lacking = [name for name in ("histogram", "below", "above", "bin_left", "bin_right") if name not in histograms]
    if lacking:
        raise ParameterError(f"the histograms lack {', '.join(lacking)}; give what summarize_histograms makes")
    table = histograms["histogram"].transpose(*NODES, "bin").values.astype(np.float64)
    counts = _counts_of(target, table.shape[:2]).reshape(-1, 1)
    sides = [histograms[name].transpose(*NODES).values[..., None] for name in ("below", "above")]
    table = np.concatenate([sides[0], table, sides[1]], axis=-1).reshape(len(counts), -1)
    total = table.sum(axis=-1, keepdims=True)
    known = total > 0
    # Row by row, not by BLAS: the same digits on every machine.
    below, *inner, above = (counts * np.divide(table, total, out=np.zeros_like(table), where=known)).sum(axis=0)
    covered, uncovered = float(counts[known].sum()), float(counts[~known].sum())
    if not covered:
        raise DataError("no target sample lies on a node with reference values; reference and target are apart")
    width = (histograms["bin_right"] - histograms["bin_left"]).values
    names = {"units": "1"}
    result = xr.Dataset(
        {
            "histogram": ("bin", np.array(inner), {"long_name": "target expected in the bin", **names}),
            "density": ("bin", np.array(inner) / width / covered, {"long_name": "density of the target"}),
            "below": ((), below, {"long_name": "target expected below the bins", **names}),
            "above": ((), above, {"long_name": "target expected above the bins", **names}),
            "covered_count": ((), covered, {"long_name": "target on nodes with reference values", **names}),
            "uncovered_count": ((), uncovered, {"long_name": "target on nodes without them, left out", **names}),
            "covered_share": ((), covered / (covered + uncovered), {"long_name": "share that is covered", **names}),
        },
        coords={name: histograms[name] for name in ("bin", "bin_left", "bin_right")},
        attrs={"som_dask_version": __version__},
    )
    return make_plain(result)


def _counts_of(target: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the target count of each node, (rows, cols) float64."""
    if isinstance(target, xr.Dataset):
        if "target_count" not in target:
            raise ParameterError("the target lacks target_count; give what coverage makes, or a number for each node")
        target = target["target_count"]
    if isinstance(target, xr.DataArray):
        if set(target.dims) != set(NODES):
            raise ParameterError(f"target counts need the dimensions row and col, got {target.dims}")
        target = target.transpose(*NODES)
    counts = np.asarray(target)
    if counts.shape != shape or counts.dtype.kind not in "iufb":
        raise ParameterError(
            f"target counts are a number for each of the {shape[0]} x {shape[1]} nodes, got shape {counts.shape} of "
            f"{counts.dtype}"
        )
    counts = counts.astype(np.float64)
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ParameterError("target counts must be finite, and 0 or more")
    return counts
