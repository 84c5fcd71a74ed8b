"""Open FCS files of cytometers, one or many, on the scale on which cells are compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from som_dask.errors import ParameterError
from som_dask.samples.fcs import is_fcs, name_transform
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples

__all__ = ["open_fcs"]


def open_fcs(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    channels: str | Sequence[str] | None = None,
    cofactor: float | Mapping[str, float] | None = None,
    **options: Any,
) -> Samples:
    """Open FCS files as samples: events are samples, channels are features. Needs the extra ``cells``.

    Only the texts of the files are read now; events are read by flowio when a block is computed, a whole file at a
    time. They are on their linear scale: gains, logarithmic amplification and the time step are applied.
    Compensation is not.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files that have the same channels, in any order of the channels.
    channels : str or sequence of str, optional
        The channels to take, each by $PnN or $PnS (its marker); features are called by what they are chosen by. By
        default all of the first file, each called by its marker if it has one of its own, and otherwise by $PnN.
    cofactor : float or mapping of str to float, optional
        Take ``arcsinh(x / cofactor)`` instead of x; 5 is usual for mass cytometry and 150 for flow cytometry. A
        mapping gives the cofactors of some channels, and the others stay as they are. A map that is trained on such
        samples remembers it, and `som_dask.infer` applies it to the path of an FCS file.
    **options
        As for `som_dask.open_samples`.

    Returns
    -------
    Samples
        In float32 if that holds the stored values, otherwise in float64. Of several files, the coordinate ``file``
        is the number of each sample's file.

    Raises
    ------
    ParameterError
        If flowio is missing, a channel is not there or named by two, or a cofactor is not positive.
    DataError
        If there are no events, or a file lacks channels of the first.
    StorageError
        If a file can't be read.

    Examples
    --------
    >>> import flowio
    >>> import numpy as np
    >>> import som_dask as som
    >>> with open("cells.fcs", "wb") as file:
    ...     _ = flowio.create_fcs(file, [7, 0, 5, 2], ["Ir191Di", "Nd142Di"], opt_channel_names=["DNA", "CD19"])
    >>> samples = som.open_fcs("cells.fcs", channels=["CD19"], cofactor=5)
    >>> samples.feature_names, samples.array.compute().ravel().tolist() == np.arcsinh(np.float32([0, 2]) / 5).tolist()
    (('CD19',), True)
    """
    if not is_fcs(paths):
        raise ParameterError(f"{paths!r} are no paths of FCS files, which end in .fcs; see open_samples for others")
    if options.keys() & {"features", "variable", "variables"}:
        raise ParameterError("name the features by `channels`, and the scale by `cofactor`")
    return open_samples(paths, features=channels, variable=name_transform(cofactor), **options)
