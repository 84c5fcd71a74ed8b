"""What a scheduler is told of training; and that training does not depend on whether it listens."""

from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

from som_dask import Lattice, MapConfig, OnlineConfig, epochs, train
from som_dask.io.live import MAPS, PAGE, TOPIC
from som_dask.passes import announce as module
from som_dask.passes.announce import announce

LATTICE = Lattice(3, 4)


@pytest.fixture(scope="module")
def client():
    options = {"threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(1, **options) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture
def values(rng):
    return rng.normal(size=(60, 2))


def told(client):
    """The events of the last run."""
    events = [event for _, event in client.get_events(TOPIC)]
    return [event for event in events if event["run"] == events[-1]["run"]]


def test_each_epoch_is_an_event(client, values):
    model = train(da.from_array(values, chunks=(20, -1)), LATTICE, MapConfig(epochs=3))
    begun, *trained, finished = told(client)
    assert (begun["state"], finished["state"]) == ("begun", "finished")
    assert [event["index"] for event in trained] == [0, 1, 2]
    assert all(event["samples"] == 60 and event["epochs"] == 3 for event in trained)
    for name in ("quantization_error", "topographic_error", "radius"):
        assert [event[name] for event in trained] == model[name].values[:3].tolist()


def test_the_online_rule_is_told_too(client, values):
    list(epochs(values, LATTICE, OnlineConfig(epochs=2)))
    assert [event.get("learning_rate") is not None for event in told(client)] == [False, True, True, False]


def test_maps_are_told_only_to_a_page_and_only_the_last_are_kept(client, values):
    list(epochs(values, LATTICE, MapConfig(epochs=2)))
    assert client.get_metadata([PAGE], default=None) is None
    client.set_metadata([PAGE], {})
    *_, last = epochs(values, LATTICE, MapConfig(epochs=3))
    maps = client.get_metadata([PAGE, MAPS])
    assert Lattice(**maps["lattice"]) == LATTICE
    assert (maps["run"], maps["epoch"]) == (told(client)[-1]["run"], 2)
    np.testing.assert_array_equal(np.frombuffer(maps["hits"], np.float32), last.hits.ravel())
    assert np.frombuffer(maps["u_matrix"], np.float32).shape == (LATTICE.n_nodes,)


def test_a_scheduler_that_does_not_answer_is_asked_once(monkeypatch):
    asked = []

    def fail(*args, **kwargs):
        asked.append(kwargs)
        raise TimeoutError

    client = SimpleNamespace(sync=fail, scheduler=SimpleNamespace(log_event=None, get_metadata=None))
    monkeypatch.setattr(module, "active_client", lambda: client)
    assert list(announce([some := SimpleNamespace(index=0)] * 3, LATTICE, samples=1, blocks=1)) == [some] * 3
    assert len(asked) == 1
