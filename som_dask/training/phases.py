"""The phases of batch training: rough on a few samples drawn at random, then fine-tuning on all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import MemoryLimitError
from som_dask.passes.map_memory import NEVER_LACKING
from som_dask.passes.memory import process_memory
from som_dask.training.config import AUTO, MapConfig

__all__ = [
    "FINE_TUNING",
    "LAST_PASS",
    "ROUGH",
    "Phase",
    "Plan",
    "check_draw_fits",
    "describe_plan",
    "draw_bytes",
    "number_to_draw",
    "number_to_measure",
    "plan_epochs",
]

Phase = Literal["rough", "fine-tuning"]
ROUGH, FINE_TUNING = get_args(Phase)
LAST_PASS = "last_pass"  # in names of tasks: after the last epoch, to measure the map
# Parts of the drawn samples that the thirds of the rough phase use. From one to the next the radius about halves, so
# the nodes that a sample moves become a quarter as many, and a node needs four times as many samples.
PARTS = (16, 4, 1)
# "auto" takes two phases from so many samples a node on. The rough phase then costs as much as five full epochs, and
# the less the more samples there are.
LEAST_A_NODE = 500
# "auto" draws no more bytes than these, as float64. They are the same on every machine, as the map must be.
MOST_BYTES = 2**30
ENTRY_BYTES, COPIES = 8, 3  # while draws are added up
# So many samples tell the intrinsic dimension to about 3 percent, so the radius to 0.005; fewer of very wide ones.
MEASURED, LEAST_MEASURED, MEASURED_BYTES = 1000, 100, 2**27


@dataclass(frozen=True)
class Plan:
    """The epochs of a run.

    Attributes
    ----------
    radii : (n,) float64
        Radius sigma of each epoch, in lattice units.
    n_rough : int
        How many of the epochs, from the first on, are of a rough phase; 0 if there is one phase only.
    """

    radii: np.ndarray
    n_rough: int = 0

    @property
    def n_epochs(self) -> int:
        """Number of all epochs."""
        return len(self.radii)

    def phase_of(self, index: int) -> Phase | None:
        """Return the phase of an epoch; None if there is one phase only."""
        if not self.n_rough:
            return None
        return ROUGH if index < self.n_rough else FINE_TUNING

    def label_of(self, index: int) -> str:
        """Return what names of tasks tell of an epoch: its phase, if there are two, and its number from 1 on."""
        phase = self.phase_of(index)
        return str(index + 1) if phase is None else f"{phase.replace('-', '_')}_{index + 1}"

    def phases(self) -> list[str]:
        """Return the phase of each epoch, and of the measurement after the last; empty if there is only one."""
        return [str(self.phase_of(index)) for index in range(self.n_epochs)] + [FINE_TUNING] if self.n_rough else []

    def part_of(self, index: int) -> int:
        """Return which of the `PARTS` of the drawn samples a rough epoch uses."""
        return len(PARTS) * index // self.n_rough


def number_to_draw(config: MapConfig, lattice: Lattice, n_samples: int, n_features: int) -> int:
    """Return how many samples a rough phase draws; 0 if there is none for so many samples."""
    most = min(config.rough_samples * lattice.n_nodes, n_samples)
    if config.phases == "two":
        return most
    given = config.phases == "one" or config.epochs is not None or config.radii is not None
    pays = n_samples >= LEAST_A_NODE * lattice.n_nodes and most * n_features * ENTRY_BYTES <= MOST_BYTES
    return most if pays and not given else 0


def number_to_measure(config: MapConfig, n_samples: int, n_features: int) -> int:
    """Return how many samples tell the final radius; 0 if it is known."""
    if config.final_radius != AUTO:
        return 0
    return min(MEASURED, max(MEASURED_BYTES // (n_features * ENTRY_BYTES), LEAST_MEASURED), n_samples)


def draw_bytes(config: MapConfig, lattice: Lattice, n_samples: int, n_features: int) -> int:
    """Return the bytes that the samples drawn in the first pass take meanwhile; 0 if there are none."""
    drawn = max(
        number_to_draw(config, lattice, n_samples, n_features), number_to_measure(config, n_samples, n_features)
    )
    return COPIES * drawn * n_features * ENTRY_BYTES


def check_draw_fits(n_drawn: int, n_features: int) -> None:
    """Check that the samples of a rough phase fit the memory of this process.

    Raises
    ------
    MemoryLimitError
        If they don't.
    """
    needed = COPIES * n_drawn * n_features * ENTRY_BYTES
    if needed < NEVER_LACKING:
        return
    limit = process_memory()
    if needed > limit:
        raise MemoryLimitError(
            f"the {n_drawn} samples of the rough phase need {needed / 2**30:.3g} GiB of memory, and there are "
            f'{limit / 2**30:.3g} GiB; take fewer by `rough_samples`, or none by `phases="one"`'
        )


def plan_epochs(config: MapConfig, lattice: Lattice, n_samples: int, n_features: int) -> Plan:
    """Plan the epochs of a run.

    Parameters
    ----------
    config : MapConfig
    lattice : Lattice
    n_samples : int
        Number of samples that are not left out.
    n_features : int

    Returns
    -------
    Plan
    """
    two = number_to_draw(config, lattice, n_samples, n_features) > 0
    return Plan(config.schedule(lattice, two_phases=two), config.rough_epochs if two else 0)


def describe_plan(config: MapConfig, plan: Plan) -> dict[str, Any]:
    """Return the parameters of a configuration as they are carried out, which decide the bits of the map."""
    two = plan.n_rough > 0
    epochs = config.count_epochs(two_phases=two) - plan.n_rough
    described = asdict(config) | {"epochs": epochs, "phases": "two" if two else "one"}
    if config.tolerance is None or config.radii is not None:
        del described["settling_epochs"]
    if not plan.n_rough:
        del described["rough_epochs"], described["rough_samples"]
    return described
