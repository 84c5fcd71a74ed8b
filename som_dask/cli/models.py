"""The commands `som-dask models`, and what other commands need of registries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
import xarray as xr

from som_dask.cli.arguments import Group
from som_dask.cli.options import is_given, log_options, with_telemetry
from som_dask.cli.parameters import combine_options, worded_option
from som_dask.cli.terminal import echo, echo_json
from som_dask.errors import ParameterError
from som_dask.io.files import exists, is_url
from som_dask.io.manifest import Entry
from som_dask.io.model_key import ModelKey
from som_dask.io.models import open_model
from som_dask.io.registry import ENVIRONMENT, MODEL_VERSION, PROMOTED, Registry, resolve

__all__ = ["Target", "models", "open_named", "registry_option", "require_registry", "take_target", "target_options"]

VARIABLE = "SOM_DASK_REGISTRY"

registry_option = click.option(
    "--registry",
    metavar="ROOT",
    envvar=VARIABLE,
    show_envvar=True,
    help="Registry of models, a path or fsspec URL.",
)


target_options = combine_options(
    registry_option,
    click.option("--name", help="Save the model to the registry under this name."),
    click.option("--environment", default=ENVIRONMENT, help="Environment in the registry."),
    click.option(
        "--model-version",
        default=MODEL_VERSION,
        help="Your own version of the model, which you change with its features or lattice.",
    ),
)


@dataclass(frozen=True)
class Target:
    """Where in a registry to save a model."""

    registry: Registry
    name: str
    model_version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.registry.environment}"

    def save(self, model: xr.Dataset) -> ModelKey:
        """Save a model there."""
        return self.registry.save(model, self.name, model_version=self.model_version)


def take_target(options: dict[str, Any], output: str | None) -> Target | None:
    """Take the options of `target_options` out of `options`, and say where the model goes; None is to no registry.

    Parameters
    ----------
    options : dict
    output : str or None
        Where the model goes besides.

    Raises
    ------
    ParameterError
        If the model would go nowhere, or what is given is not enough to save it to a registry.
    StorageError
        If the registry can't be written to.
    """
    names = ("registry", "name", "environment", "model_version")
    root, name, environment, version = (options.pop(option) for option in names)
    if name is None:
        for option in names:
            if is_given(option):
                raise ParameterError(
                    f"--{option.replace('_', '-')} saves to a registry only with --name; give it too"
                )
        if output is None:
            raise ParameterError("the model would go nowhere; give --output, or --registry and --name")
        return None
    target = Target(Registry(require_registry(root), environment), name, version)
    target.registry.check_can_save(name, version)
    return target


def open_named(model: str, root: str | None, *, tell: bool = True) -> tuple[str, xr.Dataset]:
    """Open a model by its path, or by a reference such as ``photo@dev``.

    Parameters
    ----------
    model : str
        A reference if it has an ``@`` and is no URL and no path that exists.
    root : str or None
        The registry's.
    tell : bool
        Print which model a reference stands for.

    Returns
    -------
    path : str
        Path or URL of its store.
    model : xarray.Dataset

    Raises
    ------
    ParameterError
        If it is a reference that can't be read, or there is no registry.
    StorageError
        If there is no such model, or it is damaged.
    """
    if "@" not in model or is_url(model) or exists(model):
        return model, open_model(model)
    root = require_registry(root)
    key = resolve(model, root)
    registry = Registry(root)
    opened = registry.load_key(key)
    if tell:
        echo(f"model               {key}")
    return registry.path(key), opened


def require_registry(root: str | None) -> str:
    """Return the registry's root, or raise an error that says how to give one."""
    if not root:
        raise ParameterError(f"there is no registry; give --registry ROOT or set {VARIABLE}")
    return root


@click.group(cls=Group)
def models() -> None:
    """List, show, promote and delete the models of a registry.

    A MODEL is NAME@ENVIRONMENT[:CODE_VERSION[/MODEL_VERSION[/REVISION]]], where parts that are left out mean the
    newest, or a key as `list` prints it.
    """


@models.command("list")
@registry_option
@worded_option("--environment", help="List the models of this environment only.", default_words="all")
@worded_option("--name", help="List the models of this name only.", default_words="all")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@log_options
@with_telemetry
def list_models(registry: str | None, environment: str | None, name: str | None, as_json: bool) -> None:
    """List the models, newest first."""
    root = require_registry(registry)
    environments = [environment] if environment is not None else Registry(root).environments()
    registries = [Registry(root, each) for each in environments]
    entries = [entry for each in registries for entry in each.list() if name in (None, entry.key.name)]
    entries.sort(key=lambda entry: (entry.created, entry.key.sort_key()), reverse=True)
    if as_json:
        echo_json([entry.to_dict() for entry in entries])
        return
    width = max((len(str(entry.key)) for entry in entries), default=0)
    for entry in entries:
        echo(f"{entry.key!s:<{width}}  {entry.created[:19]}Z  {_format_errors(entry)}")


@models.command()
@click.argument("model")
@registry_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@log_options
@with_telemetry
def show(model: str, registry: str | None, as_json: bool) -> None:
    """Show where a MODEL came from and how good it is."""
    root = require_registry(registry)
    key = resolve(model, root)
    entry = Registry(root).entry(key)
    told = {**entry.to_dict(), "path": Registry(root).path(key)}
    if as_json:
        echo_json(told)
        return
    told |= {**told.pop("metrics"), **told.pop("parameters"), "features": ", ".join(told["features"])}
    for name, value in told.items():
        if value is not None:
            echo(f"{name.replace('_', ' '):<19} {value}")


@models.command()
@click.argument("model")
@registry_option
@click.option("--to", default=PROMOTED, help="Environment to copy the model to.")
@log_options
@with_telemetry
def promote(model: str, registry: str | None, to: str) -> None:
    """Copy a MODEL to another environment, as the next revision there."""
    root = require_registry(registry)
    source = resolve(model, root)
    echo(f"promoted            {source}")
    echo(f"to                  {Registry(root).promote(source, to)}")


@models.command()
@click.argument("key")
@registry_option
@log_options
@with_telemetry
def delete(key: str, registry: str | None) -> None:
    """Delete the model with this KEY, whole as `list` prints it; its revision is not used again."""
    parsed = ModelKey.parse(key)
    Registry(require_registry(registry)).delete(parsed)
    echo(f"deleted             {parsed}")


def _format_errors(entry: Entry) -> str:
    told = {"QE": entry.metrics.get("quantization_error"), "TE": entry.metrics.get("topographic_error")}
    return "  ".join(f"{name} {value:.4g}" for name, value in told.items() if value is not None)
