"""Plain-text tables, and a line about the machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from tests.benchmarks.timing import Options, Spread, cores

__all__ = ["cell", "environment", "environment_line", "show"]


def environment(options: Options) -> dict[str, Any]:
    """Where and with what the benchmark runs."""
    libraries = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    numpys = [lib for lib in libraries if "numpy" in lib["filepath"]] or libraries  # SciPy may bring another
    blas = sorted({f"{lib['internal_api']} {lib['version']}" for lib in numpys})
    return {
        "cores": cores(),
        "threads": options.threads,
        "quick": options.quick,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "dask": metadata.version("dask"),
        "som_dask": metadata.version("som_dask"),
        "blas": ", ".join(blas) or "unknown",
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment_line(found: dict[str, Any]) -> str:
    """The environment on one line."""
    return (
        f"{found['cores']} cores ({found['processor']}), {found['threads']} threads, Python {found['python']}, "
        f"NumPy {found['numpy']}, BLAS {found['blas']}, Dask {found['dask']}"
    )


def cell(value: Any) -> str:
    """A value as text: a `Spread` as its median and range, a number with three digits."""
    if isinstance(value, Spread):
        extent = f" [{_number(value.low)}, {_number(value.high)}]" if value.rounds > 1 else ""
        return _number(value.median) + extent
    if isinstance(value, float):
        return _number(value)
    return "-" if value is None else str(value)


def _number(value: float) -> str:
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    digits = 2 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{min(max(digits, 0), 6)}f}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()) -> None:
    """Print a table; cells are turned into text by `cell`, the first column is set to the left."""
    table = [list(columns), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    print(f"\n{title}")
    for k, line in enumerate(table):
        text = [f"{line[0]:<{widths[0]}}", *(f"{v:>{w}}" for v, w in zip(line[1:], widths[1:], strict=True))]
        print("  ".join(text))
        if k == 0:
            print("  ".join("-" * width for width in widths))
    for note in notes:
        print(f"  {note}")
    print(flush=True)
