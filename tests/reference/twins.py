"""Plain twins of the fast paths: literal loops in float64, written from the formulas and not from the code."""

import itertools
import math

import numpy as np

from som_dask.algorithm.batch_rule import update_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook, scales_for
from som_dask.engine.engines import engine_for
from som_dask.engine.partial import ExactPartial
from som_dask.passes.summary import summarize_block

BOUNDARIES = ("planar", "cylindrical", "toroidal")
TOPOLOGIES = ("hexagonal", "rectangular")
SHAPES = ((1, 1), (1, 2), (1, 5), (2, 1), (5, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 5), (5, 4), (6, 6))
NEIGHBORHOODS = (
    Neighborhood(),
    Neighborhood(support=1.0),
    Neighborhood(support=3.0),
    Neighborhood("bubble"),
    Neighborhood("cut_gaussian"),
    Neighborhood("epanechnikov"),
    Neighborhood("triangle"),
    Neighborhood("mexican_hat"),
)
EXCITATION = Neighborhood("mexican_hat", positive=True)


def exists(rows, topology, boundary):
    """Whether there is such a lattice: a hexagonal torus needs an even number of rows."""
    return not (topology == "hexagonal" and boundary == "toroidal" and rows % 2)


def every_lattice(shapes=SHAPES):
    """All lattices of these shapes, of both topologies and all boundaries."""
    kinds = itertools.product(shapes, TOPOLOGIES, BOUNDARIES)
    return [Lattice(*shape, t, b) for shape, t, b in kinds if exists(shape[0], t, b)]


def name_of(lattice):
    """A short name for a parametrized test."""
    return f"{lattice.rows}x{lattice.cols}-{lattice.topology[:3]}-{lattice.boundary[:3]}"


def plain_positions(lattice):
    """(M, 2): x and y of every node."""
    places = []
    for row in range(lattice.rows):
        for col in range(lattice.cols):
            if lattice.topology == "hexagonal":
                places.append((col + (0.5 if row % 2 else 0.0), row * math.sqrt(3) / 2))
            else:
                places.append((float(col), float(row)))
    return np.array(places)


def plain_distances(lattice):
    """(M, M): the distance to the nearest of a node's copies, shifted by whole periods of the lattice."""
    places = plain_positions(lattice)
    height = math.sqrt(3) / 2 if lattice.topology == "hexagonal" else 1.0
    shifts_x = (0,) if lattice.boundary == "planar" else (-lattice.cols, 0, lattice.cols)
    shifts_y = (-lattice.rows * height, 0, lattice.rows * height) if lattice.boundary == "toroidal" else (0,)
    nearest = np.full((len(places), len(places)), np.inf)
    for shift in itertools.product(shifts_x, shifts_y):
        offset = places[:, None, :] - (places[None, :, :] + np.array(shift))
        nearest = np.minimum(nearest, np.hypot(offset[..., 0], offset[..., 1]))
    return nearest


def plain_weight(distance, neighborhood, radius):
    """h of one grid distance."""
    if neighborhood.kernel == "bubble":
        return 1.0 if distance <= radius + 1e-9 else 0.0
    if neighborhood.kernel == "epanechnikov":
        return 1 - distance**2 / radius**2 if distance < radius - 1e-9 else 0.0
    if neighborhood.kernel == "triangle":
        return 1 - distance / radius if distance < radius - 1e-9 else 0.0
    if neighborhood.kernel == "mexican_hat":
        if abs(distance - radius) < 1e-9 or (neighborhood.positive and distance > radius):
            return 0.0
        return (1 - distance**2 / radius**2) * math.exp(-(distance**2) / (2 * radius**2))
    if neighborhood.kernel == "cut_gaussian" and distance > radius + 1e-9:
        return 0.0
    if neighborhood.support is not None and distance > neighborhood.support * radius + 1e-9:
        return 0.0
    return math.exp(-(distance**2) / (2 * radius**2))


def dense_matrix(lattice, neighborhood, radius):
    """H, (M, M)."""
    distances = plain_distances(lattice)
    weights = [plain_weight(d, neighborhood, radius) for d in distances.ravel().tolist()]
    return np.array(weights).reshape(distances.shape)


def plain_bmus(samples, codebook, scale=1.0, metric="euclidean"):
    """Best unit, second best (both by index) and distance of each sample; differences are scaled before squaring.

    Features are added in order and the lowest index wins a tie. A scale other than 1 (a power of two) is for
    data whose squares would leave the range of float64.
    """
    samples, codebook = np.asarray(samples).astype(np.float64), np.asarray(codebook, dtype=np.float64)
    bmus, seconds, distances = [], [], []
    for sample in samples:
        squared = np.zeros(len(codebook))
        for j in range(len(sample)):
            if math.isnan(sample[j]):
                continue  # a feature that the sample lacks
            difference = (sample[j] - codebook[:, j]) * scale
            squared = squared + (np.abs(difference) if metric == "manhattan" else difference * difference)
        order = sorted(range(len(codebook)), key=lambda node: (squared[node], node))
        bmus.append(order[0])
        seconds.append(order[min(1, len(order) - 1)])
        least = squared[order[0]]
        distances.append((least if metric == "manhattan" else math.sqrt(least)) / scale)
    return np.array(bmus, dtype=np.int64), np.array(seconds, dtype=np.int64), np.array(distances)


def plain_epoch(samples, codebook, lattice, neighborhood, radius, weights=None):
    """The codebook after one batch epoch, node by node and feature by feature, over the samples that have it.

    What inhibits a node (h < 0) weighs no more than a twentieth of what excites it.
    """
    h = dense_matrix(lattice, neighborhood, radius)
    samples, result = np.asarray(samples, dtype=np.float64), codebook.copy()
    weights = np.ones(len(samples)) if weights is None else weights
    bmus = plain_bmus(samples, codebook)[0]
    for node, feature in itertools.product(range(len(codebook)), range(codebook.shape[1])):
        known = ~np.isnan(samples[:, feature])
        values, share = samples[known, feature], h[node, bmus[known]] * weights[known]
        exciting = [float(s) for s in share if s > 0]
        inhibiting = [float(-s) for s in share if s < 0]
        total, against = math.fsum(exciting), math.fsum(inhibiting)
        if total == 0:
            continue
        factor = min(1.0, total / 20 / against) if against else 1.0
        share = np.where(share < 0, factor * share, share)
        result[node, feature] = math.fsum(share * values) / math.fsum(share)
    return result


def shared_codebook(samples, codebook, lattice, device="cpu", space=None):
    """A codebook with the scales that exact sums of these samples need."""
    if not len(samples):
        samples = np.zeros((1, codebook.shape[1]))
    known = summarize_block(Block.of(samples))
    shared = SharedCodebook(codebook, lattice, space, engine_for(device))
    scales = scales_for(
        codebook, shared.space, n=len(samples), least=known.minimum, most=known.maximum, small=known.small
    )
    return SharedCodebook(codebook, lattice, space, engine_for(device), scales)


def add_up_block(samples, shared, numbers=0, weights=None):
    """What a block of samples contributes to an epoch."""
    return shared.add_up(Block.of(samples, weights, numbers))


def find_nodes(samples, shared):
    """Best matching unit of each sample, and the distance to it."""
    found = shared.find(Block.of(samples))
    return found.bmu, found.distance


def next_codebook(sums, codebook, lattice, neighborhood, radius):
    """The codebook after an epoch with these sums."""
    return update_codebook(sums.numerator, sums.denominator, codebook, lattice, neighborhood, radius)


def sums_of(samples, codebook, lattice, device="cpu", precision="exact"):
    """The sums of all the samples there are, in float64."""
    if precision == "fast":
        return add_up_block(samples, SharedCodebook(codebook, lattice, engine=engine_for(device, "fast")))
    shared = shared_codebook(samples, codebook, lattice, device)
    sums = add_up_block(samples, shared)
    assert isinstance(sums, ExactPartial)
    return sums.rounded(shared.scales)


def same_to_the_bit(sums, expected):
    """Check that two partial results in whole numbers are the same."""
    for name in ("numerator", "hits", "distance", "topographic_misses", "samples", "fingerprint"):
        assert isinstance(getattr(sums, name), (np.ndarray, int))
        np.testing.assert_array_equal(getattr(sums, name), getattr(expected, name))
    assert (sums.weights is None) == (expected.weights is None)
    if sums.weights is not None:
        for found, right in zip(sums.weights.arrays(), expected.weights.arrays(), strict=True):
            np.testing.assert_array_equal(found, right)


def plain_online(vectors, lattice, codebook, epochs, learning_rate):
    """Online training by loops over epochs, vectors and nodes: (M, D), and the units and errors of each step."""
    distances = plain_distances(lattice)
    weights = [list(map(float, row)) for row in np.asarray(codebook).reshape(lattice.n_nodes, -1)]
    start = max(lattice.rows, lattice.cols) / 2
    bmus, errors = [], []
    for t in range(epochs):
        if start > 1:
            decay = epochs / math.log(start)
            radius = start * math.exp(-t / decay)
        else:
            decay, radius = epochs, start
        rate = learning_rate * math.exp(-t / decay)
        for vector in np.asarray(vectors, dtype=np.float64).tolist():
            best, bmu = math.inf, None
            for node, weight in enumerate(weights):
                squared = sum((v - w) ** 2 for v, w in zip(vector, weight, strict=True))
                if squared < best:
                    best, bmu = squared, node
            for node, weight in enumerate(weights):
                theta = math.exp(-(distances[bmu, node] ** 2) / (2 * radius**2))
                for j, value in enumerate(vector):
                    weight[j] += rate * theta * (value - weight[j])
            bmus.append(bmu)
            errors.append(math.sqrt(best))
    shape = (epochs, len(vectors))
    return np.array(weights), np.array(bmus).reshape(shape), np.array(errors).reshape(shape)
