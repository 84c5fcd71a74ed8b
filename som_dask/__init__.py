"""Self-organizing maps on Dask: exact, reproducible, for data that does not fit one machine."""

__version__ = "0.1.0"

from som_dask.clusters import cluster_codebook, sample_clusters
from som_dask.errors import SomError
from som_dask.evaluation import evaluate
from som_dask.fields import unstack_features
from som_dask.inference import assign, label_store
from som_dask.kohonen_map import KohonenMap
from som_dask.lattice import Lattice
from som_dask.node_summary import summarize_labels, summarize_values
from som_dask.online import OnlineConfig
from som_dask.online_training import fit_online
from som_dask.registry import Registry
from som_dask.samples import Samples, open_samples
from som_dask.schema import open_model, save_model
from som_dask.soft import assign_soft
from som_dask.training import Epoch, TrainingConfig, fit, train

__all__ = [
    "Epoch",
    "KohonenMap",
    "Lattice",
    "OnlineConfig",
    "Registry",
    "Samples",
    "SomError",
    "TrainingConfig",
    "assign",
    "assign_soft",
    "cluster_codebook",
    "evaluate",
    "fit",
    "fit_online",
    "label_store",
    "open_model",
    "open_samples",
    "sample_clusters",
    "save_model",
    "summarize_labels",
    "summarize_values",
    "train",
    "unstack_features",
]
