"""Samples and codebooks of many kinds, for the searches to be tried on."""

import numpy as np
import pytest


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


def usable_cupy():
    """CuPy, or skip the test and say why."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        cupy.zeros(1).get()
    except Exception as error:
        pytest.skip(f"CuPy is installed but there is no usable GPU: {error}")
    return cupy
