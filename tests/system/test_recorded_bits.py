"""The bits of whole trainings as they were recorded once: no change of structure may change one of them.

Samples are whole numbers divided by a power of two or three, made without BLAS or sines, so they are the same on
every machine. A change that is meant to change results records them anew, and says so in the changelog.
"""

import hashlib
import inspect

import numpy as np
import pytest

from som_dask import KohonenMap
from som_dask.algorithm.decay import decay

SIZE = (1500, 6)
# The argument's name may change, the bits may not.
WEIGHTS = next(
    name for name in inspect.signature(KohonenMap.train).parameters if name in ("weights", "sample_weights")
)


def samples(seed=1):
    """Bent and unequal in size: rows (1500, 6) float64 of which no two features look alike."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-500, 500, size=(2, SIZE[0])) / 512
    noise = rng.integers(-100, 100, size=SIZE) / 3000
    return np.column_stack([x, y, x * y, 40 * x * x, y * y / 64, x + y]) + noise


def with_gaps(values):
    """The same with a tenth of all values missing."""
    holes = np.random.default_rng(2).integers(0, 10, size=values.shape) == 0
    return np.where(holes, np.nan, values)


def sample_weights(n):
    """Weights of many sizes, some of them zero."""
    return np.random.default_rng(3).integers(0, 50, size=n) / 7


FEATURE_WEIGHTS = (1.0, 2.0, 0.5, 0.0, 3.0, 1.0)
SETTINGS = {
    "hexagonal planar": ((9, 11), {}, {"epochs": 6}),
    "hexagonal toroidal": ((8, 10, "hexagonal", "toroidal"), {}, {"epochs": 5, "initialization": "sample"}),
    "rectangular cylindrical": (
        (10, 7, "rectangular", "cylindrical"),
        {},
        {"epochs": 5, "initialization": "random", "radius_decay": "linear"},
    ),
    "rectangular toroidal float32": ((20, 21, "rectangular", "toroidal"), {"dtype": np.float32}, {"epochs": 4}),
    "bubble": ((7, 9), {}, {"epochs": 5, "neighborhood": "bubble"}),
    "mexican hat": ((7, 9), {}, {"epochs": 5, "neighborhood": "mexican_hat"}),
    "epanechnikov": ((7, 9, "rectangular"), {}, {"epochs": 5, "neighborhood": "epanechnikov"}),
    "gaussian with support": ((12, 13), {}, {"epochs": 4, "support": 2.0}),
    "gaps masked": ((9, 11), {"gaps": True}, {"epochs": 5, "missing": "mask"}),
    "gaps dropped": ((9, 11), {"gaps": True}, {"epochs": 5, "missing": "drop"}),
    "weights": ((9, 11), {"weights": True}, {"epochs": 5}),
    "weights, gaps and zscore": (
        (9, 11),
        {"weights": True, "gaps": True, "feature_weights": True},
        {"epochs": 5, "missing": "mask", "scaling": "zscore", "initialization": "sample"},
    ),
    "range": ((9, 11), {}, {"epochs": 5, "scaling": "range"}),
    "cosine": ((9, 11), {}, {"epochs": 5, "metric": "cosine"}),
    "cosine with gaps and weights": (
        (9, 11),
        {"weights": True, "gaps": True},
        {"epochs": 5, "metric": "cosine", "missing": "mask", "initialization": "sample"},
    ),
    "far from zero": ((9, 11), {"shift": 1e6}, {"epochs": 5}),
    "stops early": (
        (4, 5),
        {},
        {"epochs": 40, "tolerance": 0.01, "radii": tuple(decay("exponential", 1.25, 0.48, 40))},
    ),
    "fast": ((9, 11), {}, {"epochs": 5, "precision": "fast", "initialization": "random"}),
    "online hexagonal": ((9, 11), {"rows": 200}, {"algorithm": "online"}),
    "online rectangular": (
        (18, 17, "rectangular", "cylindrical"),
        {"rows": 200},
        {"algorithm": "online", "learning_rate": 0.3},
    ),
}
RECORDED = {
    "hexagonal planar": ("362236042cf2d066", "313348679511f588"),
    "hexagonal toroidal": ("71ba44f7d819d19e", "961168221e749578"),
    "rectangular cylindrical": ("e5fd13439e50d7d4", "5ee6c9e0e95a38a1"),
    "rectangular toroidal float32": ("c41bd5df8b004d6f", "0850b3b0db25b6bd"),
    "bubble": ("384eb11b5496b716", "3d89d9d5b8cc914a"),
    "mexican hat": ("d8bdb1ad54d4709b", "b911ce30051dec90"),
    "epanechnikov": ("bb4f8cb7fb6bc63b", "99eb42e9efd27424"),
    "gaussian with support": ("32be45512cbc166f", "33716590752828c7"),
    "gaps masked": ("9ff1e50ee2526a08", "723af3724590ac0f"),
    "gaps dropped": ("ac9b3dc05b8b50db", "858292ed89397f5d"),
    "weights": ("528ac5b8f91ee0c7", "204359cab7611eaa"),
    "weights, gaps and zscore": ("a0d99e4b76119d56", "5f8a9f01d3011cd6"),
    "range": ("b912ea1481d0d738", "391102ef6d9a2037"),
    "cosine": ("58098bb05e8bf9f6", "81811a6e265a4d8d"),
    "cosine with gaps and weights": ("743813d3b10aa1d9", "eae4d535d8d028cf"),
    "far from zero": ("40a0a38a38e76ee9", "1ac287769bc9f3b5"),
    "stops early": ("ecf538b3de7f421e", "080c3afe20911665"),
    "fast": ("0e84fcb36331b981", "5c327b301a849eb6"),
    "online hexagonal": ("c47d2450497dfca4", "da2fd4db7ec625cb"),
    "online rectangular": ("828267d15db0343d", "4237e0f2c7abb41c"),
}


def run(name):
    """Digests of the model, and of the labels, of one setting."""
    lattice, data, options = SETTINGS[name]
    values = samples()[: data.get("rows", SIZE[0])].astype(data.get("dtype", np.float64)) + data.get("shift", 0.0)
    if data.get("gaps"):
        values = with_gaps(values)
    given = {}
    if data.get("weights"):
        given[WEIGHTS] = sample_weights(len(values))
    if data.get("feature_weights"):
        given["feature_weights"] = FEATURE_WEIGHTS
    trained = KohonenMap(*lattice).train(values, **given, **options)
    labels = trained.infer(values).compute()
    return digest(
        trained.to_dataset(), ("codebook", "hits", "quantization_error", "topographic_error", "u_matrix")
    ), digest(labels, ("bmu_row", "bmu_col", "distance"))


def digest(dataset, names):
    """Of the bytes of some variables, 16 hexadecimal digits."""
    parts = [np.ascontiguousarray(dataset[name].values, dtype=np.float64).tobytes() for name in names]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


@pytest.mark.parametrize("name", list(SETTINGS))
def test_the_bits_are_those_recorded(name):
    assert run(name) == RECORDED[name]


def test_every_setting_has_bits_of_its_own():
    recorded = [digests for pair in RECORDED.values() for digests in pair]
    assert len(set(recorded)) == 2 * len(SETTINGS)
