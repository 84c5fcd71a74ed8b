"""Work that meets for its passes: each block is read once, in every order of asking, and errors end it all."""

import functools
import threading
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from distributed.utils import key_split_group

from som_dask.passes.meeting import at_once, compute_shared, current_meeting, time_taken
from som_dask.passes.run import Pass, run_pass
from som_dask.passes.together import do_together
from som_dask.samples.reweight import Reweighting, reweight
from som_dask.samples.table import Samples

VALUES = np.arange(24.0).reshape(12, 2)
SUM = Pass(name="sum", of_group=lambda group, shared: sum_of(group) * (1 if shared is None else shared), joins=True)


def sum_of(group):
    weights = [np.ones(len(block)) if block.weights is None else block.weights for block in group.blocks]
    values = [tile.values for block in group.blocks for tile in block.tiles()]
    return (np.concatenate(values) * np.concatenate(weights)[:, None]).sum()


@pytest.fixture
def reads():
    """How often each block was made, by its first number."""
    return []


@pytest.fixture
def samples(reads):
    def make(block):
        reads.append(int(block[0, 0]))
        return block

    meta = np.empty((0, 2))
    return Samples(da.from_array(VALUES, chunks=(4, 2)).map_blocks(make, dtype=float, meta=meta), None)


def test_each_block_is_read_once_for_all_that_asks_for_a_pass(samples, reads):
    how = Reweighting(bootstrap=3)

    def twice():
        first = run_pass(SUM, samples, 2.0)
        return first, run_pass(SUM, samples, first)

    def once():
        assert current_meeting().takes(samples)
        return run_pass(SUM, reweight(samples, how))

    def both():
        found = at_once(lambda: run_pass(SUM, samples), lambda: run_pass(SUM, samples, 3.0))
        return found, time_taken()

    (first, second), weighted, (pair, seconds) = do_together(samples, [twice, once, both])
    total = VALUES.sum()
    assert (first, second, pair) == (2 * total, 2 * total * total, (total, 3 * total))
    assert weighted == (VALUES * how.of_rows(np.arange(12), None)[:, None]).sum()
    assert seconds > 0
    assert sorted(reads) == [0, 0, 8, 8, 16, 16]
    assert current_meeting() is None


def test_collections_are_computed_together(samples, reads):
    def take(number):
        return lambda: compute_shared(samples, samples.take([number]))[0].tolist()

    assert do_together(samples, [take(1), take(2)]) == [[[2.0, 3.0]], [[4.0, 5.0]]]
    assert reads == [0]


def test_an_error_ends_what_waits_and_what_has_not_begun(samples):
    ended, before = [], threading.active_count()

    def wait():
        try:
            run_pass(SUM, samples)
        finally:
            ended.append(threading.get_ident())

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        do_together(samples, [wait, fail, wait])
    assert len(ended) == 1
    assert threading.active_count() == before
    assert at_once(lambda: 1, lambda: 2) == (1, 2)


def test_an_error_of_a_pass_ends_all(samples):
    bad = Pass(name="bad", of_group=lambda group, shared: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        do_together(samples, [lambda: run_pass(bad, samples), lambda: run_pass(SUM, samples)])


def test_the_one_pass_is_named_after_all(samples):
    keys, looks = [], [replace(SUM, label=label) for label in ("3", "3", "", "last_pass")]
    with Callback(start=keys.extend):
        do_together(samples, [functools.partial(run_pass, look, samples, 1.0) for look in looks])
    names = {key_split_group(key).rpartition("-")[0] for key in keys}
    assert {name for name in names if name.startswith("sum")} == {"sum-3_last_pass"}
