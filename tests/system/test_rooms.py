"""The house: each room imports only rooms below it, and only the rooms that may know Dask, stores or a GPU do."""

import ast
import re
import sys
from pathlib import Path

import pytest

import som_dask

HOUSE = Path(som_dask.__file__).parent
# From the ground up. A module may import from its own room and from lower ones; rooms of one floor do not know
# each other.
FLOORS = (
    {"_version", "errors", "_types"},
    {"numerics"},
    {"algorithm"},
    {"engine", "io"},
    {"samples"},
    {"passes"},
    {"training", "analysis", "plotting"},
    {"kohonen_map", "estimator", "cluster_model"},
    {"cli"},
)
SHARED = FLOORS[0]
ONLY = {"plotting": {"algorithm", "io"}}  # narrower than its floor allows
ARRAYS = {"numpy", "numba", "llvmlite"}  # what the rooms on arrays use beside the standard library
ARRAY_ROOMS = {"numerics", "algorithm", "engine"}
CUPY = "engine/device.py"
FACE = "__init__.py"


def floor_of(room):
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def imports_of(source):
    """What a module imports anywhere: places in som_dask as tuples, and the names of other packages."""
    inner, outer = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["som_dask" if node.level else "", node.module]))
            names = [f"{origin}.{alias.name}" for alias in node.names] if origin == "som_dask" else [origin]
        else:
            continue
        for name in names:
            package, *place = name.split(".")
            inner.add(tuple(place)) if package == "som_dask" else outer.add(package)
    return inner, outer


def faults_of(path, source):
    """What is wrong with the imports of a module at a path within the package, in words."""
    room = path.partition("/")[0].removesuffix(".py")
    inner, outer = imports_of(source)
    rooms = {place[0] if place else "" for place in inner} - {room}
    allowed = set().union(*FLOORS[: floor_of(room)]) & (ONLY.get(room, set().union(*FLOORS)) | SHARED)
    faults = [f"{path} imports {other or 'the whole package'}" for other in sorted(rooms - allowed)]
    if room in ARRAY_ROOMS:
        known = ARRAYS | sys.stdlib_module_names | ({"cupy"} if path == CUPY else set())
        faults += [f"{path} imports {name}, but is to know arrays only" for name in sorted(outer - known)]
    elif "cupy" in outer:
        faults.append(f"{path} names cupy; only {CUPY} may")
    return faults


MODULES = sorted(path.relative_to(HOUSE).as_posix() for path in HOUSE.rglob("*.py"))


@pytest.mark.parametrize("path", [path for path in MODULES if path != FACE])
def test_imports_go_down(path):
    assert faults_of(path, (HOUSE / path).read_text(encoding="utf-8")) == []


def test_the_house_is_as_small_as_it_says():
    assert len([path for path in HOUSE.iterdir() if path.is_file()]) <= 8
    rooms = {path.name for path in HOUSE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set().union(*FLOORS) - SHARED - {"kohonen_map", "estimator", "cluster_model"}
    assert all(path.count("/") <= 1 for path in MODULES)


def test_the_face_shows_the_public_names_and_the_rooms_only():
    rooms = set().union(*FLOORS) - {"_version", "_types", "kohonen_map"}
    assert set(dir(som_dask)) == set(som_dask.__all__) | rooms
    assert all(hasattr(som_dask, name) for name in som_dask.__all__)
    assert not [name for name in som_dask.__all__ if name.startswith("_") and name != "__version__"]


def without_examples(source):
    """A module without the examples at the end of docstrings, which are read by themselves, in the reference."""
    return re.sub(r'\n *Examples\n *--------\n.*?(?=""")', "", source, flags=re.DOTALL)


def test_examples_alone_are_left_out():
    source = 'def f():\n    """Do.\n\n    Examples\n    --------\n    >>> f()\n    """\n    return 1\n'
    assert without_examples(source) == 'def f():\n    """Do.\n"""\n    return 1\n'


def test_no_module_is_too_long_to_read_in_one_sitting():
    lengths = {
        path: len(without_examples((HOUSE / path).read_text(encoding="utf-8")).splitlines()) for path in MODULES
    }
    assert {path: n for path, n in lengths.items() if n > 400} == {}


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("engine/cpu.py", "from som_dask.passes.run import run_pass", "engine/cpu.py imports passes"),
        ("engine/cpu.py", "def f():\n    from som_dask import passes", "engine/cpu.py imports passes"),
        ("engine/cpu.py", "def f():\n    from . import files", "engine/cpu.py imports files"),
        ("engine/cpu.py", "from som_dask.io.outputs import lock", "engine/cpu.py imports io"),
        ("io/files.py", "from som_dask.engine import cpu", "io/files.py imports engine"),
        ("training/batch.py", "import som_dask.analysis.labels as l", "training/batch.py imports analysis"),
        ("plotting/maps.py", "from som_dask.samples.table import Samples", "plotting/maps.py imports samples"),
        ("algorithm/quality.py", "import som_dask", "algorithm/quality.py imports the whole package"),
        ("engine/cpu.py", "import dask.array", "engine/cpu.py imports dask, but"),
        (
            "numerics/eigen.py",
            "if TYPE_CHECKING:\n    from xarray import Dataset",
            "numerics/eigen.py imports xarray",
        ),
        ("engine/cpu.py", "import cupy", "engine/cpu.py imports cupy"),
        ("passes/run.py", "from cupy import asarray", "passes/run.py names cupy"),
    ],
)
def test_a_wrong_import_is_found(path, source, fault):
    assert faults_of(path, source)[0].startswith(fault)


def test_right_imports_pass():
    source = "import math, numpy\nfrom som_dask.algorithm.lattice import Lattice\nfrom som_dask import errors"
    assert faults_of("engine/cpu.py", source) == []
    assert faults_of("engine/device.py", "def f():\n    import cupy") == []
    assert faults_of("training/batch.py", "import dask\nfrom som_dask.io.models import open_model") == []
