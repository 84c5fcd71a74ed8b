"""Tasks that are taken into those that use them: only where nothing else needs them, and with the same result."""

import operator

import dask
import dask.array as da
import numpy as np
import pytest
from dask.task_spec import DataNode, Task, TaskRef

from som_dask.passes.sources import Sources
from som_dask.samples.table import tasks_of

A, B, C = ("a", 0), ("b", 0), ("c", 0)


def alias(key, target):
    """Make an alias as Dask makes one; not every version exports its class."""
    return dask._task_spec.Alias(key, target)


def plus_one(key, of):
    return Task(key, operator.add, TaskRef(of), 1)


def result_of(sources, step):
    """Compute a step as a part of a graph of tuples would."""
    return dask.get({**sources.tasks, "part": (list, [step])}, "part")[0]


@pytest.mark.parametrize("kind", [lambda key: Task(key, operator.add, 1, 2), lambda key: DataNode(key, 3)])
def test_a_task_that_only_one_uses_is_taken(kind):
    sources = Sources({A: kind(A)})
    step = sources.take(A)
    assert sources.tasks == {}
    assert sources.needs(step) == set()
    assert result_of(sources, step) == 3


def test_aliases_are_followed_to_what_they_stand_for():
    sources = Sources({A: alias(A, B), B: alias(B, C), C: DataNode(C, 3)})
    assert result_of(sources, sources.take(A)) == 3
    assert sources.tasks == {}


@pytest.mark.parametrize("user", [plus_one(B, A), (operator.add, A, 1), (sum, [A, [A]]), alias(B, A)])
def test_what_others_use_stays(user):
    sources = Sources({A: Task(A, operator.add, 1, 2), B: user})
    assert sources.take(A) == A
    assert sources.needs(A) == {A}
    assert A in sources.tasks


def test_an_alias_of_what_others_use_stays():
    sources = Sources({A: alias(A, C), B: plus_one(B, C), C: DataNode(C, 3)})
    assert sources.take(A) == A
    assert set(sources.tasks) == {A, B, C}


def test_what_needs_the_work_of_others_is_told_from_what_needs_constants():
    made = {C: Task(C, operator.add, 1, 2), B: DataNode(B, 3)}
    for of, needs in ((B, set()), (C, {C}), (("held", 0), {("held", 0)})):
        sources = Sources({A: plus_one(A, of), **made})
        assert sources.needs(sources.take(A)) == needs


@pytest.mark.parametrize("other", [np.zeros(3), "a key", None, ("elsewhere", 0)])
def test_anything_else_stays_as_it_is(other):
    sources = Sources({A: DataNode(A, 3)})
    assert sources.take(other) is other
    assert sources.needs(other) == set()


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x * 2 + 1, lambda x: x.rechunk((7, 2)), lambda x: x[::-1]])
def test_blocks_of_arrays_are_the_same(change, rng):
    array = change(da.from_array(rng.normal(size=(20, 2)), chunks=(5, 2)))
    for fuse in (True, False):
        sources = Sources(tasks_of([array], fuse=fuse))
        steps = [sources.take(key) for (key,) in array.__dask_keys__()]
        found = dask.get({**sources.tasks, "part": (list, steps)}, "part")
        np.testing.assert_array_equal(np.concatenate(found), array.compute(scheduler="sync"))
