"""The engines that the contract is for: on this CPU, on a GPU, and the GPU's compiled for this machine."""

import dataclasses

import pytest

from som_dask.engine.engines import ENGINES
from tests.contracts.cuda_on_host import HostDevice, compiler
from tests.reference.data import usable_cupy


@dataclasses.dataclass(frozen=True)
class Case:
    """An engine, and the stand-in for a GPU that it runs on, if any."""

    engine: object
    host: object = None

    @property
    def exact(self):
        return self.engine.precision == "exact"

    @property
    def on_gpu(self):
        return self.engine.device == "gpu"


@pytest.fixture(scope="session")
def compiled_kernels(tmp_path_factory):
    """A folder for kernels compiled for the host."""
    return tmp_path_factory.mktemp("kernels")


def case_of(engine, where, request, monkeypatch):
    """The case; what a stand-in is made of must be whole in the end."""
    if where == "gpu":
        usable_cupy()
        yield Case(engine)
    elif where == "host":
        if compiler() is None:
            pytest.skip("there is no g++ to compile the kernels for the host")
        host = HostDevice(request.getfixturevalue("compiled_kernels")).install(monkeypatch)
        yield Case(engine, host)
        assert host.intact()
    else:
        yield Case(engine)


def places(engine):
    """Where an engine can be tried."""
    if engine.device == "cpu":
        return [pytest.param((engine, "cpu"), id=engine.name)]
    return [
        pytest.param((engine, "host"), id=f"{engine.name}-on-host"),
        pytest.param((engine, "gpu"), id=engine.name, marks=pytest.mark.gpu),
    ]


@pytest.fixture(params=[param for engine in ENGINES for param in places(engine)])
def case(request, monkeypatch):
    """Every engine."""
    yield from case_of(*request.param, request, monkeypatch)


@pytest.fixture(params=[param for engine in ENGINES if engine.precision == "exact" for param in places(engine)])
def exact_case(request, monkeypatch):
    """Every exact engine."""
    yield from case_of(*request.param, request, monkeypatch)


@pytest.fixture(params=[param for engine in ENGINES if engine.name == "gpu-exact" for param in places(engine)])
def gpu_case(request, monkeypatch):
    """The exact engine on a GPU."""
    yield from case_of(*request.param, request, monkeypatch)
