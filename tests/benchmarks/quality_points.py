"""What trainings took and how good their maps are: tables and pictures of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.tables import show
from tests.benchmarks.timing import Spread

__all__ = ["Point", "compare", "draw_points", "show_points", "time_until"]

QE_MARGIN, TE_MARGIN = 0.01, 0.01
OURS, TWO = "ours", "ours, two phases"
NOTES = (
    "rectangular maps of standardized samples in memory; the defaults of each package but for what the names say",
    "epochs: those of a rough phase, which reads few samples, + those on all samples",
    "CPU s, wall s: of the whole training on one thread, least of the rounds, interleaved. Others used the machine:",
    "  processor time is what to compare, wall time has their share in it",
    "reads: how often all samples are read, ours counted. Before the first epoch ours read them once, and once more",
    "  for the initial plane where there is no rough phase; after the last once, to measure the map. It is all timed",
    "QE, TE: of the codebook on all samples, by our exact search for all; medians of the rounds, each with a seed",
)


@dataclass(frozen=True)
class Point:
    """What a training of so many epochs took, and how good its map is."""

    contestant: str
    epochs: str
    cpu: float
    wall: float
    reads: float
    qe: float
    te: float
    rounds: int


def time_until(points: Sequence[Point], qe: float, te: float) -> Point | None:
    """Return the point of least processor time that is within the margins of these errors; None if there is none."""
    good = [p for p in points if p.qe <= (1 + QE_MARGIN) * qe and p.te <= te + TE_MARGIN]
    return min(good, key=lambda point: point.cpu, default=None)


def compare(points: Sequence[Point], one: str, other: str) -> float | None:
    """Return the processor time of one until it is as good as the last map of another, over that of the other.

    Parameters
    ----------
    points : sequence of Point
        Of one data set.
    one, other : str
        What the names of contestants begin with; several count as one, of which the quickest is taken.

    Returns
    -------
    float or None
        None if none of its maps is as good in both errors, or the other did not take part.
    """
    own, others = ([p for p in points if p.contestant.startswith(name)] for name in (one, other))
    if not others:
        return None
    found = time_until(own, others[-1].qe, others[-1].te)
    limit = time_until(others, others[-1].qe, others[-1].te)
    return None if found is None or limit is None else found.cpu / limit.cpu


def show_points(title: str, found: Mapping[str, Sequence[Point]], reasons: Sequence[str] = ()) -> None:
    """Print the tables of the points of each data set."""
    columns = ["data", "contestant", "epochs", "CPU s", "wall s", "reads", "QE", "TE %", "rounds"]
    rows = [
        [name, p.contestant, p.epochs, p.cpu, p.wall, p.reads, f"{p.qe:.4f}", f"{100 * p.te:.1f}", p.rounds]
        for name, points in found.items()
        for p in points
    ]
    show(f"time_to_quality: {title}", columns, rows, [*NOTES, *reasons])
    contestants = list(dict.fromkeys(point.contestant for points in found.values() for point in points))
    margins = f"QE is within {100 * QE_MARGIN:g} % and TE within {100 * TE_MARGIN:g} point"
    show(
        f"time_to_quality: {title}: CPU seconds (and reads) until {margins} of a map",
        ["data", "as good as", "QE", "TE", *contestants],
        [row for name, points in found.items() for row in _aim_rows(name, points, contestants)],
        [
            "the maps: that of the least QE of all, whatever its TE, and that of the most epochs of each contestant",
            "a dash: none of its maps is as good in both",
        ],
    )
    peers = [name for name in contestants if not name.startswith(OURS)]
    show(
        f"time_to_quality: {title}: who is as good as whom, and in what part of the CPU time",
        ["", "ours as good as it", "ours / it", f"it as good as {TWO}", "it / ours"],
        [[peer, *_count(found, OURS, peer), *_count(found, peer, TWO)] for peer in peers],
        [
            "in how many of the data sets, and the ratios of CPU times there: median [least, greatest]",
            "as good as the map of the most epochs, within the margins",
            "ours: the quickest of all of ours, chosen afterwards",
        ],
    )


def _aim_rows(name: str, points: Sequence[Point], contestants: Sequence[str]) -> list[list[Any]]:
    """Return a row for the map of the least error, and for the last map of each contestant."""
    aims = {"least QE": min(points, key=lambda p: p.qe)} | {p.contestant: p for p in points}
    rows = []
    for aim, target in aims.items():
        row: list[Any] = [name, aim, f"{target.qe:.4f}", f"{100 * target.te:.1f} %"]
        for contestant in contestants:
            reached = time_until([p for p in points if p.contestant == contestant], target.qe, target.te)
            row.append(None if reached is None else f"{reached.cpu:.3g} s ({reached.reads:g})")
        rows.append(row)
    return rows


def _count(found: Mapping[str, Sequence[Point]], one: str, other: str) -> tuple[str, Spread | None]:
    """Return in how many data sets one is as good as another, and in what part of its time."""
    ratios = [compare(points, one, other) for points in found.values()]
    known = [ratio for ratio in ratios if ratio is not None]
    return f"{len(known)} of {len(ratios)}", Spread.of(known) if known else None


def draw_points(found: Mapping[str, Sequence[Point]], path: str | Path) -> None:
    """Draw both errors against the processor time: a row of panels for each data set, whose name is the title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.1 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 2, squeeze=False)
    names = dict.fromkeys(point.contestant for points in found.values() for point in points)
    colors = {name: f"C{k}" for k, name in enumerate(names)}
    for row, (title, points) in zip(panels, found.items(), strict=True):
        for name in dict.fromkeys(point.contestant for point in points):
            some = [point for point in points if point.contestant == name]
            times, style = [p.cpu for p in some], {"color": colors[name], "label": name, "markersize": 3}
            row[0].plot(times, [p.qe for p in some], "o-", **style)
            row[1].plot(times, [p.te for p in some], "o-", **style)
        for ax, error in zip(row, ("quantization error", "topographic error"), strict=True):
            ax.set_xscale("log")
            ax.set_title(f"{title}: {error}", loc="left", fontsize=9)
            ax.grid(color="#e5e5e5", linewidth=0.6)
        row[1].set_ylim(bottom=0)
        row[0].legend(fontsize=7)
    for ax in panels[-1]:
        ax.set_xlabel("processor time [s]")
    figure.savefig(path, dpi=100)
