"""Bad input at the command line: one line that names the thing, an exit status, and nothing written."""

import shutil

import numpy as np
import pytest
import xarray as xr

from som_dask.cli.main import main


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A working directory with a good store, and a model trained on it."""
    monkeypatch.chdir(tmp_path)
    store("good.zarr", rng.normal(size=(300, 3)))
    assert run("train", "good.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "4", "--epochs", "2") == 0
    return tmp_path


def store(name, values, features=("a", "b", "c"), dims=("sample", "feature"), variable="data"):
    """A Zarr store of one variable; features=None leaves them without names."""
    coords = {} if features is None else {dims[-1]: np.array(features, dtype=object)}
    array = xr.DataArray(np.asarray(values), dims=dims, coords=coords, name=variable)
    array.to_dataset().chunk({dims[0]: 1000}).to_zarr(name, zarr_format=2, consolidated=False)


def run(*arguments):
    """Run the command line in this process; its exit status."""
    try:
        main(list(arguments))
    except SystemExit as end:
        return end.code
    return 0


def assert_refused(capsys, status, words, *arguments, output="out.zarr", folder=None):
    """The command ends with this status and one line that holds these words; the output is not there."""
    capsys.readouterr()
    assert run(*arguments, "--output", output) == status
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("som-dask: ")
    for word in words:
        assert word in line
    left = {path.name for path in folder.iterdir() if "out" in path.name and not path.name.endswith(".lock")}
    assert left == set()


TRAIN = [
    ("missing store", 5, ["nowhere.zarr", "does not exist"], ["nowhere.zarr"]),
    ("missing variable", 2, ["no variable 'x'", "data"], ["good.zarr", "--variable", "x"]),
    ("missing dimension", 2, ["no dimension 'band'"], ["good.zarr", "--feature-dims", "band"]),
    ("unknown option", 2, ["--epoch-count"], ["good.zarr", "--epoch-count", "3"]),
    ("unknown choice", 2, ["triangular"], ["good.zarr", "--topology", "triangular"]),
    ("negative epochs", 2, ["epochs", "-1"], ["good.zarr", "--epochs", "-1"]),
    ("no rows in the map", 2, ["rows", "0"], ["good.zarr", "--rows", "0"]),
    ("radius of zero", 2, ["positive"], ["good.zarr", "--final-radius", "0"]),
    ("too few radii", 2, ["radii", "20"], ["good.zarr", "--radii", "3,2,1"]),
    ("odd hexagonal torus", 2, ["even"], ["good.zarr", "--boundary", "toroidal", "--rows", "3"]),
    ("bad block size", 2, ["many"], ["good.zarr", "--block-size", "many"]),
    ("two clusters", 2, ["--workers", "--scheduler"], ["good.zarr", "--workers", "2", "--scheduler", "tcp://h:1"]),
    ("no scheduler file", 6, ["s.json"], ["good.zarr", "--scheduler-file", "s.json"]),
    ("nothing to resume", 3, ["no checkpoint"], ["good.zarr", "--resume"]),
    ("no codebook file", 2, ["w.npy"], ["good.zarr", "--initial-codebook", "w.npy"]),
]


@pytest.mark.parametrize(("status", "words", "arguments"), [c[1:] for c in TRAIN], ids=[c[0] for c in TRAIN])
def test_train_refuses(status, words, arguments, folder, capsys):
    assert_refused(capsys, status, words, "train", *arguments, folder=folder)


@pytest.mark.parametrize(
    ("values", "dims", "words"),
    [
        (np.zeros((0, 3)), ("sample", "feature"), ["no samples"]),
        (np.zeros((4, 0)), ("sample", "feature"), ["no features"]),
        (np.full((4, 3), "x"), ("sample", "feature"), ["real numbers"]),
        (np.zeros((4, 3), dtype=complex), ("sample", "feature"), ["complex128", "real numbers"]),
    ],
    ids=["zero rows", "zero features", "text", "complex"],
)
def test_train_refuses_samples(values, dims, words, folder, capsys):
    store("bad.zarr", values, features=None, dims=dims)
    assert_refused(capsys, 4, words, "train", "bad.zarr", "--allow-missing-chunks", folder=folder)


@pytest.mark.parametrize("dims", [("time", "y", "x"), ("sample",)])
def test_train_asks_which_dimensions_are_samples(dims, folder, capsys):
    store("bad.zarr", np.zeros((4, 3, 2)[: len(dims)]), features=None, dims=dims)
    words = [str(dims), "--sample-dims", "--feature-dims"]
    assert_refused(capsys, 2, words, "train", "bad.zarr", "--allow-missing-chunks", folder=folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_placed(bad, folder, capsys):
    values = np.zeros((10_000, 3))
    values[5000, 1] = values[5001, 2] = bad
    store("bad.zarr", values)
    words = ["2 NaN or infinite", "block 1 (rows 4000 to 7999)"]
    assert_refused(capsys, 4, words, "train", "bad.zarr", "--allow-missing-chunks", folder=folder)


@pytest.mark.parametrize("key", ["epochz", "INPUT", "help"])
def test_an_unknown_key_of_a_job_file(key, folder, capsys):
    (folder / "job.toml").write_text(f'input = "good.zarr"\n{key} = 3\n')
    assert_refused(capsys, 2, ["job.toml", key], "train", "--config", "job.toml", folder=folder)


@pytest.mark.parametrize(("text", "words"), [("epochs = ", ["TOML"]), ("[train]\nepochs = 3", ["train"])])
def test_a_job_file_that_is_not_one(text, words, folder, capsys):
    (folder / "job.toml").write_text(text)
    assert_refused(capsys, 2, ["job.toml", *words], "train", "good.zarr", "--config", "job.toml", folder=folder)


def test_an_output_that_exists_stays_as_it_is(folder, capsys):
    shutil.copytree("model.zarr", "old.zarr")
    before = xr.open_zarr("old.zarr").load()
    capsys.readouterr()
    for command in (["train", "good.zarr"], ["infer", "model.zarr", "good.zarr"]):
        assert run(*command, "--output", "old.zarr") == 5
        assert "--overwrite" in capsys.readouterr().err
    assert xr.open_zarr("old.zarr").load().identical(before)


def test_an_output_that_cannot_be_written(folder, capsys):
    for place, word in (("no/such/out.zarr", "does not exist"), ("/proc/out.zarr", "can't write")):
        assert_refused(capsys, 5, [word], "train", "good.zarr", output=place, folder=folder)


MISMATCH = [
    ("names", ("a", "b", "x"), np.float64, ["x", "does not know", "a, b, c"]),
    ("order", ("b", "a", "c"), np.float64, ["another order", "a, b, c"]),
    ("number", ("a", "b"), np.float64, ["2 features", "3"]),
    ("dtype", ("a", "b", "c"), np.float32, ["float32", "--dtype float64"]),
]


@pytest.mark.parametrize(("features", "dtype", "words"), [c[1:] for c in MISMATCH], ids=[c[0] for c in MISMATCH])
def test_infer_refuses_other_features(features, dtype, words, folder, capsys, rng):
    store("other.zarr", rng.normal(size=(20, len(features))).astype(dtype), features=features)
    assert_refused(capsys, 4, words, "infer", "model.zarr", "other.zarr", folder=folder)


def test_infer_refuses_what_is_no_model(folder, capsys):
    assert_refused(capsys, 5, ["good.zarr", "not a som_dask model"], "infer", "good.zarr", "good.zarr", folder=folder)
    assert_refused(capsys, 5, ["none.zarr", "does not exist"], "infer", "none.zarr", "good.zarr", folder=folder)


def test_infer_names_the_block_of_a_value_that_is_not_finite(folder, capsys):
    values = np.ones((9000, 3))
    values[8500, 0] = np.nan
    store("bad.zarr", values)
    capsys.readouterr()
    assert run("infer", "model.zarr", "bad.zarr", "--output", "out.zarr", "--allow-missing-chunks") == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "block 2 (rows 8000 to 8999)" in line
    assert "1 NaN or infinite" in line
    assert not (folder / "out.zarr").exists()


def test_no_command_shows_the_help(capsys):
    assert run() == 2
    assert "train" in capsys.readouterr().err


WORKS = [
    ("constant data", np.full((50, 3), 7.0), (4, 5)),
    ("one feature", np.arange(50.0)[:, None], (4, 5)),
    ("one node", np.arange(150.0).reshape(50, 3), (1, 1)),
    ("one row", np.arange(150.0).reshape(50, 3), (1, 6)),
    ("one column", np.arange(150.0).reshape(50, 3), (6, 1)),
    ("two by two", np.arange(150.0).reshape(50, 3), (2, 2)),
    ("more nodes than samples", np.arange(15.0).reshape(5, 3), (6, 7)),
    ("one sample", np.arange(3.0)[None, :], (3, 3)),
]


@pytest.mark.parametrize("initialization", ["pca", "random", "sample"])
@pytest.mark.parametrize(("values", "shape"), [c[1:] for c in WORKS], ids=[c[0] for c in WORKS])
def test_what_is_small_or_dull_but_works(values, shape, initialization, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store("data.zarr", values, features=None)
    map_options = ["--rows", str(shape[0]), "--cols", str(shape[1]), "--initialization", initialization]
    assert run("train", "data.zarr", "--output", "model.zarr", "--epochs", "3", *map_options) == 0
    assert run("infer", "model.zarr", "data.zarr", "--output", "labels.zarr") == 0
    model, labels = (xr.open_zarr(name, consolidated=False).load() for name in ("model.zarr", "labels.zarr"))
    assert np.isfinite(model["codebook"]).all()
    assert np.isfinite(model["quantization_error"]).all()
    assert model["hits"].sum() == len(values)
    assert labels["distance"].mean() == pytest.approx(float(model["quantization_error"][-1]), abs=1e-12)
    assert (labels["bmu_row"] < shape[0]).all()
    assert (labels["bmu_col"] < shape[1]).all()
