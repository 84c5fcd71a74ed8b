"""The package: each public name is imported when it is first used, from one place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import som_dask


def test_the_names_for_people_are_those_for_type_checkers():
    tree = ast.parse(Path(som_dask.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {(line.module, name.asname or name.name) for line in block.body for name in line.names}
    assert seen == {(f"som_dask.{place}", name) for place, names in som_dask.PLACES.items() for name in names}
    assert {name for _, name in seen} | {"__version__"} == set(som_dask.__all__)


@pytest.mark.parametrize("name", [*som_dask.__all__, *som_dask.ROOMS])
def test_each_name_is_there(name):
    assert name in dir(som_dask)
    assert getattr(som_dask, name) is getattr(som_dask, name)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        som_dask.fit  # noqa: B018 - looking is what is tested


def test_little_is_imported_before_a_name_is_used():
    code = "import sys, som_dask; print({'numpy', 'dask', 'numba', 'xarray'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
