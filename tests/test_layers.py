"""Layers: each module imports only modules below it, and the lower ones know arrays only."""

import ast
import sys
from pathlib import Path

import pytest

import som_dask

# Bottom to top. A module may import those before it, at the top of the file or inside a function.
ORDER = (
    "errors",
    "positions",
    "ordered",
    "lattice",
    "schedule",
    "backend",
    "neighborhood",
    "bmu",
    "lanes",
    "patches",
    "strips",
    "pruned",
    "masked",
    "fixed",
    "fingerprint",
    "accumulate",
    "sums",
    "preparation",
    "cuda",
    "batch",
    "nearest_k",
    "principal",
    "initial",
    "tiles",
    "online",
    "quality",
    "preservation",
    "deviations",
    "moments",
    "summary",
    "picked",
    "plane",
    # Above this line arrays only (NumPy and the standard library); below it Dask, xarray and Zarr too.
    "scaling",
    "training_config",
    "storage",
    "schema",
    "stored",
    "fields",
    "sources",
    "dims",
    "stacking",
    "weights",
    "samples",
    "computing",
    "reduction",
    "checkpoint",
    "training_data",
    "training",
    "online_training",
    "labels",
    "soft",
    "inference",
    "evaluation",
    "node_sums",
    "node_summary",
    "clusters",
    "credentials",
    "telemetry",
    "events",
    "model_key",
    "manifest",
    "registry",
    "retraining",
    "drawing",
    "plot",
    "plot_planes",
    "plot_fields",
    "plot_labels",
    "plot_profiles",
    "plot_training",
    "report_page",
    "report",
    "kohonen_map",
    "config",
    "cluster",
    "demo",
    "options",
    "models_cli",
    "evaluate_cli",
    "reading_cli",
    "report_cli",
    "cli",
)
ARRAYS_ONLY = ORDER[: ORDER.index("plane") + 1]
SEARCH = ("patches", "strips", "pruned", "masked")
SUMS = ("fingerprint", "accumulate", "online", "principal", "deviations", "moments")
COMPILED = {name: {"numba"} for name in (*SEARCH, *SUMS)}
INTRINSIC = {name: {"numba", "llvmlite"} for name in ("ordered", "lanes", "tiles")}
MAY_ALSO_IMPORT = {"backend": {"cupy"}, **COMPILED, **INTRINSIC}  # besides NumPy

FOLDER = Path(som_dask.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def imports_of(source):
    """What a module imports anywhere: names of som_dask's modules ("" for the package), and of other packages."""
    inner, outer = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["som_dask" if node.level else "", node.module]))
            names = [f"som_dask.{alias.name}" for alias in node.names] if origin == "som_dask" else [origin]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "som_dask":
                inner.add(rest.partition(".")[0])
            else:
                outer.add(package)
    return inner, outer


def faults_of(module, source):
    """What is wrong with a module's imports, in words."""
    if module not in ORDER:
        return [f"give {module}.py its place in ORDER in tests/test_layers.py"]
    inner, outer = imports_of(source)
    below = set(ORDER[: ORDER.index(module)])
    faults = [f"{module} imports {name}, which is not below it" for name in sorted(inner - below - {""})]
    if module in ARRAYS_ONLY:
        allowed = {"numpy"} | MAY_ALSO_IMPORT.get(module, set()) | sys.stdlib_module_names
        faults += [f"{module} imports {name}, but is to know arrays only" for name in sorted(outer - allowed)]
        faults += [f"{module} imports the whole package"] * ("" in inner)
    if module != "backend" and "cupy" in outer:
        faults.append(f"{module} names cupy; only backend may")
    return list(dict.fromkeys(faults))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_is_below_it(module):
    assert faults_of(module, (FOLDER / f"{module}.py").read_text(encoding="utf-8")) == []


def test_there_are_no_modules_elsewhere():
    assert [path for path in FOLDER.rglob("*.py") if path.parent != FOLDER] == []
    assert len(set(ORDER)) == len(ORDER)
    assert set(ARRAYS_ONLY) & set(MODULES) == set(ARRAYS_ONLY)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("bmu", "from som_dask.batch import chunk_sums", "bmu imports batch"),
        ("bmu", "def f():\n    from som_dask import batch", "bmu imports batch"),
        ("bmu", "def f():\n    from . import batch", "bmu imports batch"),
        ("bmu", "from .batch import chunk_sums", "bmu imports batch"),
        ("bmu", "import som_dask.batch as b", "bmu imports batch"),
        ("bmu", "import dask.array", "bmu imports dask"),
        ("summary", "if TYPE_CHECKING:\n    from xarray import Dataset", "summary imports xarray"),
        ("batch", "import cupy", "batch imports cupy"),
        ("training", "from cupy import asarray", "training names cupy"),
        ("quality", "import som_dask", "quality imports the whole package"),
        ("bmu", "from som_dask.bmu import prepare", "bmu imports bmu"),
        ("novelty", "", "give novelty.py its place"),
    ],
)
def test_a_wrong_import_is_found(module, source, fault):
    faults = faults_of(module, source)
    assert faults
    assert faults[0].startswith(fault)


def test_right_imports_pass():
    source = "import math, numpy\nfrom som_dask.backend import to_host\nfrom som_dask import errors"
    assert faults_of("bmu", source) == []
    assert faults_of("backend", "def f():\n    import cupy") == []
    assert faults_of("training", "import dask, som_dask\nfrom som_dask.batch import BatchSums") == []
