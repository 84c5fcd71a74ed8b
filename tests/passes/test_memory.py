"""The memory that counts is what is left under the tightest limit: of the machine, or of any control group."""

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from som_dask.errors import ParameterError
from som_dask.passes import cluster, memory, residency
from som_dask.passes.cluster import connect
from som_dask.passes.memory import MemoryLimit, limits_of_groups, process_group, process_memory, worker_memory
from som_dask.passes.residency import keep_samples, memory_available
from som_dask.samples.open import open_samples

MIB = 2**20
UNLIMITED = 9223372036854771712  # of version 1, in bytes: the most that a page counter holds
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "35 31 0:32 {mounted} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
V2_MOUNTS = "31 23 0:28 {mounted} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def write(root, mounts, groups, mounted="/", **files):
    """Write what a process sees of its control groups; `files` by their path in the mounted folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts.format(mounted=mounted))
    (root / "proc/self/cgroup").write_text(groups)
    folder = root / "sys/fs/cgroup" / ("memory" if mounts is V1_MOUNTS else ".")
    for name, text in files["files"].items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")


def test_a_container_of_version_2(tmp_path):
    files = {"memory.max": 100 * MIB, "memory.high": "max", "memory.current": 70 * MIB, "memory.low": MIB}
    files["memory.stat"] = f"anon 5\nfile 99\nactive_file {2 * MIB}\ninactive_file {8 * MIB}"
    write(tmp_path, V2_MOUNTS, "0::/\n", files=files)
    # Files that were read give way to what is needed.
    assert limits_of_groups(tmp_path) == [MemoryLimit(100 * MIB, 60 * MIB)]


def test_the_group_around_a_group_limits_it_too(tmp_path):
    files = {
        "memory.stat": "anon 5",  # the root has no limit
        "slurm/job_7/memory.max": 300 * MIB,
        "slurm/job_7/memory.current": 290 * MIB,
        "slurm/job_7/step_0/memory.max": "max",
        "slurm/job_7/step_0/memory.high": 200 * MIB,
        "slurm/job_7/step_0/memory.current": MIB,
        "other/memory.max": 1,
    }
    write(tmp_path, V2_MOUNTS, "0::/slurm/job_7/step_0\n", files=files)
    assert limits_of_groups(tmp_path) == [MemoryLimit(200 * MIB, MIB), MemoryLimit(300 * MIB, 290 * MIB)]


def test_version_1(tmp_path):
    files = {
        "memory.limit_in_bytes": UNLIMITED,
        "memory.usage_in_bytes": 900 * MIB,
        "job/memory.limit_in_bytes": 400 * MIB,
        "job/memory.soft_limit_in_bytes": MIB,
        "job/memory.usage_in_bytes": 50 * MIB,
        "job/memory.stat": f"inactive_file 3\ntotal_active_file {MIB}\ntotal_inactive_file {9 * MIB}",
    }
    write(tmp_path, V1_MOUNTS, "8:pids:/\n4:cpu,memory:/job\n1:cpu:/elsewhere\n0::/\n", files=files)
    assert limits_of_groups(tmp_path) == [MemoryLimit(400 * MIB, 40 * MIB), MemoryLimit(UNLIMITED, 900 * MIB)]


@pytest.mark.parametrize("mounted", ["/docker/ab", "/../..", "/kubepods/another"])
def test_a_container_sees_its_own_group_as_the_root(tmp_path, mounted):
    # Of the groups around it, version 1 tells the tightest limit.
    files = {"memory.limit_in_bytes": 400 * MIB, "memory.usage_in_bytes": 0}
    files["memory.stat"] = f"hierarchical_memory_limit {100 * MIB}"
    write(tmp_path, V1_MOUNTS, "4:memory:/docker/ab\n", mounted, files=files)
    assert limits_of_groups(tmp_path) == [MemoryLimit(100 * MIB, 0)]


def test_other_systems_have_no_groups(tmp_path):
    assert limits_of_groups(tmp_path) == []
    assert process_group(tmp_path) == ""


@pytest.fixture
def limited(monkeypatch):
    """Limit the memory of this process by a control group."""

    def limit(*limits):
        monkeypatch.setattr(memory, "limits_of_groups", lambda: [MemoryLimit(*each) for each in limits])

    return limit


def test_the_tightest_limit_counts_as_it_is_now(limited):
    limited((700 * MIB, 650 * MIB), (800 * MIB, 100 * MIB))
    assert process_memory() == 50 * MIB
    assert worker_memory(2) == 350 * MIB
    limited((700 * MIB, 10 * MIB))
    assert process_memory() == 690 * MIB
    limited((700 * MIB, 800 * MIB))
    assert process_memory() == 0
    limited()
    assert 0 < process_memory() < psutil.virtual_memory().total
    assert worker_memory(1) == psutil.virtual_memory().total


def test_a_limited_address_space_counts(limited, monkeypatch):
    resource = pytest.importorskip("resource")
    limited()
    taken = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda which: (taken + 500 * MIB, resource.RLIM_INFINITY))
    assert process_memory() <= 500 * MIB
    assert worker_memory(1) == taken + 500 * MIB


def test_samples_that_do_not_fit_the_group_are_streamed(limited, rng):
    samples = open_samples(rng.random((MIB // 32, 4), dtype=np.float32))
    limited((100 * MIB, 99 * MIB + 1))
    assert keep_samples(samples, "auto") is samples
    limited((100 * MIB, 98 * MIB))
    assert keep_samples(samples, "auto").in_memory


@pytest.mark.parametrize(
    ("given", "found"),
    [("auto", 50), ("20 MiB", 20), ("0.5", 50), (str(30 * MIB), 30), ("64 GiB", 100), ("0", 0), ("inf", 100)],
)
def test_workers_get_no_more_than_there_is(limited, given, found):
    limited((100 * MIB, 90 * MIB))
    assert cluster._limit_of_worker(given, 2) == found * MIB


@pytest.mark.cluster
def test_workers_know_their_limit(limited):
    limited((3000 * MIB, 2900 * MIB))
    with connect(workers=1) as client:
        (worker,) = client.scheduler_info()["workers"].values()
    assert worker["memory_limit"] == 3000 * MIB


def test_limits_that_are_none():
    for given in ("much", "-1", "nan"):
        with pytest.raises(ParameterError, match="options can't be used"), connect(workers=1, memory_limit=given):
            pass


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("own", "groups", "found"), [(600, "aa", 900), (400, "aa", 800), (600, "ab", 1200), (0, "aa", 900)]
)
def test_workers_of_one_group_share_what_it_has(limited, monkeypatch, own, groups, found):
    limited((1000 * MIB, 100 * MIB))
    each = iter(groups)
    monkeypatch.setattr(residency, "process_group", lambda: next(each))
    settings = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(memory_limit=own * MIB, **settings) as workers, Client(workers):
        assert memory_available() == found * MIB
