"""A self-organizing map as a scikit-learn estimator. Needs the extra ``analysis``."""

from __future__ import annotations

import numbers
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from som_dask.algorithm.decay import Decay
from som_dask.algorithm.feature_space import Missing
from som_dask.algorithm.initial import Initialization
from som_dask.algorithm.lattice import Boundary, Lattice, Topology
from som_dask.algorithm.metrics import Metric
from som_dask.algorithm.neighborhood import Kernel
from som_dask.analysis.clusters import ClusterMethod, clusters
from som_dask.analysis.evaluation import measure_quantization_error
from som_dask.analysis.labels import LabelTask
from som_dask.analysis.node_counts import flatten_nodes
from som_dask.analysis.node_distances import distances_to_nodes
from som_dask.engine.protocol import Precision
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import lattice_of
from som_dask.passes.compute import compute
from som_dask.passes.statistics import Scaling
from som_dask.training.config import Execution, FinalRadius, Keep, MapConfig
from som_dask.training.train import train

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
    from sklearn.utils import Tags, check_random_state
    from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    raise ParameterError("the estimator needs scikit-learn 1.6 or newer: pip install 'som_dask[analysis]'") from error

__all__ = ["SOM"]

SEEDS = 2**32  # seeds are below this number
OF_CONFIG = (
    *("epochs", "initial_radius", "final_radius", "radius_decay", "neighborhood", "initialization", "scaling"),
    *("metric", "missing", "tolerance", "patience", "precision"),
)


class SOM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """A self-organizing map, trained by the batch rule, as a clusterer and transformer of scikit-learn.

    X is anything that scikit-learn takes as a dense matrix (n, D), or a dask array (also in an xarray.DataArray) of
    that shape with a known number of rows. A dask array is never loaded as a whole: `fit` reads it block by block, on
    the active distributed client or else on threads, and `transform` and `predict` return dask arrays. Sparse
    matrices are refused. There is no ``partial_fit``: the batch rule needs all samples in every epoch.

    Nodes are numbered row by row: node ``i`` is at ``divmod(i, cols)``.

    Parameters
    ----------
    rows, cols : int
        Number of rows and of columns of nodes.
    topology : {"hexagonal", "rectangular"}
    boundary : {"planar", "cylindrical", "toroidal"}
    n_clusters : int, optional
        Group the nodes into so many clusters, which are the labels then; by default labels are numbers of nodes.
    cluster_method : {"average", "ward", "kmeans"}
        How nodes are grouped; see `som_dask.clusters`. "ward" is best for a few groups of about equal size.
    random_state : int, RandomState instance or None
        Where random numbers come from: for the initial codebook, unless that is "pca", and for "kmeans". The same
        number gives the same map, to the bit.
    epochs, initial_radius, final_radius, radius_decay, neighborhood, initialization, scaling, metric, missing, \
tolerance, patience, precision
        See `som_dask.MapConfig`. With `missing` other than "error", X may have NaN.
    feature_weights : (D,) array, optional
        How much each feature counts in squared distances, after scaling.
    device, keep
        See `som_dask.Execution`. `transform` and `score` compute on CPUs.

    Attributes
    ----------
    codebook_ : (rows, cols, D) float64
        In the data's units; NaN for features that no sample has.
    cluster_centers_ : (M, D) or (n_clusters, D) float64
        The nodes, or the centers of their clusters, in the data's units: row i is for the label i.
    labels_ : (n,) int64
        Label of each training sample: its node, or its cluster; -1 if it is left out for the values that it lacks.
        A dask array if X was one; such an array is left out when the estimator is pickled.
    bmu_ : (n,) int64
        Best matching unit of each training sample, a number of a node; like `labels_`.
    node_clusters_ : (rows, cols) int32
        Cluster of each node; only with `n_clusters`.
    hits_ : (rows, cols) int64
        Number of training samples of each node, whatever their weights.
    quantization_error_ : float
        Mean distance of the training samples to their best matching units, in the map's own space, weighted.
    topographic_error_ : float
        Share of the training samples whose two best matching units are not adjacent, weighted.
    n_iter_ : int
        Number of epochs done.
    n_features_in_ : int
    feature_names_in_ : (D,) array of str
        Only if X had names of features.
    model_ : xarray.Dataset
        The map as the rest of the package knows it, for `som_dask.save_model`, `som_dask.report` or
        ``som_dask.KohonenMap.from_dataset``.

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.estimator import SOM
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> som = SOM(rows=2, cols=4, n_clusters=2, random_state=0).fit(X)
    >>> som.codebook_.shape
    (2, 4, 2)
    >>> low, high = som.predict([[0, 0], [12, 3]])
    >>> bool(low != high)
    True
    >>> som.transform(X).shape
    (6, 8)
    """

    def __init__(
        self,
        rows: int = 10,
        cols: int = 10,
        *,
        topology: Topology = Lattice.topology,
        boundary: Boundary = Lattice.boundary,
        n_clusters: int | None = None,
        cluster_method: ClusterMethod = "average",
        random_state: Any = None,
        epochs: int | None = MapConfig.epochs,
        initial_radius: float | None = MapConfig.initial_radius,
        final_radius: FinalRadius | None = MapConfig.final_radius,
        radius_decay: Decay = MapConfig.radius_decay,
        neighborhood: Kernel = MapConfig.neighborhood,
        initialization: Initialization = MapConfig.initialization,
        scaling: Scaling = MapConfig.scaling,
        metric: Metric = MapConfig.metric,
        missing: Missing = MapConfig.missing,
        tolerance: float | None = MapConfig.tolerance,
        patience: int = MapConfig.patience,
        precision: Precision = MapConfig.precision,
        feature_weights: Any = None,
        device: str = Execution.device,
        keep: Keep = Execution.keep,
    ) -> None:
        self.rows = rows
        self.cols = cols
        self.topology = topology
        self.boundary = boundary
        self.n_clusters = n_clusters
        self.cluster_method = cluster_method
        self.random_state = random_state
        self.epochs = epochs
        self.initial_radius = initial_radius
        self.final_radius = final_radius
        self.radius_decay = radius_decay
        self.neighborhood = neighborhood
        self.initialization = initialization
        self.scaling = scaling
        self.metric = metric
        self.missing = missing
        self.tolerance = tolerance
        self.patience = patience
        self.precision = precision
        self.feature_weights = feature_weights
        self.device = device
        self.keep = keep

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SOM:
        """Train the map.

        Parameters
        ----------
        X : (n, D) array
        y : ignored
        sample_weight : (n,) array or number, optional
            How much each sample counts: a weight of 2 is the same as the sample twice, to the bit (unless
            `final_radius` is "auto", which is chosen without weights).

        Returns
        -------
        SOM
            This estimator.

        Raises
        ------
        ParameterError, DataError
            If a parameter or X can't be used; both are ValueErrors.
        TypeError
            If X is sparse.
        StorageError, ClusterError, MemoryLimitError
            If X is a dask array whose blocks can't be computed.
        """
        lattice = Lattice(self.rows, self.cols, self.topology, self.boundary)
        seed = _draw_seed(self.random_state)
        config = MapConfig(seed=seed, **{name: getattr(self, name) for name in OF_CONFIG})
        execution = Execution(device=self.device, keep=self.keep)
        X = self._check(X, reset=True)
        self.model_ = train(
            self._name_features(X),
            lattice,
            config,
            execution,
            sample_weights=_check_weights(sample_weight, X),
            feature_weights=self.feature_weights,
            progress=False,  # as for all estimators
        )
        self._set_results(seed)
        self.bmu_ = self._find_bmu(X)
        self.labels_ = self._label(self.bmu_)
        return self

    def transform(self, X: Any) -> Any:
        """Measure the distances of samples to all nodes.

        Parameters
        ----------
        X : (n, D) array

        Returns
        -------
        (n, M) float64 array
            In the map's own space, nodes row by row. NaN for samples that are left out for the values that they lack.
            A dask array if X is one.
        """
        X = self._check(X, reset=False)
        return _as_given(X, distances_to_nodes(self._name_features(X), self.model_))

    def predict(self, X: Any) -> Any:
        """Label samples by their best matching units.

        Parameters
        ----------
        X : (n, D) array

        Returns
        -------
        (n,) int64 array
            Numbers of nodes or, with `n_clusters`, of clusters; -1 for samples that are left out for the values that
            they lack. A dask array if X is one.
        """
        return self._label(self._find_bmu(self._check(X, reset=False)))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the negative quantization error: 0 is best, as higher scores are better for scikit-learn.

        Parameters
        ----------
        X : (n, D) array
        y : ignored
        sample_weight : (n,) array or number, optional
            How much each sample counts in the mean.

        Returns
        -------
        float
            Minus the mean distance of the samples to their best matching units, in the map's own space. For the
            training samples and their weights it is ``-quantization_error_``.
        """
        X = self._check(X, reset=False)
        weights = _check_weights(sample_weight, X)
        return -measure_quantization_error(self._name_features(X), self.model_, sample_weights=weights)

    def _check(self, X: Any, *, reset: bool) -> Any:
        """Check X, which becomes a NumPy or dask array of floats; learn its features, or compare them."""
        if not reset:
            check_is_fitted(self)
        dtype = [np.float64, np.float32] if reset else np.dtype(self.model_.attrs["sample_dtype"])
        if isinstance(X, xr.DataArray):
            X = X.data
        if not isinstance(X, dask.array.Array):
            finite = True if self.missing == "error" else "allow-nan"
            return validate_data(self, X, reset=reset, dtype=dtype, ensure_all_finite=finite)
        if X.ndim != 2 or X.dtype.kind not in "iufb":
            raise DataError(f"X must be a matrix (n, D) of real numbers, got {X.ndim} dimensions of {X.dtype}")
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X.astype(np.promote_types(X.dtype, np.float32) if reset else dtype)

    def _name_features(self, X: Any) -> xr.DataArray:
        names = getattr(self, "feature_names_in_", None)
        coords = {} if names is None else {"feature": np.array(names, dtype=object)}
        return xr.DataArray(X, dims=("sample", "feature"), coords=coords)

    def _set_results(self, seed: int) -> None:
        """Set the attributes that follow from the model."""
        model = self.model_
        self.codebook_ = model["codebook"].values.copy()
        self.cluster_centers_ = self.codebook_.reshape(-1, self.n_features_in_)
        self.hits_ = model["hits"].values.copy()
        self.quantization_error_ = float(model["quantization_error"][-1])
        self.topographic_error_ = float(model["topographic_error"][-1])
        self.n_iter_ = model.sizes["epoch"] - 1
        self._n_features_out = len(self.cluster_centers_)
        self.__dict__.pop("node_clusters_", None)  # of the fit before
        if self.n_clusters is not None:
            found = clusters(model, self.n_clusters, self.cluster_method, seed=seed)
            self.node_clusters_: np.ndarray = found["cluster"].values
            self.cluster_centers_ = found["cluster_center"].values

    def _find_bmu(self, X: Any) -> Any:
        """Find the best matching units of samples, as numbers of nodes."""
        task = LabelTask.of(self._name_features(X), self.model_, None, self.device)
        table = task.in_small_blocks().make_table()
        return _as_given(X, table.map_blocks(_number_rows, lattice_of(self.model_), dtype=np.int64, drop_axis=1))

    def _label(self, bmu: Any) -> Any:
        """Return the labels of samples with these best matching units."""
        if not hasattr(self, "node_clusters_"):
            return bmu
        of_nodes = self.node_clusters_.ravel()
        lazy = isinstance(bmu, dask.array.Array)
        return bmu.map_blocks(_look_up, of_nodes, dtype=np.int64) if lazy else _look_up(bmu, of_nodes)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but lazy labels, which would take their samples along."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if not isinstance(value, dask.array.Array)}

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator can do."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "error"
        return tags


def _draw_seed(random_state: Any) -> int:
    """Return the seed that a `random_state` of scikit-learn stands for; a number stands for itself."""
    if isinstance(random_state, (int, np.integer)) and 0 <= random_state < SEEDS:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(SEEDS, dtype=np.uint32))
    except ValueError as error:
        raise ParameterError(f"random_state must be from 0 to {SEEDS - 1}, or None, got {random_state!r}") from error


def _check_weights(weights: Any, X: Any) -> Any:
    """Check the weights of samples, which become (n,) float64, or stay a dask array; None if all are equal."""
    if weights is None or isinstance(weights, dask.array.Array):
        return weights
    if isinstance(weights, numbers.Number):
        weights = np.full(X.shape[0], weights)
    weights = check_array(weights, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.ndim != 1:
        raise ParameterError(f"sample_weight must be (n,), a number for each sample, got shape {weights.shape}")
    check_consistent_length(weights, X)
    if not weights.any():
        raise ParameterError("every sample_weight is zero; give some samples weight")
    return weights


def _as_given(X: Any, lazy: Any) -> Any:
    """Return a dask array as it is for samples that are one, and computed for others."""
    return lazy if isinstance(X, dask.array.Array) else compute(lazy)[0]


def _number_rows(table: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return the numbers of the nodes in a table of `label_block`: (n,) int64, -1 where they are NaN."""
    return flatten_nodes(table[:, 0], table[:, 1], lattice)


def _look_up(bmu: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    return np.where(bmu < 0, -1, clusters[bmu]).astype(np.int64)
