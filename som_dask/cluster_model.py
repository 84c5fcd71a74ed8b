"""The map as the clustering step of FlowSOM, for the packages flowsom and harpy. Needs the extra ``analysis``.

Neither package is imported here: what they ask of a cluster model are its methods and attributes.
"""

from __future__ import annotations

from typing import Any, Literal

import dask.array
import numpy as np

from som_dask.algorithm.initial import Initialization
from som_dask.algorithm.lattice import Boundary, Lattice, Topology
from som_dask.analysis.labels import LabelTask
from som_dask.errors import DataError, ParameterError
from som_dask.passes.compute import compute, in_this_process
from som_dask.training.config import Execution, Keep, MapConfig
from som_dask.training.train import train

try:
    from sklearn.base import BaseEstimator, ClusterMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise ParameterError("the cluster model needs scikit-learn: pip install 'som_dask[analysis]'") from error

__all__ = ["ClusterModel"]


class ClusterModel(ClusterMixin, BaseEstimator):
    """A self-organizing map, trained by the batch rule, as the ``cluster_model`` of FlowSOM.

    Give the class itself: ``flowsom.FlowSOM(cells, n_clusters=10, cluster_model=ClusterModel)``, or the same keyword
    to ``harpy.im.flowsom`` and ``harpy.tb.flowsom``, which hand it on. Clusters are nodes; node ``i`` is at
    ``divmod(i, ydim)``, as in FlowSOM's own grid.

    The batch rule has no learning rate, so FlowSOM's `alpha` has no effect, and there is one map and no series of
    them (`mst`). The same seed gives the same codes to the bit, on any number of threads and workers.

    Parameters
    ----------
    xdim, ydim : int
        Number of rows and of columns of nodes.
    rlen : int
        Number of epochs.
    mst : int
        Must be 1.
    codes : (M, D) array, optional
        The codebook to start from.
    importance : (D,) array, optional
        What differences of each feature are multiplied by before they are compared; codes stay in the data's units.
    seed : int, optional
        Of the initial codebook; None is that of `som_dask.MapConfig`.
    topology, boundary
        See `som_dask.Lattice`. FlowSOM draws a grid of squares.
    initial_radius, final_radius, initialization
        See `som_dask.MapConfig`.
    device, keep
        See `som_dask.Execution`.

    Attributes
    ----------
    codes : (M, D) float64
        The codebook in the data's units, once there is one.
    labels_ : (n,) int64
        The node of each sample that was fitted or predicted last.
    distances : (n,) float64
        Their Euclidean distances to these, features multiplied by `importance`.
    model_ : xarray.Dataset
        The map as the rest of the package knows it, for `som_dask.save_model` or `som_dask.report`.

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.cluster_model import ClusterModel
    >>> X = np.random.default_rng(0).random((200, 3))
    >>> clustering = ClusterModel(xdim=3, ydim=4, rlen=5, seed=1)
    >>> nodes = clustering.fit_predict(X)
    >>> nodes.shape, clustering.codes.shape, clustering.distances.shape
    ((200,), (12, 3), (200,))
    """

    def __init__(
        self,
        xdim: int = 10,
        ydim: int = 10,
        rlen: int = 10,
        mst: int = 1,
        codes: Any = None,
        importance: Any = None,
        seed: int | None = None,
        topology: Topology = "rectangular",
        boundary: Boundary = Lattice.boundary,
        initial_radius: float | None = MapConfig.initial_radius,
        final_radius: float | Literal["auto"] | None = MapConfig.final_radius,
        initialization: Initialization = MapConfig.initialization,
        device: str = Execution.device,
        keep: Keep = Execution.keep,
    ) -> None:
        self.xdim = xdim
        self.ydim = ydim
        self.rlen = rlen
        self.mst = mst
        self.codes = codes
        self.importance = importance
        self.seed = seed
        self.topology = topology
        self.boundary = boundary
        self.initial_radius = initial_radius
        self.final_radius = final_radius
        self.initialization = initialization
        self.device = device
        self.keep = keep

    @property
    def codes(self) -> Any:
        """The codebook, (M, D) float64; before there is one, the one to start from."""
        if not self.__sklearn_is_fitted__():
            return self._first_codes
        return self.model_["codebook"].values.reshape(self.xdim * self.ydim, -1).copy()

    @codes.setter
    def codes(self, codes: Any) -> None:
        self._first_codes = codes

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; `codes` is the codebook to start from."""
        return {**super().get_params(deep), "codes": self._first_codes}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def fit(self, X: Any, y: Any = None) -> ClusterModel:
        """Train the map, and find the nodes of the samples.

        Parameters
        ----------
        X : (n, D) array
            NumPy or dask; the second is read block by block.
        y : ignored

        Returns
        -------
        ClusterModel
            This one.

        Raises
        ------
        ParameterError, DataError
            If a parameter or X can't be used; both are ValueErrors.
        """
        X = _as_table(X)
        if self.mst != 1:
            raise ParameterError(f"mst must be 1, got {self.mst!r}: the map is trained once")
        lattice = Lattice(self.xdim, self.ydim, self.topology, self.boundary)
        weights = None if self.importance is None else np.square(np.asarray(self.importance, dtype=np.float64))
        self.model_ = train(
            X,
            lattice,
            MapConfig(
                epochs=self.rlen,
                seed=MapConfig.seed if self.seed is None else self.seed,
                initial_radius=self.initial_radius,
                final_radius=self.final_radius,
                initialization=self.initialization,
            ),
            Execution(device=self.device, keep=self.keep),
            feature_weights=weights,
            codebook=self._shape_codes(lattice, X.shape[1]),
            progress=False,
        )
        self.labels_, self.distances = self._find(X)
        return self

    def predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Find the nodes of samples.

        An array in memory is labeled by threads of this process: blocks may be predicted on the workers of a cluster.

        Parameters
        ----------
        X : (n, D) array
        y : ignored

        Returns
        -------
        (n,) int64
        """
        check_is_fitted(self)
        labels, self.distances = self._find(_as_table(X))
        self.labels_ = labels
        return labels

    def fit_predict(self, X: Any, y: Any = None, **kwargs: Any) -> np.ndarray:
        """Train the map, and return the nodes of the samples, (n,) int64."""
        return self.fit(X).labels_

    def _shape_codes(self, lattice: Lattice, n_features: int) -> np.ndarray | None:
        if self._first_codes is None:
            return None
        codes = np.asarray(self._first_codes, dtype=np.float64)
        if codes.shape != (lattice.n_nodes, n_features):
            raise ParameterError(f"codes must have the shape {(lattice.n_nodes, n_features)}, got {codes.shape}")
        return codes.reshape(*lattice.shape, n_features)

    def _find(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the node of each sample and the distance to it."""
        if not X.shape[0]:
            return np.empty(0, dtype=np.int64), np.empty(0)
        table = LabelTask.of(X, self.model_, None, self.device).in_small_blocks().make_table()
        if isinstance(X, dask.array.Array):
            (labels,) = compute(table)
        else:
            with in_this_process():
                (labels,) = compute(table)
        return (labels[:, 0] * self.ydim + labels[:, 1]).astype(np.int64), labels[:, 2].copy()


def _as_table(X: Any) -> Any:
    """Return samples as a plain NumPy or dask array of two dimensions: no view of AnnData, no matrix."""
    if not isinstance(X, dask.array.Array):
        if hasattr(X, "nnz"):
            raise DataError("X is sparse; give its toarray()")
        X = np.asarray(X)
    if X.ndim != 2:
        raise DataError(f"X must have two dimensions (n, D), got {X.ndim}")
    return X
