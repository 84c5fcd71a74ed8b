"""Files of other kinds: the error says what they are, and what it tells to do gives the store."""

import re

import numpy as np
import pandas as pd
import pytest
import zarr

from som_dask.errors import StorageError
from som_dask.samples.open import open_samples
from tests.system.test_bad_input import run

VALUES = np.arange(12.0).reshape(4, 3)


def write_table(path):
    pd.DataFrame(VALUES, columns=list("abc")).to_csv(path, index=False)


def write_array(path):
    np.save(path, VALUES)


@pytest.mark.parametrize(
    ("name", "write", "what", "options"),
    [
        ("x.txt", write_table, "a text file", {"variables": ["a", "b", "c"]}),
        ("x.npy", write_array, "a NumPy file", {}),
    ],
)
def test_the_remedy_works(name, write, what, options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(name)
    with pytest.raises(StorageError, match=f"^{name} is {what}, no Zarr store; ") as caught:
        open_samples(name)
    assert run("train", name, "--output", "out.zarr") == 5
    assert capsys.readouterr().err == f"som-dask: {caught.value}\n"
    made, direct = re.search(r"make one by (.*?)(?:, or in Python give (.*) itself)?$", str(caught.value)).groups()
    modules = {"pandas": pd, "numpy": np, "zarr": zarr}
    eval(made, modules)
    np.testing.assert_array_equal(open_samples("x.zarr", **options).array.compute(), VALUES)
    if direct is not None:
        np.testing.assert_array_equal(open_samples(eval(direct, modules)).array.compute(), VALUES)


@pytest.mark.parametrize("ending", ["hdf", "GRIB", "feather", "xlsx", "tif"])
def test_others_are_named_too(ending, tmp_path):
    (tmp_path / f"x.{ending}").write_bytes(b"words")
    with pytest.raises(StorageError, match=r"an? \w+ file, no Zarr store; make one by .*'x\.zarr'\)"):
        open_samples(tmp_path / f"x.{ending}")


def test_the_name_alone_is_no_reason(tmp_path):
    zarr.save_array(tmp_path / "x.csv", VALUES)
    np.testing.assert_array_equal(open_samples(tmp_path / "x.csv").array.compute(), VALUES)
