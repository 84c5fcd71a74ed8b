"""Checkpoints of training runs: written completely or not at all; the last few are kept."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.errors import CheckpointError, ParameterError
from som_dask.io.files import PathOrUrl, is_url, local_path, names_in, read_bytes, remove, remove_all, write_bytes
from som_dask.io.leftovers import remove_leftovers_in
from som_dask.io.outputs import check_apart

__all__ = ["KEPT", "Checkpoint", "CheckpointFolder"]

KEPT = 3
NAME = re.compile(r"epoch-(\d{6})\.([0-9a-f]{32})\.npz")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run between two epochs.

    Attributes
    ----------
    epochs_done : int
        Number of finished epochs.
    codebook : (M, K) float64
        The scaled codebook after these epochs.
    history : dict of str to (epochs_done,) float64
        Errors and radius of each of these epochs.
    identity : mapping
        The identity of the run: all parameters and the fingerprint of the data, as JSON values.
    """

    epochs_done: int
    codebook: np.ndarray
    history: dict[str, np.ndarray]
    identity: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the checkpoint as the bytes of an npz file, without pickle."""
        buffer = io.BytesIO()
        identity = np.frombuffer(json.dumps(dict(self.identity), sort_keys=True).encode(), dtype=np.uint8)
        arrays: dict[str, Any] = {f"history_{name}": values for name, values in self.history.items()}
        np.savez(buffer, codebook=self.codebook, epochs_done=self.epochs_done, identity=identity, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """Read a checkpoint from the bytes that `to_bytes` made.

        Raises
        ------
        ValueError, or whatever NumPy raises
            If they are not such bytes. Compiled code works on the codebook without looking at its kind again.
        """
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            history = {n.removeprefix("history_"): file[n] for n in file.files if n.startswith("history_")}
            identity, codebook, done = json.loads(file["identity"].tobytes()), file["codebook"], file["epochs_done"]
        if codebook.ndim != 2 or codebook.dtype != np.float64 or not np.isfinite(codebook).all():
            raise ValueError("its codebook is not a table of finite float64 numbers")
        if done.shape != () or done.dtype.kind not in "iu" or done < 0:
            raise ValueError("its number of epochs is not a whole number")
        if any(values.shape != (int(done),) or values.dtype != np.float64 for values in history.values()):
            raise ValueError(f"its history is not one of {int(done)} epochs")
        if not isinstance(identity, dict):
            raise ValueError("it does not say which run it is of")
        return cls(int(done), np.ascontiguousarray(codebook), history, identity)


class CheckpointFolder:
    """The checkpoints of one run: npz files whose names hold the number of epochs done and a digest.

    Parameters
    ----------
    path : path or fsspec URL
        The first `save` creates it.
    on_save : callable, optional
        Called with each `Checkpoint` and the path of its file when it is complete, for example to write a log.

    Raises
    ------
    StorageError
        If the folder lies in a Zarr store.
    ParameterError
        If `path` is a file.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> from som_dask.io.checkpoints import CheckpointFolder
    >>> lattice, config = som.Lattice(4, 5), som.MapConfig(epochs=5)
    >>> model = som.train(colors, lattice, config, checkpoints=CheckpointFolder("state"))
    >>> again = som.train(colors, lattice, config, checkpoints=CheckpointFolder("state"), resume="auto")
    >>> again.attrs["codebook_sha256"] == model.attrs["codebook_sha256"]
    True
    """

    def __init__(self, path: PathOrUrl, *, on_save: Callable[[Checkpoint, str], None] | None = None) -> None:
        check_apart(path, kind="folder of checkpoints")
        self.path, self.on_save = local_path(path).rstrip("/") or "/", on_save
        if not is_url(self.path) and os.path.exists(self.path) and not os.path.isdir(self.path):
            raise ParameterError(f"{self.path} is no folder for checkpoints; choose another")

    def files(self) -> list[str]:
        """Return the paths or URLs of the checkpoint files, oldest first."""
        return [f"{self.path}/{name}" for name in sorted(names_in(self.path)) if NAME.fullmatch(name)]

    def save(self, checkpoint: Checkpoint) -> str:
        """Write a checkpoint, and remove all but the last three.

        Returns
        -------
        str
            The path or URL of its file.

        Raises
        ------
        StorageError
            If it can't be written; earlier checkpoints stay.
        """
        data = checkpoint.to_bytes()
        digest = hashlib.sha256(data).hexdigest()[:32]
        file = f"{self.path}/epoch-{checkpoint.epochs_done:06d}.{digest}.npz"
        write_bytes(file, data)
        _remove(self.files()[:-KEPT])
        if self.on_save is not None:
            self.on_save(checkpoint, file)
        return file

    def latest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None if there are no checkpoints.

        Damaged checkpoints are skipped with a warning.

        Raises
        ------
        CheckpointError
            If there are checkpoints, but all are damaged.
        """
        files = self.files()
        for file in reversed(files):
            try:
                data = read_bytes(file)
                if f".{hashlib.sha256(data).hexdigest()[:32]}." not in file.rpartition("/")[2]:
                    raise ValueError("its digest does not match")
                return Checkpoint.from_bytes(data)
            except MemoryError:
                raise
            except Exception as error:  # a damaged archive raises errors of many kinds
                warnings.warn(f"checkpoint {file} is damaged ({error}); trying the one before", stacklevel=2)
        if files:
            raise CheckpointError(
                f"every checkpoint in {self.path} is damaged; remove it, and start without `resume=True`"
            )
        return None

    def resume(self, identity: Mapping[str, Any], like: Checkpoint | None = None) -> Checkpoint:
        """Return the newest complete checkpoint, if it belongs to the run with this `identity`.

        Parameters
        ----------
        identity : mapping
        like : Checkpoint, optional
            The state at the start of the run, whose shape of codebook and kinds of history it must have.

        Raises
        ------
        CheckpointError
            If there is none, or if it belongs to another configuration or to other data; the message names what
            differs.
        """
        checkpoint = self.latest()
        if checkpoint is None:
            raise CheckpointError(
                f"there is no checkpoint in {self.path} to resume from; start without `resume=True`"
            )
        found, wanted = checkpoint.identity, json.loads(json.dumps(dict(identity)))
        differing = [
            f"{name} ({found.get(name)} there, {wanted.get(name)} here)"
            for name in sorted({*found, *wanted})
            if found.get(name) != wanted.get(name)
        ]
        if differing:
            raise CheckpointError(
                f"the checkpoint in {self.path} is of another run: it differs in {', '.join(differing)}; "
                f"use the same data and options, or remove it and start without `resume=True`"
            )
        if like is not None and (
            checkpoint.codebook.shape != like.codebook.shape or set(checkpoint.history) != set(like.history)
        ):
            raise CheckpointError(
                f"the checkpoint in {self.path} does not fit its run: its codebook has shape "
                f"{checkpoint.codebook.shape}, not {like.codebook.shape}, or its history lacks something; "
                f"remove it, and start without `resume=True`"
            )
        return checkpoint

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if it is then empty."""
        _remove(self.files())
        if is_url(self.path):
            return
        remove_leftovers_in(self.path)
        if os.path.isdir(self.path) and not os.listdir(self.path):
            remove(self.path)


def _remove(files: list[str]) -> None:
    """Remove files of one folder; another process may remove them as well."""
    if files and is_url(files[0]):
        remove_all(files)
    else:
        for file in files:
            remove(file)
