"""KohonenMap: the map as one object, for those who want no more than to train it, look at it and use it."""

from __future__ import annotations

import base64
import html
import inspect
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.algorithm.lattice import Boundary, Lattice, Topology
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.clusters import cluster_codebook
from som_dask.analysis.label_store import assign
from som_dask.analysis.soft_labels import assign_soft
from som_dask.engine.device import Device
from som_dask.errors import ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.io.models import lattice_of, open_model, save_model
from som_dask.plotting.classes import plot_clusters, plot_label_pies, plot_majority
from som_dask.plotting.fields import plot_fields
from som_dask.plotting.history import plot_training
from som_dask.plotting.maps import plot_colors, plot_hits, plot_u_matrix, save_figure
from som_dask.plotting.planes import plot_plane, plot_planes
from som_dask.plotting.profiles import plot_cluster_profiles, plot_profiles
from som_dask.training.batch import Epoch, TrainingConfig, fit, train
from som_dask.training.online import fit_online

__all__ = ["Algorithm", "KohonenMap", "PictureKind"]

Algorithm = Literal["batch", "online"]
PictureKind = Literal[
    "colors",
    "u_matrix",
    "hits",
    "plane",
    "planes",
    "profiles",
    "training",
    "clusters",
    "cluster_profiles",
    "label_pies",
    "majority",
    "fields",
]
PICTURES: dict[str, Callable[..., Any]] = {
    "colors": plot_colors,
    "u_matrix": plot_u_matrix,
    "hits": plot_hits,
    "plane": plot_plane,
    "planes": plot_planes,
    "profiles": plot_profiles,
    "training": plot_training,
    "clusters": plot_clusters,
    "cluster_profiles": plot_cluster_profiles,
    "label_pies": plot_label_pies,
    "majority": plot_majority,
    "fields": plot_fields,
}
PANELS = ("planes", "training", "fields")  # kinds of several axes


@dataclass(frozen=True, eq=False)
class KohonenMap:
    """A self-organizing map. It never changes: training gives another one.

    Parameters
    ----------
    rows, cols : int
        Nodes along the two sides.
    topology : {"hexagonal", "rectangular"}
    boundary : {"planar", "cylindrical", "toroidal"}

    Raises
    ------
    ParameterError
        If there is no such lattice.

    Examples
    --------
    >>> import numpy as np
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> colored = KohonenMap(10, 12).train(colors, epochs=10)
    >>> labels = colored.infer(colors)
    >>> list(labels)
    ['bmu_row', 'bmu_col', 'distance']
    """

    rows: int
    cols: int
    topology: Topology = "hexagonal"
    boundary: Boundary = "planar"
    _model: xr.Dataset | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        _ = self.lattice  # which refuses what can't be

    @property
    def lattice(self) -> Lattice:
        """The lattice of the nodes."""
        return Lattice(self.rows, self.cols, self.topology, self.boundary)

    @property
    def is_trained(self) -> bool:
        """Whether there is a codebook."""
        return self._model is not None

    @property
    def codebook(self) -> xr.DataArray:
        """Weights of the nodes, ``(row, col, feature)`` float64, in the data's units: a copy."""
        return self._trained()["codebook"].copy(deep=True)

    @property
    def quantization_error(self) -> float:
        """Mean Euclidean distance of the training samples to their best matching units."""
        return float(self._trained()["quantization_error"][-1])

    @property
    def topographic_error(self) -> float:
        """Share of the training samples whose two best matching units are not adjacent."""
        return float(self._trained()["topographic_error"][-1])

    def _trained(self) -> xr.Dataset:
        if self._model is None:
            raise ParameterError("this map is not trained yet; call train(data), which returns a trained one")
        return self._model

    def _with(self, model: xr.Dataset) -> KohonenMap:
        return replace(self, _model=model)

    def train(
        self,
        data: Any,
        algorithm: Algorithm = "batch",
        *,
        weights: Any = None,
        feature_weights: Any = None,
        codebook: Any = None,
        checkpoints: str | os.PathLike[str] | CheckpointFolder | None = None,
        resume: bool = False,
        on_epoch: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> KohonenMap:
        """Train on some data.

        Parameters
        ----------
        data : anything that `som_dask.samples.table.open_samples` takes
        algorithm : {"batch", "online"}
            The batch rule, for data of any size, or Kohonen's rule of one sample after the other.
        weights, feature_weights : optional
            How much each sample and each feature counts; see `som_dask.training.batch.train`. The batch rule only.
        codebook : (rows, cols, D) array, optional
            To start from, such as another map's `codebook`.
        checkpoints : path or CheckpointFolder, optional
            Where to save the state.
        resume : bool
            Continue from the newest checkpoint there.
        on_epoch : callable, optional
            Called with each `Epoch`, or `Iteration` of the online rule.
        **options
            Of `som_dask.training.batch.TrainingConfig`, or of `som_dask.algorithm.online_rule.OnlineConfig`.

        Returns
        -------
        KohonenMap
            A trained one; this one stays as it is.

        Raises
        ------
        ParameterError
            For an unknown algorithm or option.
        DataError, CheckpointError, StorageError, ClusterError, MemoryLimitError
        """
        if algorithm not in get_args(Algorithm):
            raise ParameterError(f"algorithm must be one of {get_args(Algorithm)}, got {algorithm!r}")
        if checkpoints is not None and not isinstance(checkpoints, CheckpointFolder):
            checkpoints = CheckpointFolder(checkpoints)
        common: dict[str, Any] = {"codebook": _values(codebook), "checkpoints": checkpoints, "resume": resume}
        if algorithm == "online":
            if weights is not None or feature_weights is not None:
                raise ParameterError("the online rule takes no weights; use the batch rule")
            config = _configured(OnlineConfig, options)
            return self._with(fit_online(data, self.lattice, config, on_iteration=on_epoch, **common))
        common |= {"weights": weights, "feature_weights": feature_weights}
        return self._with(fit(data, self.lattice, _configured(TrainingConfig, options), on_epoch=on_epoch, **common))

    def epochs(
        self, data: Any, *, weights: Any = None, feature_weights: Any = None, codebook: Any = None, **options: Any
    ) -> Iterator[Epoch]:
        """Train by the batch rule, one epoch each time the next is asked for: to watch, plot or stop.

        Parameters
        ----------
        data, weights, feature_weights, codebook, **options
            As for `train`.

        Yields
        ------
        som_dask.training.batch.Epoch
        """
        return train(
            data,
            self.lattice,
            _configured(TrainingConfig, options),
            weights=weights,
            feature_weights=feature_weights,
            codebook=_values(codebook),
        )

    def infer(self, data: Any, *, missing: Missing | None = None, device: Device = "cpu") -> xr.Dataset:
        """Best matching unit of each sample, lazily: nothing is read until the result is computed.

        Parameters
        ----------
        data : anything that `som_dask.samples.table.open_samples` takes
        missing : {"error", "drop", "mask"}, optional
            What becomes of samples that lack features; by default as in training. See `som_dask.assign`.
        device : {"cpu", "gpu"}

        Returns
        -------
        xarray.Dataset
            ``bmu_row``, ``bmu_col`` and ``distance`` on the samples' own dimensions and coordinates.

        Raises
        ------
        ParameterError
            If the map is not trained.
        SchemaError
            If the features are not those that it was trained on.
        """
        return assign(data, self._trained(), missing=missing, device=device)

    def infer_soft(self, data: Any, k: int = 3, **options: Any) -> xr.Dataset:
        """The k nearest nodes of each sample and how much it belongs to each, lazily; see `som_dask.assign_soft`."""
        return assign_soft(data, self._trained(), k, **options)

    def clusters(self, n_clusters: int | None = None, **options: Any) -> xr.Dataset:
        """The nodes in a few groups; see `som_dask.cluster_codebook`. Needs the extra ``analysis``."""
        return cluster_codebook(self._trained(), n_clusters, **options)

    def to_dataset(self) -> xr.Dataset:
        """Codebook, hits, errors and all parameters; see `som_dask.io.models.model_dataset`. A copy."""
        return self._trained().copy(deep=True)

    @classmethod
    def from_dataset(cls, model: xr.Dataset) -> KohonenMap:
        """The map that a model is of."""
        lattice = lattice_of(model)
        return cls(
            lattice.rows, lattice.cols, lattice.topology, lattice.boundary, _model=open_model(model).copy(deep=True)
        )

    def save(self, place: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Save to a Zarr store at a path or URL; see `som_dask.io.models.save_model`."""
        save_model(self._trained(), place, overwrite=overwrite)

    @classmethod
    def load(cls, place: str | os.PathLike[str]) -> KohonenMap:
        """Load a map that `save`, `som_dask.save_model` or ``som-dask train`` wrote."""
        return cls.from_dataset(open_model(place))

    def plot(self, kind: PictureKind = "u_matrix", *, ax: Any = None, **options: Any) -> Any:
        """Draw the map.

        Parameters
        ----------
        kind : str
            "colors", "u_matrix", "hits", "plane", "planes", "profiles", "training", "clusters", "cluster_profiles",
            "label_pies", "majority" or "fields": which of the functions ``plot_KIND`` of `som_dask.plotting.maps` and
            `som_dask.plotting.planes`, `plot_fields`, `plot_profiles`, `plot_training`, `plot_labels` beside it.
        ax : matplotlib Axes, optional
            By default that of a new figure. Kinds of several panels take a sequence of axes.
        **options
            Of that function, such as ``feature="red"`` of "plane".

        Returns
        -------
        matplotlib.axes.Axes, or array of them

        Raises
        ------
        ParameterError
            If matplotlib is missing, the map is not trained, or there is no such kind or option.
        """
        if kind not in PICTURES:
            raise ParameterError(f"kind must be one of {', '.join(PICTURES)}, got {kind!r}")
        draw = PICTURES[kind]
        given = options if ax is None else {"axes" if kind in PANELS else "ax": ax, **options}
        model = self._trained()
        try:
            inspect.signature(draw).bind(model, **given)
        except TypeError as error:
            raise ParameterError(f"can't draw {kind}: {error}") from error
        return draw(model, **given)

    def save_image(
        self,
        path: str | os.PathLike[str],
        kind: PictureKind = "colors",
        **options: Any,
    ) -> None:
        """Save a picture of the map: PNG, PDF or SVG by the ending of `path`.

        Parameters
        ----------
        path : path
        kind : str
            As for `plot`.
        **options
            As for `plot`: of "colors" the three `features` taken as red, green and blue, by default the first three,
            and `limits`, values shown as dark and as full.

        Raises
        ------
        ParameterError
            If matplotlib is missing, the map is not trained, there are not three features, or there is no such kind
            or option.
        """
        axes = self.plot(kind, **options)
        save_figure(axes[0] if kind in PANELS else axes, path)

    def _repr_html_(self) -> str:
        """What a notebook shows: the lattice, the errors and a small picture."""
        facts = {"lattice": f"{self.rows} x {self.cols}, {self.topology}, {self.boundary}"}
        picture = ""
        if self.is_trained:
            model = self._trained()
            facts |= {
                "features": ", ".join(str(name) for name in model["feature"].values[:8])
                + (" ..." if model.sizes["feature"] > 8 else ""),
                "samples": f"{int(model['hits'].sum()):,}",
                "quantization error": f"{self.quantization_error:.6g}",
                "topographic error": f"{self.topographic_error:.4g}",
            }
            picture = self._small_picture()
        else:
            facts["codebook"] = "none: not trained yet"
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in facts.items()
        )
        return (
            f"<div style='display:flex;align-items:center;gap:1em'><div><b>KohonenMap</b><table>{rows}</table></div>"
            f"{picture}</div>"
        )

    def _small_picture(self) -> str:
        """The U-matrix as an HTML image; nothing where matplotlib is missing."""
        buffer = io.BytesIO()
        try:
            ax: Any = plot_u_matrix(self._trained())
        except ParameterError:
            return ""
        ax.figure.savefig(buffer, format="png", dpi=50, bbox_inches="tight")
        data = base64.b64encode(buffer.getvalue()).decode()
        return f"<img alt='U-matrix' src='data:image/png;base64,{data}'>"


def _values(codebook: Any) -> np.ndarray | None:
    return codebook.values if isinstance(codebook, xr.DataArray) else codebook


def _configured(kind: Any, options: dict[str, Any]) -> Any:
    """A configuration, with unknown options named."""
    known = kind.__dataclass_fields__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ParameterError(f"there is no option {', '.join(unknown)}; {kind.__name__} knows {', '.join(known)}")
    return kind(**options)
