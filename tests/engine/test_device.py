"""Backend: the pure layers on another array namespace, on a GPU, and what happens without one."""

import dataclasses
import sys

import array_api_strict
import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.batch import SharedCodebook, chunk_sums
from som_dask.engine.bmu import find_bmus, prepare
from som_dask.engine.device import namespace_of, put_in_rows, put_masked, segment_sums, to_device, to_host
from som_dask.errors import ParameterError
from tests.reference.twins import shared_codebook, sums_of

LATTICE = Lattice(4, 5)


def plain_data(rng):
    return rng.normal(size=(300, 3)), rng.normal(size=(20, 3))


def tied_data(rng):
    return rng.integers(0, 4, (300, 2)) * 1.0, rng.integers(0, 4, (20, 2)) * 1.0


def duplicate_data(rng):
    return rng.normal(size=(50, 2)), np.tile(rng.normal(size=(4, 2)), (5, 1))


def outlying_data(rng):
    samples = rng.normal(size=(50, 2))
    samples[3], samples[7, 1] = 1e31, -1e40
    return samples, rng.normal(size=(20, 2))


def constant_data(rng):
    return rng.normal(size=(50, 2)), np.zeros((20, 2))


DATA = pytest.mark.parametrize("data", [plain_data, tied_data, duplicate_data, outlying_data, constant_data])


@DATA
@pytest.mark.parametrize("need_second", [True, False])
def test_the_search_runs_on_any_namespace_of_the_standard(data, need_second, rng):
    samples, codebook = data(rng)
    strict = [array_api_strict.asarray(array) for array in (samples, codebook)]
    expected = find_bmus(samples, prepare(codebook), need_second=need_second)
    found = find_bmus(strict[0], prepare(strict[1]), need_second=need_second)
    for name in ("bmu", "second", "distance"):
        result = getattr(found, name)
        assert namespace_of(result).__name__ == "array_api_strict"
        np.testing.assert_array_equal(to_host(result), getattr(expected, name))


@DATA
def test_the_sums_run_on_any_namespace_of_the_standard(data, rng):
    samples, codebook = data(rng)
    strict = [array_api_strict.asarray(array) for array in (samples, codebook)]
    shared = shared_codebook(samples, codebook, LATTICE)
    expected, sums = (
        chunk_sums(samples, shared),
        chunk_sums(strict[0], dataclasses.replace(shared, codebook=strict[1])),
    )
    same_to_the_bit(sums, expected)
    fast = chunk_sums(strict[0], SharedCodebook(strict[1], LATTICE))
    np.testing.assert_allclose(fast.sums, expected.rounded(shared.whole).sums, rtol=1e-12, atol=1e-12)


def same_to_the_bit(sums, expected):
    for name in ("limbs", "counts", "distance", "misses", "samples", "fingerprint"):
        assert isinstance(getattr(sums, name), (np.ndarray, int))
        np.testing.assert_array_equal(getattr(sums, name), getattr(expected, name))


@pytest.mark.parametrize("asarray", [np.array, array_api_strict.asarray], ids=["numpy", "strict"])
def test_operations_that_the_standard_lacks(asarray, rng):
    table = np.arange(12.0).reshape(3, 4)
    in_rows = to_host(put_in_rows(asarray(table), asarray([2, 0, 3]), -1.0))
    np.testing.assert_array_equal(in_rows, [[0, 1, -1, 3], [-1, 5, 6, 7], [8, 9, 10, -1]])
    masked = to_host(put_masked(asarray(table), asarray(table % 5 == 0), asarray([-1.0, -2.0, -3.0])))
    np.testing.assert_array_equal(masked, [[-1, 1, 2, 3], [4, -2, 6, 7], [8, 9, -3, 11]])
    for dtype in (np.float64, np.int64):
        values, segments = rng.integers(-9, 9, (50, 3)).astype(dtype), rng.integers(0, 5, 50)
        sums = to_host(segment_sums(asarray(values), asarray(segments), 7))
        np.testing.assert_array_equal(sums, [values[segments == segment].sum(axis=0) for segment in range(7)])
        assert sums.dtype == dtype


def test_namespaces():
    assert namespace_of(np.zeros(2)) is np
    assert namespace_of(np.float64(2)) is np
    assert namespace_of(array_api_strict.zeros(2)) is array_api_strict


def test_the_cpu_is_where_arrays_are():
    array = np.arange(3.0)
    assert to_device(array, "cpu") is array
    assert to_host(array) is array


@pytest.mark.parametrize("device", ["cuda", "GPU", "", None])
def test_unknown_devices_are_refused(device):
    with pytest.raises(ParameterError, match="device must be 'cpu' or 'gpu'"):
        to_device(np.zeros(3), device)
    with pytest.raises(ParameterError, match="device must be 'cpu' or 'gpu'"):
        sums_of(np.zeros((3, 1)), np.zeros((20, 1)), LATTICE, device)


def test_a_gpu_without_cupy_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes `import cupy` fail
    with pytest.raises(ParameterError, match=r"needs CuPy: pip install 'som_dask\[gpu\]'"):
        to_device(np.zeros(3), "gpu")


def test_cupy_without_a_gpu_is_refused(monkeypatch):
    class Stub:
        @staticmethod
        def asarray(array):
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    monkeypatch.setitem(sys.modules, "cupy", Stub)
    with pytest.raises(ParameterError, match=r"cudaErrorNoDevice.*use device 'cpu'"):
        to_device(np.zeros(3), "gpu")


def usable_cupy():
    """CuPy, or skip the test and say why."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        cupy.zeros(1).get()
    except Exception as error:
        pytest.skip(f"CuPy is installed but there is no usable GPU: {error}")
    return cupy


@pytest.mark.gpu
@DATA
def test_the_sums_on_a_gpu_are_those_on_the_cpu(data, rng):
    cupy = usable_cupy()
    samples, codebook = data(rng)
    found = find_bmus(cupy.asarray(samples), prepare(cupy.asarray(codebook)))
    assert namespace_of(found.bmu) is cupy
    expected = find_bmus(samples, prepare(codebook))
    np.testing.assert_array_equal(to_host(found.bmu), expected.bmu)
    np.testing.assert_array_equal(to_host(found.second), expected.second)
    np.testing.assert_allclose(to_host(found.distance), expected.distance, rtol=1e-12)
    shared = shared_codebook(samples, codebook, LATTICE)
    same_to_the_bit(chunk_sums(samples, dataclasses.replace(shared, device="gpu")), chunk_sums(samples, shared))
