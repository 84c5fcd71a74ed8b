"""The README: its Python runs as it stands, on a store like the one it names."""

import re
import shlex
from pathlib import Path

import numpy as np
import xarray as xr

from tests.test_bad_input import run, store

README = Path(__file__).parent.parent / "README.md"


def test_the_python_examples_run(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    names = np.array(["cd3", "cd4", "cd8"], dtype=object)
    values = rng.normal(size=(2000, 3)).astype(np.float32)
    cells = xr.DataArray(values, dims=("cell", "marker"), coords={"marker": names}, name="expression")
    cells.chunk(cell=500).to_dataset().to_zarr("cells.zarr", zarr_format=2)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks[:3]:  # the last connects to a cluster
        exec(block, names)
    assert len(capsys.readouterr().out.splitlines()) == 20
    assert names["labels"].sizes == {"cell": 2000}
    assert (tmp_path / "model.zarr").is_dir()
    assert (tmp_path / "colored.zarr").is_dir()


def test_the_session_with_a_registry_runs(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(3000, 3)))
    store("new_cells.zarr", rng.normal(size=(2000, 3)) + 0.3)
    section = README.read_text().split("## A registry of models")[1]
    lines = re.search(r"```sh\n(.*?)```", section, flags=re.DOTALL)[1].splitlines()
    commands = []
    for line in lines:
        command, *arguments = shlex.split(line, comments=True)
        if command == "export":
            monkeypatch.setenv(*arguments[0].split("="))
        else:
            assert command == "som-dask"
            commands.append(arguments[:1] if arguments[0] != "models" else arguments[:2])
            assert run(*arguments) == 0, line
    assert commands == [["train"], ["models", "list"], ["retrain"], ["models", "promote"], ["infer"]]
    out = capsys.readouterr().out
    assert "registered          dev/blood/0.1.0/1/2\n" in out
    assert "prod/blood/0.1.0/1/1" in out
    assert xr.open_zarr("labels.zarr").sizes == {"sample": 2000}
