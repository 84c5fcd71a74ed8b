"""The engines that there are."""

from __future__ import annotations

from som_dask.engine.cpu import CPU_EXACT, CpuFast
from som_dask.engine.gpu import GpuExact, GpuFast
from som_dask.engine.protocol import Engine, Precision
from som_dask.errors import ParameterError

__all__ = ["ENGINES", "engine_for"]

ENGINES: tuple[Engine, ...] = (CPU_EXACT, CpuFast(), GpuExact(), GpuFast())


def engine_for(device: str = "cpu", precision: Precision = "exact") -> Engine:
    """The engine of a device and a precision.

    Raises
    ------
    ParameterError
        If there is none.
    """
    for engine in ENGINES:
        if (engine.device, engine.precision) == (device, precision):
            return engine
    raise ParameterError(f"device must be 'cpu' or 'gpu', got {device!r}")
