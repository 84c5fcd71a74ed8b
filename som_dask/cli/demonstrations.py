"""The demonstrations: a photograph redrawn in the colors of a map, and a large map that learns 40 colors."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig, draw_codebook
from som_dask.analysis.label_store import infer_to_store
from som_dask.errors import ParameterError, StorageError
from som_dask.io.files import beside_for_me, remove
from som_dask.io.leftovers import remove_leftovers
from som_dask.io.models import save_model, store_encoding
from som_dask.io.outputs import publish
from som_dask.io.stores import open_dataset
from som_dask.plotting.maps import plot_colors, plot_u_matrix, save_color_image, save_figure, write_picture
from som_dask.training.config import MapConfig
from som_dask.training.run import Epoch
from som_dask.training.train import train

__all__ = [
    "COLORS_LATTICE",
    "LATTICE",
    "draw_colors",
    "load_photograph",
    "run_colors",
    "run_photograph",
    "write_photograph",
]

LATTICE = Lattice(40, 40)
COLORS_LATTICE = Lattice(400, 400, "rectangular")
COLORS = 40
CHUNK_ROWS = 8192
FULL = 255.0


def load_photograph() -> np.ndarray:
    """Load scikit-learn's bundled photograph ``flower.jpg``: (427, 640, 3) uint8.

    Raises
    ------
    ParameterError
        If the extra ``demo`` is not installed.
    """
    try:
        from sklearn.datasets import load_sample_image

        return load_sample_image("flower.jpg")
    except ImportError as error:
        raise ParameterError("the demo needs scikit-learn and pillow: pip install 'som_dask[demo]'") from error


def write_photograph(path: str | os.PathLike[str]) -> None:
    """Write the photograph's pixels as samples, ``pixels (pixel, channel)`` uint8, into a chunked Zarr store."""
    picture = load_photograph()
    height, width, _ = picture.shape
    y, x = np.divmod(np.arange(height * width), width)
    dataset = xr.Dataset(
        {"pixels": (("pixel", "channel"), picture.reshape(-1, 3), {"long_name": "brightness", "units": "1"})},
        coords={
            "channel": np.array(["red", "green", "blue"], dtype=object),
            "y": ("pixel", y.astype(np.int32)),
            "x": ("pixel", x.astype(np.int32)),
        },
        attrs={"title": "pixels of flower.jpg, row by row", "height": height, "width": width},
    ).chunk(pixel=CHUNK_ROWS)
    temporary = beside_for_me(path)
    remove_leftovers(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about consolidated metadata
            dataset.to_zarr(temporary, mode="w-", zarr_format=3, encoding=store_encoding(dataset))
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        raise StorageError(
            f"can't write {path}: {error.strerror}; free some space or choose another output"
        ) from error
    publish(temporary, path, overwrite=True)


def run_photograph(
    folder: Path, config: MapConfig, *, on_epoch: Callable[[Epoch], None] | None = None
) -> tuple[xr.Dataset, dict[str, Path]]:
    """Train a map on the photograph, label every pixel and draw the pictures.

    Parameters
    ----------
    folder : Path
        Where everything is written; what an earlier demo left there is replaced.
    config : MapConfig
    on_epoch : callable, optional

    Returns
    -------
    model : xarray.Dataset
    paths : dict of str to Path
        What was written, and where.
    """
    paths = {
        "samples": folder / "flower.zarr",
        "model": folder / "model.zarr",
        "labels": folder / "labels.zarr",
        "map": folder / "map.png",
        "U-matrix": folder / "u_matrix.png",
        "photograph": folder / "photograph.png",
    }
    write_photograph(paths["samples"])
    model = train(paths["samples"], LATTICE, config, on_epoch=on_epoch, progress=False)
    save_model(model, paths["model"], overwrite=True)
    infer_to_store(paths["samples"], model, paths["labels"], overwrite=True)
    save_figure(plot_colors(model, limits=(0.0, FULL)), paths["map"])
    save_figure(plot_u_matrix(model), paths["U-matrix"])
    labels = open_dataset(paths["labels"])
    _draw_photograph(model, labels, paths["photograph"])
    return model, paths


def _draw_photograph(model: xr.Dataset, labels: xr.Dataset, path: Path) -> None:
    """Draw the photograph as it is, beside itself with each pixel in its node's color."""
    from matplotlib.figure import Figure

    original = load_photograph()
    colors = model["codebook"].values[labels["bmu_row"].values, labels["bmu_col"].values]
    redrawn = np.clip(colors / FULL, 0, 1).reshape(original.shape)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    titles = ("photograph", f"redrawn in the {LATTICE.n_nodes} colors of the codebook")
    for ax, title, picture in zip(figure.subplots(1, 2), titles, (original, redrawn), strict=True):
        ax.imshow(picture)
        ax.set_title(title)
        ax.set_axis_off()
    data = BytesIO()
    figure.savefig(data, format="png", dpi=150)
    write_picture(path, data.getvalue())


def draw_colors() -> xr.DataArray:
    """Draw 40 colors at random: ``(color, channel)`` (40, 3) float64, from 0 to 1."""
    return xr.DataArray(
        np.random.default_rng(0).random((COLORS, 3)),
        dims=("color", "channel"),
        coords={"channel": np.array(["red", "green", "blue"], dtype=object)},
        name="colors",
    )


def run_colors(
    folder: Path, config: OnlineConfig, *, on_epoch: Callable[[Epoch], None] | None = None
) -> tuple[xr.Dataset, dict[str, Path]]:
    """Train a map on 40 colors by the online rule, and draw it as it was at the start and is at the end.

    Parameters
    ----------
    folder : Path
        Where everything is written; what an earlier demo left there is replaced.
    config : OnlineConfig
    on_epoch : callable, optional

    Returns
    -------
    model : xarray.Dataset
    paths : dict of str to Path
        What was written, and where.
    """
    paths = {
        "model": folder / "colors_model.zarr",
        "start": folder / "colors_start.png",
        "end": folder / "colors_end.png",
    }
    start = draw_codebook(COLORS_LATTICE, 3, config.seed)
    save_color_image(start.reshape(*COLORS_LATTICE.shape, 3), paths["start"])
    model = train(draw_colors(), COLORS_LATTICE, config, on_epoch=on_epoch, progress=False)
    save_model(model, paths["model"], overwrite=True)
    save_color_image(model["codebook"].values, paths["end"])
    return model, paths
