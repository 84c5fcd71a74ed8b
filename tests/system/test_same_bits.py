"""The same data give the same map to the bit on every processor: step by step, and a whole training."""

import functools

import pytest

from tests.system.processors import AVX512, PROCESSORS, exists_here, hashes_under

SCRIPT = """
import hashlib
import numpy as np
from som_dask.algorithm.initial import plane_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.smoothing import smooth, smooth_sums
from som_dask.algorithm.decay import decay

KERNELS = ("bubble", "cut_gaussian", "epanechnikov", "triangle", "mexican_hat")

def show(name, *arrays):
    print(name, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())

rng = np.random.default_rng(1)
def covariance(n_features):
    samples = rng.integers(-99, 100, size=(2 * n_features, n_features)) * 2 ** rng.integers(0, 3, size=n_features)
    return (samples.T @ samples) / 7  # exact until the division

for lattice in (Lattice(40, 30), Lattice(40, 30, "rectangular", "toroidal"), Lattice(80, 90)):
    values = rng.random((lattice.n_nodes, 9)) - 0.3
    sums = smooth_sums(values, rng.random((lattice.n_nodes, 1)), lattice, Neighborhood("mexican_hat"), 3.3)
    show("hat", *sums)
    for neighborhood in (Neighborhood(), Neighborhood(support=2.5), *map(Neighborhood, KERNELS)):
        show("smooth", *(smooth(values, lattice, neighborhood, radius) for radius in (20.0, 3.3, 1.0)))
for n_features in (2, 7, 64, 65, 150):
    show("plane", plane_codebook(Lattice(6, 5), rng.random(n_features), covariance(n_features)))
for kind in ("exponential", "linear", "asymptotic"):
    show("decay", *(decay(kind, start, 0.7, 1000) for start in (400.0, 33.3)))
a, b = rng.random((90, 200)), rng.random((200, 90))
show("BLAS", a @ b)
"""


TRAINING = """
import hashlib
import dask.array as da
import numpy as np
from som_dask import Lattice, MapConfig, infer, train

rng = np.random.default_rng(2)
flat = rng.integers(0, 50, size=(3000, 4)) / 7  # many ties
x, y, w = rng.random((3000, 1)), rng.random((3000, 1)), rng.normal(size=(4, 20))
bent = x * w[0] + y * w[1] + x * y * w[2] + x * x * w[3] + rng.normal(size=(3000, 20)) / 20  # no BLAS, no sine
wide = rng.normal(size=(90, 2100)) / 8 + x[:90] * rng.normal(size=2100)
for values, initialization in (
    (flat, "sample"), (bent, "pca"), (bent.astype(np.float32) * 1e-20, "random"), (wide, "pca"),
):
    rows = int(rng.integers(200, 3000))
    config = MapConfig(epochs=4, initialization=initialization)
    model = train(da.from_array(values, chunks=(rows, -1)), Lattice(20, 25), config)
    labels = infer(values, model).compute()
    for name in ("codebook", "hits", "quantization_error", "topographic_error"):
        print(name, hashlib.sha256(model[name].values.tobytes()).hexdigest())
    for name in ("bmu_row", "bmu_col", "distance"):
        print(name, hashlib.sha256(labels[name].values.tobytes()).hexdigest())
"""


@functools.cache
def printed_under(name, folder):
    return hashes_under(PROCESSORS[name], SCRIPT, folder / name)


@functools.cache
def trained_under(name, folder):
    return hashes_under(PROCESSORS[name], TRAINING, folder / name)[0]


@pytest.fixture(scope="module")
def under(tmp_path_factory):
    """What the script prints on a processor, and a report of what was in use."""
    folder = tmp_path_factory.mktemp("compiled")
    return lambda name, run=printed_under: run(name, folder)


def ours(printed):
    return [line for line in printed if not line.startswith("BLAS")]


@pytest.mark.parametrize("name", [name for name in PROCESSORS if name != "this one" and exists_here(name)])
def test_the_bits_are_those_of_another_processor(name, under):
    assert len(ours(under("this one")[0])) == 32
    assert ours(under(name)[0]) == ours(under("this one")[0])


@pytest.mark.skipif(not exists_here("SSE4"), reason="x86-64 only")
def test_the_processors_are_different(under):
    # Otherwise the test above would show nothing.
    _, report = under("SSE4")
    assert report["numpy"] == []
    assert report["numba"] == ["generic", "+sse2"]
    if exists_here("AVX2"):
        _, report = under("AVX2")
        assert not set(report["numpy"]) & set(AVX512)
        assert report["numba"][0] == "haswell"
        assert "avx512" not in report["numba"][1]


def test_blas_differs_between_them(under):
    found = [under(name) for name in PROCESSORS if exists_here(name)]
    if len({tuple(report["blas"]) for _, report in found}) < 2:
        pytest.skip("this BLAS cannot be told which processor to use")
    assert len({printed[-1] for printed, _ in found}) > 1


@pytest.mark.parametrize("name", [name for name in PROCESSORS if name != "this one" and exists_here(name)])
def test_a_training_gives_the_bits_of_another_processor(name, under):
    assert len(under("this one", trained_under)) == 28
    assert under(name, trained_under) == under("this one", trained_under)
