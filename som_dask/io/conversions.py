"""Files of kinds that are not read directly: what they are, and how they become a Zarr store."""

from __future__ import annotations

import os

from som_dask.io.files import PathOrUrl

__all__ = ["describe_conversion"]

FRAME = "{read}({path!r}).to_xarray().to_zarr({store!r})"
GRID = "xarray.open_dataset({path!r}).to_zarr({store!r})"
# By the ending of the name: what the file is, how it is read, and how a Zarr store is made of it.
KINDS = {
    ".hdf": ("an HDF file", "", GRID),
    **dict.fromkeys((".grib", ".grib2", ".grb", ".grb2"), ("a GRIB file", "", GRID)),
    ".txt": ("a text file", "pandas.read_csv", FRAME),
    **dict.fromkeys((".feather", ".arrow"), ("a Feather file", "pandas.read_feather", FRAME)),
    **dict.fromkeys((".xls", ".xlsx"), ("an Excel file", "pandas.read_excel", FRAME)),
    ".npy": ("a NumPy file", "numpy.load", "zarr.save_array({store!r}, numpy.load({path!r}))"),
    **dict.fromkeys((".tif", ".tiff"), ("a TIFF file", "", "rioxarray.open_rasterio({path!r}).to_zarr({store!r})")),
}


def describe_conversion(path: PathOrUrl) -> str | None:
    """Return what a file is and how a store is made of it, by the ending of its name; None if that is unknown."""
    text = os.fspath(path)
    stem, ending = os.path.splitext(text.rstrip("/"))
    if ending.lower() not in KINDS:
        return None
    what, read, form = KINDS[ending.lower()]
    recipe = form.format(read=read, path=text, store=f"{os.path.basename(stem)}.zarr")
    direct = f", or in Python give {read}({text!r}) itself" if read else ""
    return f"{what}, no Zarr store; make one by {recipe}{direct}"
