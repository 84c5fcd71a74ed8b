"""A registry of trained maps with versions and provenance, in which a model is complete or does not exist.

Nothing is pickled. A revision is never given to a second model, so the claim stays when a model is deleted. See
`som_dask.io.model_folders` for the layout of the files.
"""

from __future__ import annotations

import builtins
import os
import warnings
from dataclasses import replace
from typing import Any

import xarray as xr

from som_dask._version import __version__
from som_dask.errors import ModelNotFoundError, ParameterError, StorageError
from som_dask.io.digest import dataset_digest
from som_dask.io.files import is_url, read_bytes
from som_dask.io.manifest import Entry, provenance
from som_dask.io.model_folders import ModelFolders
from som_dask.io.model_key import ModelKey, Reference, check_name
from som_dask.io.outputs import check_apart, check_free
from som_dask.io.revisions import model_to_dataset, open_revision, write_revision

__all__ = ["ENVIRONMENT", "MODEL_VERSION", "PROMOTED", "Registry", "resolve"]

ENVIRONMENT, PROMOTED, MODEL_VERSION = "dev", "prod", "1"  # the defaults
Entries = list[Entry]  # within the class, `list` is a method


class Registry:
    """Trained maps under one root, by environment, name, code version, model version and revision.

    Parameters
    ----------
    root : str or path-like
        A local folder or an fsspec URL. The first `save` creates it.
    environment : str
        The environment that `save`, `load` and `list` use: "dev", "prod", or any other name.

    Raises
    ------
    ParameterError
        If the environment is not a valid name, or if the root is empty.
    StorageError
        If the protocol of the root is unknown.

    Notes
    -----
    Two writers never get the same revision on local disks, in memory, and on object stores with conditional writes
    (S3, Google, Azure, with current s3fs, gcsfs, adlfs). On other stores, two processes that save at the same
    moment may. Then the later one ends with an error, or the digest does not match when the model is loaded.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> registry = som.Registry("models")
    >>> key = registry.save(model, "colors")
    >>> key.environment, key.name, key.revision
    ('dev', 'colors', 1)
    >>> dict(registry.load("colors")["codebook"].sizes)
    {'row': 4, 'col': 5, 'feature': 3}
    """

    def __init__(self, root: str | os.PathLike[str], environment: str = ENVIRONMENT) -> None:
        self.environment = check_name("environment", environment)
        self._folders = ModelFolders(root)
        self.root = self._folders.root

    def __repr__(self) -> str:
        return f"Registry({self.root!r}, environment={self.environment!r})"

    # What there is

    def path(self, key: ModelKey | str) -> str:
        """Return the path or URL of the Zarr store of a model.

        Parameters
        ----------
        key : ModelKey or str

        Returns
        -------
        str

        Raises
        ------
        ParameterError
            If the key is not valid.

        Examples
        --------
        >>> import som_dask as som
        >>> som.Registry("memory://models").path("dev/colors/0.1.0/1/1")
        'memory://models/dev/colors/0.1.0/1/1/model.zarr'
        """
        return self._folders.model(key)

    def environments(self) -> builtins.list[str]:
        """List the names of all environments that contain something, sorted.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> registry.environments()
        ['dev']
        """
        return self._folders.environments()

    def list(self) -> Entries:
        """List all models of this environment, by the time they were saved and then by key, newest first.

        Returns
        -------
        list of Entry

        Warns
        -----
        UserWarning
            If a manifest is damaged. Its model is left out.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> [(entry.key.name, entry.key.revision) for entry in registry.list()]
        [('colors', 1)]
        """
        entries = []
        for key in self._folders.keys(self.environment):
            try:
                entries.append(self.entry(key))
            except ModelNotFoundError:
                continue  # deleted in the meantime
            except StorageError as error:
                warnings.warn(str(error), stacklevel=2)
        return sorted(entries, key=lambda entry: (entry.created, entry.key.sort_key()), reverse=True)

    def find(
        self,
        name: str,
        code_version: str | None = None,
        model_version: str | None = None,
        revision: int | None = None,
    ) -> ModelKey:
        """Find the key of a model. Parts that are left out mean the newest.

        The newest model has the highest code version; among those, the highest model version; and among those, the
        highest revision. Versions are compared by their numbers: 1.10.0 is newer than 1.9.0.

        Parameters
        ----------
        name : str
        code_version, model_version : str, optional
        revision : int, optional

        Returns
        -------
        ModelKey

        Raises
        ------
        ModelNotFoundError
            If there is no such model; the message lists what there is.
        ParameterError
            If a part is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> second = registry.save(model, "colors")
        >>> registry.find("colors") == second, registry.find("colors", revision=1) == key
        (True, True)
        """
        wanted = Reference(name, self.environment, code_version, model_version, revision)
        found = tuple(self._folders.keys(self.environment, wanted))
        if not found:
            raise self._folders.not_found(wanted)
        return max(found, key=ModelKey.sort_key)

    def entry(self, key: ModelKey | str) -> Entry:
        """Read what is known about a model of any environment.

        Parameters
        ----------
        key : ModelKey or str

        Returns
        -------
        Entry

        Raises
        ------
        ModelNotFoundError
            If there is no such model.
        StorageError
            If its manifest is damaged.
        ParameterError
            If the key is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> registry.entry(key).key == key
        True
        """
        key = ModelKey.parse(key)
        if not self._folders.is_complete(key):
            raise self._folders.not_found(key)
        path = self._folders.manifest(key)
        try:
            entry = Entry.from_json(read_bytes(path))
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"the manifest {path} is damaged ({error}); restore it or delete {key}") from error
        if entry.key != key:
            raise StorageError(f"the manifest {path} is of {entry.key}; restore it or delete {key}")
        return entry

    # Reading and writing

    def load(
        self,
        name: str,
        code_version: str | None = None,
        model_version: str | None = None,
        revision: int | None = None,
    ) -> xr.Dataset:
        """Load a model, and check that it is the one that was saved.

        Parameters
        ----------
        name : str
        code_version, model_version : str, optional
        revision : int, optional
            Parts that are left out mean the newest; see `find`.

        Returns
        -------
        xarray.Dataset
            The model, in memory; see `som_dask.io.models.model_dataset`.

        Raises
        ------
        ModelNotFoundError
            If there is no such model.
        StorageError
            If the model or its manifest is damaged.
        ParameterError
            If a part is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> dict(registry.load("colors")["codebook"].sizes)
        {'row': 4, 'col': 5, 'feature': 3}
        """
        return self.load_key(self.find(name, code_version, model_version, revision))

    def load_key(self, key: ModelKey | str) -> xr.Dataset:
        """Load a model of any environment by its key, and check that it is the one that was saved.

        Parameters
        ----------
        key : ModelKey or str

        Returns
        -------
        xarray.Dataset
            The model, in memory.

        Raises
        ------
        ModelNotFoundError
            If there is no such model.
        StorageError
            If the model or its manifest is damaged.
        ParameterError
            If the key is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> dict(registry.load_key(key)["codebook"].sizes)
        {'row': 4, 'col': 5, 'feature': 3}
        """
        entry = self.entry(key)
        return open_revision(self._folders, entry.key, entry.sha256)

    def save(
        self,
        model: Any,
        name: str,
        *,
        model_version: str = MODEL_VERSION,
        parent: ModelKey | str | None = None,
        revision: int | None = None,
    ) -> ModelKey:
        """Save a model under the next revision of its name.

        Its code version is that of the running som_dask. The model is read back and compared before its manifest
        is written.

        Parameters
        ----------
        model : xarray.Dataset, or an object whose ``to_dataset()`` returns one
            What `som_dask.train` returns.
        name : str
        model_version : str
            A version that you choose, for example for a set of features or a lattice.
        parent : ModelKey or str, optional
            The revision that the model succeeds. By default this is the newest earlier revision of the same name
            and versions.
        revision : int, optional
            By default one more than the highest revision that was ever given.

        Returns
        -------
        ModelKey

        Raises
        ------
        ModelExistsError
            If `revision` was given to a model before. This is a `FileExistsError`.
        ModelNotFoundError
            If the parent is not in the registry.
        ParameterError
            If a part of the key is not valid, or if `model` is not a model.
        StorageError
            If the model can't be written. Then nothing is left of it, but its revision may be skipped.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> registry.save(model, "colors").revision
        2
        """
        number = 1 if revision is None else revision
        key = ModelKey(self.environment, name, __version__, model_version, number)
        dataset = model_to_dataset(model)
        before = None if parent is None else self.entry(parent).key
        entry = Entry(
            key=key,
            created="",
            sha256=dataset_digest(dataset),
            parent=before,
            promoted_from=None,
            **provenance(dataset),
        )
        return write_revision(self._folders, dataset, entry, next_free=revision is None)

    def check_can_save(self, name: str, model_version: str = MODEL_VERSION) -> None:
        """Check, before any work is done, that a model can be saved under this name.

        Parameters
        ----------
        name, model_version : str

        Raises
        ------
        ParameterError
            If a part of the key is not valid.
        StorageError
            If the folder of the model is not writable.

        Examples
        --------
        >>> import som_dask as som
        >>> som.Registry("models").check_can_save("colors")
        """
        key = ModelKey(self.environment, name, __version__, model_version, 1)
        folder = os.path.dirname(self._folders.folder(key))
        check_apart(folder, kind="registry")
        if not is_url(folder):
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise StorageError(f"can't write to {folder}: {error.strerror}; choose another registry") from error
        check_free(f"{folder}/model", overwrite=False)

    def promote(self, key: ModelKey | str, to: str = PROMOTED) -> ModelKey:
        """Copy a model and its provenance to another environment, as the next revision there.

        Parameters
        ----------
        key : ModelKey or str
            The model, which is not changed.
        to : str
            The other environment.

        Returns
        -------
        ModelKey
            The key of the copy. Its entry has the original's key as `promoted_from`.

        Raises
        ------
        ModelNotFoundError
            If there is no such model.
        ParameterError
            If the model is in that environment already.
        StorageError
            If the model is damaged, or if the copy can't be written.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> registry.promote(key).environment
        'prod'
        """
        source = self.entry(key)
        if check_name("environment", to) == source.key.environment:
            raise ParameterError(f"{source.key} is in {to} already; promote it to another environment")
        dataset = open_revision(self._folders, source.key, source.sha256).drop_encoding()
        copy = replace(source, key=replace(source.key, environment=to, revision=1), promoted_from=source.key)
        return write_revision(self._folders, dataset, copy, next_free=True)

    def delete(self, key: ModelKey | str) -> None:
        """Remove a model, its manifest first, so that a model that is only partly deleted can't be loaded.

        This also removes what a killed `save` or `delete` has left behind. The revision is never given again.

        Parameters
        ----------
        key : ModelKey or str

        Raises
        ------
        ModelNotFoundError
            If there is nothing to remove.
        StorageError
            If a file can't be removed.
        ParameterError
            If the key is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
        >>> registry = som.Registry("models")
        >>> key = registry.save(model, "colors")
        >>> registry.delete(key)
        >>> registry.list()
        []
        """
        key = ModelKey.parse(key)
        if self._folders.is_empty(key):
            raise self._folders.not_found(key)
        try:
            self._folders.clear(key)
        except OSError as error:
            folder = self._folders.folder(key)
            raise StorageError(f"can't delete {folder}: {error.strerror or error}; delete {key} again") from error


def resolve(reference: str, root: str | os.PathLike[str]) -> ModelKey:
    """Find the key of the model that a reference means.

    Parameters
    ----------
    reference : str
        ``NAME@ENVIRONMENT[:CODE_VERSION[/MODEL_VERSION[/REVISION]]]``, where parts that are left out mean the
        newest; or a key.
    root : str or path-like
        The registry's folder or fsspec URL.

    Returns
    -------
    ModelKey

    Raises
    ------
    ParameterError
        If `reference` is not a reference.
    ModelNotFoundError
        If there is no such model.
    """
    wanted = Reference.parse(reference)
    registry = Registry(root, wanted.environment)
    return registry.find(wanted.name, wanted.code_version, wanted.model_version, wanted.revision)
