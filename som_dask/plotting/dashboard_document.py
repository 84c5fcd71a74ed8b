"""What the page in the Dask dashboard shows; it is made in the scheduler's process, of what that was told."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, LinearAxis, LinearColorMapper, Range1d
from bokeh.models.annotations import ColorBar
from bokeh.models.widgets import Div
from bokeh.plotting import figure

from som_dask.algorithm.lattice import Lattice
from som_dask.io.live import MAPS, PAGE
from som_dask.plotting.figures import measure_extent, outline_nodes

__all__ = ["Training", "show_training"]

INTERVAL = 500  # milliseconds between looks at the scheduler
MOST_OUTLINES = 2500  # nodes that are drawn by their outlines; larger maps as an image
MOST_EPOCHS = 2000  # points of the curves
PALETTE = "Viridis256"
CURVES = ("index", "quantization_error", "topographic_error", "radius")


class Training:
    """What the scheduler knows of the run that was begun last.

    Parameters
    ----------
    told : collection of dict
        Events in their order, with the time at which each came, in seconds, as "time".
    scheduler : distributed.Scheduler
    """

    def __init__(self, told: Collection[dict[str, Any]], scheduler: Any) -> None:
        self.told, self.scheduler = told, scheduler

    def events(self) -> list[dict[str, Any]]:
        """Return the events of the run."""
        events = list(self.told)
        return [event for event in events if event["run"] == events[-1]["run"]]

    def maps(self) -> dict[str, Any] | None:
        """Return the maps of its last epoch, as `som_dask.passes.announce` makes them; None if there are none."""
        page = self.scheduler.task_metadata.get(PAGE) or {}
        return page.get(MAPS)

    def share_done(self) -> float | None:
        """Return the share of the tasks of the present pass that are done; None between passes."""
        passes = [
            group for group in self.scheduler.task_groups.values()
            if group.name.partition("-")[0] == "epoch_sums" and any(group.states.values())
        ]  # fmt: skip
        if not passes:
            return None
        states = passes[-1].states
        done = sum(states[name] for name in ("memory", "released", "forgotten", "erred"))
        return float(done / max(1, sum(states.values())))


def show_training(told: Collection[dict[str, Any]], scheduler: Any, extra: dict[str, Any], doc: Any) -> None:
    """Fill a document of bokeh with the page, and keep it up to date.

    Parameters
    ----------
    told : collection of dict
        Events of training, which grow.
    scheduler : distributed.Scheduler
    extra : dict
        What Dask's own pages are given; not used.
    doc : bokeh.document.Document
    """
    page = _Page(Training(told, scheduler))
    page.update()
    doc.title = "som_dask: training"
    doc.add_root(page.root)
    doc.add_periodic_callback(page.update, INTERVAL)


class _Page:
    """The page: a line of words, two maps, and two diagrams."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.words = Div(text="", sizing_mode="stretch_width", styles={"font-size": "15px"})
        self.maps = {"u_matrix": _Map("U-matrix"), "hits": _Map("hits")}
        self.source = ColumnDataSource({name: [] for name in CURVES})
        errors = _draw_curve(self.source, "quantization_error", "quantization error", "#0072b2")
        _add_second(errors, self.source)
        radius = _draw_curve(self.source, "radius", "radius (lattice units)", "#009e73")
        links = Div(
            text='<a href="status">Dask: status</a> · <a href="tasks">tasks</a> · <a href="workers">workers</a>'
        )
        maps = row(*(each.figure for each in self.maps.values()), sizing_mode="stretch_width")
        self.root = column(
            links, self.words, maps, row(errors, radius, sizing_mode="stretch_width"), sizing_mode="stretch_width"
        )

    def update(self) -> None:
        """Look at the scheduler, and change what has changed."""
        events = self.training.events()
        self.words.text = describe(events, self.training.share_done(), time.time())
        epochs = [event for event in events if event["state"] == "training"]
        some = epochs[:: 1 + len(epochs) // MOST_EPOCHS]
        curves = {name: [float(event.get(name, np.nan)) for event in some] for name in CURVES}
        curves["index"] = [index + 1 for index in curves["index"]]
        if len(some) != len(self.source.data["index"]) or curves["index"][-1:] != self.source.data["index"][-1:]:
            self.source.data = curves
        maps = self.training.maps()
        if maps is not None and events and maps["run"] == events[-1]["run"]:
            lattice = Lattice(**maps["lattice"])
            for name, each in self.maps.items():
                each.update(lattice, np.frombuffer(maps[name], np.float32), (maps["run"], maps["epoch"]))


def describe(events: Sequence[dict[str, Any]], share_done: float | None, now: float) -> str:
    """Say how training goes, as HTML.

    Parameters
    ----------
    events : sequence of dict
        Events of the run.
    share_done : float or None
        Share of the tasks of the present epoch that are done.
    now : float
        The time, in seconds.

    Returns
    -------
    str
    """
    if not events:
        return "No map is being trained. This page shows one as soon as there is one."
    first, last = events[0], events[-1]
    epochs = [event for event in events if event["state"] == "training"]
    of = "" if last.get("epochs") is None else f" of {last['epochs']}"
    words = [f"<b>{last['samples']:,} samples</b> in {last['blocks']:,} blocks"]
    if epochs:
        newest = epochs[-1]
        phase = f"{newest['phase']}, " if newest.get("phase") else ""
        words.append(f"{phase}epoch {newest['index'] + 1}{of} done")
        words.append(f"quantization error {newest['quantization_error']:.4g}")
        if newest.get("topographic_error") is not None:
            words.append(f"topographic error {newest['topographic_error']:.3f}")
        words.append(
            f"{newest['seconds']:.3g} s an epoch, {last['samples'] / max(newest['seconds'], 1e-9):,.0f} samples/s"
        )
    if last["state"] == "finished":
        words.append(f"<b>finished</b> after {last['time'] - first['time']:.3g} s")
    elif share_done is not None:
        words.append(f"{share_done * last['blocks']:,.0f} of {last['blocks']:,} blocks of this epoch")
    else:
        words.append(f"last heard {max(0.0, now - last['time']):.0f} s ago")
    return " · ".join(words)


class _Map:
    """The values of the nodes of a map as colors."""

    def __init__(self, title: str) -> None:
        self.mapper = LinearColorMapper(palette=PALETTE, low=0, high=1, nan_color="#d9d9d9")
        self.figure: Any = figure(
            title=title, height=380, sizing_mode="stretch_width", match_aspect=True, toolbar_location=None,
            x_axis_location=None, y_axis_location=None, min_border=5,
        )  # fmt: skip
        self.figure.grid.visible = False
        self.figure.add_layout(ColorBar(color_mapper=self.mapper, width=10), "right")
        self.source = ColumnDataSource({"values": []})
        self.lattice: Lattice | None = None
        self.shown: Any = None

    def update(self, lattice: Lattice, values: np.ndarray, version: Any) -> None:
        """Show other values, (M,)."""
        if version == self.shown:
            return
        self.shown = version
        low, high = float(values.min()), float(values.max())
        self.mapper.update(low=low, high=high if high > low else low + 1)
        shown = values if lattice.n_nodes <= MOST_OUTLINES else [values.reshape(lattice.shape)]
        if lattice == self.lattice:
            self.source.data = {**self.source.data, "values": shown}
            return
        self.lattice, self.source = lattice, ColumnDataSource({"values": shown})
        self.figure.renderers = []
        left, right, top, bottom = measure_extent(lattice)
        self.figure.x_range, self.figure.y_range = Range1d(start=left, end=right), Range1d(start=bottom, end=top)
        if lattice.n_nodes > MOST_OUTLINES:
            self.figure.image(
                "values", source=self.source, x=left, y=top, dw=right - left, dh=bottom - top,
                color_mapper=self.mapper,
            )  # fmt: skip
            return
        corners = outline_nodes(lattice)
        self.source.data = {"values": shown, "xs": list(corners[:, :, 0]), "ys": list(corners[:, :, 1])}
        color = {"field": "values", "transform": self.mapper}
        self.figure.patches("xs", "ys", source=self.source, fill_color=color, line_color=color, line_width=0.5)


def _draw_curve(source: ColumnDataSource, name: str, label: str, color: str) -> Any:
    """Return a diagram of what an epoch has, by epoch."""
    plot = figure(
        height=260, sizing_mode="stretch_width", toolbar_location=None, x_axis_label="epoch", y_axis_label=label
    )
    plot.line("index", name, source=source, color=color, line_width=2)
    plot.scatter("index", name, source=source, color=color, size=5)
    plot.yaxis.axis_label_text_color = color
    return plot


def _add_second(plot: Any, source: ColumnDataSource) -> None:
    """Add the topographic error to a diagram, with an axis on the right."""
    color = "#d55e00"
    plot.extra_y_ranges = {"topographic": Range1d(start=0, end=1)}
    axis = LinearAxis(y_range_name="topographic", axis_label="topographic error")
    axis.axis_label_text_color = color
    plot.add_layout(axis, "right")
    plot.line("index", "topographic_error", source=source, color=color, line_width=2, y_range_name="topographic")
