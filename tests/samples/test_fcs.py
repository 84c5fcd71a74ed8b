"""FCS files: written by flowio and read as the same numbers, one or many, with channels in any order."""

import sys

import numpy as np
import pytest

import som_dask as som
from som_dask.errors import DataError, ParameterError, SchemaError, StorageError
from som_dask.samples import fcs

flowio = pytest.importorskip("flowio")

CHANNELS, MARKERS = ["Nd142Di", "Sm147Di", "Time"], ["CD19", "CD20", ""]


def write(path, values, channels=CHANNELS, markers=MARKERS):
    with open(path, "wb") as file:
        flowio.create_fcs(file, np.ravel(values).tolist(), channels, opt_channel_names=markers)
    return path


@pytest.fixture
def values(rng):
    return (rng.normal(size=(400, 3)) * 30).astype(np.float32)


def test_a_file_gives_what_was_written(tmp_path, values):
    samples = som.open_samples(write(tmp_path / "a.FCS", values))
    assert samples.feature_names == ("CD19", "CD20", "Time")
    assert samples.array.dtype == np.float32
    np.testing.assert_array_equal(samples.array.compute(), values)


def test_files_with_channels_in_another_order(tmp_path, values):
    paths = [
        write(tmp_path / "a.fcs", values),
        write(tmp_path / "b.fcs", values[:150, [1, 2, 0]], ["Sm147Di", "Time", "Nd142Di"], ["CD20", "", "CD19"]),
    ]
    every = np.concatenate([values, values[:150]]).astype(float)
    samples = som.open_fcs(paths, channels=["Sm147Di", "CD19"], cofactor=5)
    assert samples.feature_names == ("Sm147Di", "CD19")
    np.testing.assert_array_equal(samples.array.compute(), np.arcsinh(every[:, [1, 0]] / 5).astype(np.float32))
    np.testing.assert_array_equal(samples.coords["file"], [0] * 400 + [1] * 150)
    some = som.open_fcs(paths, cofactor={"CD20": 150.0}).array.compute()
    np.testing.assert_array_equal(some[:, 1], np.arcsinh(every[:, 1] / 150).astype(np.float32))
    np.testing.assert_array_equal(some[:, [0, 2]], every[:, [0, 2]].astype(np.float32))


def test_events_are_read_file_by_file_when_a_block_is_computed(tmp_path, values, monkeypatch):
    paths = [write(tmp_path / f"{i}.fcs", values + i) for i in range(3)]
    read, plain = [], fcs._read_events
    monkeypatch.setattr(fcs, "_read_events", lambda path, *rest: (read.append(path), plain(path, *rest))[1])
    samples = som.open_fcs(paths, block_size=400 * 12)
    assert read == []
    np.testing.assert_array_equal(samples.array.blocks[1].compute(), values + 1)
    assert read == [str(paths[1])]


def test_a_map_remembers_the_scale(tmp_path, values):
    path = write(tmp_path / "a.fcs", values)
    samples = som.open_fcs(path, channels=["Nd142Di", "CD20"], cofactor=5)
    model = som.train(samples, som.Lattice(3, 4), som.MapConfig(epochs=3))
    np.testing.assert_array_equal(som.infer(path, model)["distance"], som.infer(samples, model)["distance"])
    with pytest.raises(SchemaError, match="arcsinh"):
        som.infer(som.open_fcs(path, channels=["Nd142Di", "CD20"], cofactor=150), model)
    with pytest.raises(SchemaError, match="arcsinh"):
        som.infer(som.open_fcs(path, channels=["Nd142Di", "CD20"]), model)


def test_a_marker_that_two_channels_have_does_not_name_them(tmp_path, values):
    path = write(tmp_path / "a.fcs", values, markers=["CD3", "CD3", "Sm147Di"])
    assert som.open_samples(path).feature_names == ("Nd142Di", "Sm147Di", "Time")
    with pytest.raises(ParameterError, match="2 channels 'CD3'"):
        som.open_fcs(path, channels="CD3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": ["CD4"]}, "no channel 'CD4'; it has CD19, CD20, Time"),
        ({"cofactor": 0}, "positive"),
        ({"cofactor": {"CD19": -5}}, "positive"),
        ({"cofactor": {"CD4": 5}}, "no channel 'CD4'"),
        ({"cofactor": {"CD20": 5}, "channels": ["CD19"]}, "not among the channels"),
        ({"features": ["CD19"]}, "`channels`"),
    ],
)
def test_options_that_can_not_be_used(options, words, tmp_path, values):
    with pytest.raises(ParameterError, match=words):
        som.open_fcs(write(tmp_path / "a.fcs", values), **options)


def test_files_that_can_not_be_used(tmp_path, values):
    with pytest.raises(StorageError, match="does not exist"):
        som.open_samples(tmp_path / "nothing.fcs")
    (tmp_path / "text.fcs").write_text("no events")
    with pytest.raises(StorageError, match="as an FCS file"):
        som.open_samples(tmp_path / "text.fcs")
    paths = [write(tmp_path / "a.fcs", values), write(tmp_path / "b.fcs", values, markers=["CD8", "CD20", ""])]
    assert som.open_fcs(paths, channels=["Nd142Di"]).n_samples == 800
    with pytest.raises(DataError, match=r"no channel 'CD19'.* but .*a.fcs has"):
        som.open_fcs(paths)
    with pytest.raises(ParameterError, match="no paths of FCS files"):
        som.open_fcs(tmp_path / "a.csv")
    data = (tmp_path / "a.fcs").read_bytes()
    samples = som.open_samples(tmp_path / "a.fcs")
    (tmp_path / "a.fcs").write_bytes(data[:-2000])
    with pytest.raises(StorageError, match="as an FCS file"):
        samples.array.compute()


def test_a_package_that_is_missing_is_named(tmp_path, values, monkeypatch):
    path = write(tmp_path / "a.fcs", values)
    monkeypatch.setitem(sys.modules, "flowio", None)
    with pytest.raises(ParameterError, match=r"som_dask\[cells\]"):
        som.open_samples(path)
