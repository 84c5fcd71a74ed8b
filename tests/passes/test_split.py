"""Graphs that are split into jobs: each task is in one place, and all give the values of the whole graph."""

import operator

import dask
from distributed import Future

from som_dask.passes.split import Job, Value, split_graph


def evaluate(graph):
    """Run each job alone, with the shared values that it needs."""
    values = {}

    def share(key):
        if key not in values:
            needs = {below: (Value(share(below)),) for below in graph.needs[key]}
            values[key] = dask.get(graph.tasks[key] | needs, key)
        return values[key]

    return [job([share(key) for key in job.given]) for job in graph.jobs]


def chain(n):
    """Blocks that depend on a chunk for each two of them, and these on one number."""
    sources = {"mean": (sum, ["far"]), "far": 5, "unused": (operator.truediv, 1, 0)}
    for i in range(n):
        sources[("chunk", i // 2)] = (operator.mul, "mean", ("read", i // 2))
        sources[("read", i // 2)] = i // 2 + 1
        sources[("cut", i)] = (operator.add, ("chunk", i // 2), i % 2)
        sources[("block", i)] = (operator.neg, ("cut", i))
    jobs = [Job({"result": (operator.add, "own", 100), "own": ("block", i)}, "result") for i in range(n)]
    return jobs, sources


def test_what_serves_one_job_is_part_of_it():
    jobs, sources = chain(4)
    graph = split_graph(jobs, sources)
    assert [set(job.tasks) for job in graph.jobs] == [{"result", "own", ("block", i), ("cut", i)} for i in range(4)]
    assert [job.given for job in graph.jobs] == [[("chunk", 0)]] * 2 + [[("chunk", 1)]] * 2
    # What only a chunk needs belongs to it; the mean serves both, and what makes it serves nothing else.
    chunks = {("chunk", i): {("chunk", i), ("read", i)} for i in range(2)}
    assert {key: set(tasks) for key, tasks in graph.tasks.items()} == {"mean": {"mean", "far"}, **chunks}
    assert graph.needs == {"mean": [], ("chunk", 0): ["mean"], ("chunk", 1): ["mean"]}
    assert graph.users == {"mean": 2, ("chunk", 0): 2, ("chunk", 1): 2}
    assert evaluate(graph) == [100 - (5 * (i // 2 + 1) + i % 2) for i in range(4)]


def test_each_task_is_looked_at_once(monkeypatch):
    """A deep part that many jobs share must not be walked for each of them."""
    seen = []
    monkeypatch.setattr(
        "som_dask.passes.split.get_dependencies",
        lambda graph, key=None, **task: seen.append(1) or plain(graph, key, **task),
    )
    plain = dask.core.get_dependencies
    for n in (10, 20):
        seen.clear()
        sources = {("deep", 0): 1} | {("deep", i): (abs, ("deep", i - 1)) for i in range(1, n)}
        sources |= {("block", i): (operator.add, ("deep", n - 1), i) for i in range(n)}
        graph = split_graph([Job({"r": ("block", i)}, "r") for i in range(n)], sources)
        assert len(seen) == 3 * n
        assert evaluate(graph) == [1 + i for i in range(n)]


class Held(Future):
    """A future without a client."""

    key, status = "elsewhere", "finished"

    def __init__(self):
        pass

    def __del__(self):
        pass


def test_futures_stay_where_the_scheduler_sees_them():
    future = Held()
    sources = {"held": future, "alone": (abs, [future])}
    graph = split_graph([Job({"r": (abs, name)}, "r") for name in sources], sources)
    assert [job.given for job in graph.jobs] == [["held"], ["alone"]]
    assert [set(job.tasks) for job in graph.jobs] == [{"r"}, {"r"}]
