"""What all tests share: a seeded generator, and hypothesis set so that each run tries the same examples."""

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("som_dask", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("som_dask")


@pytest.fixture
def rng():
    """A generator of random numbers, the same ones in every run."""
    return np.random.default_rng(20240229)
