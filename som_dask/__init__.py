"""Self-organizing maps on Dask: exact, reproducible, for data that does not fit one machine."""

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.clusters import cluster_codebook, sample_clusters
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.label_store import assign, label_store
from som_dask.analysis.node_summary import summarize_labels, summarize_values
from som_dask.analysis.soft_labels import assign_soft
from som_dask.errors import SomError
from som_dask.io.models import open_model, save_model
from som_dask.io.registry import Registry
from som_dask.io.unstack import unstack_features
from som_dask.kohonen_map import KohonenMap
from som_dask.plotting.report import report_html, write_report
from som_dask.samples.table import Samples, open_samples
from som_dask.training.batch import Epoch, TrainingConfig, fit, train
from som_dask.training.online import fit_online

__all__ = [
    "Epoch",
    "KohonenMap",
    "Lattice",
    "OnlineConfig",
    "Registry",
    "Samples",
    "SomError",
    "TrainingConfig",
    "__version__",
    "assign",
    "assign_soft",
    "cluster_codebook",
    "evaluate",
    "fit",
    "fit_online",
    "label_store",
    "open_model",
    "open_samples",
    "report_html",
    "sample_clusters",
    "save_model",
    "summarize_labels",
    "summarize_values",
    "train",
    "unstack_features",
    "write_report",
]
