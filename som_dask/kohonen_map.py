"""KohonenMap: the map as one object that can be trained, looked at and used."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import xarray as xr

from som_dask.algorithm.lattice import Boundary, Lattice, Topology
from som_dask.analysis.clusters import clusters
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.labels import infer
from som_dask.analysis.soft_labels import infer_soft
from som_dask.errors import ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.io.models import lattice_of, open_model, save_model
from som_dask.io.store_objects import Place
from som_dask.passes.progress import in_notebook
from som_dask.plotting.descriptions import describe_map, show_in_notebook
from som_dask.plotting.kinds import PictureKind, draw_picture_of_kind, save_picture_of_kind
from som_dask.plotting.live import LivePicture, View, check_view, show_in_cell
from som_dask.plotting.report import write_report
from som_dask.training.config import Execution, MapConfig
from som_dask.training.options import Algorithm, configure, refuse_unknown, take, values_of
from som_dask.training.progress import TimeLeft, describe_epoch
from som_dask.training.retrain import RetrainingConfig, retrain
from som_dask.training.run import Epoch, Resume
from som_dask.training.train import epochs, train

__all__ = ["Algorithm", "KohonenMap", "PictureKind"]


@dataclass(frozen=True, eq=False, repr=False)
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
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> colored = som.KohonenMap(10, 12).train(colors, epochs=10)
    >>> labels = colored.infer(colors)
    >>> list(labels)
    ['bmu_row', 'bmu_col', 'distance', 'bmu']
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
        """The lattice of the nodes.

        Examples
        --------
        >>> import som_dask as som
        >>> som.KohonenMap(4, 5).lattice.n_nodes
        20
        """
        return Lattice(self.rows, self.cols, self.topology, self.boundary)

    @property
    def is_trained(self) -> bool:
        """Whether there is a codebook.

        Examples
        --------
        >>> import som_dask as som
        >>> som.KohonenMap(4, 5).is_trained
        False
        """
        return self._model is not None

    @property
    def codebook(self) -> xr.DataArray:
        """A copy of the codebook, ``(row, col, feature)`` float64, in the data's units.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> colored.codebook.dims
        ('row', 'col', 'feature')
        """
        return self._require_model()["codebook"].copy(deep=True)

    @property
    def quantization_error(self) -> float:
        """Mean distance of the training samples to their best matching units, in the map's own space.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> 0 < colored.quantization_error < 0.4
        True
        """
        return float(self._require_model()["quantization_error"][-1])

    @property
    def topographic_error(self) -> float:
        """Share of the training samples whose two best matching units are not adjacent.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> 0 <= colored.topographic_error <= 1
        True
        """
        return float(self._require_model()["topographic_error"][-1])

    def _require_model(self) -> xr.Dataset:
        if self._model is None:
            raise ParameterError("this map is not trained yet; call train(data), which returns a trained one")
        return self._model

    def train(
        self,
        data: Any,
        algorithm: Algorithm = "batch",
        *,
        sample_weights: Any = None,
        feature_weights: Any = None,
        value_errors: Any = None,
        codebook: Any = None,
        checkpoints: str | os.PathLike[str] | CheckpointFolder | None = None,
        resume: Resume = False,
        on_epoch: Callable[[Epoch], None] | None = None,
        progress: bool | None = None,
        keep_interrupted: bool = False,
        **options: Any,
    ) -> KohonenMap:
        """Train on data and return the trained map.

        Parameters
        ----------
        data : anything that `som_dask.open_samples` takes
        algorithm : {"batch", "online"}
            The batch rule, for data of any size, or Kohonen's online rule, which presents one sample after the other.
        sample_weights, feature_weights, value_errors : optional
            How much samples and features count, and errors of values; see `som_dask.train`. For the batch rule only.
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
        keep_interrupted : bool
            Whether an interrupt ends training with the map of the last finished epoch; see `som_dask.train`.
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

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5, final_radius=0.5)
        >>> colored.is_trained
        True
        >>> tuned = som.KohonenMap(4, 5).train(colors, "online", codebook=colored.codebook, epochs=10)
        """
        config, execution = configure(algorithm, options)
        if checkpoints is not None and not isinstance(checkpoints, CheckpointFolder):
            checkpoints = CheckpointFolder(checkpoints)
        model = train(
            data,
            self.lattice,
            config,
            execution,
            sample_weights=sample_weights,
            feature_weights=feature_weights,
            value_errors=value_errors,
            codebook=values_of(codebook),
            checkpoints=checkpoints,
            resume=resume,
            on_epoch=on_epoch,
            progress=progress,
            keep_interrupted=keep_interrupted,
        )
        return replace(self, _model=model)

    def watch(
        self, data: Any, algorithm: Algorithm = "batch", *, what: View = "u_matrix", **options: Any
    ) -> KohonenMap:
        """Train on data, and draw the map and its errors meanwhile in the cell of a notebook.

        The picture is drawn again and again, which takes a fifth of the time at most. An interrupt, such as by the
        notebook's stop button, ends training with the map of the last finished epoch; the attribute ``stopped_by`` of
        its dataset is then "interrupt". Outside notebooks a bar is shown as by `train`.

        Parameters
        ----------
        data, algorithm
            As for `train`.
        what : {"u_matrix", "hits", "planes"}
            What is drawn of the map. Of many features, the planes of the first six are drawn.
        **options
            As for `train`.

        Returns
        -------
        KohonenMap
            The trained map; this one is not changed.

        Raises
        ------
        KeyboardInterrupt
            If it is interrupted before the first epoch is done.
        ParameterError, DataError, CheckpointError, StorageError, ClusterError, MemoryLimitError

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> som.KohonenMap(4, 5).watch(colors, what="planes", epochs=5)
        <KohonenMap 4 x 5, hexagonal, planar: 3 features, 5 epochs, quantization error 0.1528, topographic error 0>
        """
        check_view(what)
        options["keep_interrupted"] = True
        if not in_notebook():
            return self.train(data, algorithm, **options)
        describe = functools.partial(describe_epoch, TimeLeft())
        picture = LivePicture(what, show_in_cell(), describe, options.get("on_epoch"))
        trained = self.train(data, algorithm, **{"progress": False, **options, "on_epoch": picture})
        picture.finish(trained._require_model(), describe_map(trained.lattice, trained._model))
        return trained

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

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> [epoch.index for epoch in som.KohonenMap(4, 5).epochs(colors, epochs=3)]
        [0, 1, 2]
        """
        config, execution = configure(algorithm, options)
        return epochs(
            data,
            self.lattice,
            config,
            execution,
            sample_weights=sample_weights,
            feature_weights=feature_weights,
            codebook=values_of(codebook),
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

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> newer = colored.retrain(colors + 0.1, epochs=2)
        >>> newer is colored
        False
        """
        refuse_unknown(options, RetrainingConfig, Execution, MapConfig)
        model, _ = retrain(
            data,
            self._require_model(),
            take(RetrainingConfig, options),
            take(Execution, options),
            sample_weights=sample_weights,
            on_epoch=on_epoch,
            progress=progress,
            **options,
        )
        return replace(self, _model=model)

    def infer(self, data: Any, **options: Any) -> xr.Dataset:
        """Find the best matching unit of each sample, lazily: nothing is read until the result is computed.

        Parameters
        ----------
        data : anything that `som_dask.open_samples` takes
        **options
            ``missing``, ``device`` and ``value_errors``, as for `som_dask.infer`.

        Returns
        -------
        xarray.Dataset
            ``bmu_row``, ``bmu_col``, ``distance`` and ``bmu`` on the samples' own dimensions and coordinates.

        Raises
        ------
        ParameterError
            If the map is not trained.
        SchemaError
            If the features are not those that it was trained on.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> labels = colored.infer(colors).compute()
        >>> dict(labels.sizes)
        {'sample': 40}
        """
        return infer(data, self._require_model(), **options)

    def infer_soft(self, data: Any, k: int = 3, **options: Any) -> xr.Dataset:
        """Find the k nearest nodes of each sample and its membership in each, lazily; see `som_dask.infer_soft`.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> dict(colored.infer_soft(colors, k=2).sizes)
        {'sample': 40, 'neighbor': 2}
        """
        return infer_soft(data, self._require_model(), k, **options)

    def evaluate(self, data: Any, **options: Any) -> xr.Dataset:
        """Measure how well the map represents data; see `som_dask.evaluate`.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> measures = colored.evaluate(colors)
        >>> float(measures["quantization_error"]) == colored.quantization_error
        True
        """
        return evaluate(data, self._require_model(), **options)

    def clusters(self, n_clusters: int | None = None, **options: Any) -> xr.Dataset:
        """Group the nodes into a few clusters; see `som_dask.clusters`. Needs the extra ``analysis``.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> colored.clusters(3)["cluster"].dims
        ('row', 'col')
        """
        return clusters(self._require_model(), n_clusters, **options)

    def report(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write all pictures and measures as one HTML page; see `som_dask.report`. Needs the extra ``plot``.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> colored.report("report.html", title="Forty colors")
        """
        write_report(self._require_model(), path, **options)

    def to_dataset(self) -> xr.Dataset:
        """Return a copy of codebook, hits, errors and all parameters; see `som_dask.io.models.model_dataset`.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> dict(colored.to_dataset()["codebook"].sizes)
        {'row': 4, 'col': 5, 'feature': 3}
        """
        return self._require_model().copy(deep=True)

    @classmethod
    def from_dataset(cls, model: xr.Dataset) -> KohonenMap:
        """Make a map from a model, a Dataset as `to_dataset` returns it.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> som.KohonenMap.from_dataset(colored.to_dataset())
        <KohonenMap 4 x 5, hexagonal, planar: 3 features, 5 epochs, quantization error 0.1528, topographic error 0>
        """
        lattice = lattice_of(model)
        return cls(
            lattice.rows, lattice.cols, lattice.topology, lattice.boundary, _model=open_model(model).copy(deep=True)
        )

    def save(self, place: Place, *, overwrite: bool = False) -> None:
        """Save to a Zarr store, which is given itself or by its path or URL; see `som_dask.io.models.save_model`.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> colored.save("colored.zarr")
        """
        save_model(self._require_model(), place, overwrite=overwrite)

    @classmethod
    def load(cls, place: Place) -> KohonenMap:
        """Load a map that `save`, `som_dask.save_model` or ``som-dask train`` wrote.

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> colored.save("colored.zarr")
        >>> som.KohonenMap.load("colored.zarr")
        <KohonenMap 4 x 5, hexagonal, planar: 3 features, 5 epochs, quantization error 0.1528, topographic error 0>
        """
        return cls.from_dataset(open_model(place))

    def plot(self, kind: PictureKind = "u_matrix", *, ax: Any = None, **options: Any) -> Any:
        """Draw the map.

        Parameters
        ----------
        kind : str
            "colors", "u_matrix", "hits", "plane", "planes", "profiles", "training", "clusters", "cluster_profiles",
            "label_pies", "majority", "fields", "composites", "frequencies", "trends", "transitions" or "sammon": the
            kind of picture, drawn by the function ``plot_KIND`` of `som_dask.plotting`.
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

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> colored.plot("hits").get_title()
        'hits'
        """
        return draw_picture_of_kind(self._require_model(), kind, ax, **options)

    def save_image(self, path: str | os.PathLike[str], kind: PictureKind = "colors", **options: Any) -> None:
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

        Examples
        --------
        >>> import numpy as np
        >>> import som_dask as som
        >>> colors = np.random.default_rng(0).random((40, 3))
        >>> colored = som.KohonenMap(4, 5).train(colors, epochs=5)
        >>> colored.save_image("colored.png", limits=(0, 1))
        """
        save_picture_of_kind(self._require_model(), path, kind, **options)

    def __repr__(self) -> str:
        return f"<KohonenMap {describe_map(self.lattice, self._model)}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the lattice, the errors and a small picture."""
        return show_in_notebook(self.lattice, self._model)
