"""The way through a GPU: the same bits as on a CPU; on a GPU where there is one, and by its kernels on the host."""

import dataclasses
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine import gpu as cuda
from som_dask.engine.batch import SharedCodebook, chunk_sums, nearest
from som_dask.engine.device import to_device
from som_dask.errors import DataError, ParameterError
from som_dask.passes import compute as computing
from som_dask.passes.compute import kept_on_device
from som_dask.samples.table import open_samples
from som_dask.training.batch import TrainingConfig, fit
from tests.contracts.cuda_on_host import HostDevice, compiler
from tests.engine.test_device import DATA, LATTICE, same_to_the_bit, usable_cupy
from tests.reference.twins import plain_bmus, shared_codebook


@pytest.fixture(scope="session")
def compiled_kernels(tmp_path_factory):
    """A folder for kernels compiled for the host."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """The GPU, or its stand-in; what is made of it must be whole in the end."""
    if request.param == "gpu":
        usable_cupy()
        yield None
        return
    if compiler() is None:
        pytest.skip("there is no g++ to compile the kernels for the host")
    host = HostDevice(request.getfixturevalue("compiled_kernels")).install(monkeypatch)
    yield host
    assert host.intact()


def both(samples, codebook, lattice, first_row=0, **changes):
    """Sums on the CPU and on the device."""
    shared = dataclasses.replace(shared_codebook(samples, codebook, lattice), **changes)
    return chunk_sums(samples, shared, first_row), chunk_sums(
        samples, dataclasses.replace(shared, device="gpu"), first_row
    )


def agree(samples, codebook, lattice, first_row=0):
    """Check sums and search; returns the sums."""
    expected, sums = both(samples, codebook, lattice, first_row)
    same_to_the_bit(sums, expected)
    shared = SharedCodebook(codebook, lattice)
    for found, right in zip(
        nearest(samples, dataclasses.replace(shared, device="gpu")), nearest(samples, shared), strict=True
    ):
        np.testing.assert_array_equal(found, right)
        assert found.dtype == right.dtype
    return sums


@DATA
def test_the_sums_are_those_on_the_cpu(device, data, rng):
    samples, codebook = data(rng)
    agree(samples, codebook, LATTICE, first_row=2**40)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d", "shape"),
    [
        (1, 1, (1, 1)),
        (130, 1, (1, 2)),
        (128, 2, (11, 12)),
        (127, 4, (1, 128)),
        (300, 31, (3, 43)),
        (257, 33, (20, 55)),
        (100, 70, (4, 5)),
        (65, 50, (16, 16)),
    ],
)
def test_any_size(device, n, d, shape, dtype, rng):
    lattice = Lattice(*shape)
    codebook = rng.normal(size=(lattice.n_nodes, d))
    agree(rng.normal(size=(n, d)).astype(dtype), codebook, lattice)


def test_ties_and_near_ties_go_to_the_lowest_index(device, rng):
    lattice = Lattice(8, 20)
    samples = rng.integers(-1, 2, (400, 5)).astype(np.float32)
    codebook = rng.integers(-1, 2, (lattice.n_nodes, 5)) * 1.0
    codebook[100:] += rng.integers(-1, 2, codebook[100:].shape) * 1e-13  # nearer than float32 can tell
    agree(samples, codebook, lattice)
    bmu, _ = nearest(samples, SharedCodebook(codebook, lattice, "gpu"))
    np.testing.assert_array_equal(bmu, plain_bmus(samples, codebook)[0])


def test_near_ties_of_the_second_and_the_third(device, rng):
    lattice, nodes = Lattice(4, 16, "rectangular", "toroidal"), rng.normal(size=(64, 5))
    nodes[1::4] = nodes[::4] + 0.1
    nodes[2::4] = nodes[1::4] + rng.integers(-1, 2, (16, 5)) * 1e-13
    agree(nodes[rng.integers(0, 16, 300) * 4] + rng.normal(size=(300, 5)) * 0.01, nodes, lattice)


def test_data_far_from_zero(device, rng):
    codebook = 101325 + rng.normal(size=(20, 6))
    agree(101325 + rng.normal(size=(300, 6)), codebook, LATTICE)


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e-150, 1e150, 1e300])
def test_numbers_whose_squares_overflow_or_vanish(device, size, rng):
    samples, codebook = rng.integers(-3, 4, (300, 3)) * size, rng.integers(-3, 4, (20, 3)) * size
    agree(samples, codebook, LATTICE)


@pytest.mark.parametrize("far", [1e18, 1e170])  # 1e170: scaled by its size, the squares of the others vanish
def test_one_node_far_from_the_others(device, far, rng):
    codebook = rng.normal(size=(20, 3))
    codebook[7] = far
    agree(rng.normal(size=(300, 3)), codebook, LATTICE)


def test_subnormal_numbers_and_minus_zero(device, rng):
    bits = rng.integers(0, 2**23, (200, 3), dtype=np.uint32) | (rng.integers(0, 2, (200, 3), dtype=np.uint32) << 31)
    samples = bits.view(np.float32)
    samples[::7] = -0.0
    agree(samples, samples[:20].astype(np.float64), LATTICE)


@pytest.mark.parametrize("digits", [12, 30, 45])
def test_features_that_need_further_limbs(device, digits, rng):
    samples = rng.normal(size=(200, 3)) * 10.0 ** rng.integers(-digits, digits + 1, (200, 1))
    sums = agree(samples, rng.normal(size=(20, 3)), LATTICE)
    assert sums.limbs.shape[1] > 2


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "float16", ">f4", "longdouble"])
def test_other_kinds_of_numbers(device, dtype, rng):
    agree(rng.integers(0, 100, (200, 3)).astype(dtype), rng.normal(50, 30, (20, 3)), LATTICE)


def test_rows_that_are_not_side_by_side_in_memory(device, rng):
    table = rng.normal(size=(6, 900))
    agree(table.T[::3, 1::2], rng.normal(size=(20, 3)), LATTICE)


def test_no_samples(device, rng):
    agree(np.zeros((0, 3)), rng.normal(size=(20, 3)), LATTICE)


def test_tiles_and_carries_change_nothing(device, monkeypatch, rng):
    samples, codebook = rng.normal(size=(1000, 3)), rng.normal(size=(20, 3))
    monkeypatch.setattr(cuda, "MOST_TILE_ROWS", 128)
    agree(samples, codebook, LATTICE)
    monkeypatch.setattr(cuda, "ROWS_AT_ONCE", 300)
    agree(samples, codebook, LATTICE)


def test_little_memory_makes_small_tiles(device, monkeypatch, rng):
    shared = shared_codebook(rng.normal(size=(9, 3)), rng.normal(size=(20, 3)), LATTICE, "gpu")
    rows = []
    for memory in (0, 2**22, 2**24, 2**40):
        monkeypatch.setattr(cuda, "device_memory", lambda memory=memory: memory)
        rows.append(shared.on_device()._tile_rows())
    assert rows == sorted(rows)
    assert rows[0] == cuda.LEAST_TILE_ROWS < rows[1] < rows[2] < rows[3] == cuda.MOST_TILE_ROWS
    assert not any(row % cuda.ROWS for row in rows)


def test_samples_that_are_there_already(device, rng):
    samples, codebook = rng.normal(size=(300, 3)), rng.normal(size=(20, 3))
    shared = shared_codebook(samples, codebook, LATTICE)
    there = device.to_device(samples) if device else to_device(samples, "gpu")
    on_device = dataclasses.replace(shared, device="gpu")
    same_to_the_bit(chunk_sums(there, on_device), chunk_sums(samples, shared))
    np.testing.assert_array_equal(nearest(there, on_device)[0], nearest(samples, shared)[0])


def test_a_miss_is_two_units_that_are_not_neighbors(device, rng):
    lattice = Lattice(5, 5, "rectangular", "toroidal")  # each node has 8 neighbors
    codebook = rng.normal(size=(25, 2))
    expected, sums = both(rng.normal(size=(700, 2)), codebook, lattice)
    assert 0 < sums.misses == expected.misses


@pytest.mark.parametrize("smallest", [1.0, 1e-40])
def test_numbers_beyond_the_range_are_refused(device, smallest, rng):
    samples, codebook = rng.normal(size=(300, 3)), rng.normal(size=(20, 3))
    samples[:150] *= smallest  # which takes further limbs
    shared = shared_codebook(samples, codebook, LATTICE, "gpu")
    samples[17, 1] = 1e6
    with pytest.raises(DataError, match="2 values lie outside the range"):  # the number and its distance
        chunk_sums(samples, shared)


@pytest.mark.parametrize("data", [1.0, 1e35])
def test_fast_sums(device, data, rng):
    samples, codebook = rng.normal(size=(700, 40)), rng.normal(size=(20, 40))
    samples[13, 2] *= data
    expected, sums = both(samples, codebook, LATTICE, whole=None)
    np.testing.assert_array_equal(sums.counts, expected.counts)
    np.testing.assert_allclose(sums.sums, expected.sums, rtol=1e-12, atol=1e-12)
    assert sums.distance == pytest.approx(expected.distance, rel=1e-12)
    assert (sums.misses, sums.samples) == (expected.misses, expected.samples)


@pytest.mark.parametrize("keep", ["auto", "stream"])
def test_training_ends_in_the_same_codebook(device, keep, rng):
    samples, lattice = rng.normal(size=(5000, 3)), Lattice(4, 4)
    expected, model = (
        fit(samples, lattice, TrainingConfig(epochs=2, device=name, keep=keep)) for name in ("cpu", "gpu")
    )
    assert model.equals(expected)
    if device:  # two epochs, and the pass that measures their outcome
        uploaded = sum(shape[0] for shape in device.uploads if shape[0] > 500)
        assert uploaded == 5000 * (3 if keep == "stream" else 1)


def test_what_does_not_fit_the_device_is_uploaded_each_epoch(device, rng):
    if device is None:
        pytest.skip("takes a device of little memory")
    device.memory = 2 * 9000 * 3 * 8 - 1
    samples = open_samples(rng.normal(size=(9000, 3)))
    assert kept_on_device(samples, "auto", "gpu") is samples
    device.memory += 1
    held = kept_on_device(samples, "auto", "gpu")
    assert held.device == "gpu"
    assert kept_on_device(held, "auto", "gpu") is held


def test_workers_that_share_a_gpu_count_it_once(monkeypatch):
    found = {"tcp://a:1": ("0", 10), "tcp://a:2": ("0", 9), "tcp://a:3": ("1", 20), "tcp://b:1": ("0", 30)}
    monkeypatch.setattr(computing, "active_client", lambda: SimpleNamespace(run=lambda function: found))
    assert computing._device_memory() == 9 + 20 + 30


def test_unknown_devices_are_refused(rng):
    with pytest.raises(ParameterError, match="device must be 'cpu' or 'gpu'"):
        nearest(np.zeros((2, 3)), SharedCodebook(rng.normal(size=(20, 3)), LATTICE, "cuda"))


@pytest.mark.parametrize(("n_features", "padded"), [(1, 4), (3, 4), (8, 8), (20, 20), (50, 50), (64, 64), (70, 70)])
def test_few_features_are_added_to_make_whole_chunks(n_features, padded):
    chunk = cuda.chunk_for(n_features)
    assert -(-n_features // chunk) * chunk == padded


def test_the_kernels_compile(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no nvcc to compile the kernels for a GPU")
    found = subprocess.run(
        [
            *(nvcc, "-cubin", "-arch=sm_90", "-std=c++17", "-DCHUNK=10", "-Xptxas=-v", "-Werror=all-warnings"),
            *("-o", str(tmp_path / "kernels.cubin"), str(cuda.SOURCE)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    spills = [line for line in found.stderr.splitlines() if "bytes spill stores" in line]
    assert len(spills) == 10
    assert all("0 bytes spill stores" in line for line in spills)
