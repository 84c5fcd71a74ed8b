"""`clusters`: kinds of cells found by clusters of nodes, by several methods and suggested numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import dask
import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

import som_dask as som
from som_dask.analysis.average_linkage import merge_by_average
from som_dask.analysis.node_clustering import normalize_points
from som_dask.io.models import lattice_of, scaled_codebook_of
from tests.benchmarks.populations import HELD_OUT, TUNED_ON, Design, make_cells
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped

__all__ = ["METHODS", "RULES", "Setting", "measure", "run", "score"]

RARE = 0.01  # share of the cells, and less
MEASURES = ("F1", "F1 of rare kinds", "ARI", "clusters - kinds")
RESAMPLINGS = 20
MOST_CLUSTERS = 100
PARTS: dict[str, Mapping[str, Design]] = {"tuned on": TUNED_ON, "held out": HELD_OUT}
FIRST_SEEDS = {"tuned on": 0, "held out": 100}
SMALL = ("iris", "wine", "breast_cancer")
NOTES = (
    "made-up cells of known kinds, some rare (0.1 to 1 %); every seed has kinds, cells and a map of its own",
    "F1: mean over the kinds, each matched with at most one cluster (Hungarian method); rare: kinds of at most 1 %",
    "ARI: adjusted Rand index of the cells; both without cells of no kind, which take part in training and clusters",
)


@dataclass(frozen=True)
class Setting:
    """What all are given: the number of cells, square maps, and the seeds 0, 1, ..."""

    n: int = 40_000
    sides: tuple[int, ...] = (10, 20)
    seeds: int = 3

    def __str__(self) -> str:
        sides = " and ".join(f"{side} x {side}" for side in self.sides)
        return f"{self.n:,} cells, maps of {sides} nodes, {self.seeds} seeds"


class Labeled(NamedTuple):
    """A map, the best matching unit of each sample, (n,), and its kind, (n,), -1 for none."""

    model: xr.Dataset
    bmu: np.ndarray
    kinds: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, kinds: np.ndarray, side: int, seed: int) -> Labeled:
        model = som.train(values, som.Lattice(side, side), som.MapConfig(seed=seed), progress=False)
        labels = som.infer(values, model).compute()
        return cls(model, (labels["bmu_row"].values * side + labels["bmu_col"].values).astype(np.int64), kinds)


Way = Callable[[xr.Dataset, int], np.ndarray]


def _by(method: str, **options: Any) -> Way:
    return lambda model, n: som.clusters(model, n, method, **options)["cluster"].values.ravel()  # type: ignore[arg-type]


def _by_sklearn(model: xr.Dataset, n: int) -> np.ndarray:
    """Average linkage of scikit-learn along the lattice: of the distances of neighbors only, without weights."""
    from scipy.sparse import coo_array
    from sklearn.cluster import AgglomerativeClustering

    pairs, (points, _) = lattice_of(model).neighbor_pairs(), normalize_points(scaled_codebook_of(model))
    adjacency = coo_array((np.ones(len(pairs[0])), pairs), shape=(len(points), len(points))).tocsr()
    return AgglomerativeClustering(n, linkage="average", connectivity=adjacency).fit_predict(points)


METHODS: dict[str, Way] = {
    "average": _by("average"),
    "average, free": _by("average", connected=False),
    "average, nodes alike": _by("average", weighted_by_hits=False),
    "average of scikit-learn": _by_sklearn,
    f"average, consensus of {RESAMPLINGS}": _by("average", resamplings=RESAMPLINGS),
    "ward": _by("ward"),
    "ward, free": _by("ward", connected=False),
    "kmeans": _by("kmeans"),
}


def _elbow_of(most: int) -> Callable[[np.ndarray], int]:
    def suggest(heights: np.ndarray) -> int:
        heights = heights[:most]
        x, y = np.linspace(0, 1, len(heights)), (heights - heights[-1]) / (heights[0] - heights[-1])
        return 1 + int(np.argmin(x + y))

    return suggest


def _mojena(times: float) -> Callable[[np.ndarray], int]:
    """Heights more than some standard deviations above the mean (Mojena, The Computer Journal 20, 1977)."""
    return lambda heights: 1 + int(np.count_nonzero(heights > heights.mean() + times * heights.std()))


def _greatest_ratio(heights: np.ndarray) -> int:
    last = heights[:40]
    return 3 + int(np.argmax(last[1:-1] / last[2:]))


def _two_lines(heights: np.ndarray) -> int:
    """Two straight lines fit best (the L method: Salvador and Chan, ICTAI 2004)."""
    y = heights[:60]
    x = np.arange(len(y))

    def spread(part: slice) -> float:
        line = np.polyfit(x[part], y[part], 1)
        return len(x[part]) * float(np.sqrt(np.mean((np.polyval(line, x[part]) - y[part]) ** 2)))

    return 1 + min(range(2, len(y) - 2), key=lambda c: spread(slice(c)) + spread(slice(c, None)))


# From the heights of the merges of "average", descending.
RULES: dict[str, Callable[[np.ndarray], int]] = {
    **{f"elbow of the last {most} merges": _elbow_of(most) for most in (30, 60, 80, 100)},
    "elbow of all merges": _elbow_of(10**9),
    "two lines, last 60 merges": _two_lines,
    "greatest relative jump, 3 to 40": _greatest_ratio,
    **{f"Mojena, {times}": _mojena(times) for times in (1.25, 2.0, 2.75)},
}


def score(clusters: np.ndarray, kinds: np.ndarray) -> tuple[float, float, float, float]:
    """Return the `MEASURES` for the cluster and the kind of each sample, (n,) whole numbers each; kind -1: none."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score

    n_clusters, gated = int(clusters.max()) + 1, kinds >= 0
    table = np.zeros((n_clusters, int(kinds.max()) + 1), dtype=np.int64)
    np.add.at(table, (clusters[gated], kinds[gated]), 1)
    sizes = table.sum(axis=0)
    f1 = 2 * table / np.maximum(table.sum(axis=1)[:, None] + sizes, 1)
    matched, best = linear_sum_assignment(-f1), np.zeros(len(sizes))
    best[matched[1]] = f1[matched]
    rare = (sizes > 0) & (sizes <= RARE * len(kinds))
    return (
        float(best[sizes > 0].mean()),
        float(best[rare].mean()) if rare.any() else np.nan,
        float(adjusted_rand_score(kinds[gated], clusters[gated])),
        float(n_clusters - np.count_nonzero(sizes)),
    )


def _majorities(one: Labeled) -> np.ndarray:
    """The kind that most samples of each node have: what no clusters of nodes can know."""
    counts = np.zeros((one.model.sizes["row"] * one.model.sizes["col"], int(one.kinds.max()) + 1), dtype=np.int64)
    gated = one.kinds >= 0
    np.add.at(counts, (one.bmu[gated], one.kinds[gated]), 1)
    return np.unique(counts.argmax(axis=1), return_inverse=True)[1]


def _ways(one: Labeled) -> dict[str, np.ndarray]:
    """The clusters of the nodes by each method and rule."""
    model, kinds = one.model, len(np.unique(one.kinds[one.kinds >= 0]))
    found = {"the most that the map allows": _majorities(one)}
    found |= {f"{name}; kinds known": way(model, kinds) for name, way in METHODS.items()}
    found["average; two more than kinds"] = METHODS["average"](model, kinds + 2)
    found["average; elbow"] = som.clusters(model)["cluster"].values.ravel()
    found["average; silhouette"] = som.clusters(model, suggest_by="silhouette")["cluster"].values.ravel()
    found["ward; silhouette"] = som.clusters(model, method="ward")["cluster"].values.ravel()
    found["ward; elbow"] = som.clusters(model, method="ward", suggest_by="elbow")["cluster"].values.ravel()
    found["kmeans; silhouette"] = som.clusters(model, method="kmeans")["cluster"].values.ravel()
    weights = model["hits"].values.ravel().astype(np.float64)
    merges = merge_by_average(scaled_codebook_of(model), weights, lattice_of(model))
    for name, rule in RULES.items():
        numbers = merges(min(rule(merges.descending_heights), MOST_CLUSTERS))
        found[f"average; {name}"] = np.unique(numbers, return_inverse=True)[1]
    return found


def measure(design: Design, setting: Setting, first_seed: int) -> dict[str, np.ndarray]:
    """The measures of all methods and rules, (sides, seeds, 4) float64 each."""
    found: dict[str, np.ndarray] = {}
    for j, seed in enumerate(range(first_seed, first_seed + setting.seeds)):
        cells = make_cells(design, setting.n, seed)
        for i, side in enumerate(setting.sides):
            one = Labeled.of(cells.values, cells.kinds, side, seed)
            for name, clusters in _ways(one).items():
                values = found.setdefault(name, np.empty((len(setting.sides), setting.seeds, len(MEASURES))))
                values[i, j] = score(clusters[one.bmu], one.kinds)
    return found


def _show_means(title: str, found: Mapping[str, Mapping[str, np.ndarray]], setting: Setting) -> None:
    """Means over designs and seeds for each size of map, and over all sizes."""
    first = next(iter(found.values()))
    rows: list[list[Any]] = []
    for name in first:
        values = np.array([each[name] for each in found.values()])  # design, side, seed, measure
        of_side = [f"{f1:.3f} {ari:.3f}" for f1, _, ari, _ in np.nanmean(values, axis=(0, 2))]
        f1, rare, ari, more = np.nanmean(values, axis=(0, 1, 2))
        off = np.abs(values[..., 3]).mean()
        rows.append([name, *of_side, f"{f1:.3f}", f"{rare:.3f}", f"{ari:.3f}", f"{more:+.1f} ({off:.1f})"])
    sides = [f"{side} x {side}: F1 ARI" for side in setting.sides]
    columns = ["", *sides, "F1", "of rare", "ARI", "clusters - kinds (absolute)"]
    show(f"clusters: {title}; {setting}", columns, rows, NOTES)


def _show_designs(title: str, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    names = [
        "average; kinds known",
        "ward; kinds known",
        "kmeans; kinds known",
        "average; elbow",
        "average; silhouette",
        "ward; silhouette",
    ]
    rows = []
    for design, each in found.items():
        means = [np.nanmean(each[name], axis=(0, 1)) for name in names]
        rows.append([design, *(f"{f1:.3f} {rare:.3f} {ari:.3f}" for f1, rare, ari, _ in means)])
    show(f"clusters: {title}, each design by itself; F1, that of rare kinds, ARI", ["", *names], rows, NOTES)


def _small_data(setting: Setting, sides: tuple[int, ...] = (8, 12)) -> dict[str, dict[str, list[float]]]:
    """ARI of the classes of scikit-learn's small data sets, on maps with few samples a node."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise Skipped(f"small data: {error}") from error
    found: dict[str, dict[str, list[float]]] = {}
    for name in SMALL:
        data = getattr(datasets, f"load_{name}")()
        values = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
        for side in sides:
            one = Labeled.of(values, data.target, side, 0)
            ways = _ways_of_small(one.model, int(data.target.max()) + 1)
            found[f"{name}, {side} x {side}"] = {
                way: [score(clusters[one.bmu], one.kinds)[2], float(clusters.max() + 1)]
                for way, clusters in ways.items()
            }
    rows = [[name, *(f"{ari:.2f} ({n:.0f})" for ari, n in each.values())] for name, each in found.items()]
    show("clusters: ARI (and number of clusters), classes of small data", ["", *next(iter(found.values()))], rows)
    return found


def _ways_of_small(model: xr.Dataset, classes: int) -> dict[str, np.ndarray]:
    plain = ("average", "ward", "kmeans")
    given = {f"{name}; known": METHODS[name](model, classes) for name in plain}
    return given | {name: som.clusters(model, method=name)["cluster"].values.ravel() for name in plain}  # type: ignore[arg-type]


def run(options: Options, parts: Sequence[str] = tuple(PARTS)) -> list[dict[str, Any]]:
    """Measure, print the tables, and return the measures of every seed."""
    setting = Setting(n=2000, sides=(7,), seeds=1) if options.quick else Setting()
    results: list[dict[str, Any]] = []
    try:
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        print(f"  skipped clusters: {error}")
        return results
    scheduler = "threads" if options.threads > 1 else "synchronous"
    with dask.config.set(scheduler=scheduler, num_workers=options.threads), threadpool_limits(options.threads):
        for title in parts:
            found = {}
            for name, design in list(PARTS[title].items())[: 1 if options.quick else None]:
                options.say(f"clusters: {title}, {name}, {setting}")
                found[name] = measure(design, setting, FIRST_SEEDS[title])
            _show_means(f"designs {title}", found, setting)
            _show_designs(f"designs {title}", found)
            for name, each in found.items():
                plain = {way: np.round(values, 4).tolist() for way, values in each.items()}
                results.append({"part": title, "design": name, **asdict(setting), "measures": MEASURES, "of": plain})
        if not options.quick and tuple(parts) == tuple(PARTS):
            results.append({"part": "small data", "of": _small_data(setting)})
    return results
