"""Checkpoints: written whole or not at all, the last few kept, refused where they are of another run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from som_dask.errors import CheckpointError
from som_dask.io.files import remove, write_bytes

__all__ = ["KEPT", "Checkpoint", "CheckpointFolder"]

KEPT = 3
NAME = re.compile(r"epoch-(\d{6})\.([0-9a-f]{32})\.npz")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run between two epochs.

    Attributes
    ----------
    epochs_done : int
    codebook : (M, D) float64
    history : dict of str to (epochs_done,) float64
        Errors and radius of each epoch done.
    identity : mapping
        What the run is: every parameter and the data's fingerprint, as JSON values.
    """

    epochs_done: int
    codebook: np.ndarray
    history: dict[str, np.ndarray]
    identity: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The checkpoint as an npz file (no pickle)."""
        buffer = io.BytesIO()
        identity = np.frombuffer(json.dumps(dict(self.identity), sort_keys=True).encode(), dtype=np.uint8)
        arrays: dict[str, Any] = {f"history_{name}": values for name, values in self.history.items()}
        np.savez(buffer, codebook=self.codebook, epochs_done=self.epochs_done, identity=identity, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """The reverse of `to_bytes`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            history = {n.removeprefix("history_"): file[n] for n in file.files if n.startswith("history_")}
            identity = json.loads(file["identity"].tobytes())
            return cls(int(file["epochs_done"]), file["codebook"], history, identity)


class CheckpointFolder:
    """The checkpoints of one run, each an npz file whose name carries its epoch and digest.

    Parameters
    ----------
    path : path
        A local folder; made at the first `save`.
    on_save : callable, optional
        Called with each `Checkpoint` and its file once that is whole: a log.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, on_save: Callable[[Checkpoint, Path], None] | None = None
    ) -> None:
        self.path, self.on_save = Path(path), on_save

    def files(self) -> list[Path]:
        """The checkpoint files, oldest first."""
        if not self.path.is_dir():
            return []
        return sorted(file for file in self.path.iterdir() if NAME.fullmatch(file.name))

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and remove all but the last three.

        Raises
        ------
        StorageError
            If it can't be written; those before it are untouched.
        """
        data = checkpoint.to_bytes()
        digest = hashlib.sha256(data).hexdigest()[:32]
        file = self.path / f"epoch-{checkpoint.epochs_done:06d}.{digest}.npz"
        write_bytes(file, data)
        for old in self.files()[:-KEPT]:
            old.unlink(missing_ok=True)
        if self.on_save is not None:
            self.on_save(checkpoint, file)
        return file

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None where there is none at all.

        A damaged one is passed over with a warning.

        Raises
        ------
        CheckpointError
            If there are checkpoints and every one is damaged.
        """
        files = self.files()
        for file in reversed(files):
            try:
                data = file.read_bytes()
                if hashlib.sha256(data).hexdigest()[:32] != NAME.fullmatch(file.name)[2]:  # type: ignore[index]
                    raise ValueError("its digest does not match")
                return Checkpoint.from_bytes(data)
            except (OSError, ValueError, KeyError) as error:
                warnings.warn(f"checkpoint {file} is damaged ({error}); trying the one before", stacklevel=2)
        if files:
            raise CheckpointError(f"every checkpoint in {self.path} is damaged; start again with --overwrite")
        return None

    def resume(self, identity: Mapping[str, Any]) -> Checkpoint:
        """The newest whole checkpoint, if it is of the run described by `identity`.

        Raises
        ------
        CheckpointError
            If there is none, or it is of another configuration or other data; the message names what differs.
        """
        checkpoint = self.latest()
        if checkpoint is None:
            raise CheckpointError(f"there is no checkpoint in {self.path} to resume from; start without --resume")
        found, wanted = checkpoint.identity, json.loads(json.dumps(dict(identity)))
        differing = [
            f"{name} ({found.get(name)} there, {wanted.get(name)} here)"
            for name in sorted({*found, *wanted})
            if found.get(name) != wanted.get(name)
        ]
        if differing:
            raise CheckpointError(
                f"the checkpoint in {self.path} is of another run: it differs in {', '.join(differing)}; "
                f"use the same data and options, or start again with --overwrite"
            )
        return checkpoint

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it."""
        for file in self.files():
            file.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            remove(self.path)
