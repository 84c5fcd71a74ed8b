"""Infer labels into an AnnData object or store: node, distance and cluster of each cell, and the map itself."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Missing
from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.clusters import clusters as cluster_nodes
from som_dask.analysis.labels import LabelTask
from som_dask.analysis.node_counts import flatten_nodes
from som_dask.analysis.node_medians import find_node_medians
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.io.anndata_store import update_anndata_store
from som_dask.io.files import is_url
from som_dask.io.models import lattice_of, open_model
from som_dask.passes.compute import compute
from som_dask.samples.anndata_input import is_anndata, is_anndata_store
from som_dask.samples.for_model import open_samples_for

__all__ = ["infer_to_anndata"]

COLUMNS = ("row", "col", "node", "distance", "cluster")  # in obs, each after the key


def infer_to_anndata(
    target: Any,
    model: Any,
    *,
    layer: str | None = None,
    clusters: int | xr.Dataset | xr.DataArray | None = None,
    medians: bool = True,
    key: str = "som",
    missing: Missing | None = None,
    device: str = "cpu",
) -> None:
    """Infer labels of cells into the AnnData object or store that holds them. Needs the extra ``cells``.

    A store changes as a whole or not at all: a copy beside it is changed and takes its place, so that one which is
    killed leaves the old one. Chunks of a Zarr store are not copied but linked, where the disk can do that; an
    ``.h5ad`` file is copied, for which the disk must have room. Cells are read block by block, but their labels, 24
    bytes for each, are held in this process, as anybody does who opens such a store.

    Parameters
    ----------
    target : AnnData, or path of an ``.h5ad`` file or of a Zarr store of AnnData
        Of an object backed by a file, the object is changed and not the file.
    model : xarray.Dataset, or path or URL of a saved model
    layer : str, optional
        The layer to label; by default that of training, or X.
    clusters : int, Dataset or DataArray, optional
        Result of `som_dask.clusters`, your own cluster numbers ``(row, col)``, or a number of clusters to make.
    medians : bool
        Whether the medians of the features over the cells of each node are computed, exactly, in a few more passes
        over the data.
    key : str
        What the names of all that is written begin with.
    missing, device
        As for `som_dask.infer`.

    Notes
    -----
    Written to ``obs``: ``som_row``, ``som_col`` and ``som_node`` (int32, -1 for cells that are left out; node i is at
    ``divmod(i, cols)``), ``som_distance`` (float64, as by `som_dask.infer`; NaN for cells that are left out) and,
    with `clusters`, ``som_cluster`` (categories "0", "1" ...).

    Written to ``uns["som"]``: ``codebook`` (M, D) float64 in the data's units, ``features`` (D), ``medians`` (M, D)
    float64 with NaN for nodes without cells, ``hits`` (M) int64, the numbers of these cells, ``coordinates`` (M, 2)
    float64, x and y of the nodes in lattice units, ``cluster`` (M) int32, and ``rows``, ``cols``, ``topology``,
    ``boundary``, ``layer``, ``codebook_sha256`` and ``som_dask_version``.

    Raises
    ------
    ParameterError
        If `target` is not of AnnData, or is a part of another object, or there is no such layer.
    SchemaError
        If the features are not those of the model.
    DataError
        If a value is infinite, or NaN although none may be missing, or the clusters are not of this map.
    StorageError
        If the store can't be written, or another run is writing it; then it has not changed.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> import pandas as pd
    >>> import som_dask as som
    >>> values = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    >>> cells = anndata.AnnData(values, var=pd.DataFrame(index=["CD3", "CD4", "CD8"]))
    >>> model = som.train(cells, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> som.infer_to_anndata(cells, model, clusters=3)
    >>> list(cells.obs)
    ['som_row', 'som_col', 'som_node', 'som_distance', 'som_cluster']
    >>> cells.uns["som"]["medians"].shape
    (20, 3)
    """
    if not isinstance(key, str) or not key or "/" in key:
        raise ParameterError(f"`key` must be a name without a slash, got {key!r}")
    _check_target(target)
    model = open_model(model)
    of_nodes = _cluster_nodes(model, clusters)
    samples = open_samples_for(model, target, **({} if layer is None else {"layer": layer}))
    task = LabelTask.of(samples, model, missing, device).in_small_blocks()
    (labels,) = compute(task.make_table())
    columns = _make_columns(labels, lattice_of(model), of_nodes)
    columns = {f"{key}_{name}": values for name, values in columns.items()}
    about = _describe(task, columns[f"{key}_node"], of_nodes, medians)
    ours = {f"{key}_{name}" for name in COLUMNS}
    if is_anndata(target):
        target.obs = target.obs.drop(columns=[name for name in ours if name in target.obs]).assign(**columns)
        target.uns[key] = about
    else:
        update_anndata_store(os.fspath(target), columns, {key: about}, replaced=ours)


def _check_target(target: Any) -> None:
    if is_anndata(target):
        if target.is_view:
            raise ParameterError("the AnnData object is a part of another; give its copy()")
    elif not is_anndata_store(target):
        raise ParameterError(
            "labels go into an AnnData object, or the path of an .h5ad file or a Zarr store of AnnData; "
            "use infer_to_store for others"
        )
    elif is_url(target):
        raise StorageError(f"{os.fspath(target)} can't be replaced in one step; write to a path, and copy that")


def _cluster_nodes(model: xr.Dataset, clusters: Any) -> np.ndarray | None:
    """Return the cluster of each node, (M,) int32."""
    if clusters is None:
        return None
    if isinstance(clusters, (int, np.integer)):
        clusters = cluster_nodes(model, int(clusters))
    table = clusters["cluster"] if isinstance(clusters, xr.Dataset) else clusters
    values, shape = np.asarray(table.transpose("row", "col").values), lattice_of(model).shape
    if values.dtype.kind not in "iu" or values.shape != shape:
        raise DataError(f"clusters must be whole numbers of {shape} nodes, got {values.dtype} of {values.shape}")
    return values.ravel().astype(np.int32)


def _make_columns(labels: np.ndarray, lattice: Lattice, of_nodes: np.ndarray | None) -> dict[str, Any]:
    """Make the columns of a table of labels, (n, 3): row, col and distance."""
    node = flatten_nodes(labels[:, 0], labels[:, 1], lattice).astype(np.int32)
    out = node < 0
    row, col = (np.where(out, -1, labels[:, i]).astype(np.int32) for i in range(2))
    columns: dict[str, Any] = {"row": row, "col": col, "node": node, "distance": labels[:, 2].copy()}
    if of_nodes is not None:
        numbers = np.unique(of_nodes)
        codes = np.where(out, -1, np.searchsorted(numbers, of_nodes)[node])
        columns["cluster"] = pd.Categorical.from_codes(codes, _as_texts(numbers))
    return columns


def _as_texts(values: Any) -> pd.Index:
    """Return texts as objects, which every release of anndata can store."""
    return pd.Index([str(value) for value in values], dtype=object)


def _describe(task: LabelTask, nodes: np.ndarray, of_nodes: np.ndarray | None, medians: bool) -> dict[str, Any]:
    """Return the map and what is known of its nodes, in arrays, numbers and texts alone."""
    model, lattice = task.model, lattice_of(task.model)
    codebook = model["codebook"].transpose("row", "col", "feature").values
    about: dict[str, Any] = {
        "codebook": np.array(codebook.reshape(lattice.n_nodes, -1), dtype=np.float64),
        "features": np.array(task.samples.feature_names, dtype=object),
        "hits": np.bincount(nodes[nodes >= 0], minlength=lattice.n_nodes).astype(np.int64),
        "coordinates": np.array(lattice.positions(), dtype=np.float64),
        "rows": lattice.rows,
        "cols": lattice.cols,
        "topology": lattice.topology,
        "boundary": lattice.boundary,
        "layer": ",".join(task.samples.variables),
        "codebook_sha256": str(model.attrs["codebook_sha256"]),
        "som_dask_version": __version__,
    }
    if medians:
        about["medians"] = find_node_medians(nodes, task.samples.array, lattice.n_nodes)
    if of_nodes is not None:
        about["cluster"] = of_nodes
    return about
