"""Device: what happens on a GPU, and without one."""

import sys

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.device import namespace_of, to_device, to_host
from som_dask.errors import ParameterError
from tests.reference.twins import sums_of

LATTICE = Lattice(4, 5)


def test_namespaces():
    assert namespace_of(np.zeros(2)) is np


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
