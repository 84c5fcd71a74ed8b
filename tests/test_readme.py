"""The README: its Python runs as it stands, on a store like the one it names."""

import re
from pathlib import Path

import numpy as np
import xarray as xr

README = Path(__file__).parent.parent / "README.md"


def test_the_python_examples_run(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    names = np.array(["cd3", "cd4", "cd8"], dtype=object)
    values = rng.normal(size=(2000, 3)).astype(np.float32)
    cells = xr.DataArray(values, dims=("cell", "marker"), coords={"marker": names}, name="expression")
    cells.chunk(cell=500).to_dataset().to_zarr("cells.zarr", zarr_format=2)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks[:2]:  # the third connects to a cluster
        exec(block, names)
    assert len(capsys.readouterr().out.splitlines()) == 20
    assert names["labels"].sizes == {"cell": 2000}
    assert (tmp_path / "model.zarr").is_dir()
