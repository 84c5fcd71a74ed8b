"""The folders of a registry, on disk or at a URL: which models there are, and which writer a folder belongs to.

One folder holds one model: ``ROOT/environment/name/code_version/model_version/revision/`` with ``claim``,
``model.zarr`` and ``manifest.json``. The claim is created first and gives the revision to one writer; the manifest is
written last, and a folder without it holds no model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from som_dask.errors import ModelNotFoundError, ParameterError, SomError, StorageError
from som_dask.io.files import create, is_url, local_path, make_durable, names_in, read_bytes, remove, resolve_url
from som_dask.io.leftovers import has_ended
from som_dask.io.model_key import NUMBER, ModelKey, Reference, check_name

__all__ = ["ModelFolders"]

CLAIM, MODEL, MANIFEST = "claim", "model.zarr", "manifest.json"


class ModelFolders:
    """The folders of all models under one root.

    Parameters
    ----------
    root : path or fsspec URL
        It need not exist.

    Raises
    ------
    ParameterError
        If the root is empty.
    StorageError
        If the protocol of the root is unknown.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        path = local_path(root)  # as a path it has the system's own guarantees
        if not path:
            raise ParameterError("the registry's root is empty; give a path or URL")
        if is_url(path):
            resolve_url(path)
        self.root = path.rstrip("/") or "/"

    # Paths

    def folder(self, key: ModelKey | str) -> str:
        """Path of the folder of a model."""
        return f"{self.root}/{ModelKey.parse(key)}"

    def model(self, key: ModelKey | str) -> str:
        """Path of the Zarr store of a model."""
        return f"{self.folder(key)}/{MODEL}"

    def manifest(self, key: ModelKey | str) -> str:
        """Path of the manifest of a model."""
        return f"{self.folder(key)}/{MANIFEST}"

    # What there is

    def list_folder(self, folder: str) -> list[str]:
        """List the names of everything in a folder, as it is now; none if there is no such folder."""
        try:
            return names_in(folder)
        except OSError as error:
            raise StorageError(f"can't read {folder}: {error.strerror or error}; check the registry") from error

    def environments(self) -> list[str]:
        """Names of all environments that contain something, sorted."""
        if not is_url(self.root) and os.path.lexists(self.root) and not os.path.isdir(self.root):
            raise StorageError(f"{self.root} is not a folder; check the registry")
        return sorted(name for name in self._parts(self.root) if self._parts(f"{self.root}/{name}"))

    def keys(self, environment: str, wanted: Reference | None = None) -> Iterator[ModelKey]:
        """Iterate over the keys of all complete models of an environment, in any order.

        Parameters
        ----------
        environment : str
        wanted : Reference, optional
            Only models that match it.
        """
        parts: tuple[str | None, ...] = (None, None, None)
        if wanted is not None:
            parts = (wanted.name, wanted.code_version, wanted.model_version)
        paths: list[tuple[str, ...]] = [(environment,)]
        for part in parts:
            paths = [
                (*path, name)
                for path in paths
                for name in ([part] if part is not None else self._parts("/".join((self.root, *path))))
            ]
        for path in paths:
            for revision in self.revisions("/".join((self.root, *path))):
                if wanted is None or wanted.revision in (None, revision):
                    key = ModelKey(*path, revision)  # type: ignore[call-arg, arg-type]
                    if self.is_complete(key):
                        yield key

    def revisions(self, folder: str) -> list[int]:
        """Revisions that have ever been given in the folder of a version, of complete models or not."""
        return [int(name) for name in self._parts(folder) if NUMBER.fullmatch(name)]

    def is_complete(self, key: ModelKey) -> bool:
        """Whether there is a model of this key, with its manifest."""
        return MANIFEST in self.list_folder(self.folder(key))

    def is_empty(self, key: ModelKey) -> bool:
        """Whether nothing but perhaps a claim lies in the folder of a key."""
        return not set(self.list_folder(self.folder(key))) - {CLAIM}

    def not_found(self, what: ModelKey | Reference) -> ModelNotFoundError:
        """Make the error for a missing model; its message tells which models there are instead."""
        return ModelNotFoundError(f"{self.root} has no model {what}; {self._there_is(what.name, what.environment)}")

    def _there_is(self, name: str, environment: str) -> str:
        names = sorted(self._parts(f"{self.root}/{environment}"))
        if name not in names:
            held = f"{environment} holds {_enumerate(names)}" if names else f"{environment} is empty"
            others = [other for other in self.environments() if other != environment]
            return f"{held}, and there is {_enumerate(others)}" if others else held
        keys = sorted(self.keys(environment, Reference(name, environment)), key=ModelKey.sort_key, reverse=True)
        return f"there is {_enumerate([str(key) for key in keys])}" if keys else f"nothing is left of {name}"

    def _parts(self, folder: str) -> list[str]:
        """Names in a folder that can be parts of keys."""
        return [name for name in self.list_folder(folder) if _is_part(name)]

    # Writing

    def claim(self, key: ModelKey, token: bytes) -> bool:
        """Claim the folder of a key for one writer.

        Parameters
        ----------
        key : ModelKey
        token : bytes
            What this writer alone knows, and by which `clear_abandoned` can tell whether it has ended.

        Returns
        -------
        bool
            False if the folder was claimed before.
        """
        folder = self.folder(key)
        # A model that was copied here without its claim must not be lost.
        return create(f"{folder}/{CLAIM}", token) and self.list_folder(folder) == [CLAIM]

    def owns(self, key: ModelKey, token: bytes) -> bool:
        """Whether the folder still belongs to the writer that claimed it with this token."""
        return read_bytes(f"{self.folder(key)}/{CLAIM}") == token

    def clear(self, key: ModelKey) -> None:
        """Remove everything but the claim, the manifest first."""
        folder = self.folder(key)
        remove(f"{folder}/{MANIFEST}")
        make_durable([folder])
        for name in self.list_folder(folder):
            if name != CLAIM:
                remove(f"{folder}/{name}")

    def clear_abandoned(self, folder: str) -> None:
        """Clear the revisions in the folder of a version that killed processes of this machine did not finish."""
        for revision in self.revisions(folder):
            place = f"{folder}/{revision}"
            names = set(self.list_folder(place))
            if MANIFEST in names or CLAIM not in names or names == {CLAIM}:
                continue
            if has_ended(read_bytes(f"{place}/{CLAIM}").decode(errors="replace")):
                for name in names - {CLAIM}:
                    remove(f"{place}/{name}")

    def give_up(self, key: ModelKey, token: bytes) -> None:
        """Remove everything, if the folder still belongs to the writer with this token."""
        if self.owns(key, token):
            self.clear(key)
            remove(f"{self.folder(key)}/{CLAIM}")  # the last step: from here on the folder may be another's


def _is_part(name: str) -> bool:
    """Whether a name can be a part of a key."""
    try:
        check_name("name", name)
    except SomError:
        return False
    return True


def _enumerate(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
