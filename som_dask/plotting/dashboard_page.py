"""A page in the Dask dashboard that shows a map while it is trained."""

from __future__ import annotations

import functools
import time
from collections import deque
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from som_dask.errors import ClusterError, SomError
from som_dask.io.live import PAGE, TOPIC

__all__ = ["PATH", "DashboardPage", "add_dashboard_page"]

PATH = "/som-dask"
MOST_EVENTS = 10_000  # of one run


class DashboardPage(SchedulerPlugin):
    """A scheduler plugin that serves the page at `PATH`, beside the pages of Dask."""

    name = "som-dask"
    idempotent = True

    def __init__(self) -> None:
        # The scheduler itself may keep but the last twenty events.
        self.events = deque[dict[str, Any]](maxlen=MOST_EVENTS)

    def log_event(self, topic: str, msg: Any) -> None:
        """Remember an event of training, and when it came."""
        if topic == TOPIC:
            if msg["state"] == "begun":
                self.events.clear()
            self.events.append({**msg, "time": time.time()})

    async def start(self, scheduler: Any) -> None:
        """Add the page to the scheduler's server."""
        from distributed.dashboard.core import BokehApplication
        from tornado.ioloop import IOLoop

        from som_dask.plotting.dashboard_document import show_training

        if not _has_dashboard(scheduler):
            raise SomError("it has no dashboard")
        for when, event in scheduler.get_events(TOPIC):
            self.log_event(TOPIC, event)
            self.events[-1]["time"] = when
        page = BokehApplication({PATH: functools.partial(show_training, self.events)}, scheduler)
        scheduler.http_application.add_application(page)
        page.initialize(IOLoop.current())
        page.start()
        scheduler.set_metadata(keys=[PAGE], value={})


def _has_dashboard(scheduler: Any) -> bool:
    return any(type(each).__name__ == "DaskBokehTornado" for each in scheduler.http_application.applications)


def add_dashboard_page(client: Any = None) -> str:
    """Add a page to the dashboard of a running scheduler: a map while it is trained.

    It shows the U-matrix and the hits of the last epoch, the errors and the radius by epoch, and how far the present
    epoch is. Adding it again changes nothing. ``som-dask train`` adds it by itself.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the active one.

    Returns
    -------
    str
        Link to the page.

    Raises
    ------
    ClusterError
        If there is no client, its scheduler has no dashboard, or it takes no plugins.

    Examples
    --------
    >>> import som_dask as som
    >>> from distributed import Client
    >>> client = Client(processes=False, dashboard_address="127.0.0.1:0")
    >>> som.add_dashboard_page(client).rpartition("/")[2]
    'som-dask'
    >>> client.close()
    """
    from distributed import get_client

    if client is None:
        try:
            client = get_client()
        except ValueError as error:
            raise ClusterError("there is no active Dask client; make one first, or give it") from error
    try:
        client.register_plugin(DashboardPage())
    except Exception as error:  # whatever the scheduler's machine lacks
        reason = str(error) or type(error).__name__
        raise ClusterError(
            f"the scheduler at {client.scheduler.address} can't show the page: {reason}; start it with a dashboard"
        ) from error
    return client.dashboard_link.rpartition("/")[0] + PATH
