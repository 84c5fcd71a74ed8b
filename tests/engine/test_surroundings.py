"""Surroundings: which nodes are in them, how far all others are, and in which boxes the ring lies."""

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.patches import cut_into_patches
from som_dask.engine.surroundings import surround
from tests.engine.test_pruned_search import smooth_codebook

SHAPES = [(8, 8), (9, 21), (26, 30)]


def squares_around(lattice, node):
    """Of a node of a cell of 4 x 4: which nodes lie in the 8 x 8 around it, and in the ring of 4 around these."""
    row, col = np.divmod(np.arange(lattice.n_nodes), lattice.cols)
    inside, ring = np.ones((2, lattice.n_nodes), dtype=bool)
    for place, at, length in ((row, node // lattice.cols, lattice.rows), (col, node % lattice.cols, lattice.cols)):
        first = min(max(at // 4 * 4 - 2, 0), length - 8)
        inside &= (place >= first) & (place < first + 8)
        ring &= (place >= first - 4) & (place < first + 12)
    return inside, ring & ~inside


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_features", [1, 3, 6])
def test_all_outside_is_as_far_as_told(shape, n_features, rng):
    lattice = Lattice(*shape)
    codebook = 1000 + smooth_codebook(lattice, n_features, rng)
    patched = cut_into_patches(codebook, lattice)
    around = surround(patched, lattice)
    nodes = (codebook - patched.center) * patched.scale
    for node in range(0, lattice.n_nodes, 3):
        inside, ring = squares_around(lattice, node)
        np.testing.assert_array_equal(np.sort(around.nodes[around.cells[node]]), np.flatnonzero(inside))
        distances = np.sqrt(((nodes - nodes[node]) ** 2).sum(axis=1))
        near = distances[~inside].min(initial=np.inf)
        assert around.clear[0, node] <= near
        assert around.clear[0, node] >= near - 1e-3 or not np.isfinite(near)  # and not much less
        assert around.clear[1, node] <= distances[~inside & ~ring].min(initial=np.inf)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_boxes_hold_all_nodes_of_the_ring(shape, rng):
    lattice = Lattice(*shape)
    patched = cut_into_patches(smooth_codebook(lattice, 5, rng), lattice)
    around = surround(patched, lattice)
    nodes = (patched.codebook - patched.center) * patched.scale
    for node in range(0, lattice.n_nodes, 7):
        q = around.cells[node]
        _, ring = squares_around(lattice, node)
        middle, first, second = around.frame[q, :5].T / np.array([2, -1, -1])[:, None]
        np.testing.assert_allclose([first @ first, second @ second, first @ second], [1, 1, 0], atol=1e-6)
        offsets = [middle @ middle, -first @ middle, -second @ middle]
        np.testing.assert_allclose(around.frame_offsets[q], offsets, atol=1e-6)
        seen = nodes[ring] - middle
        places = np.stack([seen @ first, seen @ second], axis=1)
        off = np.sqrt(np.maximum((seen**2).sum(axis=1) - (places**2).sum(axis=1), 0))
        ends = around.boxes[q].reshape(1, -1, 3, 2)
        values = np.column_stack([places, off])[:, None]
        within = ((ends[..., 0] - 1e-4 <= values) & (values <= ends[..., 1] + 1e-4)).all(axis=2)
        assert within.any(axis=1).all()


def test_small_maps_have_none(rng):
    for shape in ((7, 60), (60, 7), (1, 1)):
        lattice = Lattice(*shape)
        assert surround(cut_into_patches(rng.normal(size=(lattice.n_nodes, 2)), lattice), lattice) is None
