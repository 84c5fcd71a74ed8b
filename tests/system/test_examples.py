"""The examples in docstrings: they run and give what they say, and every public name has one."""

import doctest
import importlib
import inspect
import os
import warnings
from pathlib import Path

import pytest

import som_dask

HOUSE = Path(som_dask.__file__).parent
PROMPT = ">>> "
PICTURES = (
    "maps",
    "planes",
    "profiles",
    "classes",
    "fields",
    "composites",
    "series",
    "sammon",
    "history",
    "calibration",
)


def modules():
    """Modules with examples."""
    for path in sorted(HOUSE.rglob("*.py")):
        if PROMPT in path.read_text(encoding="utf-8"):
            yield ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts)


def has_example(thing):
    return "Examples\n--------\n" in (inspect.getdoc(thing) or "") and PROMPT in inspect.getdoc(thing)


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_of_a_module(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    told = []
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs={"__name__": "__main__"}):
        folder = tmp_path / test.name
        folder.mkdir()
        os.chdir(folder)  # what one example writes is not in the way of the next
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)
            runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)
    assert runner.tries


def test_each_public_name_has_an_example():
    public = [getattr(som_dask, name) for name in som_dask.__all__ if name != "__version__"]
    for place in PICTURES:
        module = importlib.import_module(f"som_dask.plotting.{place}")
        public += [getattr(module, name) for name in module.__all__]
    assert [thing.__name__ for thing in public if not has_example(thing)] == []


@pytest.mark.parametrize("kind", [som_dask.KohonenMap, som_dask.Registry])
def test_each_method_has_an_example(kind):
    own = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    methods = [name for name, value in own.items() if callable(value) or isinstance(value, (classmethod, property))]
    assert methods
    assert [name for name in methods if not has_example(getattr(kind, name))] == []
