"""What is given to commands: every command checks it, and every text of theirs is known to be a path or not."""

import click
import pytest

from som_dask.cli.arguments import PATHS, Command, check_argument
from som_dask.cli.commands import cli
from som_dask.errors import ParameterError
from tests.system.test_bad_input import run

WORDS = {
    *(
        "dtype",
        "block_size",
        "variable",
        "variables",
        "sample_dims",
        "feature_dims",
        "sample_weights",
        "value_errors",
        "feature_weights",
    ),
    *(
        "feature_weights",
        "features",
        "nodata",
        "name",
        "environment",
        "model_version",
        "to",
        "key",
        "title",
        "memory_limit",
        "scheduler",
        "interface",
        "radii",
        "final_radius",
        "final_radii",
        "part",
        "seeds",
        "sizes",
    ),
}


def commands_in(group):
    for command in group.commands.values():
        yield from commands_in(command) if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("command", commands_in(cli), ids=lambda command: command.name)
def test_every_command_checks_its_arguments_and_can_keep_a_log(command):
    assert isinstance(command, Command)
    plain = (click.types.IntParamType, click.types.FloatParamType, click.types.BoolParamType, click.Choice)
    texts = {param.name for param in command.params if not isinstance(param.type, plain)}
    assert texts <= PATHS | WORDS
    assert {"log_file", "log_level"} <= {param.name for param in command.params}


def test_a_secret_in_the_environment_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("SOM_DASK_REGISTRY", "s3://key:hunter2@bucket/models")
    assert run("models", "list") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--registry holds a credential" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1.0, float("inf")), 2**63, [[10**400]]])
def test_numbers_that_no_computation_can_use(value):
    with pytest.raises(ParameterError, match="--radii"):
        check_argument(click.Option(["--radii"]), value)


@pytest.mark.parametrize("value", [None, True, 2**63 - 1, 0.5, "64 MiB", ("a", "b"), "tcp://10.0.0.1:8786"])
def test_what_is_usual_passes(value):
    check_argument(click.Option(["--scheduler"]), value)


def test_a_seed_may_be_of_any_size():
    check_argument(click.Option(["--seed"]), 2**127)
