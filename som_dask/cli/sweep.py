"""The command `som-dask sweep`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import click
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.cli.arguments import Command
from som_dask.cli.generated import add_options, take
from som_dask.cli.options import (
    cluster_options,
    connect_as_asked,
    feature_weights_option,
    input_options,
    job_option,
    log_options,
    open_input,
    sample_weights_option,
    with_telemetry,
)
from som_dask.cli.parameters import Names, NumbersOrWord, worded_option
from som_dask.cli.progress import is_watched
from som_dask.cli.signals import stop_if_asked
from som_dask.cli.terminal import echo
from som_dask.errors import Interrupted, ParameterError, SomError
from som_dask.io.event_log import EventLog
from som_dask.io.files import create, exists, read_bytes, write_bytes
from som_dask.io.outputs import check_apart, lock
from som_dask.training.config import AUTO, Execution, MapConfig
from som_dask.training.many import MapRun, train_many
from som_dask.training.map_table import MapRow, make_table
from som_dask.training.run import Checkpointing, Epoch

__all__ = ["sweep"]

VARIED = ("seed", "final_radius")
FIXED = [field.name for field in dataclasses.fields(MapConfig) if field.name not in VARIED]
ROW = "sweep"  # attribute of a model with its row of the table, as JSON


class Sizes(Names):
    """Sizes of maps, as rows x cols."""

    name = "ROWSxCOLS,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        parts = [re.fullmatch(r"(\d+)x(\d+)", text) for text in super().convert(value, param, ctx)]
        if not all(parts):
            self.fail(f"{value!r} is not a list of rows x cols, such as 10x10,20x30.", param, ctx)
        return tuple((int(part[1]), int(part[2])) for part in parts if part)


class Seeds(Names):
    """Whole numbers, or the range from one to below another."""

    name = "FROM:TO|a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        if isinstance(value, str) and (found := re.fullmatch(r"(\d+):(\d+)", value.strip())):
            seeds = tuple(range(int(found[1]), int(found[2])))
        else:
            try:
                seeds = tuple(int(part) for part in (value.split(",") if isinstance(value, str) else value))
            except (TypeError, ValueError):
                seeds = ()
        if not seeds or min(seeds) < 0:
            self.fail(f"{value!r} is not a list of seeds, such as 0,1,2 or 0:3.", param, ctx)
        return seeds


@click.command(cls=Command)
@click.argument("input")
@click.option("--output", required=True, metavar="FOLDER", help="Write the models and table.csv to this folder.")
@job_option
@click.option("--sizes", type=Sizes(), required=True, help="Numbers of rows and columns of the maps.")
@click.option(
    "--seeds",
    type=Seeds(),
    default="0",
    help="Seeds of the maps of each size; they matter with a rough phase, or if --initialization is random.",
)
@worded_option(
    "--final-radii",
    type=NumbersOrWord([AUTO]),
    help="Radii sigma of the last epoch, in lattice units, to train maps with; auto is as for train.",
    default_words="that of train",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=0,
    help="Besides each map, train this many whose samples have bootstrap weights.",
)
@click.option(
    "--holdout", type=float, default=0.0, help="Share of the samples to measure on and not to train on, such as 0.1."
)
@click.option("--holdout-seed", type=click.IntRange(0), default=0, help="Seed of the choice of these samples.")
@add_options(Lattice, "topology", "boundary")
@add_options(MapConfig, *FIXED)
@add_options(Execution)
@input_options
@sample_weights_option
@feature_weights_option
@cluster_options
@log_options
@with_telemetry
def sweep(input: str, output: str, log: EventLog, **options: Any) -> None:
    """Train many maps from one read of the samples in INPUT.

    The maps have all the sizes, seeds and final radii that are given. Their models are written to the folder, each
    when it is complete, and at last table.csv, with the errors of each map. With --holdout, a column marks the
    smallest size whose quantization error on the samples held out is within one standard error of the best.

    A sweep that was stopped goes on with the same command: models that are there stay as they are.
    """
    from som_dask.io.checkpoints import CheckpointFolder
    from som_dask.io.models import open_model, save_model

    folder = output.rstrip("/") or output
    execution = take(Execution, options)
    fixed = {name: options.pop(name) for name in (*FIXED, "topology", "boundary")}
    runs = _plan_runs(fixed, options)
    holdout = {name: options.pop(name) for name in ("holdout", "holdout_seed")}
    check_apart(folder, [input], kind="folder of models")
    with lock(folder):
        samples = open_input(input, options)
        claim, common = f"{folder}/sweep.json", {"input": samples.description, **_plain(fixed), **holdout}
        _check_claim(claim, common)
        done = {name: _read_row(open_model(_place(folder, name))) for name in runs if exists(_place(folder, name))}
        names = [name for name in runs if name not in done]
        checkpoints = {name: CheckpointFolder(f"{folder}/{name}.checkpoints") for name in names}

        def save(index: int, model: xr.Dataset, row: MapRow) -> None:
            name = names[index]
            model.attrs[ROW] = json.dumps(dataclasses.asdict(row))
            if log.run_id is not None:
                model.attrs["run_id"] = log.run_id
            create(claim, json.dumps(common, indent=1, sort_keys=True).encode())
            save_model(model, _place(folder, name))
            checkpoints[name].clear()
            done[name] = row
            log.event("model_saved", path=_place(folder, name), **dataclasses.asdict(row))

        if names:
            with connect_as_asked(**options), _telling(done, runs), _Progress(len(names), log) as progress:
                train_many(
                    samples,
                    [runs[name] for name in names],
                    execution,
                    **holdout,
                    checkpointing=[Checkpointing(checkpoints[name], 1, "auto") for name in names],
                    on_epoch=progress,
                    on_model=save,
                )
        table = make_table([done[name] for name in runs])
        table.insert(0, "name", list(runs))
        write_bytes(f"{folder}/table.csv", table.to_csv(index=False).encode())
    for line in table.drop(columns="seconds").to_string(index=False).splitlines():
        echo(line)
    echo(f"table               {folder}/table.csv")
    if "chosen" in table:
        chosen = table[table["chosen"]].iloc[0]
        echo(f"chosen size         {chosen['rows']}x{chosen['cols']}")


def _plan_runs(fixed: dict[str, Any], options: dict[str, Any]) -> dict[str, MapRun]:
    """Return the maps to train by their names, and take the options that tell of them out of `options`."""
    sizes, seeds, radii, replicates = (options.pop(name) for name in ("sizes", "seeds", "final_radii", "bootstrap"))
    shape = {name: fixed[name] for name in ("topology", "boundary")}
    config = {name: value for name, value in fixed.items() if name not in shape}
    if radii and config["radii"] is not None:
        raise ParameterError("--final-radii and --radii exclude each other; give one")
    runs: dict[str, MapRun] = {}
    for (rows, cols), seed, radius in itertools.product(sizes, seeds, radii or (None,)):
        for bootstrap in (None, *range(replicates)):
            parts = [f"{rows}x{cols}", f"seed{seed}"]
            parts += [] if radius is None else [f"radius{radius if radius == AUTO else format(radius, 'g')}"]
            parts += [] if bootstrap is None else [f"bootstrap{bootstrap}"]
            lattice = Lattice(rows, cols, **shape)
            one = MapConfig(**config, seed=seed, final_radius=radius)
            runs["-".join(parts)] = MapRun(lattice=lattice, config=one, bootstrap=bootstrap)
    return runs


def _place(folder: str, name: str) -> str:
    return f"{folder}/{name}.zarr"


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _check_claim(path: str, options: dict[str, Any]) -> None:
    """Check that the maps in a folder, if there are any, have in common what a file there says.

    Raises
    ------
    ParameterError
        If they were trained with other options.
    """
    if not exists(path):
        return
    before = json.loads(read_bytes(path))
    other = sorted(name for name in {*before, *options} if before.get(name) != options.get(name))
    if other:
        raise ParameterError(f"{path} is of a sweep with another {', another '.join(other)}; choose another folder")


def _read_row(model: xr.Dataset) -> MapRow:
    if ROW not in model.attrs:
        raise ParameterError("a model that is in the folder is not of a sweep; choose another folder")
    return MapRow(**json.loads(model.attrs[ROW]))


@contextlib.contextmanager
def _telling(done: dict[str, MapRow], runs: dict[str, MapRun]) -> Iterator[None]:
    """Tell of what was done, and how to go on, where training ends early."""
    try:
        yield
    except (KeyboardInterrupt, SomError) as error:
        way = f"go on with: {shlex.join(['som-dask', *sys.argv[1:]])}"
        told = f"{len(done)} of {len(runs)} maps are saved"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"stopped; {told}; {way}") from error
        if not done:
            raise
        raise type(error)(f"{error}; {told}") from error


class _Progress:
    """A bar of the epochs of all maps on a terminal; nothing elsewhere."""

    def __init__(self, n_maps: int, log: EventLog) -> None:
        self.planned = dict[int, int]()
        self.n_maps = n_maps
        self.bar = click.progressbar(length=n_maps, label="training", file=sys.stderr, hidden=not is_watched(log))

    def __enter__(self) -> _Progress:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def __call__(self, index: int, epoch: Epoch) -> None:
        """Enter an epoch of a map."""
        self.planned[index] = epoch.planned or epoch.index + 1
        self.bar.length = max(self.n_maps, sum(self.planned.values()))
        self.bar.update(1)
        stop_if_asked()
