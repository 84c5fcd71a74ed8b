"""What a map says of itself: in a line, and in a notebook beside a small picture."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.maps import plot_u_matrix

__all__ = ["describe_map", "show_in_notebook"]

MOST_FEATURES = 8


def describe_map(lattice: Lattice, model: xr.Dataset | None) -> str:
    """Tell lattice, features, epochs and errors of a map in one line."""
    told = f"{_describe_lattice(lattice)}: "
    if model is None:
        return f"{told}not trained"
    stopped = ", interrupted" if model.attrs.get("stopped_by") == "interrupt" else ""
    return (
        f"{told}{model.sizes['feature']} features, {model.sizes['epoch'] - 1} epochs{stopped}, "
        f"quantization error {model['quantization_error'].values[-1]:.4g}, "
        f"topographic error {model['topographic_error'].values[-1]:.3g}"
    )


def show_in_notebook(lattice: Lattice, model: xr.Dataset | None) -> str:
    """Return HTML that tells some facts of a map, beside a small picture of it if it is trained."""
    facts = {"lattice": _describe_lattice(lattice)}
    if model is None:
        facts["codebook"] = "none: not trained yet"
    else:
        features = [str(name) for name in model["feature"].values]
        facts |= {
            "features": ", ".join(features[:MOST_FEATURES]) + (" ..." if len(features) > MOST_FEATURES else ""),
            "samples": f"{int(model['hits'].sum()):,}",
            "epochs": str(model.sizes["epoch"] - 1),
            "quantization error": f"{model['quantization_error'].values[-1]:.6g}",
            "topographic error": f"{model['topographic_error'].values[-1]:.4g}",
        }
        if model.attrs.get("stopped_by") == "interrupt":
            facts["epochs"] += ", interrupted"
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    picture = "" if model is None else _small_picture(model)
    return (
        f"<div style='display:flex;align-items:center;gap:1em'><div><b>KohonenMap</b><table>{rows}</table></div>"
        f"{picture}</div>"
    )


def _describe_lattice(lattice: Lattice) -> str:
    return f"{lattice.rows} x {lattice.cols}, {lattice.topology}, {lattice.boundary}"


def _small_picture(model: xr.Dataset) -> str:
    """The U-matrix as an HTML image; nothing where matplotlib is missing."""
    buffer = io.BytesIO()
    try:
        ax: Any = plot_u_matrix(model)
    except ParameterError:
        return ""
    ax.figure.savefig(buffer, format="png", dpi=50, bbox_inches="tight")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='U-matrix' src='data:image/png;base64,{data}'>"
