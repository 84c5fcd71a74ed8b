"""What each neighborhood makes of a whole training."""

from typing import get_args

import numpy as np
import pytest
from sklearn.datasets import load_iris

from som_dask.lattice import Lattice
from som_dask.neighborhood import Kernel
from som_dask.training import TrainingConfig, fit, train

LATTICE = Lattice(10, 10)
KERNELS = get_args(Kernel)


def uniform(n=1500):
    return np.random.default_rng(5).random((n, 2))


def iris():
    data = load_iris().data
    return (data - data.mean(axis=0)) / data.std(axis=0)


def errors(samples, **options):
    model = fit(samples, LATTICE, TrainingConfig(initialization="sample", **options))
    return float(model["quantization_error"][-1]), float(model["topographic_error"][-1])
