"""How to train: every default of training is stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from som_dask.algorithm.decay import Decay, radii
from som_dask.algorithm.feature_space import Metric, Missing
from som_dask.algorithm.initial import Initialization
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Kernel, Neighborhood
from som_dask.engine.batch import Precision
from som_dask.engine.device import Device
from som_dask.errors import ParameterError
from som_dask.passes.scaling import Scaling

__all__ = ["Keep", "TrainingConfig"]

Keep = Literal["auto", "memory", "stream"]
# By default: the first radius as a share of the longer side of the map, and the last one in lattice units.
RADII, OTHER_RADII = {"gaussian": (0.25, 0.48)}, (0.5, 1.0)
CHOICES: dict[str, Any] = {
    "initialization": Initialization,
    "scaling": Scaling,
    "metric": Metric,
    "missing": Missing,
    "precision": Precision,
    "keep": Keep,
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train; every default of training is stated here and nowhere else.

    Parameters
    ----------
    epochs : int
        Passes over the data that end in an update. 0 leaves the initial codebook.
    initial_radius : float, optional
        sigma of the first epoch in lattice units; by default a quarter of the longer side of the map for the
        gaussian, half of it for the other neighborhoods, which reach less far.
    final_radius : float, optional
        sigma of the last epoch; by default 0.48 for the gaussian, and 1 for the other neighborhoods, of which most
        reach no other node below that. It chooses between fit and order: a smaller one lowers the quantization
        error and raises the topographic error. 0.48 was measured on ten data sets: lower quantization errors than
        XPySom's at the same topographic error, and topographic errors far below MiniSom's.
    radius_decay : {"exponential", "linear", "asymptotic"}
        How sigma goes from one to the other; see `som_dask.algorithm.decay.decay`.
    radii : tuple of float, optional
        sigma of every epoch, in place of the three above.
    neighborhood : {"gaussian", "cut_gaussian", "bubble", "epanechnikov", "triangle", "mexican_hat"}
        See `som_dask.algorithm.neighborhood.Neighborhood`. The last is for comparison; it is not recommended.
    support : float, optional
        Cuts the gaussian off beyond this many sigma.
    initialization : {"pca", "random", "sample"}
        Initial codebook: on the plane of the two largest principal components, uniform in the data's range,
        or samples picked at random.
    scaling : {"none", "zscore", "range", "robust"}
        How features are scaled, as found in the first pass over the data; see `center_and_scale`.
    metric : {"euclidean", "cosine"}
        The distance of samples and nodes, after scaling. "cosine" is 1 less the cosine of the angle between them.
    missing : {"error", "drop", "mask"}
        What becomes of samples with missing values (NaN): an error; they are left out; or the distance is over the
        features that they have, without any factor for those that they lack, and they count in the averages of
        these features alone. Samples without any value are left out.
    tolerance : float, optional
        Stop early: once the quantization error has fallen by less than this share in each of the last `patience`
        epochs. Only epochs with a radius of at most 1 count (or `final_radius`, if that is larger): before that
        the map is still unfolding.
    patience : int
    seed : int
        Of everything random; the same seed and data give the same bits.
    precision : {"exact", "fast"}
        "exact": each sample's best matching unit is the nearest in float64, and sums are of whole numbers, so the
        codebook is the same to the bit for any blocks, workers, order and processor. "fast": units that float32
        can't tell apart may go either way, and sums are of float64, in the order of the blocks.
    keep : {"auto", "memory", "stream"}
        Whether the samples stay in the workers' memory between epochs or are read again: "auto" keeps them
        when they take no more than half of it. With device "gpu" they stay in GPU memory too, unless "stream",
        when they take no more than half of what is free there.
    device : {"cpu", "gpu"}
        What the workers compute on. With precision "exact" the codebook is the same to the bit.

    Raises
    ------
    ParameterError
        If a value can't be used.
    """

    epochs: int = 20
    initial_radius: float | None = None
    final_radius: float | None = None
    radius_decay: Decay = "exponential"
    radii: tuple[float, ...] | None = None
    neighborhood: Kernel = "gaussian"
    support: float | None = None
    initialization: Initialization = "pca"
    scaling: Scaling = "none"
    metric: Metric = "euclidean"
    missing: Missing = "error"
    tolerance: float | None = None
    patience: int = 3
    seed: int = 0
    precision: Precision = "exact"
    keep: Keep = "auto"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        for name in ("epochs", "seed", "patience"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
                raise ParameterError(f"{name} must be a whole number, 0 or more, got {value!r}")
            object.__setattr__(self, name, int(value))
        for name in ("initial_radius", "final_radius", "support", "tolerance"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _number(name, value))
        if self.patience < 1 or (self.tolerance is not None and not self.tolerance >= 0):
            raise ParameterError("patience must be at least 1, and tolerance 0 or more")
        if self.final_radius is None:
            _, final = RADII.get(self.neighborhood, OTHER_RADII)
            object.__setattr__(self, "final_radius", final)
        for name, kind in CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ParameterError(f"{name} must be one of {get_args(kind)}, got {getattr(self, name)!r}")
        if self.device not in ("cpu", "gpu"):
            raise ParameterError(f"device must be 'cpu' or 'gpu', got {self.device!r}")
        if self.radii is not None:
            object.__setattr__(self, "radii", tuple(_number("radii", radius) for radius in self.radii))
        self.kernel()
        self.schedule(Lattice(1, 1))

    def kernel(self) -> Neighborhood:
        """The neighborhood function."""
        return Neighborhood(self.neighborhood, self.support)

    def converged(self, errors: Sequence[float], radii: Sequence[float]) -> bool:
        """Whether training may stop: see `tolerance`.

        Parameters
        ----------
        errors : sequence of float
            Quantization errors of the epochs done, each of the codebook that entered it.
        radii : sequence of float
            Their radii.
        """
        if self.tolerance is None or len(errors) <= self.patience:
            return False
        recent, small = errors[-self.patience - 1 :], max(1.0, self._last()) * (1 + 1e-9)
        return all(radius <= small for radius in radii[-self.patience - 1 :]) and all(
            before - after <= self.tolerance * before for before, after in pairwise(recent)
        )

    def schedule(self, lattice: Lattice) -> np.ndarray:
        """sigma of each epoch on `lattice`, (epochs,) float64."""
        return radii(
            self.radius_decay,
            *lattice.shape,
            self.epochs,
            self.initial_radius,
            self._last(),
            self.radii,
            RADII.get(self.neighborhood, OTHER_RADII)[0],
        )

    def _last(self) -> float:
        assert self.final_radius is not None  # since `__post_init__`
        return self.final_radius


def _number(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)):
        raise ParameterError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be a number, got {value!r}") from error
