"""Options of training by name, as one call takes them, sorted into the configurations that they belong to."""

from __future__ import annotations

from typing import Any, Literal, get_args

import xarray as xr

from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.errors import ParameterError
from som_dask.training.config import Execution, MapConfig

__all__ = ["Algorithm", "configure", "refuse_unknown", "take", "values_of"]

Algorithm = Literal["batch", "online"]


def values_of(codebook: Any) -> Any:
    """Return a codebook that is given as an array, or as a labeled one, as an array."""
    return codebook.values if isinstance(codebook, xr.DataArray) else codebook


def configure(algorithm: Algorithm, options: dict[str, Any]) -> tuple[MapConfig | OnlineConfig, Execution | None]:
    """Make the configuration of an algorithm and that of the execution; refuse unknown options."""
    if algorithm not in get_args(Algorithm):
        raise ParameterError(f"algorithm must be one of {get_args(Algorithm)}, got {algorithm!r}")
    if algorithm == "online":
        refuse_unknown(options, OnlineConfig)
        return OnlineConfig(**options), None
    refuse_unknown(options, MapConfig, Execution)
    return take(MapConfig, options), take(Execution, options)


def take(kind: Any, options: dict[str, Any]) -> Any:
    """Make a configuration of the options that belong to it, and remove these from `options`."""
    return kind(**{name: options.pop(name) for name in list(options) if name in kind.__dataclass_fields__})


def refuse_unknown(options: dict[str, Any], *kinds: Any) -> None:
    """Refuse options that belong to none of these configurations."""
    known = {kind.__name__: tuple(kind.__dataclass_fields__) for kind in kinds}
    unknown = [name for name in options if not any(name in names for names in known.values())]
    if unknown:
        told = "; ".join(f"{kind} knows {', '.join(names)}" for kind, names in known.items())
        raise ParameterError(f"there is no option {', '.join(unknown)}; {told}")
