"""Bad input at the command line: one line that names the thing, an exit status, and nothing written."""

import hashlib
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr

from som_dask.cli.main import main
from som_dask.cli.progress import EpochBar
from som_dask.io.checkpoints import CheckpointFolder


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A working directory with a good store, and a model trained on it."""
    monkeypatch.chdir(tmp_path)
    store("good.zarr", rng.normal(size=(300, 3)))
    with_errors("flux.zarr", rng)
    assert run("train", "good.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "4", "--epochs", "2") == 0
    return tmp_path


def store(name, values, features=("a", "b", "c"), dims=("sample", "feature"), variable="data"):
    """A Zarr store of one variable; features=None leaves them without names."""
    coords = {} if features is None else {dims[-1]: np.array(features, dtype=object)}
    array = xr.DataArray(np.asarray(values), dims=dims, coords=coords, name=variable)
    array.to_dataset().chunk({dims[0]: 1000}).to_zarr(name, zarr_format=2, consolidated=False)


def with_errors(name, rng):
    """A Zarr store of values with good errors, with errors of zero, and with errors of the samples alone."""
    dims, values = ("sample", "feature"), rng.normal(size=(100, 3))
    errors = {
        "error": (dims, 0.1 + rng.random((100, 3))),
        "zero": (dims, 0 * values),
        "one": ("sample", values[:, 0]),
    }
    dataset = xr.Dataset({"data": (dims, values), **errors})
    dataset.chunk(sample=50).to_zarr(name, zarr_format=2, consolidated=False)


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


FLUX = ("flux.zarr", "--variable", "data", "--value-errors", "error")
TRAIN = [
    ("missing store", 5, ["nowhere.zarr", "does not exist"], ["nowhere.zarr"]),
    ("missing AnnData", 5, ["nowhere.h5ad", "does not exist"], ["nowhere.h5ad"]),
    ("missing FCS file", 5, ["nowhere.fcs", "does not exist"], ["nowhere.fcs"]),
    ("missing variable", 2, ["no variable 'x'", "data"], ["good.zarr", "--variable", "x"]),
    ("missing dimension", 2, ["no dimension 'band'"], ["good.zarr", "--feature-dims", "band"]),
    ("unknown option", 2, ["--epoch-count"], ["good.zarr", "--epoch-count", "3"]),
    ("unknown choice", 2, ["triangular"], ["good.zarr", "--topology", "triangular"]),
    ("negative epochs", 2, ["epochs", "-1"], ["good.zarr", "--epochs", "-1"]),
    ("no rough epochs", 2, ["rough_epochs", "--phases one"], ["good.zarr", "--rough-epochs", "0"]),
    ("three phases", 2, ["three"], ["good.zarr", "--phases", "three"]),
    ("no rows in the map", 2, ["rows", "0"], ["good.zarr", "--rows", "0"]),
    ("radius of zero", 2, ["positive"], ["good.zarr", "--final-radius", "0"]),
    ("a radius in words", 2, ["--final-radius", "nearest"], ["good.zarr", "--final-radius", "nearest"]),
    (
        "a radius to choose of a bubble",
        2,
        ["--final-radius auto", "number"],
        ["good.zarr", "--final-radius", "auto", "--neighborhood", "bubble"],
    ),
    ("too few radii", 2, ["radii", "20"], ["good.zarr", "--radii", "3,2,1"]),
    ("odd hexagonal torus", 2, ["even"], ["good.zarr", "--boundary", "toroidal", "--rows", "3"]),
    ("bad block size", 2, ["many"], ["good.zarr", "--block-size", "many"]),
    ("two clusters", 2, ["--workers", "--scheduler"], ["good.zarr", "--workers", "2", "--scheduler", "tcp://h:1"]),
    ("no scheduler file", 6, ["s.json"], ["good.zarr", "--scheduler-file", "s.json"]),
    ("no such interface", 2, ["--interface", "none0"], ["good.zarr", "--workers", "1", "--interface", "none0"]),
    ("no certificates", 6, ["--tls-ca-file"], ["good.zarr", "--scheduler", "tls://127.0.0.1:9"]),
    ("no such certificate", 6, ["c.pem"], ["good.zarr", "--workers", "1", "--tls-ca-file", "c.pem"]),
    ("a scheduler in the open", 2, ["encrypt"], ["good.zarr", "--scheduler", "tcp://h:1", "--tls-ca-file", "c.pem"]),
    ("nothing to resume", 3, ["no checkpoint"], ["good.zarr", "--resume"]),
    ("two ways to resume", 2, ["--resume-or-start"], ["good.zarr", "--resume", "--resume-or-start"]),
    ("no variable of errors", 2, ["no variable 'e'", "the errors"], ["good.zarr", "--value-errors", "e"]),
    ("errors of zero", 4, ["hold 300", "not above 0"], ["flux.zarr", "--variable", "data", "--value-errors", "zero"]),
    ("errors of one band", 2, ["dimensions"], ["flux.zarr", "--variable", "data", "--value-errors", "one"]),
    ("errors of no metric", 2, ["euclidean"], [*FLUX, "--metric", "cosine"]),
    ("errors by the online rule", 2, ["--value-errors"], [*FLUX, "--algorithm", "online"]),
    ("no codebook file", 2, ["w.npy"], ["good.zarr", "--initial-codebook", "w.npy"]),
]


@pytest.mark.parametrize(("status", "words", "arguments"), [c[1:] for c in TRAIN], ids=[c[0] for c in TRAIN])
def test_train_refuses(status, words, arguments, folder, capsys):
    assert_refused(capsys, status, words, "train", *arguments, folder=folder)


SWEEP = [
    ("no sizes", 2, ["--sizes"], ["good.zarr"]),
    ("sizes that are none", 2, ["3x"], ["good.zarr", "--sizes", "3x4,3x"]),
    ("a size of zero", 2, ["rows", "0"], ["good.zarr", "--sizes", "0x4"]),
    ("no seeds", 2, ["3:3"], ["good.zarr", "--sizes", "3x4", "--seeds", "3:3"]),
    ("a seed below zero", 2, ["-1"], ["good.zarr", "--sizes", "3x4", "--seeds", "0,-1"]),
    ("a radius of zero", 2, ["positive"], ["good.zarr", "--sizes", "3x4", "--final-radii", "1,0"]),
    ("a radius in words", 2, ["nearest"], ["good.zarr", "--sizes", "3x4", "--final-radii", "1,nearest"]),
    ("two kinds of radii", 2, ["--radii"], ["good.zarr", "--sizes", "3x4", "--radii", "1", "--final-radii", "1"]),
    ("all held out", 2, ["holdout", "1.0"], ["good.zarr", "--sizes", "3x4", "--holdout", "1"]),
    ("missing store", 5, ["nowhere.zarr"], ["nowhere.zarr", "--sizes", "3x4"]),
    ("a folder in a store", 5, ["good.zarr"], ["good.zarr", "--sizes", "3x4", "--output", "good.zarr/out"]),
    ("too few radii", 2, ["radii"], ["good.zarr", "--sizes", "3x4", "--radii", "3,2,1"]),
]


@pytest.mark.parametrize(("status", "words", "arguments"), [c[1:] for c in SWEEP], ids=[c[0] for c in SWEEP])
def test_sweep_refuses(status, words, arguments, folder, capsys):
    output = arguments[arguments.index("--output") + 1] if "--output" in arguments else "out"
    assert_refused(capsys, status, words, "sweep", *arguments, output=output, folder=folder)


def test_sweep_refuses_samples_that_are_not_finite(folder, capsys):
    store("bad.zarr", np.full((10, 3), np.inf))
    assert_refused(capsys, 4, ["infinite"], "sweep", "bad.zarr", "--sizes", "3x4", output="out", folder=folder)


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


@pytest.mark.parametrize(("metric", "words"), [("cosine", "all zeros"), ("correlation", "the same in all features")])
def test_samples_that_a_metric_can_not_place(metric, words, folder, capsys):
    store("bad.zarr", np.concatenate([np.random.default_rng(0).normal(size=(9, 3)), np.zeros((1, 3))]))
    options = ["--metric", metric, "--allow-missing-chunks"]
    assert_refused(capsys, 4, [f"1 samples are {words}", metric], "train", "bad.zarr", *options, folder=folder)


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
    ("order", ("b", "a", "c"), np.float64, ["another order", "--features a,b,c"]),
    ("more", ("b", "x", "a", "c"), np.float64, ["4 features, 1 more", "--features a,b,c"]),
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


OUT = ["--output", "out.zarr"]
SMALL = ["--rows", "3", "--cols", "4", "--epochs", "2"]

# One folder of bad things, made once: no command below may change anything in it.


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a good store, a model, and much that is broken."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        store("good.zarr", np.random.default_rng(5).normal(size=(60, 3)))
        assert run("train", "good.zarr", "--output", "model.zarr", *SMALL) == 0
        make_stores(folder)
        make_models(folder)
        make_codebooks()
        make_texts(folder)
        make_checkpoints()
    return folder


def make_stores(folder):
    for version in (2, 3):
        group = zarr.open_group(f"plain{version}.zarr", mode="w", zarr_format=version)
        group.create_array("X", data=np.ones((5, 3)))
    zarr.open_group("nothing.zarr", mode="w", zarr_format=2)
    zarr.create_array("cube.zarr", data=np.ones((4, 3, 2)))
    zarr.create_array("words.zarr", data=np.array(["a", "b"]))
    zarr.create_array("wide.zarr", shape=(50, 10**12), dtype="f4", chunks=(50, 10**8))
    zarr.create_array("long.zarr", shape=(10**15, 3), dtype="f4", chunks=(10**5, 3))
    named = {"dimension_names": ("sample", "feature"), "dtype": "f4", "chunks": (1000, 3)}
    zarr.open_group("longer.zarr", mode="w").create_array("X", shape=(10**13, 3), **named)
    for name, text in (("brace", "{"), ("list", "[]"), ("future", '{"zarr_format": 9}'), ("blank", "")):
        (folder / f"{name}.zarr").mkdir()
        (folder / f"{name}.zarr" / "zarr.json").write_text(text)
    store("escape.zarr", np.ones((9, 2)), variable="\x1b[31mred", features=("\x1b]0;title\x07", "b"))
    store("gap.zarr", np.array([[1.0, np.nan], [2.0, 3.0]]), features=("a", "b"))
    store("other.zarr", np.ones((9, 3)), features=("a", "b", "\x1b[2J"))
    store("few.zarr", np.ones((9, 2)), features=("a", "b"))
    store("holes.zarr", np.ones((9, 3)))
    (folder / "holes.zarr" / "data" / "0.0").unlink()
    store("rot.zarr", np.ones((9, 3)))
    (folder / "rot.zarr" / "data" / "0.0").write_bytes(b"rot")


def make_models(folder):
    for damage in ("feature", "codebook", "hits"):
        shutil.copytree("model.zarr", f"no_{damage}.zarr")
        shutil.rmtree(f"no_{damage}.zarr/{damage}")
    for damage in ("feature", "codebook"):
        shutil.copytree("model.zarr", f"rot_{damage}.zarr")
        for file in (folder / f"rot_{damage}.zarr" / damage / "c").rglob("*"):
            if file.is_file():
                file.write_bytes(b"rot")
    changes = {"topology": "round", "boundary": 5, "codebook_sha256": "0", "format": "other", "metric": "far"}
    for name, value in changes.items():
        shutil.copytree("model.zarr", f"bad_{name}.zarr")
        zarr.open_group(f"bad_{name}.zarr", mode="r+").attrs[name] = value
    for name in ("codebook_sha256", "topology", "format"):
        shutil.copytree("model.zarr", f"without_{name}.zarr")
        del zarr.open_group(f"without_{name}.zarr", mode="r+").attrs[name]


def make_codebooks():
    good = np.ones((3, 4, 3))
    arrays = {
        "nan": good * np.nan,
        "inf": good * np.inf,
        "shape": good[:2],
        "flat": good.ravel(),
        "scalar": good[0, 0, 0],
    }
    arrays |= {"complex": good * 1j, "text": good.astype("U3"), "dates": good.astype("M8[s]"), "none": good[:0]}
    arrays |= {"scalar": good[0, 0, 0], "record": np.zeros(12, dtype=[("a", "f8")])}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    np.save("object.npy", good.astype(object), allow_pickle=True)
    np.savez("several.npz", a=good, b=good)
    with open("nan.npy", "rb") as file:
        data = file.read()
    broken = {"empty": b"", "magic": data[:6], "header": data[:30], "cut": data[:-9], "words": b"three by four"}
    broken |= {"python": data.replace(b"'descr'", b"open(1)")}
    broken |= {"huge": data.replace(b"(3, 4, 3)", b"(3, 4, 3000000000000)")}
    broken |= {"version": data[:6] + b"\x09" + data[7:], "binary": bytes(range(256))}
    for name, content in broken.items():
        with open(f"{name}.npy", "wb") as file:
            file.write(content)


JOBS = {
    "deep": b"rows = " + b"[" * 100_000,
    "dots": b"[" + b".".join([b"a"] * 5000) + b"]",
    "latin": b'variable = "\xe9"',
    "zero": b"\x00" * 40,
    "digits": b"rows = " + b"9" * 5000,
    "big": b"rows = " + b"9" * 400,
    "bigfloat": b"final_radius = " + b"9" * 400,
    "inf": b"final_radius = inf",
    "nan": b"final_radius = nan",
    "infs": b"radii = [2.0, inf]",
    "nul": b'variable = "a\\u0000b"',
    "nulpath": b'initial_codebook = "a\\u0000b"',
    "secret": b'input = "s3://key:hunter2@bucket/x"',
    "secretlist": b'variables = ["https://a/b?sig=hunter2"]',
    "escape": b'topology = "\\u001b[31m"',
    "escapekey": b'"\\u001b[31m" = 3',
    "date": b"rows = 1979-05-27",
    "wrongkind": b"rows = true",
    "float": b"rows = 2.5",
    "radius": b'final_radius = "nearest"',
    "text": b'rows = "three"',
    "nested": b"rows = [[[1]]]",
    "table": b"[rows]\na = 1",
    "tables": b"[[rows]]\na = 1",
    "twice": b"rows = 1\nrows = 2",
    "empty_name": b'variables = [""]',
    "numbers": b"variables = [1]",
    "words": b'radii = ["x"]',
    "negative": b"rows = -1",
    "pathnumber": b"checkpoint_dir = 3",
}


def make_texts(folder):
    for name, content in JOBS.items():
        (folder / f"{name}.toml").write_bytes(content)
    (folder / "file.txt").write_text("some words\n")
    (folder / "kinds.csv").write_text("a,b,c,kind\n1,2,3,x\n")
    (folder / "late.csv").write_text("a,b,c\n" + "1,2,3\n" * 1200 + "1,x,3\n")
    for name in ("words.csv", "words.parquet", "words.nc"):
        (folder / name).write_bytes(b"\xff some words\n")
    (folder / "folder").mkdir()
    for name, text in (("list", "[]"), ("none", "{}"), ("brace", "{"), ("blank", ""), ("null", '{"address": null}')):
        (folder / f"{name}.json").write_text(text)


def make_checkpoints():
    """Checkpoints whose digests are right, and that are not of the run."""
    good = CheckpointFolder("good.checkpoints")
    samples = ["good.zarr", "--output", "unfinished.zarr", *SMALL]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(EpochBar, "__call__", stop)
        assert run("train", *samples, "--checkpoint-dir", "good.checkpoints") == 75
    state = good.latest()
    bad = {
        "shape": replace(state, codebook=np.ones((12, 900))),
        "rows": replace(state, codebook=np.ones((1, 3))),
        "dims": replace(state, codebook=np.ones((3, 4, 3))),
        "float32": replace(state, codebook=state.codebook.astype(np.float32)),
        "text": replace(state, codebook=state.codebook.astype("U9")),
        "nan": replace(state, codebook=state.codebook * np.nan),
        "epochs": replace(state, epochs_done=7),
        "negative": replace(state, epochs_done=-1),
        "history": replace(state, history={"radius": np.ones(1)}),
        "short": replace(state, history={name: values[:0] for name, values in state.history.items()}),
        "another": replace(state, identity={**state.identity, "seed": 99}),
        "nobody": replace(state, identity={}),
    }
    for name, checkpoint in bad.items():
        CheckpointFolder(f"{name}.checkpoints").save(checkpoint)
    for name, content in (("zip", b"PK\x03\x04 and so on"), ("nothing", b""), ("letters", b"letters")):
        digest = hashlib.sha256(content).hexdigest()[:32]
        os.mkdir(f"{name}.checkpoints")
        with open(f"{name}.checkpoints/epoch-000001.{digest}.npz", "wb") as file:
            file.write(content)


def stop(*_):
    raise KeyboardInterrupt


SECRETS = [
    "s3://key:hunter2@bucket/x.zarr",
    "https://hunter2@example.org/x.zarr",
    "https://example.org/x.zarr?X-Amz-Signature=hunter2",
    "https://example.org/x.zarr?sig=hunter2",
    "simplecache::s3://key:hunter2@bucket/x.zarr",
    "https%3A%2F%2Fuser%3Ahunter2%40example.org%2Fx.zarr",
]
SAID = ["credential", "environment"]
# What is given to the command, its exit status, and words of the line that it ends with.
BAD = [
    *((["train", url, *OUT], 2, ["INPUT", *SAID]) for url in SECRETS),
    *((["train", "good.zarr", "--output", url], 2, ["--output", *SAID]) for url in SECRETS),
    *((["info", url], 2, ["MODEL", *SAID]) for url in SECRETS),
    *((["models", "list", "--registry", url], 2, ["--registry", *SAID]) for url in SECRETS),
    *(
        ([*command, SECRETS[0]], 2, [name, *SAID])
        for name, command in (
            ("MODEL", ["clusters"]),
            ("MODEL", ["report"]),
            ("--output", ["report", "model.zarr", "--output"]),
            ("--labels", ["report", "model.zarr", "--labels"]),
            ("--clusters", ["report", "model.zarr", "--clusters"]),
            ("--evaluation", ["report", "model.zarr", "--evaluation"]),
            ("--title", ["report", "model.zarr", "--title"]),
            ("INPUT", ["infer", "model.zarr", *OUT]),
            ("--output", ["infer", "model.zarr", "good.zarr", "--output"]),
            ("INPUT", ["evaluate", "model.zarr"]),
            ("--output", ["clusters", "model.zarr", "--output"]),
            ("INPUT", ["retrain", "map@dev"]),
            ("MODEL", ["models", "show"]),
            ("MODEL", ["models", "promote"]),
            ("KEY", ["models", "delete"]),
            ("--name", ["models", "list", "--name"]),
            ("--output", ["demo", "--output"]),
            ("--checkpoint-dir", ["train", "good.zarr", *OUT, "--checkpoint-dir"]),
            ("--initial-codebook", ["train", "good.zarr", *OUT, "--initial-codebook"]),
            ("--log-file", ["train", "good.zarr", *OUT, "--log-file"]),
            ("--scheduler", ["train", "good.zarr", *OUT, "--scheduler"]),
            ("--scheduler-file", ["train", "good.zarr", *OUT, "--scheduler-file"]),
            ("--sample-weights", ["train", "good.zarr", *OUT, "--sample-weights"]),
            ("--config", ["train", "good.zarr", *OUT, "--config"]),
        )
    ),
    (["train", "good.zarr", SECRETS[0]], 2, ["unexpected"]),
    ([SECRETS[0]], 2, ["No such command"]),
    (["train", "--topology", SECRETS[0]], 2, ["is not one of"]),
    (["train", "--rows", SECRETS[3]], 2, ["not a valid integer"]),
    (["train", "plain2.zarr", *OUT], 4, ["plain2.zarr", "names of dimensions", "plain2.zarr/X"]),
    (["train", "plain3.zarr", *OUT], 4, ["plain3.zarr", "names of dimensions", "plain3.zarr/X"]),
    (["train", "plain3.zarr", "--variable", "X", *OUT], 4, ["names of dimensions"]),
    (["infer", "model.zarr", "plain2.zarr", *OUT], 4, ["names of dimensions"]),
    (["evaluate", "model.zarr", "plain3.zarr"], 4, ["names of dimensions"]),
    (["report", "model.zarr", "--labels", "plain3.zarr"], 5, ["plain3.zarr"]),
    *(
        ([*command, name], 5, [name])
        for command in (["info"], ["train", *OUT], ["clusters"], ["infer", "model.zarr", *OUT])
        for name in ("brace.zarr", "list.zarr", "future.zarr", "blank.zarr", "file.txt", "folder", "absent.zarr")
    ),
    (["train", "nan.npy", *OUT], 5, ["a NumPy file", "zarr.save_array('nan.zarr', numpy.load('nan.npy'))"]),
    (["train", "kinds.csv", *OUT], 4, ["kinds.csv", "not of real numbers: kind", "--features"]),
    (["train", "kinds.csv", "--features", "a,d", *OUT], 2, ["no feature 'd'", "a, b, c, kind"]),
    (["train", "late.csv", *OUT], 4, ["the column b of late.csv", "'x'"]),
    (["train", "kinds.csv", "--variable", "a", *OUT], 2, ["kinds.csv is a table", "--features"]),
    (["infer", "model.zarr", "*.parquett", *OUT], 5, ["*.parquett"]),
    (["infer", "model.zarr", "absent-*.csv", *OUT], 5, ["there is no file absent-*.csv"]),
    *((["evaluate", "model.zarr", f"words.{end}"], 5, [f"words.{end}"]) for end in ("csv", "parquet", "nc")),
    (["infer", "model.zarr", "file.txt", *OUT], 5, ["a text file", "pandas.read_csv('file.txt')"]),
    (["train", "nothing.zarr", *OUT], 2, ["nothing.zarr", "0 variables"]),
    (["train", "cube.zarr", *OUT], 2, ["--sample-dims", "--feature-dims"]),
    (["train", "words.zarr", *OUT], 2, ["--sample-dims"]),
    (["train", "wide.zarr", "--allow-missing-chunks", *OUT], 7, ["out of memory"]),
    (["train", "long.zarr", "--allow-missing-chunks", *OUT], 7, ["long.zarr", "10000000000 pieces"]),
    (["train", "longer.zarr", "--allow-missing-chunks", *OUT], 7, ["longer.zarr", "10000000000 pieces"]),
    (["infer", "model.zarr", "long.zarr", "--allow-missing-chunks", *OUT], 7, ["10000000000 pieces"]),
    (["train", "holes.zarr", *OUT], 5, ["lacks 1 of its chunks", "--missing mask", "--allow-missing-chunks"]),
    (["infer", "model.zarr", "holes.zarr", *OUT], 5, ["lacks 1 of its chunks", "--missing mask"]),
    (["evaluate", "model.zarr", "holes.zarr", *OUT], 5, ["lacks 1 of its chunks", "--missing mask"]),
    (["train", "rot.zarr", *OUT], 5, ["damaged"]),
    (["train", "gap.zarr", *OUT], 4, ["NaN", "--missing drop or --missing mask"]),
    (["infer", "model.zarr", "few.zarr", *OUT], 4, ["2 features", "lacks c"]),
    (["infer", "model.zarr", "other.zarr", *OUT], 4, [r"\x1b[2J"]),
    (["train", "escape.zarr", "--variable", "\x1b[31m", *OUT], 2, [r"\x1b[31mred"]),
    (["train", "\x1b[31mabsent", *OUT], 5, [r"\x1b[31mabsent"]),
    (["train", "absent\u202etxt.zarr", *OUT], 5, [r"\u202etxt"]),
    (["info", "line\nfeed"], 5, [r"'line\nfeed' does not exist"]),
    (["\x1b[31m"], 2, [r"\x1b[31m"]),
    *(
        (["train", "good.zarr", *OUT, option, value], status, words)
        for option, value, status, words in (
            ("--final-radius", "1e400", 2, ["--final-radius", "finite"]),
            ("--final-radius", "nan", 2, ["--final-radius", "finite"]),
            ("--initial-radius", "-inf", 2, ["--initial-radius", "finite"]),
            ("--support", "nan", 2, ["--support", "finite"]),
            ("--tolerance", "nan", 2, ["--tolerance", "finite"]),
            ("--learning-rate", "inf", 2, ["--learning-rate", "finite"]),
            ("--radii", "2,nan", 2, ["--radii", "finite"]),
            ("--radii", "2,1e400", 2, ["--radii", "finite"]),
            ("--radii", "2,,1", 2, ["list of numbers"]),
            ("--feature-weights", "1,2,inf", 2, ["--feature-weights", "finite"]),
            ("--feature-weights", "1,2", 2, ["weights"]),
            ("--feature-weights", "1,2,-1", 2, ["weights"]),
            ("--rows", "9" * 400, 2, ["--rows", "64 bits"]),
            ("--rows", "9" * 5000, 2, ["--rows"]),
            ("--rows", "1e400", 2, ["--rows"]),
            ("--rows", "10000000", 7, ["10000000 x 20 nodes", "GiB"]),
            ("--cols", str(2**62), 7, ["GiB"]),
            ("--epochs", "1000000000000000", 7, ["epochs", "GiB"]),
            ("--epochs", "-1", 2, ["epochs"]),
            ("--seed", "-1", 2, ["seed"]),
            ("--checkpoint-every", "0", 2, ["--checkpoint-every"]),
            ("--block-size", "-5 MB", 2, ["positive"]),
            ("--block-size", "nan", 2, ["block size"]),
            ("--block-size", "1e400", 2, ["block size"]),
            ("--dtype", "float99", 2, ["float99"]),
            ("--dtype", "object", 2, ["real numbers"]),
            ("--dtype", "i4,f8", 2, ["real numbers"]),
            ("--variable", "a\0b", 2, ["NUL"]),
            ("--log-file", "a\0b", 2, ["NUL"]),
            ("--checkpoint-dir", "a\0b", 2, ["NUL"]),
            ("--initial-codebook", "a\0b", 2, ["NUL"]),
            ("--config", "a\0b", 2, ["NUL"]),
            ("--variable", "\udcff", 2, ["--variable", "encoding"]),
            ("--variable", "absent", 2, ["absent"]),
            ("--variables", ",", 2, ["list of names"]),
            ("--sample-dims", "absent", 2, ["absent"]),
            ("--features", "a,absent", 2, ["no feature 'absent'", "a, b, c"]),
            ("--features", "a,a", 2, ["--features", "'a' twice"]),
            ("--features", ",", 2, ["list of names"]),
            ("--checkpoint-dir", "nothing://bucket/x", 5, ["--checkpoint-dir", "nothing"]),
            ("--checkpoint-dir", "file.txt", 2, ["file.txt"]),
            ("--log-file", "file.txt", 5, ["file.txt"]),
            ("--log-file", "folder", 5, ["folder"]),
            ("--log-file", "s3://bucket/x", 2, ["--log-file", "URL"]),
            ("--config", "absent.toml", 2, ["absent.toml"]),
            ("--config", "https://example.org/x", 2, ["--config", "URL"]),
            ("--workers", "0", 2, ["positive"]),
            ("--workers", "-1", 2, ["positive"]),
            ("--threads", "2", 2, ["--workers"]),
            ("--memory-limit", "4 GiB", 2, ["--workers"]),
            ("--interface", "lo", 2, ["--workers"]),
            ("--tls-cert", "file.txt", 2, ["--scheduler-file"]),
            ("--tls-key", "https://example.org/key.pem", 2, ["--tls-key", "URL"]),
            ("--scheduler", "nowhere", 6, ["nowhere"]),
            ("--scheduler", "foo://x", 6, ["foo"]),
            ("--scheduler-file", "folder", 6, ["folder"]),
            ("--scheduler-file", "file.txt", 6, ["file.txt"]),
            ("--scheduler-file", "list.json", 6, ["no address"]),
            ("--scheduler-file", "none.json", 6, ["no address"]),
            ("--scheduler-file", "brace.json", 6, ["no address"]),
            ("--scheduler-file", "blank.json", 6, ["no address"]),
        )
    ),
    *(
        (["train", "good.zarr", *OUT, "--rows", "3", "--cols", "4", "--initial-codebook", f"{name}.npy"], 2, words)
        for name, words in (
            *((name, ["finite"]) for name in ("nan", "inf")),
            *((name, ["(3, 4, 3)"]) for name in ("shape", "flat", "scalar", "none")),
            *((name, [f"{name}.npy"]) for name in ("complex", "text", "dates", "record", "object")),
            *((name, [f"{name}.npy"]) for name in ("empty", "magic", "header", "cut", "words", "python", "huge")),
            *((name, [f"{name}.npy"]) for name in ("version", "binary")),
        )
    ),
    (["train", "good.zarr", *OUT, "--initial-codebook", "several.npz"], 2, ["several.npz"]),
    (["train", "good.zarr", *OUT, "--initial-codebook", "folder"], 2, ["folder"]),
    *((["train", "good.zarr", *OUT, "--config", f"{name}.toml"], 2, []) for name in JOBS),
    *(
        (["train", "good.zarr", *SMALL, *OUT, "--resume", "--checkpoint-dir", f"{name}.checkpoints"], 3, [name])
        for name in ("another", "nobody", "history", "shape", "rows")
    ),
    *(
        ([*command, f"{name}.zarr"], 5, [f"{name}.zarr"])
        for command in (["info"], ["clusters"])
        for name in (
            *("no_feature", "no_codebook", "rot_feature", "rot_codebook", "bad_codebook_sha256", "bad_format"),
            *("without_codebook_sha256", "without_format"),
        )
    ),
    *(([*command, f"{name}.zarr"], 5, [f"{name}.zarr"])
        for command in (["clusters"],)
        for name in ("bad_topology", "bad_boundary", "without_topology", "no_hits", "bad_metric")),
    (["train", "foo://bucket/x", *OUT], 5, ["INPUT", "foo"]),
    (["train", "good.zarr", "--output", "foo://bucket/x"], 5, ["--output", "foo"]),
    (["info", "foo://bucket/x"], 5, ["MODEL", "foo"]),
    (["models", "list", "--registry", "foo://bucket/x"], 5, ["--registry", "foo"]),
    (["report", "model.zarr", "--output", "foo://bucket/x"], 5, ["--output", "foo"]),
    (["info", "memory://nothing/here"], 5, ["memory://nothing/here"]),
    (["info", "a\0b"], 2, ["NUL"]),
    (["train", "good.zarr", "--output", "a\0b"], 2, ["NUL"]),
    (["models", "list", "--registry", "a\0b"], 2, ["NUL"]),
    (["info", "x" * 5000], 5, ["does not exist"]),
    (["train", "good.zarr", "--output", "x" * 300], 5, ["can't write"]),
    (["train", "good.zarr", "--output", "file.txt/"], 5, ["file.txt/ exists already"]),
    (["train", "good.zarr", "--output", "file.txt/", "--overwrite"], 5, ["file.txt/ is not a Zarr store"]),
    (["infer", "model.zarr", "good.zarr", "--output", "file.txt/"], 5, ["file.txt/ exists already"]),
    (["train", "good.zarr", *OUT, "--nodata", "9" * 400], 2, ["--nodata", "not a number"]),
    (["train", "good.zarr", *OUT, "--nodata", "x"], 2, ["--nodata", "not a number"]),
    (["report", "model.zarr", "--evaluation", "good.zarr"], 4, ["good.zarr", "not an evaluation"]),
    (["report", "model.zarr", "--evaluation", "model.zarr"], 4, ["model.zarr", "not an evaluation"]),
    (["models", "show", "map@dev", "--registry", "folder"], 5, ["map"]),
    (["models", "show", "map@dev"], 2, ["--registry"]),
    (["models", "list", "--registry", "file.txt"], 5, ["file.txt is not a folder"]),
    (["train", "good.zarr", "--name", "map", "--registry", "good.zarr"], 5, ["lies in the Zarr store"]),
    (["train", "good.zarr", "--name", "map", "--registry", "file.txt"], 5, ["can't write to file.txt"]),
    (["models", "show", "no reference", "--registry", "folder"], 2, ["no reference"]),
    (["models", "delete", "a/b", "--registry", "folder"], 2, ["a/b"]),
    (["retrain", "map", "good.zarr"], 2, ["NAME@ENVIRONMENT"]),
    (["clusters", "model.zarr", "--n-clusters", "0"], 2, ["--n-clusters"]),
    (["clusters", "model.zarr", "--n-clusters", "13"], 2, ["13"]),
    (["clusters", "model.zarr", "--seed", "-1", "--method", "kmeans"], 2, ["seed"]),
    (["clusters", "model.zarr", "--resamplings", "-1"], 2, ["--resamplings", "-1"]),
    (["clusters", "model.zarr", "--method", "ward", "--weighted-by-hits"], 2, ["hits", "--method average"]),
    (["clusters", "model.zarr", "--method", "kmeans", "--connected"], 2, ["connected", "--method average"]),
    (["evaluate", "model.zarr", "good.zarr", "--sample", "-1"], 2, ["--sample"]),
    (["evaluate", "model.zarr", "good.zarr", "--neighbors", "9" * 30], 2, ["--neighbors"]),
    (["infer", "model.zarr", "good.zarr", *OUT, "--nearest", "0"], 2, ["--nearest"]),
    *(
        (["infer", "model.zarr", "good.zarr", *OUT, "--part", part], 2, ["--part", part, "K/N with K from 1 to N"])
        for part in ("0/4", "5/4", "some", "1/", "-1/4", "1/0")
    ),
    (["report", "model.zarr", "--output", "folder"], 5, ["folder"]),
]  # fmt: skip


def snapshot(folder):
    """Every file with its size and time, and every folder."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.mark.parametrize(("arguments", "status", "words"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_input_ends_in_one_line(arguments, status, words, world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    monkeypatch.delenv("SOM_DASK_REGISTRY", raising=False)
    before = snapshot(world)
    capsys.readouterr()
    ended = run(*arguments)
    out, err = capsys.readouterr()
    assert (ended, out) == (status, ""), err
    (line,) = err.removesuffix("\n").split("\n")
    assert line.startswith("som-dask: ")
    assert line.isprintable()
    assert "Traceback" not in line
    assert "hunter2" not in line
    for word in words:
        assert word in line
    assert snapshot(world) == before


def test_there_are_many_of_them():
    assert len(BAD) >= 200
