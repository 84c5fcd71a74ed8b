"""Transitions and spells against a loop over the samples."""

import itertools

import numpy as np

from som_dask.algorithm.spells import NodeSeries


def plain(nodes, follows, n_nodes):
    table, runs = np.zeros((n_nodes, n_nodes), dtype=int), [[] for _ in range(n_nodes)]
    for series in nodes.T:
        before = -1
        for node, joined in zip(series, follows, strict=True):
            if not joined:
                before = -1
            if node >= 0:
                if before >= 0:
                    table[before, node] += 1
                if before == node:
                    runs[node][-1] += 1
                else:
                    runs[node].append(1)
            before = node
    return table, runs


def test_it_is_the_plain_loop_and_series_add_up(rng):
    nodes = np.repeat(rng.integers(-1, 3, (60, 4)), 2, axis=0)
    nodes[:, 2], nodes[0, 3], nodes[-1, 2] = 1, 1, 1  # series that end and begin with the same node
    follows = rng.random(120) > 0.1
    follows[0] = False
    found = NodeSeries.of(nodes, follows, 5)
    table, runs = plain(nodes, follows, 5)
    np.testing.assert_array_equal(found.transitions, table)
    assert found.spells.tolist() == [len(run) for run in runs]
    assert found.days.tolist() == [sum(run) for run in runs]
    assert found.longest.tolist() == [max(run, default=0) for run in runs]
    parts = [NodeSeries.of(nodes[:, some], follows, 5) for some in (slice(0, 1), slice(1, 4))]
    for name, one, other in itertools.zip_longest(vars(found), vars(found).values(), vars(sum_of(parts)).values()):
        np.testing.assert_array_equal(one, other, err_msg=name)


def sum_of(parts):
    first, other = parts
    return first + other


def test_no_samples():
    empty = NodeSeries.of(np.empty((0, 1), dtype=np.int64), np.empty(0, dtype=bool), 2)
    assert empty.transitions.sum() == empty.spells.sum() == empty.longest.sum() == 0
