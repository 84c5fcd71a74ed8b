"""KohonenMap: the map as one object that can be trained, looked at and used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.algorithm.lattice import Boundary, Lattice, Topology
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.clusters import clusters
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.labels import infer
from som_dask.analysis.soft_labels import infer_soft
from som_dask.errors import ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.io.models import lattice_of, open_model, save_model
from som_dask.io.store_objects import Place
from som_dask.plotting.kinds import PictureKind, draw_picture_of_kind, save_picture_of_kind, show_in_notebook
from som_dask.plotting.report import write_report
from som_dask.training.config import Execution, MapConfig
from som_dask.training.retrain import RetrainingConfig, retrain
from som_dask.training.run import Epoch, Resume
from som_dask.training.train import epochs, train

__all__ = ["Algorithm", "KohonenMap", "PictureKind"]

Algorithm = Literal["batch", "online"]


@dataclass(frozen=True, eq=False)
class KohonenMap:
    """A self-organizing map. It never changes: training returns a new one.

    Parameters
    ----------
    rows, cols : int
        Number of rows and of columns of nodes.
    topology : {"hexagonal", "rectangular"}
    boundary : {"planar", "cylindrical", "toroidal"}

    Raises
    ------
    ParameterError
        If the lattice is not possible.

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
        _ = self.lattice  # raises if the lattice is not possible

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
        """A copy of the codebook, ``(row, col, feature)`` float64, in the data's units."""
        return self._require_model()["codebook"].copy(deep=True)

    @property
    def quantization_error(self) -> float:
        """Mean distance of the training samples to their best matching units, in the map's own space."""
        return float(self._require_model()["quantization_error"][-1])

    @property
    def topographic_error(self) -> float:
        """Share of the training samples whose two best matching units are not adjacent."""
        return float(self._require_model()["topographic_error"][-1])

    def _require_model(self) -> xr.Dataset:
        if self._model is None:
            raise ParameterError("this map is not trained yet; call train(data), which returns a trained one")
        return self._model

    def _replace_model(self, model: xr.Dataset) -> KohonenMap:
        return replace(self, _model=model)

    def train(
        self,
        data: Any,
        algorithm: Algorithm = "batch",
        *,
        sample_weights: Any = None,
        feature_weights: Any = None,
        codebook: Any = None,
        checkpoints: str | os.PathLike[str] | CheckpointFolder | None = None,
        resume: Resume = False,
        on_epoch: Callable[[Epoch], None] | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> KohonenMap:
        """Train on data and return the trained map.

        Parameters
        ----------
        data : anything that `som_dask.open_samples` takes
        algorithm : {"batch", "online"}
            The batch rule, for data of any size, or Kohonen's online rule, which presents one sample after the other.
        sample_weights, feature_weights : optional
            How much each sample and each feature counts; see `som_dask.train`. For the batch rule only.
        codebook : (rows, cols, D) array, optional
            Codebook to start from, in the data's units, such as the `codebook` of another map.
        checkpoints : path or CheckpointFolder, optional
            Where to save the state.
        resume : bool or "auto"
            Continue from the newest checkpoint in `checkpoints`; "auto" begins a new run where there is none.
        on_epoch : callable, optional
            Called with each `Epoch`.
        progress : bool, optional
            Whether a bar is shown; by default where standard error is a terminal, and in notebooks.
        **options
            Fields of `som_dask.MapConfig` and `som_dask.Execution`, or of `som_dask.OnlineConfig`.

        Returns
        -------
        KohonenMap
            The trained map; this one is not changed.

        Raises
        ------
        ParameterError
            For an unknown algorithm or option.
        DataError, CheckpointError, StorageError, ClusterError, MemoryLimitError
        """
        config, execution = _configure(algorithm, options)
        if checkpoints is not None and not isinstance(checkpoints, CheckpointFolder):
            checkpoints = CheckpointFolder(checkpoints)
        model = train(
            data,
            self.lattice,
            config,
            execution,
            sample_weights=sample_weights,
            feature_weights=feature_weights,
            codebook=_values_of(codebook),
            checkpoints=checkpoints,
            resume=resume,
            on_epoch=on_epoch,
            progress=progress,
        )
        return self._replace_model(model)

    def epochs(
        self,
        data: Any,
        algorithm: Algorithm = "batch",
        *,
        sample_weights: Any = None,
        feature_weights: Any = None,
        codebook: Any = None,
        **options: Any,
    ) -> Iterator[Epoch]:
        """Train epoch by epoch, for example to watch, plot or stop: each is computed when it is asked for.

        Parameters
        ----------
        data, algorithm, sample_weights, feature_weights, codebook, **options
            As for `train`.

        Yields
        ------
        Epoch
        """
        config, execution = _configure(algorithm, options)
        return epochs(
            data,
            self.lattice,
            config,
            execution,
            sample_weights=sample_weights,
            feature_weights=feature_weights,
            codebook=_values_of(codebook),
        )

    def retrain(
        self,
        data: Any,
        *,
        sample_weights: Any = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> KohonenMap:
        """Train this map further on new data, from its codebook and with its scaling.

        Parameters
        ----------
        data : anything that `som_dask.open_samples` takes
        sample_weights : optional
            Weights of the new samples.
        on_epoch : callable, optional
            Called with each `Epoch`.
        progress : bool, optional
            Whether a bar is shown; by default where standard error is a terminal, and in notebooks.
        **options
            Fields of `som_dask.RetrainingConfig`, `som_dask.Execution` and `som_dask.MapConfig`. The last replace
            those that this map was trained with.

        Returns
        -------
        KohonenMap
            The attributes of its dataset hold how far the data have drifted; see `som_dask.retrain`.
        """
        _refuse_unknown(options, RetrainingConfig, Execution, MapConfig)
        model, _ = retrain(
            data,
            self._require_model(),
            _take(RetrainingConfig, options),
            _take(Execution, options),
            sample_weights=sample_weights,
            on_epoch=on_epoch,
            progress=progress,
            **options,
        )
        return self._replace_model(model)

    def infer(self, data: Any, *, missing: Missing | None = None, device: str = "cpu") -> xr.Dataset:
        """Find the best matching unit of each sample, lazily: nothing is read until the result is computed.

        Parameters
        ----------
        data : anything that `som_dask.open_samples` takes
        missing : {"error", "drop", "mask"}, optional
            How samples that lack features are treated; by default as in training. See `som_dask.infer`.
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
        return infer(data, self._require_model(), missing=missing, device=device)

    def infer_soft(self, data: Any, k: int = 3, **options: Any) -> xr.Dataset:
        """Find the k nearest nodes of each sample and its membership in each, lazily; see `som_dask.infer_soft`."""
        return infer_soft(data, self._require_model(), k, **options)

    def evaluate(self, data: Any, **options: Any) -> xr.Dataset:
        """Measure how well the map represents data; see `som_dask.evaluate`."""
        return evaluate(data, self._require_model(), **options)

    def clusters(self, n_clusters: int | None = None, **options: Any) -> xr.Dataset:
        """Group the nodes into a few clusters; see `som_dask.clusters`. Needs the extra ``analysis``."""
        return clusters(self._require_model(), n_clusters, **options)

    def report(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write all pictures and measures as one HTML page; see `som_dask.report`. Needs the extra ``plot``."""
        write_report(self._require_model(), path, **options)

    def to_dataset(self) -> xr.Dataset:
        """Return a copy of codebook, hits, errors and all parameters; see `som_dask.io.models.model_dataset`."""
        return self._require_model().copy(deep=True)

    @classmethod
    def from_dataset(cls, model: xr.Dataset) -> KohonenMap:
        """Make a map from a model, a Dataset as `to_dataset` returns it."""
        lattice = lattice_of(model)
        return cls(
            lattice.rows, lattice.cols, lattice.topology, lattice.boundary, _model=open_model(model).copy(deep=True)
        )

    def save(self, place: Place, *, overwrite: bool = False) -> None:
        """Save to a Zarr store, which is given itself or by its path or URL; see `som_dask.io.models.save_model`."""
        save_model(self._require_model(), place, overwrite=overwrite)

    @classmethod
    def load(cls, place: Place) -> KohonenMap:
        """Load a map that `save`, `som_dask.save_model` or ``som-dask train`` wrote."""
        return cls.from_dataset(open_model(place))

    def plot(self, kind: PictureKind = "u_matrix", *, ax: Any = None, **options: Any) -> Any:
        """Draw the map.

        Parameters
        ----------
        kind : str
            "colors", "u_matrix", "hits", "plane", "planes", "profiles", "training", "clusters", "cluster_profiles",
            "label_pies", "majority" or "fields": the kind of picture, drawn by the function ``plot_KIND`` of
            `som_dask.plotting`.
        ax : matplotlib Axes, optional
            By default the axes of a new figure. Kinds with several panels take a sequence of axes.
        **options
            Arguments of that function, such as ``feature="red"`` for "plane".

        Returns
        -------
        matplotlib.axes.Axes, or array of them

        Raises
        ------
        ParameterError
            If matplotlib is missing, the map is not trained, or there is no such kind or option.
        """
        return draw_picture_of_kind(self._require_model(), kind, ax, **options)

    def save_image(
        self,
        path: str | os.PathLike[str],
        kind: PictureKind = "colors",
        **options: Any,
    ) -> None:
        """Save a picture of the map as PNG, PDF or SVG, depending on the ending of `path`.

        Parameters
        ----------
        path : path
        kind : str
            As for `plot`.
        **options
            As for `plot`. For "colors": `features`, the three features shown as red, green and blue, by default the
            first three, and `limits`, the values shown as dark and as full color.

        Raises
        ------
        ParameterError
            If matplotlib is missing, the map is not trained, there are not three features, or there is no such kind
            or option.
        """
        save_picture_of_kind(self._require_model(), path, kind, **options)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the lattice, the errors and a small picture."""
        facts = {"lattice": f"{self.rows} x {self.cols}, {self.topology}, {self.boundary}"}
        if self._model is None:
            facts["codebook"] = "none: not trained yet"
        else:
            features = [str(name) for name in self._model["feature"].values]
            facts |= {
                "features": ", ".join(features[:8]) + (" ..." if len(features) > 8 else ""),
                "samples": f"{int(self._model['hits'].sum()):,}",
                "quantization error": f"{self.quantization_error:.6g}",
                "topographic error": f"{self.topographic_error:.4g}",
            }
        return show_in_notebook(facts, self._model)


def _values_of(codebook: Any) -> np.ndarray | None:
    return codebook.values if isinstance(codebook, xr.DataArray) else codebook


def _configure(algorithm: Algorithm, options: dict[str, Any]) -> tuple[MapConfig | OnlineConfig, Execution | None]:
    """Make the configuration of an algorithm and that of the execution; refuse unknown options."""
    if algorithm not in get_args(Algorithm):
        raise ParameterError(f"algorithm must be one of {get_args(Algorithm)}, got {algorithm!r}")
    if algorithm == "online":
        _refuse_unknown(options, OnlineConfig)
        return OnlineConfig(**options), None
    _refuse_unknown(options, MapConfig, Execution)
    return _take(MapConfig, options), _take(Execution, options)


def _take(kind: Any, options: dict[str, Any]) -> Any:
    """Make a configuration of the options that belong to it, and remove these from `options`."""
    return kind(**{name: options.pop(name) for name in list(options) if name in kind.__dataclass_fields__})


def _refuse_unknown(options: dict[str, Any], *kinds: Any) -> None:
    known = {kind.__name__: tuple(kind.__dataclass_fields__) for kind in kinds}
    unknown = [name for name in options if not any(name in names for names in known.values())]
    if unknown:
        told = "; ".join(f"{kind} knows {', '.join(names)}" for kind, names in known.items())
        raise ParameterError(f"there is no option {', '.join(unknown)}; {told}")
