"""Manifests of a registry: what is known about a model, and where it came from."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import xarray as xr

from som_dask.io.attributes import read_attributes
from som_dask.io.digest import DIGEST, json_digest, to_json
from som_dask.io.model_key import ModelKey

__all__ = ["Entry", "provenance"]

FORMAT = "som_dask registry 1"
PACKAGE = Path(__file__).parent.parent
KEYS = ("key", "parent", "promoted_from")
METRICS = ("quantization_error", "topographic_error")
# Attributes of a model that describe the result; all others are parameters of its training.
RESULTS = {
    "format",
    "som_dask_version",
    "codebook_sha256",
    DIGEST,
    "input",
    "samples",
    "sample_dtype",
    "features_named",
    "features_chosen",
    "data_fingerprint",
    "started",
    "finished",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a registry knows about one model: the contents of its manifest.

    Attributes
    ----------
    key : ModelKey
    created : str
        When the model was saved, ISO 8601 in UTC with microseconds.
    sha256 : str
        Digest of the complete model; see `som_dask.io.digest.dataset_digest`.
    parent : ModelKey or None
        The revision that this one succeeds.
    promoted_from : ModelKey or None
        The model that this one is a copy of.
    parameters : dict
        Lattice and training configuration.
    metrics : dict of str to float or None
        Errors of the final codebook: "quantization_error" in the data's units, "topographic_error" as a share of
        the samples.
    features : list of str
    input : str or None
        Description of the samples.
    samples : int or None
        Number of samples.
    data_fingerprint : str or None
        Fingerprint of all samples; the same data have the same fingerprint in any chunks.
    trained_with : str or None
        Version of som_dask that trained the model.
    started, finished : str or None
        When training started and finished, ISO 8601 in UTC.
    git_commit : str or None
        Commit of the checkout that the package runs from, 40 hexadecimal digits; None if it does not run from one.
    git_modified : bool or None
        Whether files of that checkout differed from the commit.
    """

    key: ModelKey
    created: str
    sha256: str
    parent: ModelKey | None
    promoted_from: ModelKey | None
    parameters: dict[str, Any]
    metrics: dict[str, float | None]
    features: list[str]
    input: str | None
    samples: int | None
    data_fingerprint: str | None
    trained_with: str | None
    started: str | None
    finished: str | None
    git_commit: str | None
    git_modified: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dict of JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {name: str(values[name]) for name in KEYS if values[name] is not None}

    def to_json(self) -> bytes:
        """Convert to the bytes of a manifest: the entry, and a digest of it."""
        values = {"format": FORMAT, **self.to_dict()}
        return json.dumps({**values, "manifest_sha256": json_digest(values)}, indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Entry:
        """Read an entry from the bytes of a manifest, the reverse of `to_json`.

        Parameters
        ----------
        data : bytes

        Returns
        -------
        Entry

        Raises
        ------
        ValueError, KeyError, TypeError
            If the manifest is damaged or has another format.
        """
        values = json.loads(data)
        if not isinstance(values, dict) or values.pop("manifest_sha256", None) != json_digest(values):
            raise ValueError("its digest does not match")
        if values.pop("format") != FORMAT:
            raise ValueError("it is of another version of som_dask")
        values |= {name: ModelKey.parse(values[name]) for name in KEYS if values[name] is not None}
        return cls(**values)


def provenance(dataset: xr.Dataset) -> dict[str, Any]:
    """Find out where a model came from, from its attributes and the package's checkout.

    Parameters
    ----------
    dataset : xarray.Dataset
        A model.

    Returns
    -------
    dict
        Fields of `Entry`.
    """
    attrs = to_json(read_attributes(dataset.attrs))
    names = ("input", "samples", "data_fingerprint", "started", "finished")
    commit, modified = _git_commit()
    return {
        "parameters": {name: value for name, value in attrs.items() if name not in RESULTS},
        "metrics": {name: to_json(dataset[name].values[-1]) for name in METRICS if name in dataset},
        "features": [str(name) for name in dataset["feature"].values],
        **{name: attrs.get(name) for name in names},
        "trained_with": attrs.get("som_dask_version"),
        "git_commit": commit,
        "git_modified": modified,
    }


def _git_commit() -> tuple[str | None, bool | None]:
    """Return the commit of the package's checkout and whether files differ from it; None without checkout or git."""
    checkout = PACKAGE.parent
    if not (checkout / ".git").exists():  # an installed package may lie within the checkout of another project
        return None, None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
        description = done.stdout.strip()
        return description.removesuffix("-dirty"), description.endswith("-dirty")
    return None, None
