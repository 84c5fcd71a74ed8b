"""Options made from configurations: each field has its option, with its default, its choices and a plain help."""

import re
from dataclasses import MISSING, dataclass, fields
from typing import Literal, get_args, get_origin, get_type_hints

import click
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.cli.generated import add_options, read_descriptions, take
from som_dask.cli.infer import infer
from som_dask.cli.parameters import NumberOrWord, Numbers
from som_dask.cli.train import retrain, train
from som_dask.errors import ParameterError
from som_dask.training.config import Execution, MapConfig
from som_dask.training.retrain import RetrainingConfig

CONFIGS = (
    *((train, config, field) for config in (Lattice, MapConfig, Execution) for field in fields(config)),
    *((train, OnlineConfig, field) for field in fields(OnlineConfig) if field.name == "learning_rate"),
    *((retrain, config, field) for config in (RetrainingConfig, Execution) for field in fields(config)),
    *((infer, Execution, field) for field in fields(Execution) if field.name == "device"),
)


def option_of(command, name):
    (option,) = (param for param in command.params if param.name == name)
    return option


def help_of(command, name):
    """The help of an option and what stands in brackets after it, in one line."""
    _, text = option_of(command, name).get_help_record(click.Context(command, show_default=True))
    return text


@pytest.mark.parametrize(
    ("command", "config", "field"), CONFIGS, ids=[f"{command.name} {field.name}" for command, _, field in CONFIGS]
)
def test_each_field_has_its_option(command, config, field):
    option = option_of(command, field.name)
    assert option.opts == [f"--{field.name.replace('_', '-')}"]
    assert re.fullmatch(r"[^`]+\.", option.help)
    if field.default is MISSING:
        assert (config, field.name, option.default) in [(Lattice, "rows", 20), (Lattice, "cols", 20)]
    else:
        assert option.default == field.default
    shown = help_of(command, field.name)
    if option.default is not None:
        assert re.search(rf"default: {re.escape(str(option.default))}[\];]", shown)
    elif field.name != "radii":  # which is used in place of others
        assert re.search(r"  \[default: [^\]]+\]$", shown)


@pytest.mark.parametrize(
    ("command", "config", "field"), CONFIGS, ids=[f"{command.name} {field.name}" for command, _, field in CONFIGS]
)
def test_choices_are_those_that_the_configuration_takes(command, config, field):
    hint = get_type_hints(config)[field.name]
    documented = re.findall(r'"([^"]+)"', read_descriptions(config)[field.name].kind)
    choices = get_args(hint) if get_origin(hint) is Literal else documented
    assert documented == list(choices)
    option = option_of(command, field.name)
    assert isinstance(option.type, (click.Choice, NumberOrWord)) == bool(documented)
    if documented:
        words = option.type.words if isinstance(option.type, NumberOrWord) else option.type.choices
        assert list(words) == documented
        if field.name == "device":
            for choice in documented:
                Execution(device=choice)
            with pytest.raises(ParameterError):
                Execution(device="other")


@dataclass(frozen=True)
class Soup:
    """A soup.

    Parameters
    ----------
    herbs : {"dill", "mint"}
        Herb that is put in, ``raw``. Not with `cooking_time`.
    cooking_time : float, optional
        Minutes on the fire; by default as long as 2.5 times
        the `herbs` need. More does no harm.
    plates, spoons : int
        How many.
    spice : {"salt", "none"}
        Spice.

    Raises
    ------
    ParameterError
        If `plates` is 0.
    """

    herbs: Literal["dill", "mint"]
    cooking_time: float | None = None
    plates: int = 2
    spoons: int = 3
    spice: str = "salt"
    amounts: tuple[float, ...] | None = None
    course: Literal["first", "last"] | None = None


def test_an_option_is_made_of_a_field():
    @click.command()
    @add_options(Soup, "plates", "cooking_time", types={"plates": click.IntRange(1)})
    @add_options(Soup, "herbs", "spice", "amounts", "course", defaults={"herbs": "mint"})
    def cook(**_):
        """Cook."""

    assert [param.name for param in cook.params] == ["plates", "cooking_time", "herbs", "spice", "amounts", "course"]
    assert help_of(cook, "herbs") == "Herb that is put in, raw.  [default: mint]"
    assert help_of(cook, "plates") == "How many.  [default: 2; x>=1]"
    assert help_of(cook, "cooking_time") == "Minutes on the fire.  [default: as long as 2.5 times the --herbs need]"
    assert option_of(cook, "cooking_time").type is click.FLOAT
    assert list(option_of(cook, "spice").type.choices) == ["salt", "none"]
    assert isinstance(option_of(cook, "amounts").type, Numbers)
    assert list(option_of(cook, "course").type.choices) == ["first", "last"]


def test_a_field_without_default_is_required():
    command = add_options(Soup, "herbs")(click.Command("cook", callback=lambda **_: None))
    assert option_of(command, "herbs").required


def test_descriptions_are_read_up_to_the_next_section():
    found = read_descriptions(Soup)
    assert list(found) == ["herbs", "cooking_time", "plates", "spoons", "spice"]
    assert found["spoons"] == ("int", "How many.")
    assert found["spice"] == ('{"salt", "none"}', "Spice.")


def test_without_docstrings_there_are_options_without_help(monkeypatch):
    monkeypatch.setattr(Soup, "__doc__", None)  # as under python -OO
    command = add_options(Soup, "plates", "cooking_time", "spice")(click.Command("cook"))
    assert {param.name: param.default for param in command.params} == {
        "plates": 2,
        "cooking_time": None,
        "spice": "salt",
    }
    assert not any(param.help for param in command.params)


def test_options_are_taken_out_of_the_others():
    options = {"plates": 4, "herbs": "dill", "bread": True}
    assert take(Soup, options) == Soup("dill", plates=4)
    assert options == {"bread": True}


def test_a_number_or_a_word_on_the_command_line_and_in_a_job_file(tmp_path):
    (tmp_path / "job.toml").write_text('final_radius = "auto"\n')
    (tmp_path / "number.toml").write_text("final_radius = 1\n")
    ways = {
        ("--final-radius", "auto"): "auto",
        ("--final-radius", "0.5"): 0.5,
        ("--config", str(tmp_path / "job.toml")): "auto",
        ("--config", str(tmp_path / "number.toml")): 1.0,
    }
    for arguments, expected in ways.items():
        assert train.make_context("train", ["in.zarr", *arguments]).params["final_radius"] == expected
    assert "FLOAT|auto" in option_of(train, "final_radius").get_help_record(click.Context(train))[0]
