"""Change obs and uns of a stored AnnData object: in a copy, which then takes the place of the store."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import zarr

from som_dask.errors import ParameterError, StorageError
from som_dask.io.files import beside_for_me, local_path, make_durable, remove
from som_dask.io.leftovers import remove_leftovers
from som_dask.io.outputs import lock, publish

__all__ = ["update_anndata_store"]

DOCUMENTS = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")  # the files that are changed in place


def update_anndata_store(
    path: str, columns: Mapping[str, Any], uns: Mapping[str, Any], *, replaced: Iterable[str] = ()
) -> None:
    """Write columns of obs and entries of uns to an ``.h5ad`` file or a Zarr store of AnnData.

    Parameters
    ----------
    path : str
        A local path.
    columns : mapping of str to (n,) array or pandas.Categorical
    uns : mapping of str to object
        What anndata can store: arrays, numbers, texts and dictionaries of these.
    replaced : iterable of str
        Columns that are removed if they are there.

    Raises
    ------
    StorageError
        If it can't be done, or another run is writing there; then the store has not changed.
    """
    path = os.path.realpath(local_path(path).rstrip("/"))
    with lock(path):
        remove_leftovers(path)
        draft = beside_for_me(path)
        try:
            _copy(path, draft)
            _update(draft, columns, uns, {*replaced, *columns})
        except BaseException as error:
            remove(draft)
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                reason = error.strerror or " ".join(str(error).split())
                raise StorageError(f"can't write {path}: {reason}; nothing in it has changed") from error
            raise
        make_durable([draft])
        publish(draft, path, overwrite=True)


def _copy(path: str, draft: str) -> None:
    """Copy a file; of a folder copy what is changed in place, and link the rest."""
    if os.path.isdir(path):
        shutil.copytree(path, draft, copy_function=_link_or_copy)
    else:
        shutil.copy2(path, draft)


def _link_or_copy(source: str, target: str) -> None:
    if os.path.basename(source) not in DOCUMENTS:
        try:
            return os.link(source, target, follow_symlinks=True)
        except OSError:  # of disks without links
            pass
    shutil.copy2(source, target)
    return None


def _update(draft: str, columns: Mapping[str, Any], uns: Mapping[str, Any], names: set[str]) -> None:
    try:
        from anndata.io import write_elem
    except ImportError as error:
        raise ParameterError("AnnData stores need the package anndata: pip install 'som_dask[cells]'") from error
    if not os.path.isdir(draft):
        import h5py

        with h5py.File(draft, "r+") as root:
            order = _write(root, columns, uns, names, write_elem)
            root["obs"].attrs.create("column-order", order, dtype=h5py.string_dtype())
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about consolidated metadata
        found = zarr.open_group(draft, mode="r")
        root = zarr.open_group(draft, mode="r+", use_consolidated=False)
        root["obs"].attrs["column-order"] = _write(root, columns, uns, names, write_elem)
        if found.metadata.consolidated_metadata is not None:
            zarr.consolidate_metadata(root.store)


def _write(root: Any, columns: Mapping[str, Any], uns: Mapping[str, Any], names: set[str], write: Any) -> list[str]:
    """Write to an open store, and return the names of all columns in their order."""
    obs = root["obs"]
    order = [str(name) for name in np.asarray(obs.attrs["column-order"]).tolist() if str(name) not in names]
    for name in names:
        if name in obs:
            del obs[name]
    for name, values in columns.items():
        write(obs, name, values)
    if "uns" not in root:
        write(root, "uns", {})
    for name, value in uns.items():
        if name in root["uns"]:
            del root["uns"][name]
        write(root["uns"], name, value)
    return [*order, *columns]
