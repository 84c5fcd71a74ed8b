"""Self-organizing maps on Dask: exact, reproducible, for data that does not fit one machine."""

import importlib
from typing import TYPE_CHECKING, Any

from som_dask._version import __version__

if TYPE_CHECKING:
    from som_dask.algorithm.lattice import Lattice
    from som_dask.algorithm.online_rule import OnlineConfig
    from som_dask.analysis.anndata_output import infer_to_anndata
    from som_dask.analysis.clusters import clusters
    from som_dask.analysis.composites import composites
    from som_dask.analysis.coverage import coverage
    from som_dask.analysis.evaluation import evaluate
    from som_dask.analysis.frequencies import frequencies, trends
    from som_dask.analysis.label_store import infer_to_store
    from som_dask.analysis.labels import infer
    from som_dask.analysis.node_histograms import calibrate_histogram, summarize_histograms
    from som_dask.analysis.node_summary import summarize_labels, summarize_values
    from som_dask.analysis.sammon import sammon
    from som_dask.analysis.sample_clusters import sample_clusters
    from som_dask.analysis.soft_labels import infer_soft
    from som_dask.analysis.transitions import transitions
    from som_dask.errors import SomError
    from som_dask.io.models import open_model, save_model
    from som_dask.io.registry import Registry
    from som_dask.io.unstack import unstack_features
    from som_dask.kohonen_map import KohonenMap
    from som_dask.plotting.dashboard_page import add_dashboard_page
    from som_dask.plotting.report import report_html
    from som_dask.plotting.report import write_report as report
    from som_dask.samples.open import open_samples
    from som_dask.samples.open_fcs import open_fcs
    from som_dask.samples.reweight import bootstrap_weights, held_out
    from som_dask.samples.table import Samples
    from som_dask.training.config import Execution, MapConfig
    from som_dask.training.many import MapRun, TrainedMaps, train_many
    from som_dask.training.map_table import choose_size
    from som_dask.training.retrain import RetrainingConfig, retrain
    from som_dask.training.run import Epoch
    from som_dask.training.train import epochs, train

# Where each public name is. It is imported when it is first used, so that the command line is there to handle a
# signal, or a lack of memory, that comes while NumPy, Dask and Numba are imported.
PLACES = {
    "algorithm.lattice": ("Lattice",),
    "algorithm.online_rule": ("OnlineConfig",),
    "analysis.anndata_output": ("infer_to_anndata",),
    "analysis.clusters": ("clusters",),
    "analysis.composites": ("composites",),
    "analysis.coverage": ("coverage",),
    "analysis.evaluation": ("evaluate",),
    "analysis.frequencies": ("frequencies", "trends"),
    "analysis.label_store": ("infer_to_store",),
    "analysis.labels": ("infer",),
    "analysis.node_histograms": ("calibrate_histogram", "summarize_histograms"),
    "analysis.node_summary": ("summarize_labels", "summarize_values"),
    "analysis.sammon": ("sammon",),
    "analysis.sample_clusters": ("sample_clusters",),
    "analysis.soft_labels": ("infer_soft",),
    "analysis.transitions": ("transitions",),
    "errors": ("SomError",),
    "io.models": ("open_model", "save_model"),
    "io.registry": ("Registry",),
    "io.unstack": ("unstack_features",),
    "kohonen_map": ("KohonenMap",),
    "plotting.dashboard_page": ("add_dashboard_page",),
    "plotting.report": ("report", "report_html"),
    "samples.open": ("open_samples",),
    "samples.open_fcs": ("open_fcs",),
    "samples.table": ("Samples",),
    "samples.reweight": ("bootstrap_weights", "held_out"),
    "training.config": ("Execution", "MapConfig"),
    "training.many": ("MapRun", "TrainedMaps", "train_many"),
    "training.map_table": ("choose_size",),
    "training.retrain": ("RetrainingConfig", "retrain"),
    "training.run": ("Epoch",),
    "training.train": ("epochs", "train"),
}

__all__ = [
    "Epoch",
    "Execution",
    "KohonenMap",
    "Lattice",
    "MapConfig",
    "MapRun",
    "OnlineConfig",
    "Registry",
    "RetrainingConfig",
    "Samples",
    "SomError",
    "TrainedMaps",
    "__version__",
    "add_dashboard_page",
    "bootstrap_weights",
    "calibrate_histogram",
    "choose_size",
    "clusters",
    "composites",
    "coverage",
    "epochs",
    "evaluate",
    "frequencies",
    "held_out",
    "infer",
    "infer_soft",
    "infer_to_anndata",
    "infer_to_store",
    "open_fcs",
    "open_model",
    "open_samples",
    "report",
    "report_html",
    "retrain",
    "sammon",
    "sample_clusters",
    "save_model",
    "summarize_histograms",
    "summarize_labels",
    "summarize_values",
    "train",
    "train_many",
    "transitions",
    "trends",
    "unstack_features",
]
ROOMS = (
    *("numerics", "algorithm", "engine", "io", "samples", "passes", "training", "analysis", "plotting", "cli"),
    *("errors", "estimator", "cluster_model"),
)


def __getattr__(name: str) -> Any:
    """Import a public name, or a room, when it is first used."""
    if name in ROOMS:
        return importlib.import_module(f"som_dask.{name}")
    for place, names in PLACES.items():
        if name in names:
            module = importlib.import_module(f"som_dask.{place}")
            found = getattr(module, "write_report" if name == "report" else name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'som_dask' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, and the rooms of the house."""
    return sorted({*__all__, *ROOMS})
