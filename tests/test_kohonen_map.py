"""KohonenMap, a thin face: what it gives is what the functions below it give, and it never changes."""

import base64
import dataclasses
import re

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from som_dask import kohonen_map
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.clusters import clusters
from som_dask.analysis.labels import infer
from som_dask.analysis.soft_labels import infer_soft
from som_dask.errors import CheckpointError, ParameterError, SchemaError
from som_dask.kohonen_map import KohonenMap
from som_dask.plotting import descriptions
from som_dask.training.config import MapConfig
from som_dask.training.retrain import RetrainingConfig, retrain
from som_dask.training.train import train

PNG = b"\x89PNG"


@pytest.fixture
def values(rng):
    return rng.random((300, 4))


@pytest.fixture
def trained(values):
    return KohonenMap(5, 6).train(values, epochs=3)


def test_batch_training_is_train(values, trained):
    model = train(values, Lattice(5, 6), MapConfig(epochs=3))
    np.testing.assert_array_equal(trained.codebook, model["codebook"])
    assert trained.quantization_error == model["quantization_error"].values[-1]
    assert trained.topographic_error == model["topographic_error"].values[-1]


def test_how_the_work_is_done_is_an_option_too(values, trained):
    streamed = KohonenMap(5, 6).train(values, epochs=3, keep="stream")
    assert (streamed.to_dataset().attrs["keep"], trained.to_dataset().attrs["keep"]) == ("stream", "auto")
    np.testing.assert_array_equal(streamed.codebook, trained.codebook)


def test_online_training_is_train_by_the_online_rule(values):
    seen = []
    som = KohonenMap(5, 6, "rectangular").train(
        values, "online", epochs=4, learning_rate=0.3, on_epoch=lambda epoch: seen.append(epoch.index)
    )
    model = train(values, Lattice(5, 6, "rectangular"), OnlineConfig(epochs=4, learning_rate=0.3))
    np.testing.assert_array_equal(som.codebook, model["codebook"])
    assert seen == [0, 1, 2, 3]


def test_a_map_never_changes(values, trained):
    fresh = KohonenMap(5, 6)
    fresh.train(values, epochs=1)
    assert not fresh.is_trained
    with pytest.raises(dataclasses.FrozenInstanceError):
        trained.rows = 7
    before = trained.codebook
    trained.codebook[:] = 0
    trained.to_dataset()["codebook"][:] = 0
    model = trained.to_dataset()
    another = KohonenMap.from_dataset(model)
    model["codebook"][:] = 0
    np.testing.assert_array_equal(trained.codebook, before)
    np.testing.assert_array_equal(another.codebook, before)


def test_training_goes_on_from_a_codebook(values, trained):
    on = trained.train(values, epochs=1, codebook=trained.codebook)
    wanted = train(values, Lattice(5, 6), MapConfig(epochs=1), codebook=trained.codebook.values)
    np.testing.assert_array_equal(on.codebook, wanted["codebook"])


def test_retraining_goes_on_with_new_data(values, trained, rng):
    new, seen = rng.random((200, 4)), []
    on = trained.retrain(
        new, epochs=2, keep="stream", patience=5, on_epoch=lambda epoch: seen.append(epoch.index)
    ).to_dataset()
    wanted, drift = retrain(new, trained.to_dataset(), RetrainingConfig(epochs=2))
    np.testing.assert_array_equal(on["codebook"], wanted["codebook"])
    assert on.attrs["drift_old_map_on_new_data"] == drift.new_data
    assert (on.attrs["keep"], on.attrs["patience"], seen) == ("stream", 5, [0, 1])
    with pytest.raises(ParameterError, match="no option epoch; RetrainingConfig knows epochs"):
        trained.retrain(new, epoch=2)


def test_epochs_can_be_watched(values, trained):
    states = list(KohonenMap(5, 6).epochs(values, epochs=3))
    assert [state.index for state in states] == [0, 1, 2]
    np.testing.assert_array_equal(states[-1].codebook, trained.codebook)


def test_labels_are_those_of_infer_and_lazy(values, trained):
    lazy = trained.infer(da.from_array(values, chunks=(100, -1)))
    assert lazy["distance"].chunks is not None
    xr.testing.assert_equal(lazy.compute(), infer(values, trained.to_dataset()).compute())
    with pytest.raises(SchemaError):
        trained.infer(values[:, :2])


def test_it_is_saved_and_loaded_whole(trained, tmp_path):
    trained.save(tmp_path / "map.zarr")
    loaded = KohonenMap.load(tmp_path / "map.zarr")
    assert (loaded.lattice, loaded.is_trained) == (trained.lattice, True)
    xr.testing.assert_equal(loaded.to_dataset(), trained.to_dataset())


def test_checkpoints_and_resume(values, tmp_path):
    class Stop(Exception):
        pass

    def stop(epoch):
        if epoch.index == 1:
            raise Stop

    som = KohonenMap(5, 6)
    with pytest.raises(Stop):
        som.train(values, epochs=4, checkpoints=tmp_path / "c", on_epoch=stop)
    on = som.train(values, epochs=4, checkpoints=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(on.codebook, som.train(values, epochs=4).codebook)
    with pytest.raises(CheckpointError):
        som.train(values, epochs=4, checkpoints=tmp_path / "none", resume=True)


@pytest.mark.parametrize("options", [{}, {"features": ["feature_3", "feature_0", "feature_1"]}, {"kind": "u_matrix"}])
def test_pictures(options, trained, tmp_path):
    trained.save_image(tmp_path / "map.png", **options)
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)


def test_a_notebook_sees_a_picture(trained, monkeypatch):
    shown = trained._repr_html_()
    data = re.search("base64,([^']+)'", shown)[1]
    assert base64.b64decode(data).startswith(PNG)
    assert "5 x 6, hexagonal, planar" in shown
    assert f"{trained.quantization_error:.6g}" in shown
    assert "not trained" in KohonenMap(2, 3)._repr_html_()

    def missing(model):
        raise ParameterError("pictures need matplotlib")

    monkeypatch.setattr(descriptions, "plot_u_matrix", missing)
    assert "<img" not in trained._repr_html_()


def test_names_of_features_are_escaped(rng):
    values = xr.DataArray(rng.random((50, 1)), dims=("i", "f"), coords={"f": ["<b>&"]})
    assert "&lt;b&gt;&amp;" in KohonenMap(2, 2).train(values, epochs=1)._repr_html_()


def test_clear_errors(values, trained, tmp_path):
    for use in ("codebook", "quantization_error", "topographic_error"):
        with pytest.raises(ParameterError, match="not trained yet"):
            getattr(KohonenMap(2, 2), use)
    with pytest.raises(ParameterError, match="not trained yet"):
        KohonenMap(2, 2).infer(values)
    with pytest.raises(ParameterError, match="algorithm must be one of"):
        KohonenMap(2, 2).train(values, "annealed")
    with pytest.raises(ParameterError, match="no option epoch; MapConfig knows epochs"):
        KohonenMap(2, 2).train(values, epoch=3)
    with pytest.raises(ParameterError, match=r"no option kep; MapConfig knows .*; Execution knows device, keep"):
        KohonenMap(2, 2).train(values, kep="stream")
    with pytest.raises(ParameterError, match="no option keep; OnlineConfig knows epochs"):
        KohonenMap(2, 2).train(values, "online", keep="stream")
    with pytest.raises(ParameterError, match="kind must be"):
        trained.save_image(tmp_path / "x.png", kind="portrait")
    with pytest.raises(ParameterError):
        KohonenMap(0, 2)


def test_clusters_and_soft_labels(rng):
    pytest.importorskip("sklearn")
    colors = rng.random((40, 3))
    colored = KohonenMap(4, 5).train(colors, epochs=3)
    xr.testing.assert_identical(colored.clusters(3), clusters(colored.to_dataset(), 3))
    assert colored.clusters(method="kmeans").attrs["method"] == "kmeans"
    soft = colored.infer_soft(colors, 2, kind="gaussian").compute()
    xr.testing.assert_equal(soft, infer_soft(colors, colored.to_dataset(), 2, kind="gaussian").compute())
    np.testing.assert_array_equal(soft["node_row"].isel(neighbor=0), colored.infer(colors)["bmu_row"])
    for ask in (KohonenMap(2, 2).clusters, lambda: KohonenMap(2, 2).infer_soft(colors)):
        with pytest.raises(ParameterError, match="not trained"):
            ask()


@pytest.mark.parametrize(
    ("kind", "options", "panels"),
    [
        ("u_matrix", {}, 0),
        ("hits", {"style": "size"}, 0),
        ("colors", {}, 0),
        ("plane", {"feature": "feature_1"}, 0),
        ("planes", {}, 4),
        ("profiles", {}, 0),
        ("training", {}, 3),
    ],
)
def test_pictures_of_each_kind(trained, kind, options, panels, tmp_path):
    axes = trained.plot(kind, **options)
    assert np.shape(axes) == ((panels,) if panels else ())
    given = Figure().subplots(1, panels or 1)
    drawn = trained.plot(kind, ax=given, **options)
    assert drawn is given if not panels else list(drawn) == list(given)
    trained.save_image(tmp_path / "map.png", kind, **options)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "portrait"}, "kind must be one of"),
        ({"kind": "plane"}, "can't draw plane: missing a required argument: 'feature'"),
        ({"kind": "hits", "features": ["a"]}, "can't draw hits: got an unexpected keyword argument 'features'"),
    ],
)
def test_pictures_that_can_not_be(trained, arguments, message):
    with pytest.raises(ParameterError, match=message):
        trained.plot(**arguments)
    with pytest.raises(ParameterError, match="not trained"):
        KohonenMap(2, 2).plot()


def test_watching_draws_in_a_notebook_and_returns_the_trained_map(values, trained, monkeypatch):
    shown, seen = [], []
    monkeypatch.setattr(kohonen_map, "in_notebook", lambda: True)
    monkeypatch.setattr(kohonen_map, "show_in_cell", lambda: shown.append)
    watched = KohonenMap(5, 6).watch(values, what="planes", epochs=3, on_epoch=seen.append)
    np.testing.assert_array_equal(watched.codebook, trained.codebook)
    assert [epoch.index for epoch in seen] == [0, 1, 2]
    assert shown[-1].startswith(PNG)


@pytest.mark.parametrize("notebook", [False, True])
def test_a_watched_training_that_is_interrupted_returns_the_map_so_far(notebook, values, monkeypatch):
    monkeypatch.setattr(kohonen_map, "in_notebook", lambda: notebook)
    monkeypatch.setattr(kohonen_map, "show_in_cell", lambda: lambda picture: None)

    def stop(epoch):
        if epoch.index == 1:
            raise KeyboardInterrupt

    som = KohonenMap(5, 6).watch(values, epochs=3, on_epoch=stop)
    assert som.to_dataset().attrs["stopped_by"] == "interrupt"
    assert "2 epochs, interrupted" in repr(som)
    assert "2, interrupted" in som._repr_html_()


def test_watching_refuses_another_view_before_it_trains(values):
    with pytest.raises(ParameterError, match="what must be one of"):
        KohonenMap(5, 6).watch(None, what="colors")


def test_a_map_is_told_in_one_line(trained):
    assert repr(KohonenMap(5, 6, "rectangular")) == "<KohonenMap 5 x 6, rectangular, planar: not trained>"
    errors = f"quantization error {trained.quantization_error:.4g}, topographic error {trained.topographic_error:.3g}"
    assert repr(trained) == f"<KohonenMap 5 x 6, hexagonal, planar: 4 features, 3 epochs, {errors}>"
