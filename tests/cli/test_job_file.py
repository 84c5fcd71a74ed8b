"""Job files: known keys, flat, and a hint where a key is misspelt."""

import pytest

from som_dask.cli.job_file import load_job
from som_dask.errors import ParameterError

KNOWN = {"rows", "epochs", "output"}


def test_a_job(tmp_path):
    (tmp_path / "job.toml").write_text('rows = 3\noutput = "m.zarr"  # a comment\n')
    assert load_job(tmp_path / "job.toml", KNOWN) == {"rows": 3, "output": "m.zarr"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean epochs"),
        ("zzz = 3", "it knows epochs, output, rows"),
        ("rows = ", "not TOML"),
        ("[rows]\nx = 1", "flat"),
    ],
)
def test_what_is_refused(text, match, tmp_path):
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(ParameterError, match=match):
        load_job(tmp_path / "job.toml", KNOWN)


def test_no_file(tmp_path):
    with pytest.raises(ParameterError, match="No such file"):
        load_job(tmp_path / "job.toml", KNOWN)
