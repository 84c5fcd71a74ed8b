"""What tasks return tells Dask what it weighs: memory limits and moves between workers depend on it."""

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.sizeof import sizeof

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.node_summary import summarize_labels, summarize_values
from som_dask.engine.engines import engine_for
from som_dask.passes import run
from som_dask.passes.deviations import measure_deviations
from som_dask.passes.draw import draw_samples
from som_dask.passes.epoch import epoch_sums, share_codebook
from som_dask.passes.plane_moments import Quantizer, measure_plane
from som_dask.passes.plane_products import iterate_plane
from som_dask.passes.summary import summarize
from som_dask.training.config import MapConfig
from som_dask.training.prepared import prepare_data

LATTICE, FEATURES = Lattice(20, 30), 100


@pytest.fixture
def looked_at(monkeypatch):
    """Results of passes, and what their tasks shared, as the test goes on."""
    found, compute = [], run.compute

    def look(delayed, **options):
        found.extend(node[1].value for node in dict(delayed.__dask_graph__()).values() if is_broadcast(node))
        found.extend(compute(delayed, **options))
        return tuple(found[-1:])

    monkeypatch.setattr(run, "compute", look)
    monkeypatch.setattr(run, "held_here", lambda samples: None)  # otherwise one block needs no graph
    return found


def is_broadcast(node):
    return isinstance(node, tuple) and node[0] is run._broadcast


def passes(prepared, rng):
    """Run all passes that there are."""
    samples, summary, space = prepared.samples, prepared.summary, prepared.space
    codebook = rng.normal(size=(LATTICE.n_nodes, FEATURES))
    for precision in ("exact", "fast"):
        epoch_sums(samples, codebook, LATTICE, summary, space, engine_for("cpu", precision))
    summarize(samples, "mask", "zscore")
    draw_samples(samples, space, 100, 0)
    measure_deviations(samples, share_codebook(codebook, LATTICE, summary, space), np.arange(10))
    quantizer = Quantizer.of(summary, space)
    measure_plane(samples, quantizer, space)
    iterate_plane(samples, quantizer, space, summary.taken)
    dims, n = ("sample",), samples.n_samples
    bmu = rng.integers(20, size=n)
    labels = xr.Dataset({f"bmu_{name}": (dims, da.from_array(bmu, chunks=50)) for name in ("row", "col")})
    summarize_labels(labels, xr.DataArray(rng.integers(9, size=n), dims=dims), LATTICE)
    summarize_values(labels, xr.Dataset({name: (dims, rng.normal(size=n)) for name in "abc"}), LATTICE)


def test_results_of_all_passes_tell_what_they_weigh(looked_at, rng):
    values = rng.normal(size=(200, FEATURES))
    values[::7, ::3] = np.nan
    with dask.config.set(scheduler="sync"):
        prepared = prepare_data(
            values, MapConfig(missing="mask", scaling="zscore"), sample_weights=np.arange(200) % 3
        )
        looked_at.clear()
        passes(prepared, rng)
    kinds = {type(each).__name__ for each in looked_at}
    assert kinds >= {
        "ExactPartial", "Partial", "DataSummary", "Drawn", "Deviations", "PlaneMoments", "PlaneMean", "_Sums",
        "SharedCodebook",
    }  # fmt: skip
    for each in looked_at:
        packed = len(pickle.dumps(each, protocol=5))
        assert 0.9 * packed - 4000 <= sizeof(each) <= 1.1 * packed + 8000, type(each)
