"""Parquet and CSV files and dask DataFrames: the same samples, maps and labels as of the DataFrame in them."""

import os
import pickle

import dask.array
import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.errors import DataError, ParameterError, SomError, StorageError
from som_dask.samples import parquet
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.retrain import retrain
from som_dask.training.train import train
from tests.system.test_bad_input import run

pytest.importorskip("pyarrow")
dd = pytest.importorskip("dask.dataframe")

FEATURES = ["c", "a", "n"]


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(8)
    values = pd.DataFrame(rng.normal(size=(9000, 3)), columns=list("abc"))
    values["n"] = rng.integers(0, 9, 9000)
    values["truth"] = values["a"] > 0
    values["kind"] = np.where(values["b"] > 0, "x", "y")
    values.loc[[3, 5000], "c"] = np.nan
    return values


@pytest.fixture(scope="module")
def sources(frame, tmp_path_factory):
    """The same table in every form."""
    folder = tmp_path_factory.mktemp("tables")
    frame.to_parquet(folder / "one.parquet", row_group_size=2500)
    (folder / "many.parquet").mkdir()
    for i, (start, stop) in enumerate(((0, 2000), (2000, 2000), (2000, 7001), (7001, 9000))):
        frame[start:stop].to_parquet(folder / "many.parquet" / f"part-{i}.parquet", row_group_size=1500)
        if stop > start:
            frame[start:stop].to_csv(folder / f"part-{i}.csv", index=False)
    (folder / "many.parquet" / "_SUCCESS").touch()
    frame.to_csv(folder / "one.csv", index=False)
    frame.to_csv(folder / "one.tsv.gz", index=False, sep="\t")
    return {
        "file": folder / "one.parquet",
        "URL": f"file://{folder}/one.parquet",
        "folder": folder / "many.parquet",
        "pattern": f"{folder}/many.parquet/part-*.parquet",
        "text": f"{folder}/one.csv",
        "pattern of texts": f"{folder}/part-*.csv",
        "packed text": folder / "one.tsv.gz",
        "partitions": dd.from_pandas(frame, npartitions=4),
        "partitions read": dd.read_parquet(folder / "many.parquet", columns=["a", "c", "n"]),
    }


NAMES = [
    *("file", "URL", "folder", "pattern", "text", "pattern of texts", "packed text"),
    *("partitions", "partitions read"),
]


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_read_in_any_order(name, frame, sources):
    samples = open_samples(sources[name], features=FEATURES)
    assert (samples.features, samples.array.dtype) == (tuple(FEATURES), np.float64)
    assert all(key in ("feature",) for key in samples.coords) or name == "partitions"
    np.testing.assert_array_equal(samples.array.compute(), frame[FEATURES])
    assert pickle.loads(pickle.dumps(samples.array)).compute().shape == (9000, 3)  # as for workers


@pytest.mark.parametrize("name", ["folder", "pattern of texts", "partitions"])
def test_train_infer_evaluate_and_retrain(name, frame, sources, tmp_path):
    config = MapConfig(epochs=1, missing="mask", initialization="sample")
    wanted, model = (
        train(open_samples(data, features=FEATURES), Lattice(3, 4), config) for data in (frame, sources[name])
    )
    assert model.attrs["codebook_sha256"] == wanted.attrs["codebook_sha256"]
    # The features that training chose are known, so the others may be of text.
    labels = infer(frame, wanted).compute()
    infer_to_store(sources[name], model, tmp_path / "labels.zarr")
    with xr.open_zarr(tmp_path / "labels.zarr", consolidated=False) as found:
        for variable in labels:
            np.testing.assert_array_equal(found[variable], labels[variable])
    assert float(evaluate(sources[name], model, sample=0)["quantization_error"]) == pytest.approx(
        float(labels["distance"].mean())
    )
    assert (
        retrain(sources[name], model)[0].attrs["codebook_sha256"]
        == retrain(frame, wanted)[0].attrs["codebook_sha256"]
    )


def test_the_command_line_takes_them(frame, sources, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--rows", "3", "--cols", "4", "--epochs", "1", "--missing", "mask", "--features", "a,b,n"]
    assert run("train", sources["text"], "--output", "model.zarr", *small) == 0
    assert run("infer", "model.zarr", sources["pattern"], "--output", "labels.zarr") == 0
    assert run("evaluate", "model.zarr", str(sources["file"]), "--sample", "0") == 0
    with xr.open_zarr("labels.zarr", consolidated=False) as found:
        assert found["bmu"].shape == (9000,)
        assert np.isfinite(found["bmu"]).all()
    assert "part-*.parquet" in found.attrs["input"]


@pytest.mark.parametrize("kind", ["parquet", "frame"])
@pytest.mark.parametrize(
    ("index", "name"),
    [
        (pd.Index(np.arange(50) * 3, name="id"), "id"),
        (pd.date_range("2001", periods=50, name="time"), "time"),
        (pd.Index(np.arange(50.0), name="sample"), "sample_index"),
    ],
    ids=["numbers", "times", "sample"],
)
def test_the_index_is_a_coordinate_of_the_labels(kind, index, name, tmp_path, rng):
    frame = pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"], index=index)
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=20)
    source = tmp_path / "x.parquet" if kind == "parquet" else dd.from_pandas(frame, npartitions=3)
    samples = open_samples(source)
    assert samples.features == ("a", "b")
    assert samples.coords[name].chunks is not None  # and is read only where it is written
    infer_to_store(source, train(frame, Lattice(2, 2), MapConfig(epochs=1)), tmp_path / "labels.zarr")
    with xr.open_zarr(tmp_path / "labels.zarr", consolidated=False) as labels:
        np.testing.assert_array_equal(labels[name], index)


def test_an_index_of_text_is_left_out_with_a_warning(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index(["x", "y"], name="gene"))
    frame.to_parquet(tmp_path / "x.parquet")
    for source in (tmp_path / "x.parquet", dd.from_pandas(frame, npartitions=1)):
        with pytest.warns(UserWarning, match="the index 'gene' of .* is not of numbers or times; labels go without"):
            samples = open_samples(source)
        assert (samples.features, list(samples.coords)) == (("a",), [])


def test_numbers_of_all_kinds(tmp_path):
    frame = pd.DataFrame(
        {
            "small": pd.array([1, 2], "int8"),
            "may be missing": pd.array([None, 3], "Int64"),
            "truth": [True, False],
            "half": np.array([0.5, 1.5], "f4"),
        }
    )
    wanted = [[1, np.nan, 1, 0.5], [2, 3, 0, 1.5]]
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    for source in (tmp_path / "x.parquet", tmp_path / "x.csv", dd.from_pandas(frame, npartitions=1)):
        np.testing.assert_array_equal(open_samples(source).array.compute(), wanted)
    assert open_samples(tmp_path / "x.parquet", features="half").array.dtype == np.float32
    assert np.isnan(open_samples(tmp_path / "x.csv", nodata=0.5).array.compute()).sum() == 2


def test_partitions_may_be_empty_and_weights_change_no_dtype():
    frame = pd.DataFrame({"a": np.arange(40, dtype="f4"), "w": np.arange(40)})
    some = dd.from_pandas(frame, npartitions=4)
    some = some[some["a"] >= 25]
    samples = open_samples(some, sample_weights="w")
    assert samples.array.dtype == np.float32
    np.testing.assert_array_equal(samples.array.compute()[:, 0], np.arange(25, 40))
    np.testing.assert_array_equal(samples.weights.compute(), np.arange(25, 40))


def test_nothing_is_read_but_what_is_asked_for(sources, monkeypatch):
    plain, asked = parquet._read, []
    monkeypatch.setattr(parquet, "_read", lambda part, names: asked.append((part, names)) or plain(part, names))
    samples = open_samples(sources["folder"], features=["b"], block_size=1500 * 8)
    assert asked == []  # the numbers of rows are those that the files tell
    assert sum(samples.block_rows) == 9000
    samples.array[-10:].compute()
    ((part, names),) = asked
    assert (names, part.rows, os.path.basename(part.file)) == (("b",), 1999, "part-3.parquet")


def test_a_url_is_read_lazily(frame, monkeypatch):
    filesystem = fsspec.filesystem("memory")
    for name, data in (("a", frame[:4000]), ("b", frame[4000:])):
        filesystem.pipe_file(f"/tables/{name}.parquet", data.to_parquet())
        filesystem.pipe_file(f"/tables/{name}.csv", data.to_csv(index=False).encode())
    for pattern in ("memory://tables/*.parquet", "memory://tables/*.csv"):
        np.testing.assert_array_equal(open_samples(pattern, features=FEATURES).array.compute(), frame[FEATURES])


def test_a_changed_file_is_no_longer_continued_but_refused(frame, tmp_path, rng):
    path = tmp_path / "x.parquet"
    frame[["a", "b"]].to_parquet(path)
    samples = open_samples(path)
    frame[["a", "b"]][:8999].to_parquet(path)
    with pytest.raises(DataError, match=r"x\.parquet has changed: 8999 rows in place of 9000; open it again"):
        samples.array.compute()
    frame[["a", "b"]].to_csv(tmp_path / "x.csv", index=False)
    samples = open_samples(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"x\.csv has changed: 1 rows in place of"):
        samples.array.compute()


def test_an_interrupted_run_notices_a_changed_file(frame, tmp_path, monkeypatch):
    path, model = tmp_path / "x.parquet", train(frame[["a", "b"]], Lattice(2, 3), MapConfig(epochs=1))
    monkeypatch.setattr("som_dask.samples.open.MIN_BLOCK_ROWS", 1000)

    def stop(done, blocks):
        if done:
            raise KeyboardInterrupt

    def label(**options):
        return infer_to_store(path, model, tmp_path / "labels.zarr", on_progress=stop, **options)

    values = frame[["a", "b"]]
    values.to_parquet(path, row_group_size=1000)
    monkeypatch.setattr("som_dask.analysis.label_store.count_threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        label()
    values.assign(a=values["a"] + 1).to_parquet(path, row_group_size=1000)
    with pytest.raises(StorageError, match="another run"):
        label()
    summary = infer_to_store(path, model, tmp_path / "labels.zarr", overwrite=True)
    assert summary.blocks_before == 0


def write(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


LATE = "a,b,c\n" + "1,2,3\n" * 1500 + "1,x,3\n"
REFUSED = {
    "text": ("x.csv", "a,kind\n1,x\n", {}, r"x\.csv has columns that are not of real numbers: kind \(\w+\); choose"),
    "late text": ("x.csv", LATE, {}, r"the column b of .*x\.csv is not as its first rows are: .*'x'"),
    "ragged": ("x.csv", LATE.replace("x,3", "2,3,4"), {}, r"x\.csv is not as its first rows are.*Expected 3"),
    "no columns": ("x.csv", "", {}, r"can't read .*x\.csv as a table: No columns"),
    "no rows": ("x.csv", "a,b\n", {}, r"x\.csv has no samples"),
    "bytes": ("x.csv", b"a,b\n\xff\xfe,1\n", {}, r"can't read .*x\.csv as a table: 'utf-8'"),
    "unknown column": ("x.csv", "alpha,b\n1,2\n", {"features": ["alhpa"]}, r"x\.csv has no feature 'alhpa'; did you"),
    "a variable": ("x.csv", "a,b\n1,2\n", {"variable": "a"}, r"is a table; choose columns by `features`"),
    "no Parquet": ("x.parquet", "words", {}, r"can't read .*x\.parquet as a Parquet file: "),
    "nothing": ("y.txt", "", {}, r"x\.parquet does not exist; check the path"),
    "an empty folder": ("x.parquet/_SUCCESS", "", {}, r"x\.parquet holds no parquet files; check the path"),
}


@pytest.mark.parametrize(("file", "content", "options", "match"), REFUSED.values(), ids=REFUSED)
def test_files_that_are_no_tables_of_numbers(file, content, options, match, tmp_path):
    write(tmp_path, file, content)
    path = tmp_path / ("x.csv" if file.endswith("csv") else "x.parquet")
    with pytest.raises(SomError, match=match) as caught:
        open_samples(path, **options)
    assert "\n" not in str(caught.value)


def test_files_that_do_not_fit_together(tmp_path):
    (tmp_path / "x.parquet").mkdir()
    for name in "ab":
        pd.DataFrame({"x": [1.0], name: [2.0]}).to_parquet(tmp_path / "x.parquet" / f"{name}.parquet")
    assert open_samples(tmp_path / "x.parquet", features="x").n_samples == 2
    with pytest.raises(DataError, match=r"not of real numbers: a \(absent from .*b\.parquet\); choose"):
        open_samples(tmp_path / "x.parquet")


def test_damage_behind_the_footer_is_told_in_one_line(tmp_path, frame):
    path = tmp_path / "x.parquet"
    frame[["a", "b"]].to_parquet(path)
    data = bytearray(path.read_bytes())
    data[10:2000] = bytes(1990)
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"can't read .*x\.parquet: .*restore it"):
        open_samples(path).array.compute()


def test_a_pattern_without_files(tmp_path):
    with pytest.raises(StorageError, match=r"there is no file .*/\*\.csv; check the pattern"):
        open_samples(tmp_path / "*.csv")


def test_columns_of_text_of_a_dask_frame_are_named(sources):
    with pytest.raises(DataError, match=r"the dask DataFrame has columns .*: kind \(\w+\); choose"):
        open_samples(sources["partitions"])
    with pytest.raises(ParameterError, match="the dask DataFrame is a table"):
        open_samples(sources["partitions"], variable="a")
    assert isinstance(open_samples(sources["partitions"], features=["a"]).array, dask.array.Array)


@pytest.mark.parametrize("name", ["frame", "folder", "text", "partitions"])
def test_a_column_holds_the_weights(name, frame, sources):
    source = frame if name == "frame" else sources[name]
    samples = open_samples(source, features=["a", "b"], sample_weights="n")
    assert samples.features == ("a", "b")
    np.testing.assert_array_equal(samples.array.compute(), frame[["a", "b"]])
    np.testing.assert_array_equal(samples.weights.compute(), frame["n"])
    with pytest.raises(ParameterError, match=r"has no column 'm' for the weights; name one that it has"):
        open_samples(source, features=["a"], sample_weights="m")


def test_a_column_of_weights_is_no_feature_unless_it_is_named(frame):
    numbers = frame[["a", "n", "b"]]
    for source in (numbers, dd.from_pandas(numbers, npartitions=2)):
        assert open_samples(source, sample_weights="n").features == ("a", "b")
        samples = open_samples(source, features=["n", "b"], sample_weights="n")
        np.testing.assert_array_equal(samples.array.compute(), frame[["n", "b"]])
        np.testing.assert_array_equal(samples.weights.compute(), frame["n"])
