"""The page in the Dask dashboard: what it says, and how it looks in a browser."""

import io
import subprocess
import sys
import urllib.request

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from PIL import Image

from som_dask import Lattice, MapConfig, add_dashboard_page, epochs
from som_dask.errors import ClusterError
from som_dask.plotting.dashboard_document import describe
from som_dask.plotting.dashboard_page import PATH
from tests.browser import find_browser, look_at

RUN = {"run": "a", "samples": 20_000, "blocks": 40, "epochs": 10, "time": 100.0}
EPOCH = {"index": 4, "radius": 2.0, "quantization_error": 0.25, "topographic_error": 0.0625, "seconds": 0.5}


@pytest.mark.parametrize(
    ("events", "share", "expected"),
    [
        ([], None, ["No map is being trained"]),
        ([RUN | {"state": "begun"}], 0.25, ["20,000 samples", "40 blocks", "10 of 40 blocks of this epoch"]),
        (
            [RUN | {"state": "training"} | EPOCH],
            None,
            ["epoch 5 of 10", "error 0.25", "error 0.062", "40,000 samples/s", "last heard 20 s ago"],
        ),
        ([RUN | {"state": "training", "phase": "rough"} | EPOCH], None, ["rough, epoch 5"]),
        ([RUN | {"state": "begun"}, RUN | {"state": "finished", "time": 107.0}], None, ["finished</b> after 7 s"]),
    ],
)
def test_what_it_says(events, share, expected):
    found = describe(events, share, 120.0)
    assert [part for part in expected if part not in found] == []


@pytest.fixture(scope="module")
def client():
    options = {"threads_per_worker": 1, "processes": False, "protocol": "tcp://", "host": "127.0.0.1"}
    with LocalCluster(1, dashboard_address="127.0.0.1:0", **options) as cluster, Client(cluster) as client:
        yield client


def test_it_is_one_of_the_pages_of_dask(client):
    link = add_dashboard_page(client)
    assert link == add_dashboard_page() == client.dashboard_link.replace("/status", PATH)
    for page in (link, client.dashboard_link):
        assert urllib.request.urlopen(page).status == 200


def count_colors(picture):
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    return np.count_nonzero((counts > 50) & (np.ptp(colors.astype(int), axis=1) > 30))


@pytest.mark.skipif(find_browser() is None, reason="no chromium is installed")
@pytest.mark.parametrize("lattice", [Lattice(5, 6, "hexagonal"), Lattice(60, 50, "rectangular")])
def test_a_browser_shows_the_map_while_it_is_trained(client, lattice, rng, tmp_path):
    link = add_dashboard_page(client)
    values = da.from_array(rng.normal(size=(400, 3)), chunks=(100, -1))
    run = epochs(values, lattice, MapConfig(epochs=3))
    next(run), next(run)
    text, early = look_at(link, "(TEXT).includes('epoch 2 of 3 done')", tmp_path / "early")
    assert count_colors(early) > 50  # of the nodes; diagrams and words have few
    assert "ago" in text
    list(run)
    text, late = look_at(link, "(TEXT).includes('finished')", tmp_path / "late")
    assert "epoch 3 of 3 done" in text
    assert early != late


def test_without_a_client(monkeypatch):
    monkeypatch.setattr("distributed.get_client", lambda: (_ for _ in ()).throw(ValueError))
    with pytest.raises(ClusterError, match="no active Dask client"):
        add_dashboard_page()


@pytest.mark.filterwarnings("ignore")
def test_without_a_dashboard():
    options = {"processes": False, "dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with (
        LocalCluster(0, **options) as cluster,
        Client(cluster) as client,
        pytest.raises(ClusterError, match="has no dashboard; start it with"),
    ):
        add_dashboard_page(client)


def test_the_plugin_costs_the_client_no_bokeh():
    code = "import sys, som_dask.plotting.dashboard_page; print('bokeh' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
