"""Many maps trained together: each has the bits that it has alone, and the data are read as if for one."""

import functools
import threading

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from zarr.storage import LocalStore

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.evaluation import evaluate
from som_dask.errors import DataError, ParameterError
from som_dask.samples.reweight import bootstrap_weights, held_out
from som_dask.training.config import Execution, MapConfig
from som_dask.training.many import MapRun, train_many
from som_dask.training.train import train

STREAM = Execution(keep="stream")
SMALL, LARGE = Lattice(3, 4), Lattice(4, 5)
RUNS = [
    MapRun(lattice=SMALL, config=MapConfig(epochs=3)),
    MapRun(lattice=LARGE, config=MapConfig(epochs=2, initialization="sample", seed=3, final_radius=1.0)),
    MapRun(lattice=SMALL, config=MapConfig(epochs=1, initialization="random", scaling="zscore")),
    MapRun(lattice=SMALL, config=MapConfig(phases="two", rough_epochs=4, rough_samples=9, seed=1)),
    MapRun(lattice=SMALL, config=MapConfig(epochs=2, metric="cosine", neighborhood="bubble"), bootstrap=5),
    MapRun(lattice=SMALL, config=MapConfig(epochs=2, precision="fast"), bootstrap=6),
    MapRun(lattice=LARGE, config=MapConfig(epochs=9, radii=(0.5,) * 9, tolerance=0.5, patience=1)),
    MapRun(lattice=SMALL, config=MapConfig(epochs=0)),
]


@pytest.fixture
def values(rng):
    """Samples around three points."""
    return rng.normal(size=(900, 3)) + rng.integers(3, size=(900, 1)) * 4.0


@pytest.fixture
def count_bytes(monkeypatch):
    """A function that returns how many bytes a call reads from local Zarr stores."""
    read, lock, get = [0], threading.Lock(), LocalStore.get

    async def counting(self, key, *arguments, **options):
        found = await get(self, key, *arguments, **options)
        with lock:
            read[0] += 0 if found is None else len(found)
        return found

    monkeypatch.setattr(LocalStore, "get", counting)

    def count(call):
        before = read[0]
        call()
        return read[0] - before

    return count


def store(path, values, rows=100):
    """Values in a Zarr store, in chunks of so many rows."""
    array = xr.DataArray(values, dims=("sample", "feature"), name="data")
    array.to_dataset().chunk({"sample": rows}).to_zarr(path, zarr_format=2, consolidated=False)
    return str(path)


def bits(model):
    """What a model is, but for when it was made and for how it is told."""
    return [model[name].values.tobytes() for name in sorted(model.variables) if model[name].dtype.kind in "iuf"]


def weights_of(run, n, share, seed=0, weights=None):
    """The weights that a run has, as `train` takes them."""
    result = np.ones(n) if weights is None else np.array(weights)
    if run.bootstrap is not None:
        result = result * bootstrap_weights(n, run.bootstrap)
    if share:
        result = np.where(held_out(n, share, seed), 0.0, result)
    return result if share or run.bootstrap is not None or weights is not None else None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_each_map_has_the_bits_that_it_has_alone(values, rng, share, weighted):
    weights = rng.integers(1, 4, 900) / 2 if weighted else None
    data = da.from_array(values, chunks=(250, -1))
    models, table = train_many(data, RUNS, STREAM, holdout=share, holdout_seed=7, sample_weights=weights)
    for run, model in zip(RUNS, models, strict=True):
        alone = train(data, run.lattice, run.config, STREAM, sample_weights=weights_of(run, 900, share, 7, weights))
        assert bits(model) == bits(alone)
        assert model.attrs["codebook_sha256"] == alone.attrs["codebook_sha256"]
        assert model.attrs["data_fingerprint"] == alone.attrs["data_fingerprint"]
    assert len(table) == len(RUNS)
    assert (table["seconds"] > 0).all()


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_many_maps_read_as_many_bytes_as_one(values, tmp_path, count_bytes, share):
    path = store(tmp_path / "data.zarr", values)
    every = [
        MapRun(lattice=lattice, config=MapConfig(epochs=2, seed=seed), bootstrap=bootstrap)
        for lattice in (SMALL, LARGE)
        for seed in (0, 1)
        for bootstrap in (None, 3)
    ]
    rough = [MapRun(lattice=SMALL, config=MapConfig(phases="two", rough_epochs=3, seed=seed)) for seed in (0, 1)]
    picked = [
        MapRun(lattice=SMALL, config=MapConfig(epochs=2, initialization="sample", seed=seed)) for seed in range(4)
    ]
    for runs in (every, rough, picked):
        alone = []
        for run in runs:
            how = {"sample_weights": weights_of(run, 900, share)}
            alone.append(count_bytes(functools.partial(train, path, run.lattice, run.config, STREAM, **how)))
        many = count_bytes(functools.partial(train_many, path, runs, STREAM, holdout=share))
        assert values.nbytes < max(alone) <= many * 1.05
        assert many <= 1.05 * max(alone)


@pytest.mark.parametrize("missing", ["error", "mask"])
def test_errors_on_samples_held_out_are_those_of_no_other_samples(values, rng, missing):
    if missing == "mask":
        values[rng.integers(900, size=40), rng.integers(3, size=40)] = np.nan
    runs = [MapRun(lattice=LARGE, config=MapConfig(epochs=2, missing=missing), bootstrap=b) for b in (None, 4)]
    weights, out = rng.integers(1, 4, 900) / 2, held_out(900, 0.2, 3)
    tables = []
    for rows in (900, 170):
        data = da.from_array(values, chunks=(rows, -1))
        models, table = train_many(data, runs, holdout=0.2, holdout_seed=3, sample_weights=weights)
        tables.append(table.drop(columns="seconds"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    for i, model in enumerate(models):
        alone = evaluate(values, model, sample=0, sample_weights=np.where(out, weights, 0.0))
        assert table["held_out_quantization_error"][i] == float(alone["quantization_error"])
        assert table["held_out_topographic_error"][i] == float(alone["topographic_error"])
        assert model.attrs["samples_of_weight_zero"] >= out.sum()
    moved = np.where(out[:, None], np.nan_to_num(values) + 0.5, values)
    again = train_many(moved, runs[:1], holdout=0.2, holdout_seed=3, sample_weights=weights)
    np.testing.assert_array_equal(again.models[0]["codebook"], models[0]["codebook"])


def test_maps_beyond_the_memory_are_trained_in_batches_and_it_is_said(values, monkeypatch):
    runs = [MapRun(lattice=SMALL, config=MapConfig(epochs=1, seed=seed)) for seed in range(3)]
    together = train_many(values, runs)
    monkeypatch.setattr("som_dask.training.many._find_memory", lambda: (40_000.0, 4))
    with pytest.warns(UserWarning, match="3 maps .* 2 batches"):
        apart = train_many(values, runs)
    assert [bits(model) for model in apart.models] == [bits(model) for model in together.models]


def test_the_first_error_ends_all_maps_and_is_raised(values):
    runs, epochs, before = [RUNS[0], RUNS[1]], [], threading.active_count()

    def stop(index, epoch):
        epochs.append((index, epoch.index))
        if index == 1 and epoch.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_many(values, runs, on_epoch=stop)
    assert sorted(epochs) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    values[5, 1] = np.inf
    with pytest.raises(DataError, match="infinite"):
        train_many(values, runs)
    assert threading.active_count() <= before + 8  # threads of pools stay, none waits
    assert not [thread for thread in threading.enumerate() if "run" in thread.name]


@pytest.mark.parametrize(
    ("runs", "options", "words"),
    [
        ([], {}, "no maps"),
        (RUNS[:1], {"holdout": 1.0}, "holdout"),
        (RUNS[:1], {"holdout": "some"}, "holdout"),
    ],
)
def test_what_cant_be_trained_is_refused(values, runs, options, words):
    with pytest.raises(ParameterError, match=words):
        train_many(values, runs, **options)
    with pytest.raises(ParameterError, match="bootstrap"):
        MapRun(lattice=SMALL, bootstrap=-1)


def test_on_a_cluster_the_maps_and_the_table_are_the_same(values, tmp_path):
    path, runs = store(tmp_path / "data.zarr", values), [RUNS[0], RUNS[1], RUNS[3], RUNS[4]]
    models, table = train_many(path, runs, holdout=0.2)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, memory_limit=0, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster),
    ):
        for keep in ("stream", "memory"):
            found, same = train_many(path, runs, Execution(keep=keep), holdout=0.2)
            assert [bits(model) for model in found] == [bits(model) for model in models]
            pd.testing.assert_frame_equal(
                same.drop(columns="seconds"), table.drop(columns="seconds"), check_exact=True
            )
            assert {model.attrs["keep"] for model in found} == {keep}
