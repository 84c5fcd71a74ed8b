"""Train many maps together: each pass over the data serves all of them."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.partial import Partial
from som_dask.errors import ParameterError
from som_dask.passes.compute import active_client
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.map_memory import check_map_fits, map_bytes
from som_dask.passes.meeting import at_once, time_taken
from som_dask.passes.memory import process_memory
from som_dask.passes.residency import keep_samples, memory_available
from som_dask.passes.scaling import fit_space
from som_dask.passes.summary import DataSummary, summarize
from som_dask.passes.together import do_together
from som_dask.samples.open import open_samples
from som_dask.samples.reweight import Reweighting, check_share, reweight
from som_dask.samples.table import Samples
from som_dask.training.batch import train_batch
from som_dask.training.config import Execution, MapConfig
from som_dask.training.map_table import MapRow, make_table
from som_dask.training.phases import draw_bytes
from som_dask.training.prepared import PreparedData, prepare_data
from som_dask.training.run import Checkpointing, Epoch

__all__ = ["MapRun", "TrainedMaps", "train_many"]

SHARE = 0.5  # of the memory, for the maps and their sums; the samples need the rest
WAITING = 2  # sums that a thread holds besides those that it adds to


@dataclass(frozen=True, kw_only=True)
class MapRun:
    """One of many maps that are trained together.

    Parameters
    ----------
    lattice : Lattice
    config : MapConfig
        Of the batch rule.
    bootstrap : int, optional
        Seed of the bootstrap weights, by which the sample weights are multiplied; by default there are none. See
        `som_dask.samples.reweight.bootstrap_weights`.

    Raises
    ------
    ParameterError
        If the seed is not a whole number of 0 or more.

    Examples
    --------
    >>> import som_dask as som
    >>> runs = [som.MapRun(lattice=som.Lattice(4, 5), bootstrap=seed) for seed in (None, 0, 1)]
    >>> len(runs)
    3
    """

    lattice: Lattice
    config: MapConfig = field(default_factory=MapConfig)
    bootstrap: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.config, MapConfig) or not isinstance(self.lattice, Lattice):
            raise ParameterError("a run is made of a Lattice and a MapConfig; only the batch rule trains many maps")
        seed = self.bootstrap
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise ParameterError(f"bootstrap must be a whole number, 0 or more, got {seed!r}")


class TrainedMaps(NamedTuple):
    """What `train_many` returns.

    Attributes
    ----------
    models : list of xarray.Dataset
        In the order of the runs.
    table : pandas.DataFrame
        A row for each of them; see `som_dask.training.map_table.make_table`.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> values = np.random.default_rng(0).normal(size=(1000, 3))
    >>> models, table = som.train_many(values, [som.MapRun(lattice=som.Lattice(4, 5))])
    >>> len(models), len(table)
    (1, 1)
    """

    models: list[xr.Dataset]
    table: pd.DataFrame


def train_many(
    data: Any,
    runs: Sequence[MapRun],
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    holdout: float = 0.0,
    holdout_seed: int = 0,
    checkpointing: Sequence[Checkpointing] | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
    on_model: Callable[[int, xr.Dataset, MapRow], None] | None = None,
) -> TrainedMaps:
    """Train several maps of the same data together, by the batch rule.

    Every pass over the data reads each block once for all maps, so as many bytes are read as for the map that takes
    the most passes. Each map has the bits that `train` gives it alone, with the same lattice and configuration and
    ``sample_weights=w``, where w are the sample weights times its bootstrap weights, and 0 for samples held out.

    Maps that take more memory than there is for them are trained in several batches, each of which reads the data; a
    warning says so.

    Parameters
    ----------
    data, sample_weights, feature_weights
        As for `som_dask.samples.open.open_samples`.
    runs : sequence of MapRun
    execution : Execution, optional
        How the work is done. The samples move to a GPU anew in each pass; bootstrap weights and samples held out are
        not supported there, as weights are not.
    holdout : float
        Share of the samples that no map is trained on, from 0 to below 1. All maps are measured on them, in the pass
        that measures them on the others. Bootstrap weights don't count there.
    holdout_seed : int
        Seed of the choice; see `som_dask.samples.reweight.held_out`.
    checkpointing : sequence of Checkpointing, optional
        For each run.
    on_epoch : callable, optional
        Called with the index of a run and its `Epoch`.
    on_model : callable, optional
        Called with the index of a run, its model and its row of the table, as soon as it has ended.

    Returns
    -------
    TrainedMaps

    Raises
    ------
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError, CheckpointError
        The first that any of the maps runs into, which ends the training of all.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> values = np.random.default_rng(0).normal(size=(1000, 3))
    >>> runs = [som.MapRun(lattice=som.Lattice(n, n)) for n in (4, 6)]
    >>> models, table = som.train_many(values, runs, holdout=0.1)
    >>> [model["codebook"].shape for model in models]
    [(4, 4, 3), (6, 6, 3)]
    >>> "held_out_quantization_error" in table
    True
    """
    runs, execution = list(runs), execution or Execution()
    check_share(holdout)
    if not runs:
        raise ParameterError("there are no maps to train; name one or more")
    samples = open_samples(data, sample_weights=sample_weights, feature_weights=feature_weights)
    for run in runs:
        samples.allow_for(run.config.missing)
        check_map_fits(run.lattice, samples.n_features, run.config.epochs or 0)
    samples = keep_samples(samples, execution.keep)
    split = Reweighting(holdout=float(holdout), holdout_seed=holdout_seed)
    trainers = [
        _Trainer(
            run,
            samples,
            split,
            execution,
            Checkpointing() if checkpointing is None else checkpointing[index],
            None if on_epoch is None else functools.partial(on_epoch, index),
            None if on_model is None else functools.partial(on_model, index),
        )
        for index, run in enumerate(runs)
    ]
    ended: list[tuple[xr.Dataset, MapRow]] = []
    for batch in _split_by_memory(trainers):
        ended += do_together(samples, [trainer.train for trainer in batch])
    return TrainedMaps([model for model, _ in ended], make_table([row for _, row in ended]))


@dataclass(frozen=True, eq=False)
class _Trainer:
    """One of the maps, and what all of them are made of."""

    run: MapRun
    samples: Samples
    split: Reweighting
    execution: Execution
    checkpointing: Checkpointing
    on_epoch: Callable[[Epoch], None] | None
    on_model: Callable[[xr.Dataset, MapRow], None] | None

    @property
    def needed(self) -> int:
        """Bytes that the map, its sums and the samples of a rough phase take, in this process and in one thread."""
        run, samples = self.run, self.samples
        drawn = draw_bytes(run.config, run.lattice, samples.n_samples, samples.n_features)
        return map_bytes(run.lattice, samples.n_features) + drawn

    def train(self) -> tuple[xr.Dataset, MapRow]:
        """Train and measure the map."""
        run, split = self.run, self.split
        # No run moves the samples that all share to where they are kept.
        how = replace(self.execution, keep="stream")
        own = reweight(self.samples, replace(split, bootstrap=run.bootstrap))
        prepare = functools.partial(prepare_data, own, run.config, how, lattice=run.lattice)
        held = None
        if split.holdout:
            others = reweight(self.samples, replace(split, turned=True))
            prepared, summary = at_once(prepare, functools.partial(summarize, others, run.config.missing))
            held = _HeldOut(others, summary, run)
        else:
            prepared = prepare()
        model = train_batch(
            prepared,
            run.lattice,
            run.config,
            checkpointing=self.checkpointing,
            on_epoch=self.on_epoch,
            at_end=None if held is None else held.measure,
        )
        model.attrs["keep"] = self.execution.keep
        if run.bootstrap is not None:
            model.attrs["bootstrap"] = run.bootstrap
        if held is not None:
            model.attrs |= {"holdout": split.holdout, "holdout_seed": split.holdout_seed}
        row = MapRow.of(
            model,
            run.config,
            bootstrap=run.bootstrap,
            held_out=None if held is None else held.errors,
            seconds=time_taken(),
        )
        if self.on_model is not None:
            self.on_model(model, row)
        return model, row


class _HeldOut:
    """The samples that a map is measured on, but not trained on.

    Attributes
    ----------
    errors : (float, float)
        Quantization error and topographic error, once they are measured; nan if no sample is held out.
    """

    def __init__(self, samples: Samples, summary: DataSummary, run: MapRun) -> None:
        self.samples, self.summary, self.run = samples, summary, run
        self.errors = float("nan"), float("nan")

    def measure(self, data: PreparedData, points: Any, add_up: Callable[[], Partial]) -> Partial:
        """Measure a scaled codebook on them, in the same pass in which `add_up` adds up the others."""
        if not self.summary.taken:
            return add_up()
        missing, lattice = self.run.config.missing, self.run.lattice
        space = fit_space(self.summary, missing=missing, weighted=True, scaled_by=data.space)
        engine = data.execution.engine(self.run.config.precision)
        measure = functools.partial(
            epoch_sums, self.samples, points, lattice, self.summary, space, engine, "held_out"
        )
        sums, held = at_once(add_up, measure)
        self.errors = held.quantization_error, held.topographic_error
        total: Partial = sums
        return total


def _split_by_memory(trainers: Sequence[_Trainer]) -> Iterator[list[_Trainer]]:
    """Split maps in batches whose sums fit the memory, each as large as it can be, in their order."""
    limit, threads = _find_memory()
    batches: list[list[_Trainer]] = [[]]
    left = limit
    for trainer in trainers:
        needed = trainer.needed * (1 + WAITING + threads)
        if batches[-1] and needed > left:
            batches.append([])
            left = limit
        batches[-1].append(trainer)
        left -= needed
    if len(batches) > 1:
        warnings.warn(
            f"the sums of {len(trainers)} maps are more than fits the memory at once: they are trained in "
            f"{len(batches)} batches, each of which reads the data",
            stacklevel=3,
        )
    yield from batches


def _find_memory() -> tuple[float, int]:
    """Return the bytes for maps and sums in a process that computes, and the number of its threads."""
    client = active_client()
    if client is None:
        return SHARE * process_memory(), os.cpu_count() or 1
    threads = client.nthreads()
    a_worker = memory_available() / max(len(threads), 1)
    return SHARE * min(a_worker, process_memory()), max(threads.values(), default=1)
