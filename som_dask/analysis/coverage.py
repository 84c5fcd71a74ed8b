"""Which nodes hold reference samples, whose truth is known, and which hold only samples without them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.bin_counts import BinCounts
from som_dask.analysis.by_node import NODES, add_up_by_node, bmus_of, lattice_from, weights_of
from som_dask.errors import DataError
from som_dask.io.attributes import make_plain
from som_dask.io.models import positions_of

__all__ = ["coverage"]

NO_EDGES = np.empty(0)


def coverage(
    reference: xr.Dataset,
    target: xr.Dataset,
    model: Any,
    *,
    reference_weights: Any = None,
    target_weights: Any = None,
) -> xr.Dataset:
    """Compare where on the map reference samples and target samples lie.

    Reference samples are those of which more is known, such as galaxies with spectra; target samples are those that
    are to be learned about by the map. A node with target samples but without reference samples is not covered:
    nothing can be said of these samples (Masters et al., *Mapping the galaxy color-redshift relation*, ApJ 813, 53,
    2015).

    Parameters
    ----------
    reference, target : xarray.Dataset
        Labels, as `som_dask.infer` gives them, by the same model. In memory, or lazy: then they are read block by
        block.
    model : xarray.Dataset, path or URL of a saved model, or Lattice
    reference_weights, target_weights : "area", DataArray or array, optional
        How much each sample counts, as for `som_dask.summarize_labels`. Samples of weight 0 are left out.

    Returns
    -------
    xarray.Dataset
        ``reference_count`` and ``target_count (row, col)``: int64, with weights float64 sums of weights, whose last
        digits may depend on the blocks. ``covered (row, col)``, whether the node has reference samples.
        ``reference_weight (row, col)``: the target count divided by the reference count, which is how much each
        reference sample of the node stands for (Lima et al., *Estimating the redshift distribution of photometric
        galaxy samples*, MNRAS 390, 118, 2008); NaN where there are no reference samples. For the map:
        ``covered_share``, the share of the target samples that lie on covered nodes, and ``uncovered_nodes``, the
        number of nodes with target but without reference samples. The attributes hold the numbers of samples
        counted and left out.

    Raises
    ------
    DataError
        If the labels are not of this map, or if no reference or no target sample counts.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> bright = colors[colors.mean(axis=1) > 0.5]
    >>> found = som.coverage(som.infer(bright, model), som.infer(colors, model), model)
    >>> int(found["reference_count"].sum()), int(found["target_count"].sum())
    (27, 40)
    >>> bool(found["covered_share"] < 1)
    True
    """
    lattice = lattice_from(model)
    known = _count(reference, reference_weights, lattice, "reference")
    wanted = _count(target, target_weights, lattice, "target")
    n_known, n_wanted = (counts.counts.reshape(lattice.shape) for counts in (known, wanted))
    covered = n_known > 0
    ratio = np.divide(n_wanted, n_known, out=np.full(lattice.shape, np.nan), where=covered)
    share = float(n_wanted[covered].sum() / n_wanted.sum())
    uncovered = int(np.count_nonzero((n_wanted > 0) & ~covered))
    of_reference, of_target = (
        f"{'number' if weights is None else 'weight'} of the {kind} samples"
        for kind, weights in (("reference", reference_weights), ("target", target_weights))
    )
    result = xr.Dataset(
        {
            "reference_count": (NODES, n_known, {"long_name": of_reference, "units": "1"}),
            "target_count": (NODES, n_wanted, {"long_name": of_target, "units": "1"}),
            "covered": (NODES, covered, {"long_name": "whether the node has reference samples"}),
            "reference_weight": (NODES, ratio, {"long_name": "target for each unit of reference", "units": "1"}),
            "covered_share": ((), share, {"long_name": "share of the target on covered nodes", "units": "1"}),
            "uncovered_nodes": ((), uncovered, {"long_name": "nodes with target but no reference samples"}),
        },
        coords=positions_of(lattice),
        attrs={
            "reference_samples": known.samples,
            "reference_samples_left_out": known.no_node + known.no_value + known.no_weight,
            "target_samples": wanted.samples,
            "target_samples_left_out": wanted.no_node + wanted.no_value + wanted.no_weight,
            "som_dask_version": __version__,
        },
    )
    return make_plain(result)


def _count(labels: xr.Dataset, weights: Any, lattice: Lattice, kind: str) -> BinCounts:
    """Count the samples of each node: without edges all are in one bin, whatever their value."""
    row, _ = bmus_of(labels)
    own = weights_of(labels, weights)
    counts: BinCounts
    (counts,) = add_up_by_node(labels, [row], functools.partial(BinCounts.of, NO_EDGES), lattice, own)
    if not counts.samples:
        weighs = "" if own is None else " and a weight above 0"
        raise DataError(f"no {kind} sample has a node{weighs}, so there is nothing to compare")
    return counts
