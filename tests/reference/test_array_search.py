"""The reference search on another array namespace, and beside the engines."""

import array_api_strict
import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from tests.reference.array_functions import as_numpy, namespace_of, put_in_rows, put_masked, segment_sums
from tests.reference.array_search import add_up_by_arrays, find_bmus, prepare
from tests.reference.data import DATA, usable_cupy
from tests.reference.twins import add_up_block, same_to_the_bit, shared_codebook

LATTICE = Lattice(4, 5)


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
        np.testing.assert_array_equal(as_numpy(result), getattr(expected, name))


@DATA
def test_the_sums_run_on_any_namespace_of_the_standard(data, rng):
    samples, codebook = data(rng)
    shared = shared_codebook(samples, codebook, LATTICE)
    expected = add_up_block(samples, shared, 77)
    for asarray in (np.asarray, array_api_strict.asarray):
        shared.__dict__["codebook"] = asarray(codebook)
        same_to_the_bit(add_up_by_arrays(asarray(samples), shared, 77), expected)


@pytest.mark.parametrize("asarray", [np.array, array_api_strict.asarray], ids=["numpy", "strict"])
def test_operations_that_the_standard_lacks(asarray, rng):
    table = np.arange(12.0).reshape(3, 4)
    in_rows = as_numpy(put_in_rows(asarray(table), asarray([2, 0, 3]), -1.0))
    np.testing.assert_array_equal(in_rows, [[0, 1, -1, 3], [-1, 5, 6, 7], [8, 9, 10, -1]])
    masked = as_numpy(put_masked(asarray(table), asarray(table % 5 == 0), asarray([-1.0, -2.0, -3.0])))
    np.testing.assert_array_equal(masked, [[-1, 1, 2, 3], [4, -2, 6, 7], [8, 9, -3, 11]])
    for dtype in (np.float64, np.int64):
        values, segments = rng.integers(-9, 9, (50, 3)).astype(dtype), rng.integers(0, 5, 50)
        sums = as_numpy(segment_sums(asarray(values), asarray(segments), 7))
        np.testing.assert_array_equal(sums, [values[segments == segment].sum(axis=0) for segment in range(7)])
        assert sums.dtype == dtype


def test_namespaces():
    assert namespace_of(np.zeros(2)) is np
    assert namespace_of(np.float64(2)) is np
    assert namespace_of(array_api_strict.zeros(2)) is array_api_strict


@pytest.mark.gpu
@DATA
def test_the_search_runs_on_a_gpu(data, rng):
    cupy = usable_cupy()
    samples, codebook = data(rng)
    found = find_bmus(cupy.asarray(samples), prepare(cupy.asarray(codebook)))
    assert namespace_of(found.bmu) is cupy
    expected = find_bmus(samples, prepare(codebook))
    np.testing.assert_array_equal(as_numpy(found.bmu), expected.bmu)
    np.testing.assert_array_equal(as_numpy(found.second), expected.second)
    np.testing.assert_allclose(as_numpy(found.distance), expected.distance, rtol=1e-12)
