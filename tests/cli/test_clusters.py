"""`som-dask clusters`: what it tells and writes, and what it refuses."""

import os

import numpy as np
import pytest
import xarray as xr

from som_dask.analysis.clusters import MOST_SUGGESTED, clusters
from som_dask.io.models import open_model
from som_dask.io.outputs import lock
from tests.system.test_bad_input import run, store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, rng):
    """A working directory with a trained model."""
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(500, 3)))
    train = ("train", "cells.zarr", "--output", "model.zarr", "--rows", "4", "--cols", "5", "--epochs", "2")
    assert run(*train) == 0
    return tmp_path


def test_scores_and_sizes_are_told(capsys):
    capsys.readouterr()
    assert run("clusters", "model.zarr") == 0
    out, err = capsys.readouterr()
    found = clusters("model.zarr")
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == MOST_SUGGESTED + found.sizes["cluster"]  # of the 19 numbers that were tried
    (chosen,) = (line for line in lines if line.endswith("chosen"))
    assert chosen.startswith(f"{found.attrs['n_clusters']} clusters ")
    assert " elbow " in chosen
    assert f"{float(found['cluster_score'].max()):.4g}" in chosen
    nodes, hits = int(found["cluster_nodes"][0]), int(found["cluster_hits"][0])
    assert f"cluster 0           {nodes} nodes, {hits} samples ({hits / 500:.1%})" in lines


def test_clusters_are_written(capsys):
    options = ("--n-clusters", "3", "--method", "kmeans", "--seed", "4", "--not-weighted-by-hits")
    assert run("clusters", "model.zarr", *options, "--output", "clusters.zarr") == 0
    assert "clusters            clusters.zarr\n3 clusters" in capsys.readouterr().out
    found = xr.open_zarr("clusters.zarr", consolidated=False).load()
    wanted = clusters("model.zarr", 3, "kmeans", seed=4, weighted_by_hits=False)
    xr.testing.assert_equal(found, wanted)
    assert found.attrs == wanted.attrs
    assert found.attrs["model_codebook_sha256"] == open_model("model.zarr").attrs["codebook_sha256"]
    assert run("clusters", "model.zarr", "--output", "clusters.zarr") == 5
    assert run("clusters", "model.zarr", "--output", "clusters.zarr", "--overwrite") == 0
    assert xr.open_zarr("clusters.zarr", consolidated=False).attrs["method"] == "average"


def test_all_options_reach_the_clusters(capsys):
    options = ("--method", "ward", "--no-connected", "--suggest-by", "elbow", "--resamplings", "5", "--seed", "3")
    assert run("clusters", "model.zarr", *options, "--output", "clusters.zarr") == 0
    wanted = clusters("model.zarr", method="ward", connected=False, suggest_by="elbow", resamplings=5, seed=3)
    xr.testing.assert_equal(xr.open_zarr("clusters.zarr", consolidated=False), wanted)
    assert wanted.attrs["connected"] == 0
    out = capsys.readouterr().out
    for stability in wanted["cluster_stability"].values:
        assert f", stability {stability:.2f}\n" in out


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (2, "from 1 to 20", ["model.zarr", "--n-clusters", "21"]),
        (2, "--method average", ["model.zarr", "--weighted-by-hits", "--method", "ward"]),
        (2, "--method average", ["model.zarr", "--method", "kmeans", "--connected"]),
        (2, "--suggest-by silhouette", ["model.zarr", "--method", "kmeans", "--suggest-by", "elbow"]),
        (2, "--resamplings", ["model.zarr", "--resamplings", "-1"]),
        (2, "agglomerative", ["model.zarr", "--method", "agglomerative"]),
        (5, "does not exist", ["nowhere.zarr"]),
        (5, "not a som_dask model", ["cells.zarr"]),
    ],
)
def test_refusals_are_one_line_and_write_nothing(status, words, arguments, capsys):
    capsys.readouterr()
    assert run("clusters", *arguments, "--output", "out.zarr") == status
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert words in line
    assert not [name for name in os.listdir() if "out" in name]


def test_the_model_is_not_overwritten():
    before = open_model("model.zarr")["codebook"].values
    assert run("clusters", "model.zarr", "--output", "model.zarr", "--overwrite") != 0
    np.testing.assert_array_equal(open_model("model.zarr")["codebook"], before)


def test_shares_are_of_the_weight_where_samples_have_weights(capsys, rng):
    fields = xr.DataArray(
        rng.normal(size=(9, 6, 3)), dims=("time", "lat", "feature"), coords={"lat": np.linspace(-80, 80, 6)}
    )
    fields.to_dataset(name="z").to_zarr("fields.zarr")
    train = ("train", "fields.zarr", "--output", "areas.zarr", "--rows", "3", "--cols", "3", "--epochs", "2")
    assert run(*train, "--sample-weights", "area", "--sample-dims", "time,lat") == 0
    capsys.readouterr()
    assert run("clusters", "areas.zarr", "--n-clusters", "2") == 0
    found = clusters("areas.zarr", 2)
    nodes, hits, share = (found[f"cluster_{name}"].values[0] for name in ("nodes", "hits", "share"))
    assert (
        f"cluster 0           {nodes} nodes, {hits} samples ({share:.1%} of their weight)" in capsys.readouterr().out
    )


def test_it_waits_for_no_other_run_and_never_writes_into_a_store(capsys):
    with lock("clusters.zarr"):
        assert run("clusters", "model.zarr", "--output", "clusters.zarr") == 5
    assert "another run is writing clusters.zarr" in capsys.readouterr().err
    assert run("clusters", "model.zarr", "--output", "model.zarr/codebook", "--overwrite") == 5
    assert "the output model.zarr/codebook lies in the input model.zarr" in capsys.readouterr().err
    assert run("clusters", "model.zarr", "--log-file", "model.zarr/zarr.json") == 5
    assert "the log model.zarr/zarr.json lies in the Zarr store" in capsys.readouterr().err
    open_model("model.zarr")
    assert sorted(os.listdir()) == ["cells.zarr", "model.zarr"]
