"""Cluster: safe settings, on this machine only, and clear words where there is none."""

import asyncio
import sys
import threading
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, Scheduler, Worker
from distributed.security import Security

from som_dask.errors import ClusterError, ParameterError
from som_dask.passes import cluster
from som_dask.passes.cluster import connect
from som_dask.passes.compute import safe_settings

ROOT = Path(__file__).parent.parent.parent


def test_nothing_asked_for_is_no_client():
    with connect() as client:
        assert client is None


@pytest.mark.cluster
def test_a_cluster_of_its_own_is_safe_and_local():
    with connect(workers=2, threads_per_worker=1) as client:
        info = client.scheduler_info()
        assert len(info["workers"]) == 2
        assert info["address"].startswith("tcp://127.0.0.1:")
        assert all(address.startswith("tcp://127.0.0.1:") for address in info["workers"])
        assert client.dashboard_link.startswith("http://127.0.0.1:")

        def settings(dask_scheduler):
            return dask_scheduler.allowed_failures, dask_scheduler.worker_ttl, dask_scheduler.no_workers_timeout

        assert client.run_on_scheduler(settings) == (50, 60, 300)
        (address,) = {str(s.getsockname()[0]) for s in sockets_of(client)}
        assert address == "127.0.0.1"
    assert dask.config.get("distributed.scheduler.allowed-failures") == 3  # as it was


def sockets_of(client):
    """The sockets on which the scheduler's dashboard listens."""
    return list(client.cluster.scheduler.http_server._sockets.values())


@pytest.mark.cluster
def test_a_running_cluster_is_used(tmp_path):
    with connect(workers=1, threads_per_worker=1) as own:
        own.write_scheduler_file(str(tmp_path / "s.json"))
        for way in ({"scheduler": own.scheduler.address}, {"scheduler_file": tmp_path / "s.json"}):
            with connect(**way) as client:
                assert client.submit(sum, [1, 2]).result() == 3


def test_ways_exclude_each_other():
    with (
        pytest.raises(ParameterError, match="`workers` and `scheduler`"),
        connect(workers=1, scheduler="tcp://h:1"),
    ):
        pass


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": 1, "threads_per_worker": 0}], ids=str)
def test_numbers_that_are_none(options):
    with pytest.raises(ParameterError, match="positive"), connect(**options):
        pass


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler(tmp_path):
    soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with soon, pytest.raises(ClusterError, match="scheduler at tcp"), connect(scheduler="tcp://127.0.0.1:9"):
        pass
    with pytest.raises(ClusterError, match="does not exist"), connect(scheduler_file=tmp_path / "none.json"):
        pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Files of certificates, as options of `connect`."""
    pytest.importorskip("cryptography")
    made = Security.temporary()
    texts = {"tls_ca_file": made.tls_ca_file, "tls_cert": made.tls_client_cert, "tls_key": made.tls_client_key}
    folder = tmp_path_factory.mktemp("certificates")
    files = {name: folder / f"{name}.pem" for name in texts}
    for name, text in texts.items():
        files[name].write_text(text)
    return files


@pytest.fixture(scope="module")
def encrypted(certificates):
    """The address of a scheduler that speaks TLS."""
    files = {name: str(path) for name, path in certificates.items()}
    roles = {f"tls_scheduler_{part}": files[f"tls_{part}"] for part in ("cert", "key")}
    roles |= {f"tls_worker_{part}": files[f"tls_{part}"] for part in ("cert", "key")}
    security = Security(require_encryption=True, tls_ca_file=files["tls_ca_file"], **roles)
    ready, done, found = threading.Event(), threading.Event(), []

    async def serve():
        async with (
            Scheduler(
                host="127.0.0.1", protocol="tls", security=security, dashboard_address="127.0.0.1:0"
            ) as scheduler,
            Worker(scheduler.address, security=security, nthreads=1, host="127.0.0.1"),
        ):
            found.append(scheduler.address)
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    done.set()
    thread.join()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("protocol", "words"), [("tls", "certificates"), ("tcp", "its protocol")])
def test_an_encrypted_scheduler_needs_certificates(protocol, words, encrypted):
    address = encrypted.replace("tls://", f"{protocol}://")
    soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with soon, pytest.raises(ClusterError, match=words), connect(scheduler=address):
        pass


def test_an_encrypted_scheduler_is_used_with_certificates(certificates, encrypted):
    for address in (encrypted, encrypted.removeprefix("tls://")):
        with connect(scheduler=address, **certificates) as client:
            assert client.scheduler.address == encrypted
            assert client.submit(sum, [1, 2]).result() == 3
    assert not dask.config.get("distributed.comm.require-encryption")  # as it was


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_its_own_is_encrypted_with_certificates(certificates):
    with connect(workers=1, threads_per_worker=1, interface=loopback(), **certificates) as client:
        info = client.scheduler_info()
        assert {address.partition("127")[0] for address in (info["address"], *info["workers"])} == {"tls://"}
        assert client.submit(sum, [1, 2]).result() == 3
        # The processes listen on no port that the others could reach.
        listening = [one.laddr.ip for one in psutil.Process().net_connections("inet") if one.status == "LISTEN"]
        told = client.run(
            lambda: [one.laddr.ip for one in psutil.Process().net_connections() if one.status == "LISTEN"]
        )
        assert {*listening, *next(iter(told.values()))} == {"127.0.0.1"}


def loopback():
    """The name of the network interface that only this machine reaches."""
    return next(name for name, own in psutil.net_if_addrs().items() if "127.0.0.1" in {one.address for one in own})


def test_an_interface_that_others_reach_needs_certificates(monkeypatch):
    monkeypatch.setattr(cluster, "get_ip_interface", lambda name: "192.0.2.7")
    with (
        pytest.raises(ClusterError, match="others can reach needs certificates"),
        connect(workers=1, interface="ib0"),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 1, "interface": "none0"}, "none0"),
        ({"scheduler": "tcp://127.0.0.1:9", "interface": "lo"}, "`workers`"),
        ({"tls_cert": "cert.pem"}, "give `workers`"),
        ({"scheduler": "tcp://127.0.0.1:9", "tls_cert": "cert.pem"}, "does not encrypt"),
    ],
    ids=str,
)
def test_options_of_encryption_that_fit_nothing(options, words):
    with pytest.raises(ParameterError, match=words), connect(**options):
        pass


@pytest.mark.parametrize(
    ("swapped", "words"),
    [
        ({"tls_ca_file": None}, "needs certificates"),
        ({"tls_cert": None}, "needs certificates"),
        ({"tls_ca_file": "absent.pem"}, "no file .*absent.pem"),
        ({"tls_key": "tls_cert"}, "can't be used"),
        ({"tls_ca_file": __file__}, "can't be used"),
    ],
    ids=str,
)
@pytest.mark.parametrize("way", [{"workers": 1}, {"scheduler": "tls://127.0.0.1:9"}], ids=["workers", "scheduler"])
def test_files_that_are_no_certificates(swapped, words, way, certificates):
    files = certificates | {name: certificates.get(other, other) for name, other in swapped.items()}
    with pytest.raises(ClusterError, match=words), connect(**way, **files):
        pass


def test_certificates_that_are_none(tmp_path):
    bad = dask.config.set({"distributed.comm.tls.ca-file": str(tmp_path / "absent.pem")})
    with bad, pytest.raises(ClusterError, match="certificates"), connect(scheduler="tls://127.0.0.1:9"):
        pass


def test_patience_is_that_of_the_configuration():
    with (
        Client(processes=False, n_workers=0, dashboard_address=":0") as client,
        dask.config.set({"som-dask.workers-timeout": "300ms"}),
        pytest.raises(ClusterError, match=r"within 0.3 seconds"),
        connect(scheduler=client.scheduler.address),
    ):
        pass


def test_the_settings_for_other_clusters_are_the_same():
    deployed = (ROOT / "deploy" / "dask.yaml").read_text()
    assert deployed == (ROOT / "som_dask" / "dask.yaml").read_text()
    assert safe_settings()["distributed.scheduler.allowed-failures"] == 50
    assert safe_settings()["som-dask.dashboard-address"].startswith("127.0.0.1:")


@pytest.mark.cluster
def test_new_workers_import_the_package_before_they_have_a_task():
    with connect(workers=1, threads_per_worker=1) as client:
        assert client.run(_has_imported) == dict.fromkeys(client.nthreads(), True)


def _has_imported():
    return "som_dask.passes.epoch" in sys.modules
