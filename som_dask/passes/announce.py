"""Tell the scheduler of a cluster how training goes, for its page on the dashboard and for whoever listens."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.quality import u_matrix
from som_dask.errors import ClusterError
from som_dask.io.live import MAPS, PAGE, TOPIC
from som_dask.passes.compute import active_client

__all__ = ["announce"]

NUMBERS = ("phase", "index", "radius", "quantization_error", "topographic_error", "learning_rate", "seconds")
PATIENCE = "5s"  # a scheduler that does not answer for so long is told nothing more

T = TypeVar("T")


def announce(
    epochs: Iterable[T], lattice: Lattice, *, samples: int, blocks: int, of: int | None = None
) -> Iterator[T]:
    """Pass epochs on, and tell the scheduler of the active client of each; without a client, do nothing more.

    An event of topic `TOPIC` has the numbers of an epoch. If the scheduler has the page, its metadata hold the maps
    of the last epoch: only of that one, so that the scheduler's memory does not grow.

    Parameters
    ----------
    epochs : iterable of Epoch
    lattice : Lattice
    samples, blocks : int
        Number of samples, and of blocks that they are in.
    of : int, optional
        Number of epochs asked for.

    Yields
    ------
    Epoch
    """
    name, scheduler = uuid.uuid4().hex, _Scheduler()
    if scheduler.client is None:
        yield from epochs
        return
    run = {"run": name, "samples": samples, "blocks": blocks, "epochs": of}
    scheduler.tell(run | {"state": "begun"})
    for epoch in epochs:
        scheduler.tell(run | {"state": "training"} | _numbers_of(epoch))
        scheduler.show(functools.partial(_maps_of, epoch, lattice, name))
        yield epoch
    scheduler.tell(run | {"state": "finished"})


class _Scheduler:
    """The scheduler of the active client, as long as it listens: a run never fails, or waits, because it does not."""

    def __init__(self) -> None:
        with contextlib.suppress(ClusterError):
            self.client = active_client()
            return
        self.client = None

    def tell(self, event: dict[str, Any]) -> None:
        """Log an event."""
        self._ask("log_event", topic=TOPIC, msg=event)

    def show(self, make_maps: Callable[[], dict[str, Any]]) -> None:
        """Let the page show maps, which are made only if there is one."""
        if self._ask("get_metadata", keys=[PAGE], default=None) is not None:
            self._ask("set_metadata", keys=[PAGE, MAPS], value=make_maps())

    def _ask(self, what: str, **how: Any) -> Any:
        if self.client is None:
            return None
        try:
            return self.client.sync(getattr(self.client.scheduler, what), callback_timeout=PATIENCE, **how)
        except Exception:
            self.client = None
            return None


def _numbers_of(epoch: Any) -> dict[str, Any]:
    """Return the numbers of an epoch; those that its rule does not have are left out."""
    found = {name: getattr(epoch, name, None) for name in NUMBERS}
    return {
        name: value if isinstance(value, (str, int)) else float(value)
        for name, value in found.items()
        if value is not None
    }


def _maps_of(epoch: Any, lattice: Lattice, run: str) -> dict[str, Any]:
    """Return what is drawn of a map, with arrays as the bytes of (M,) float32."""
    codebook = epoch.scaled_codebook.reshape(lattice.n_nodes, -1)
    return {
        "run": run,
        "epoch": epoch.index,
        "lattice": asdict(lattice),
        "u_matrix": u_matrix(codebook, lattice).astype(np.float32).tobytes(),
        "hits": epoch.hits.astype(np.float32).tobytes(),
    }
