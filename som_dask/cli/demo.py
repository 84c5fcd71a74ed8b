"""The command `som-dask demo`."""

from __future__ import annotations

from pathlib import Path

import click

from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.cli.arguments import Command
from som_dask.cli.info import echo_model
from som_dask.cli.options import connect_as_asked, log_options, with_telemetry
from som_dask.cli.parameters import worded_option
from som_dask.cli.progress import EpochBar
from som_dask.cli.terminal import echo
from som_dask.errors import ParameterError
from som_dask.training.config import MapConfig

__all__ = ["demo"]


@click.command(cls=Command)
@click.option("--output", default="som_dask_demo", help="Write everything to this folder.")
@click.option(
    "--case", type=click.Choice(["photograph", "colors"]), default="photograph", help="What to train a map on."
)
@click.option("--data-only", is_flag=True, help="Write the samples of the photograph and do nothing else.")
@worded_option(
    "--epochs",
    type=int,
    help="Number of epochs, which are passes over all samples.",
    default_words=f"{MapConfig().count_epochs()}, or {OnlineConfig.epochs} for colors",
)
@click.option("--workers", type=int, default=2, help="Number of worker processes; colors starts none.")
@log_options
@with_telemetry
def demo(output: str, case: str, data_only: bool, epochs: int | None, workers: int) -> None:
    """Train a map and draw pictures of it.

    The case photograph is a 40 x 40 map of the 273,280 pixels of a photograph, trained by the batch rule, and the
    photograph redrawn from it. The case colors is a 400 x 400 map of 40 colors, trained by the online rule, from
    noise to smooth patches.
    """
    from som_dask.cli import demonstrations

    if data_only and case != "photograph":
        raise ParameterError("--data-only belongs to --case photograph; colors writes no input store")
    config = MapConfig() if epochs is None else MapConfig(epochs=epochs)
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"can't make the folder {folder}: {error.strerror}; choose another --output") from error
    if data_only:
        demonstrations.write_photograph(folder / "flower.zarr")
        echo(f"samples             {folder / 'flower.zarr'}")
        return
    if case == "colors":
        online = OnlineConfig() if epochs is None else OnlineConfig(epochs=epochs)
        with EpochBar(online.epochs) as bar:
            model, paths = demonstrations.run_colors(folder, online, on_epoch=bar)
    else:
        with connect_as_asked(workers=workers), EpochBar(config.count_epochs()) as bar:
            model, paths = demonstrations.run_photograph(folder, config, on_epoch=bar)
    echo_model(model, paths.pop("model"))
    for name, path in paths.items():
        echo(f"{name:<19} {path}")
