"""How options in messages are spelled: by Python in the library, by the command line where it prints them."""

import ast
import inspect
import warnings
from pathlib import Path

import pytest

import som_dask
from som_dask.cli import ends
from som_dask.cli.commands import cli
from som_dask.cli.main import main
from som_dask.cli.spelling import MARKED, OTHER_NAMES, list_options, spell_for_shell

HOUSE = Path(som_dask.__file__).parent
OTHER_PROGRAMS = {"git", "--std=c++17"}  # whose options stand in lists beside these


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ('open them with `dtype="float32"`', "open them with --dtype float32"),
        ("`overwrite=True`; `log_stderr=False`", "--overwrite; --no-log-stderr"),
        ("`workers` and `threads_per_worker`", "--workers and --threads"),
        ("`sample_dims=NAMES`", "--sample-dims NAMES"),
        ('`variables=["a", "b"]`', "--variables a,b"),
        ('`variables=["a b", "$c"]`', "--variables 'a b,$c'"),
        ('`variables=["a,b", "c"]`', 'variables = ["a,b", "c"] in the file of --config'),
        (
            'xarray says `consolidated=False`, and {"a": "rows=3"}',
            'xarray says `consolidated=False`, and {"a": "rows=3"}',
        ),
    ],
)
def test_options_between_backticks_become_those_of_the_shell(text, spelled):
    assert spell_for_shell(text) == spelled


def list_texts():
    """Every text in the library's source but docstrings, with where it stands; f-strings as one text each."""
    for path in sorted(HOUSE.rglob("*.py")):
        if path.parent.name == "cli":
            continue
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        lists = [n for n in ast.walk(tree) if isinstance(n, (ast.List, ast.Tuple))]
        firsts = [
            n for n in lists if n.elts and isinstance(n.elts[0], ast.Constant) and n.elts[0].value in OTHER_PROGRAMS
        ]
        others = {id(part) for n in firsts for part in ast.walk(n)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
                yield f"{path.relative_to(HOUSE)}:{node.lineno}", "".join(texts)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | others:
                yield f"{path.relative_to(HOUSE)}:{node.lineno}", node.value


def test_no_text_of_the_library_has_an_option_of_the_shell():
    found = [
        (where, text) for where, text in list_texts() if any(f"--{c}" in text for c in "abcdefghijklmnopqrstuvwxyz")
    ]
    assert found == []


def parameters_beyond_the_shell():
    """Parameters of public functions that no command has, and one that the shell calls otherwise."""
    commands = set(cli.commands)
    functions = [getattr(som_dask, name) for name in som_dask.__all__ if name not in commands]
    names = {name for each in functions if inspect.isfunction(each) for name in inspect.signature(each).parameters}
    return names | {"layer"}  # of AnnData: `--variable`


def test_what_the_library_marks_are_options_of_the_shell_or_of_functions_that_it_lacks():
    marked = {found[1] for _, text in list_texts() for found in MARKED.finditer(text)}
    assert len(marked) > 10
    assert {OTHER_NAMES.get(name, name) for name in marked} <= list_options() | parameters_beyond_the_shell()
    assert {"layer"} & list_options() == set()


def test_warnings_are_spelled_too(monkeypatch, capsys):
    monkeypatch.setattr(ends, "_invoke", lambda *_: warnings.warn("choose by `variables`", stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        main([])
    assert capsys.readouterr().err == "som-dask: warning: choose by --variables\n"
