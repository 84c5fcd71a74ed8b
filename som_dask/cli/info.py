"""The command `som-dask info`, and what a command says of a model that it has made."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import xarray as xr

from som_dask.cli.arguments import Command
from som_dask.cli.options import log_options, with_telemetry
from som_dask.cli.terminal import echo, echo_json
from som_dask.io.attributes import read_attributes
from som_dask.io.models import open_model

__all__ = ["echo_model", "info"]


@click.command(cls=Command)
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@log_options
@with_telemetry
def info(model: str, as_json: bool) -> None:
    """Show what a MODEL is, how it was trained and how good it is.

    MODEL is a path or URL.
    """
    opened = open_model(model)
    features = [str(name) for name in opened["feature"].values]
    if as_json:
        history = {
            name: [None if np.isnan(value) else value for value in opened[name].values.tolist()]
            for name in ("quantization_error", "topographic_error", "radius")
        }
        echo_json({"model": model, **read_attributes(opened.attrs), "features": features, **history})
        return
    echo(f"model               {model}")
    echo(f"features            {len(features)}: {', '.join(features[:8])}{' ...' if len(features) > 8 else ''}")
    echo(f"nodes without hits  {int((opened['hits'] == 0).sum())} of {opened['hits'].size}")
    echo(f"quantization error  {opened['quantization_error'].values[-1]:.6g}")
    echo(f"topographic error   {opened['topographic_error'].values[-1]:.4g}")
    for name, value in read_attributes(opened.attrs).items():
        if value is not None:
            echo(f"{name.replace('_', ' '):<19} {value}")


def echo_model(model: xr.Dataset, path: Any) -> None:
    """Print where a new model is, and its errors."""
    echo(f"model               {path}")
    echo(f"quantization error  {model['quantization_error'].values[-1]:.6g}")
    echo(f"topographic error   {model['topographic_error'].values[-1]:.4g}")
