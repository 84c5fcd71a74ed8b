"""Where the dashboard can be opened: a link that works from here, or how to make one."""

import socket
from types import SimpleNamespace

import pytest

from som_dask.passes.dashboard import describe_dashboard


def client(scheduler, link):
    return SimpleNamespace(scheduler=SimpleNamespace(address=scheduler), dashboard_link=link)


@pytest.fixture
def port():
    """A port on 127.0.0.2 that answers."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        yield server.getsockname()[1]


def test_a_link_that_answers_is_told_as_it_is(port):
    link = f"http://127.0.0.2:{port}/status"
    assert describe_dashboard(client("tls://127.0.0.2:8786", link)) == link


def test_a_dashboard_on_loopback_of_another_machine_is_reached_by_ssh(port):
    told = describe_dashboard(client("tls://127.0.0.3:8786", f"http://127.0.0.3:{port}/status"))
    assert told == (
        f"http://127.0.0.1:{port}/status on 127.0.0.3; from elsewhere: ssh -N -L {port}:127.0.0.1:{port} 127.0.0.3"
    )


def test_a_dashboard_of_this_machine_is_told_by_its_name():
    told = describe_dashboard(client("tcp://127.0.0.1:8786", "http://127.0.0.1:8787/status"))
    name = socket.gethostname()
    assert told == f"http://127.0.0.1:8787/status on {name}; from elsewhere: ssh -N -L 8787:127.0.0.1:8787 {name}"


@pytest.mark.parametrize("link", ["/user/ada/proxy/8787/status", "https://hub.example.org/proxy/8787/status"])
def test_a_link_of_the_users_own_template_is_told_as_it_is(link):
    assert describe_dashboard(client("tcp://10.0.0.5:8786", link)) == link


@pytest.mark.parametrize("link", [None, ""])
def test_no_dashboard(link):
    assert describe_dashboard(client("tcp://10.0.0.5:8786", link)) is None
