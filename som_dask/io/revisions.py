"""Write a model under a revision of its own in a registry, and read it back."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import xarray as xr

from som_dask.errors import ModelExistsError, ParameterError, StorageError
from som_dask.io.digest import dataset_digest
from som_dask.io.files import name_me, write_bytes
from som_dask.io.manifest import Entry
from som_dask.io.model_folders import ModelFolders
from som_dask.io.model_key import ModelKey, Reference
from som_dask.io.models import FORMAT, open_model, save_model

__all__ = ["model_to_dataset", "open_revision", "write_revision"]


def model_to_dataset(model: Any) -> xr.Dataset:
    """Convert a model to a Dataset in memory that can be written to any store.

    Parameters
    ----------
    model : xarray.Dataset, or an object whose ``to_dataset()`` returns one

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ParameterError
        If `model` is not a model of som_dask.
    """
    if not isinstance(model, xr.Dataset) and hasattr(model, "to_dataset"):
        model = model.to_dataset()
    if not isinstance(model, xr.Dataset) or model.attrs.get("format") != FORMAT:
        raise ParameterError("this is no som_dask model; save what som_dask.train or som_dask.open_model returns")
    return model.compute().drop_encoding()


def write_revision(folders: ModelFolders, dataset: xr.Dataset, entry: Entry, *, next_free: bool) -> ModelKey:
    """Write a model and its manifest so that there is either a complete model or none.

    The model is read back and compared before its manifest is written.

    Parameters
    ----------
    folders : ModelFolders
    dataset : xarray.Dataset
        The model.
    entry : Entry
        What the manifest says. The time is filled in; so is the parent, if there is none and the model is not a
        copy: it is the newest earlier revision.
    next_free : bool
        Whether to write under the next free revision and not under that of `entry.key`.

    Returns
    -------
    ModelKey
        The key that the model was written under.

    Raises
    ------
    ModelExistsError
        If the revision was given to a model before.
    StorageError
        If the model can't be written, or if another writer has taken the folder.
    """
    token = name_me().encode()
    with contextlib.suppress(OSError):  # that of others is no reason not to save this one
        folders.clear_abandoned(os.path.dirname(folders.folder(entry.key)))
    key = _claim(folders, entry.key, token, next_free=next_free)
    parent = entry.parent
    try:
        save_model(dataset, folders.model(key))
        open_revision(folders, key, entry.sha256)
        if parent is None and entry.promoted_from is None:
            parent = _newest_before(folders, key)
        if not folders.owns(key, token):
            raise StorageError(f"another writer has taken {key} in the meantime; save the model again")
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        write_bytes(folders.manifest(key), replace(entry, key=key, created=now, parent=parent).to_json())
    except BaseException:  # an interrupt must not leave an incomplete model either
        with contextlib.suppress(OSError):
            folders.give_up(key, token)
        raise
    return key


def open_revision(folders: ModelFolders, key: ModelKey, sha256: str) -> xr.Dataset:
    """Load a model, and check that it is the one that was saved.

    Parameters
    ----------
    folders : ModelFolders
    key : ModelKey
    sha256 : str
        Digest of the model that was saved.

    Returns
    -------
    xarray.Dataset
        The model, in memory.

    Raises
    ------
    StorageError
        If the model is missing, damaged, or another one.
    """
    path = folders.model(key)
    dataset = open_model(path)
    if dataset_digest(dataset) != sha256:
        raise StorageError(f"the model {path} is not the one that was saved; restore or delete {key}")
    return dataset


def _claim(folders: ModelFolders, key: ModelKey, token: bytes, *, next_free: bool) -> ModelKey:
    """Claim the revision of a key, or the next free one, and return the key that was claimed."""
    if next_free:
        given = folders.revisions(os.path.dirname(folders.folder(key)))
        key = replace(key, revision=max(given, default=0) + 1)
    while not folders.claim(key, token):
        if not next_free:
            raise ModelExistsError(
                f"{key} was given to a model before; leave the revision out to save under the next one"
            )
        key = replace(key, revision=key.revision + 1)
    return key


def _newest_before(folders: ModelFolders, key: ModelKey) -> ModelKey | None:
    """Return the newest earlier revision of the same name and versions."""
    same = Reference(key.name, key.environment, key.code_version, key.model_version)
    earlier = [other for other in folders.keys(key.environment, same) if other.revision < key.revision]
    return max(earlier, key=ModelKey.sort_key, default=None)
