"""The command `som-dask infer`: parts of an inference, and what is said of them."""

import pytest
import xarray as xr

from som_dask.cli.infer import _list_parts
from tests.system.test_bad_input import folder, run

__all__ = ["folder"]


@pytest.mark.parametrize(
    ("parts", "text"),
    [((2,), "part 2"), ((1, 2), "parts 1, 2"), ((2, 5, 6, 7, 9), "parts 2, 5 to 7, 9"), ((1, 2, 3), "parts 1 to 3")],
)
def test_numbers_of_parts_are_told_in_short(parts, text):
    assert _list_parts(parts) == text


def test_each_part_says_what_is_missing(folder, capsys):
    (folder / "job.toml").write_text('part = "2/4"\noutput = "labels.zarr"\n')
    capsys.readouterr()
    assert run("infer", "model.zarr", "good.zarr", "--config", "job.toml", "--log-file", "run.jsonl") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "part                2 of 4 is finished",
        "still missing       parts 1, 3, 4; then labels.zarr appears",
    ]
    assert '"part_finished"' in (folder / "run.jsonl").read_text()
    for k in (1, 3, 4, 2):
        assert run("infer", "model.zarr", "good.zarr", "--output", "labels.zarr", "--part", f"{k}/4") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["labels              labels.zarr", "samples             0"]  # one block is the last part


def test_errors_of_values_by_their_variable(folder):
    flux, options = ["flux.zarr", "--variable", "data"], ["--rows", "3", "--cols", "4", "--epochs", "2"]
    assert run("train", *flux, "--value-errors", "error", *options, "--output", "map.zarr") == 0
    assert run("infer", "map.zarr", *flux, "--value-errors", "error", "--output", "labels.zarr") == 0
    model = xr.open_zarr("map.zarr", consolidated=False)
    distance = xr.open_zarr("labels.zarr", consolidated=False)["distance"]
    assert float(distance.mean()) == pytest.approx(float(model["quantization_error"][-1]), rel=1e-12)
    assert "units of the errors" in distance.attrs["long_name"]
