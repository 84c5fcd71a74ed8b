"""Configurations of training: what decides the map and, apart from it, how the work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from som_dask.algorithm.decay import Decay, radius_schedule
from som_dask.algorithm.feature_space import Missing
from som_dask.algorithm.initial import Initialization
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.metrics import Metric
from som_dask.algorithm.neighborhood import Kernel, Neighborhood
from som_dask.engine.engines import engine_for
from som_dask.engine.protocol import Engine, Precision
from som_dask.errors import ParameterError
from som_dask.passes.statistics import Scaling

__all__ = ["AUTO", "Execution", "FinalRadius", "Keep", "MapConfig", "Phases"]

Keep = Literal["auto", "memory", "stream"]
Phases = Literal["auto", "one", "two"]
FinalRadius = float | Literal["auto"]
AUTO: Literal["auto"] = "auto"
# Defaults: epochs on all samples in one phase, and after a rough phase.
EPOCHS, FINE_EPOCHS = 20, 1
# The rough phase ends this far above the final radius: at that radius itself, a map settles on its few samples and
# takes on some of their noise, which raises the topographic error.
ROUGH_END = 1.08
# Defaults: the first radius as a share of the longer side of the map, and the last radius in lattice units.
RADII, OTHER_RADII = {"gaussian": (0.25, 0.48)}, (0.5, 1.0)
CHOICES: dict[str, Any] = {
    "initialization": Initialization,
    "scaling": Scaling,
    "metric": Metric,
    "missing": Missing,
    "precision": Precision,
    "phases": Phases,
}


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """The parameters that decide the map: with the same data, batch training gives the same bits.

    Every default of batch training is stated here and nowhere else.

    Parameters
    ----------
    epochs : int, optional
        Number of epochs, which are passes over all samples; by default 20, or 1 after a rough phase. Each ends in an
        update of the codebook; with 0 the codebook stays as it was before.
    phases : {"auto", "one", "two"}
        Whether all epochs use all samples ("one"), or a rough phase of `rough_epochs` on a few samples comes before
        `epochs` of fine-tuning on all of them ("two"). The few are drawn at random in the first pass over the data,
        and the initial plane is theirs, so training reads all data only `epochs` and two more times. "auto" takes two
        phases where neither `epochs` nor `radii` are given, there are 500 samples or more for each node, and the few
        take no more than 1 GiB as float64.
    rough_epochs : int
        Number of epochs of the rough phase, over which the radius falls to 1.08 times the final one. All epochs of
        the fine-tuning have the final radius.
    rough_samples : int
        Number of samples for each node that are drawn for the rough phase. Its first third uses a 16th of them, its
        second a quarter, because a large radius averages over many nodes.
    initial_radius : float, optional
        Radius sigma of the first epoch, in lattice units; by default 0.25 times the longer side of the map with the
        gaussian neighborhood, and 0.5 times with the others, which reach less far.
    final_radius : float or "auto", optional
        Radius sigma of the last epoch, in lattice units, or "auto" to choose it by the intrinsic dimension of the
        samples; by default 0.48 with the gaussian neighborhood, and 1 with the others. Below 1, most of the others
        reach no other node. A smaller final radius lowers the quantization error and raises the topographic error. On
        ten data sets, 0.48 gave lower quantization errors than XPySom at the same topographic error, and topographic
        errors far below those of MiniSom. "auto", for the gaussian neighborhood, measures up to 1,000 samples that
        are drawn at random in the first pass over the data, and counts the samples for each node; see
        `som_dask.algorithm.intrinsic_dimension.choose_final_radius`. Sample weights do not count there. It trades one
        error for the other where that costs the least: flat data get a lower quantization error, data of many
        dimensions a lower topographic error. A model's attributes tell the radius and the dimension.
    radius_decay : {"exponential", "linear", "asymptotic"}
        How the radius falls from the first epoch to the last. See `som_dask.algorithm.decay.decay`.
    radii : tuple of float, optional
        Radius sigma of every epoch, in place of `initial_radius`, `final_radius` and `radius_decay`.
    neighborhood : {"gaussian", "cut_gaussian", "bubble", "epanechnikov", "triangle", "mexican_hat"}
        How strongly a sample moves the nodes around its best matching unit; mexican_hat is for comparison only. See
        `som_dask.algorithm.neighborhood.Neighborhood`.
    support : float, optional
        Cut the gaussian neighborhood off beyond this many sigma; by default never.
    initialization : {"pca", "random", "sample"}
        Initial codebook: a plane along the two largest principal components, uniform random numbers in the data's
        range, or samples picked at random. For the plane the data are read once, or a few times if they have very
        many features; see `som_dask.passes.plane.find_plane`.
    scaling : {"none", "zscore", "range", "robust"}
        How features are scaled before distances are computed. The scaling is found in a first pass over the data
        and kept in the model; see `som_dask.passes.scaling.find_center_and_scale`.
    metric : {"euclidean", "cosine", "correlation", "manhattan"}
        Distance between samples and nodes, after scaling. "cosine" is 1 less the cosine of the angle between them,
        and "correlation" 1 less Pearson's correlation over the features, weighted by the feature weights.
    missing : {"error", "drop", "mask"}
        How samples with missing values (NaN) are treated: they are an error, they are left out, or they are compared
        by the features that they have. With "mask", distances are not scaled up for missing features, and a sample
        counts only in the averages of the features that it has. Samples without any value are left out.
    tolerance : float, optional
        Go on at the final radius after the other epochs, until the quantization error has fallen by less than this
        share in each of the last `patience` epochs there: the map has settled; by default training ends without.
        On 13 data sets, 0.001 after 20 epochs lowered the quantization error of samples held out by about 1 % and
        raised their topographic error by about 1 point; 40 epochs in place of 20 lowered the first as much and left
        the second nearly as it was.
        With `radii`, which have no such end, epochs with a radius of at most 1 count (or `final_radius`, if that is
        larger), and training stops among them.
    settling_epochs : int
        Maximum number of epochs that `tolerance` adds at the final radius.
    patience : int
        Number of consecutive epochs that `tolerance` asks for.
    seed : int
        Seed of all random choices. The same seed and data give the same bits.
    precision : {"exact", "fast"}
        Whether results are the same bits for any blocks, workers, order and processor ("exact"), or their last bits
        are left to rounding ("fast"). With "exact" each sample's best matching unit is the nearest in float64, and
        sums are sums of integers. With "fast" either of two nodes that float32 can't tell apart may be the best
        matching unit, and sums are computed in float64, in the order of the blocks.

    Raises
    ------
    ParameterError
        If a value can't be used.

    Examples
    --------
    >>> import som_dask as som
    >>> config = som.MapConfig(epochs=3, initial_radius=4, final_radius=1)
    >>> config.schedule(som.Lattice(10, 10)).tolist()
    [4.0, 2.0, 1.0]
    """

    epochs: int | None = None
    phases: Phases = "auto"
    rough_epochs: int = 60
    rough_samples: int = 100
    initial_radius: float | None = None
    final_radius: FinalRadius | None = None
    radius_decay: Decay = "exponential"
    radii: tuple[float, ...] | None = None
    neighborhood: Kernel = "gaussian"
    support: float | None = None
    initialization: Initialization = "pca"
    scaling: Scaling = "none"
    metric: Metric = "euclidean"
    missing: Missing = "error"
    tolerance: float | None = None
    settling_epochs: int = 30
    patience: int = 3
    seed: int = 0
    precision: Precision = "exact"

    def __post_init__(self) -> None:
        for name in ("epochs", "seed", "patience", "settling_epochs", "rough_epochs", "rough_samples"):
            value = getattr(self, name)
            if value is None and name == "epochs":
                continue
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
                raise ParameterError(f"{name} must be a whole number, 0 or more, got {value!r}")
            object.__setattr__(self, name, int(value))
        for name in ("initial_radius", "final_radius", "support", "tolerance"):
            value = getattr(self, name)
            if isinstance(value, str) and (name, value) == ("final_radius", AUTO):
                continue
            if value is not None:
                object.__setattr__(self, name, _parse_number(name, value))
        if self.rough_epochs < 1 or self.rough_samples < 1:
            raise ParameterError(
                'rough_epochs and rough_samples must be at least 1; `phases="one"` leaves the rough phase out'
            )
        if self.patience < 1 or (self.tolerance is not None and not self.tolerance >= 0):
            raise ParameterError("patience must be at least 1, and tolerance 0 or more")
        if self.final_radius is None:
            _, final = RADII.get(self.neighborhood, OTHER_RADII)
            object.__setattr__(self, "final_radius", final)
        for name, kind in CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ParameterError(f"{name} must be one of {get_args(kind)}, got {getattr(self, name)!r}")
        if self.radii is not None:
            object.__setattr__(self, "radii", tuple(_parse_number("radii", radius) for radius in self.radii))
        self.kernel()
        if self.final_radius == AUTO and (self.neighborhood != "gaussian" or self.radii is not None):
            raise ParameterError(
                '`final_radius="auto"` is for the gaussian neighborhood without `radii`; give a number, or neither'
            )
        known = replace(self, final_radius=None) if self.final_radius == AUTO else self
        known.schedule(Lattice(1, 1), two_phases=self.phases == "two")

    def kernel(self) -> Neighborhood:
        """Return the neighborhood function."""
        return Neighborhood(self.neighborhood, self.support)

    def has_converged(self, errors: Sequence[float], radii: Sequence[float]) -> bool:
        """Return whether training may stop; see `tolerance`.

        Parameters
        ----------
        errors : sequence of float
            Quantization errors of the epochs done, each measured with the codebook that entered the epoch.
        radii : sequence of float
            Radii of these epochs.
        """
        if self.tolerance is None or len(errors) <= self.patience:
            return False
        recent, small = errors[-self.patience - 1 :], self._find_last_radius()
        small = (small if self.radii is None else max(1.0, small)) * (1 + 1e-9)
        return all(radius <= small for radius in radii[-self.patience - 1 :]) and all(
            before - after <= self.tolerance * before for before, after in pairwise(recent)
        )

    def count_epochs(self, *, two_phases: bool = False) -> int:
        """Return the number of epochs of one phase, or of two together, without those that `tolerance` adds."""
        usual = FINE_EPOCHS if two_phases else EPOCHS
        return (usual if self.epochs is None else self.epochs) + (self.rough_epochs if two_phases else 0)

    def schedule(self, lattice: Lattice, *, two_phases: bool = False) -> np.ndarray:
        """Return the radius sigma of each epoch on `lattice`, (n,) float64, in lattice units.

        With a final radius that is to be chosen, there is none before it is.
        """
        n, last = self.count_epochs(two_phases=two_phases), self._find_last_radius()
        n_falling = self.rough_epochs if two_phases and self.radii is None else n
        settles = self.tolerance is not None and self.radii is None and n > 0
        n_last = n - n_falling + (self.settling_epochs if settles else 0)
        falling = radius_schedule(
            self.radius_decay,
            *lattice.shape,
            n_falling,
            self.initial_radius,
            last * ROUGH_END if two_phases else last,
            self.radii,
            RADII.get(self.neighborhood, OTHER_RADII)[0],
        )
        return np.concatenate([falling, np.full(n_last, last)])

    def _find_last_radius(self) -> float:
        assert isinstance(self.final_radius, float)  # set in `__post_init__`, or by `som_dask.training.radius`
        return self.final_radius


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How the work is done; the bits of the map do not depend on it.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        The device that the workers compute on.
    keep : {"auto", "memory", "stream"}
        Whether the samples stay in the memory of the workers between epochs ("memory"), or are read again in each
        epoch ("stream"). "auto" keeps them if they take no more than half of that memory. With device "gpu" they
        stay in GPU memory too, unless "stream", if they take no more than half of what is free there.

    Raises
    ------
    ParameterError
        If a value can't be used.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> lattice, config = som.Lattice(4, 5), som.MapConfig(epochs=5)
    >>> streamed = som.train(colors, lattice, config, som.Execution(keep="stream"))
    >>> kept = som.train(colors, lattice, config, som.Execution(keep="memory"))
    >>> streamed.attrs["codebook_sha256"] == kept.attrs["codebook_sha256"]
    True
    """

    device: str = "cpu"
    keep: Keep = "auto"

    def __post_init__(self) -> None:
        if self.keep not in get_args(Keep):
            raise ParameterError(f"keep must be one of {get_args(Keep)}, got {self.keep!r}")
        engine_for(self.device)

    def engine(self, precision: Precision) -> Engine:
        """Return the engine that computes best matching units and sums."""
        return engine_for(self.device, precision)


def _parse_number(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)):
        or_auto = f' or "{AUTO}"' if name == "final_radius" else ""
        raise ParameterError(f"{name} must be a number{or_auto}, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be a number, got {value!r}") from error
