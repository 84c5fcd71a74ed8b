"""Where the dashboard of a cluster can be opened."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import psutil
from distributed.comm import get_address_host

__all__ = ["describe_dashboard"]

LOOPBACK = "127.0.0.1"
PATIENCE = 2.0  # seconds until an address is taken for one that does not answer


def describe_dashboard(client: Any) -> str | None:
    """Say where the dashboard of a client's scheduler can be opened; None if it has none.

    The link that Dask makes has the address of the scheduler, also where the dashboard listens on loopback only, as
    it should: whoever reaches its port may see all, unencrypted. Then it is opened through ssh, or on that machine.

    Returns
    -------
    str or None
    """
    link = client.dashboard_link
    if not link:
        return None
    scheduler, parts = get_address_host(client.scheduler.address), urlsplit(link)
    if scheduler not in parts.netloc or ":" in scheduler or parts.port is None:
        return link  # made from a template of the user's, as behind a proxy
    is_here = _is_here(scheduler)
    if scheduler != LOOPBACK and _answers(scheduler, parts.port):
        return link
    port = parts.port
    local = parts._replace(netloc=f"{LOOPBACK}:{port}").geturl()
    machine = socket.gethostname() if is_here else scheduler
    return f"{local} on {machine}; from elsewhere: ssh -N -L {port}:{LOOPBACK}:{port} {machine}"


def _is_here(host: str) -> bool:
    return any(host == one.address for some in psutil.net_if_addrs().values() for one in some)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return True
    except OSError:
        return False
