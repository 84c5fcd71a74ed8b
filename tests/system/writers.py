"""All commands that write: what they need, what they leave, and what must be true of it at every moment."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from som_dask._version import __version__

__all__ = [
    "WRITERS",
    "Contents",
    "Writer",
    "check_finished",
    "check_log",
    "check_unfinished",
    "copy_given",
    "is_registered",
    "look",
    "prepare",
    "take_advice",
]

MAP = ("--rows", "2", "--cols", "3", "--epochs", "3")
REGISTRY = ("--registry", "registry")
BLOCKS = ("--block-size", "1 KiB")  # two, of 40 rows each


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Attributes
    ----------
    name : str
    arguments : sequence of str
        Those of som-dask, or the name of a function of this module.
    given : mapping
        What is in its folder at the start: names, and what that is among the things that `prepare` makes.
    outputs : sequence of str
        What it writes: at every moment each of them is as it was before the command, or as it is after it.
    log : str, optional
        File that it appends lines to.
    repeats : bool
        Whether it can be run again after it is done, to the same result.
    """

    name: str
    arguments: Sequence[str] | str
    given: Mapping[str, str] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    log: str | None = None
    repeats: bool = True

    def __str__(self) -> str:
        return self.name


def _of(*names: str, **others: str) -> dict[str, str]:
    return {**{name: name for name in names}, **{f"{name}.zarr": source for name, source in others.items()}}


OUT = ("--output", "out.zarr")
OVER = (*OUT, "--overwrite")
WRITERS = [
    Writer("train", ("train", "cells.zarr", *OUT, *MAP), _of("cells.zarr"), ["out.zarr"]),
    Writer(
        "train --overwrite",
        ("train", "cells.zarr", *OVER, *MAP),
        {**_of("cells.zarr", out="other.zarr"), "out.zarr.checkpoints": "other.checkpoints"},
        ["out.zarr"],
    ),
    Writer(
        "train --name",
        ("train", "cells.zarr", *REGISTRY, "--name", "photo", *MAP),
        _of("cells.zarr", "registry"),
    ),
    Writer("retrain", ("retrain", "photo@dev", "new.zarr", *REGISTRY), _of("new.zarr", "registry"), repeats=False),
    Writer(
        "infer", ("infer", "model.zarr", "cells.zarr", *OUT, *BLOCKS), _of("cells.zarr", "model.zarr"), ["out.zarr"]
    ),
    Writer(
        "infer --nearest",
        ("infer", "model.zarr", "cells.zarr", "--nearest", "2", *OUT, *BLOCKS),
        _of("cells.zarr", "model.zarr"),
        ["out.zarr"],
    ),
    Writer(
        "infer --overwrite",
        ("infer", "model.zarr", "cells.zarr", *OVER, *BLOCKS),
        _of("cells.zarr", "model.zarr", out="labels.zarr"),
        ["out.zarr"],
    ),
    Writer(
        "evaluate --log-file",
        ("evaluate", "model.zarr", "cells.zarr", *OUT, "--log-file", "log.jsonl"),
        _of("cells.zarr", "model.zarr", "log.jsonl"),
        ["out.zarr"],
        "log.jsonl",
    ),
    Writer("clusters", ("clusters", "model.zarr", "--n-clusters", "2", *OUT), _of("model.zarr"), ["out.zarr"]),
    Writer(
        "clusters --overwrite",
        ("clusters", "model.zarr", "--n-clusters", "2", *OVER),
        _of("model.zarr", out="clusters.zarr"),
        ["out.zarr"],
    ),
    Writer(
        "report --overwrite",
        ("report", "model.zarr", "--overwrite"),
        _of("model.zarr", "report.html"),
        ["report.html"],
    ),
    Writer("models promote", ("models", "promote", "photo@dev", *REGISTRY), _of("registry")),
    Writer(
        "models delete",
        ("models", "delete", f"dev/photo/{__version__}/1/1", *REGISTRY),
        _of("registry"),
        repeats=False,
    ),
    Writer(
        "demo --data-only", ("demo", "--data-only", "--output", "."), {"flower.zarr": "other.zarr"}, ["flower.zarr"]
    ),
    Writer("picture", "draw_picture", _of("model.zarr", "map.png"), ["map.png"]),
]


def prepare() -> None:
    """Make in the current folder what the commands are given, and run each of them once on something of the kind."""
    import matplotlib

    from som_dask.cli.main import main
    from som_dask.io.checkpoints import Checkpoint, CheckpointFolder

    matplotlib.rcParams["svg.hashsalt"] = "the same names of parts in each run"
    rng = np.random.default_rng(0)
    features = np.array(["a", "b", "c"], dtype=object)
    for name in ("cells.zarr", "new.zarr"):
        cells = xr.DataArray(rng.normal(size=(80, 3)), dims=("cell", "marker"), coords={"marker": features})
        cells.to_dataset(name="counts").chunk(cell=40).to_zarr(name, zarr_format=3, consolidated=False)
    for command in (
        ("train", "cells.zarr", "--output", "model.zarr", *MAP),
        ("train", "cells.zarr", "--output", "other.zarr", *MAP, "--seed", "1", "--initialization", "random"),
        ("train", "cells.zarr", *REGISTRY, "--name", "photo", *MAP),
        ("retrain", "photo@dev", "new.zarr", "--registry", "warm"),
        ("infer", "other.zarr", "cells.zarr", "--output", "labels.zarr", *BLOCKS, "--log-file", "log.jsonl"),
        ("infer", "model.zarr", "cells.zarr", "--nearest", "2", "--output", "warm.zarr"),
        ("evaluate", "other.zarr", "cells.zarr"),
        ("clusters", "other.zarr", "--n-clusters", "2", "--output", "clusters.zarr"),
        ("report", "other.zarr"),
        ("demo", "--data-only", "--output", "demo"),
    ):
        if "warm" in command:
            shutil.copytree("registry", "warm")
        main(list(command))
    CheckpointFolder("other.checkpoints").save(Checkpoint(1, np.zeros((6, 3)), {}, {"seed": 2}))
    draw_picture()


def draw_picture() -> None:
    """Draw a picture of the model in the current folder."""
    from som_dask.io.models import open_model
    from som_dask.plotting.maps import plot_u_matrix, save_figure

    save_figure(plot_u_matrix(open_model("model.zarr")), "map.png")


def copy_given(writer: Writer, prepared: Path, folder: Path) -> None:
    """Make the folder of a command, with what it is given."""
    folder.mkdir()
    for name, source in writer.given.items():
        if (prepared / source).is_dir():
            shutil.copytree(prepared / source, folder / name)
        else:
            shutil.copyfile(prepared / source, folder / name)


# What is in a folder

TIMES = {"started", "finished", "created"}
NAMES = {"run_id", "content_sha256", "manifest_sha256", "sha256", "key", "parent"}
VOLATILE = TIMES | NAMES | {"git_commit", "git_modified"}  # of the checkout, which may be edited meanwhile
TIME = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+")
REVISION = re.compile(r"registry/[^/]+/[^/]+/[^/]+/[^/]+/\d+")
Contents = dict[str, str]


def look(folder: Path) -> Contents:
    """Return digests of all files in a folder, without what differs from run to run; and its empty folders."""
    found = {}
    for place, folders, files in os.walk(folder):
        here = os.path.relpath(place, folder)
        for name in files:
            path = os.path.normpath(f"{here}/{name}")
            found[path] = hashlib.sha256(_constant(Path(folder, path))).hexdigest()
        if not folders and not files:
            found[f"{os.path.normpath(here)}/"] = ""
    return found


def _constant(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name in ("zarr.json", "manifest.json"):
        return json.dumps(_strip(json.loads(data)), sort_keys=True).encode()
    if path.suffix == ".html":
        return TIME.sub(b"", data)
    return b"" if path.name == "claim" else data


def _strip(value: object) -> object:
    if isinstance(value, dict):
        return {name: _strip(entry) for name, entry in value.items() if name not in VOLATILE}
    return value


def _within(contents: Contents, path: str) -> Contents:
    return {name: digest for name, digest in contents.items() if name == path or name.startswith(f"{path}/")}


def _without(contents: Contents, *paths: str | None) -> Contents:
    return {
        name: digest
        for name, digest in contents.items()
        if not any(path is not None and (name == path or name.startswith(f"{path}/")) for path in paths)
    }


def _is_visible(path: str) -> bool:
    return not any(part.startswith(".") for part in path.split("/"))


def _models_in(contents: Contents) -> dict[str, Contents]:
    """Return the contents of each complete model of the registry, by its folder."""
    folders = sorted({match[0] for path in contents if (match := REVISION.match(path))})
    models = {folder: _within(contents, folder) for folder in folders if f"{folder}/manifest.json" in contents}
    return {
        folder: {path.removeprefix(folder): digest for path, digest in model.items()}
        for folder, model in models.items()
    }


# What must be true


def _compare(now: Contents, *states: Contents) -> None:
    """Refuse contents that are none of some states; tell how they differ from the last of them."""
    differing = sorted(path for path in {*now, *states[-1]} if now.get(path) != states[-1].get(path))
    assert now in states, f"other, missing or left over: {differing[:5]}"


def check_unfinished(writer: Writer, before: Contents, after: Contents, folder: Path, listed: str | None) -> None:
    """Check a folder in which a command has ended at any moment: everything that can be seen in it is whole.

    Parameters
    ----------
    writer : Writer
    before, after : dict of str to str
        What was there before the command, and what is after it if nothing disturbs it.
    folder : Path
    listed : str or None
        What ``som-dask models list --json`` prints there.
    """
    now = {path: digest for path, digest in look(folder).items() if _is_visible(path)}
    for output in writer.outputs:
        _compare(_within(now, output), _within(before, output), _within(after, output))
    for file in folder.glob("*.checkpoints/epoch-*.npz"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert file.name.split(".")[1] == digest[:32], f"damaged: {file}"
    checkpoints = {path.split("/")[0] for path in {**before, **now} if ".checkpoints/" in path}
    apart = (*writer.outputs, *checkpoints, "registry", writer.log)
    _compare(_without(now, *apart), _without(before, *apart))
    models = _models_in(now)
    for place, model in models.items():
        _compare(model, _models_in(before).get(place, {}), _models_in(after).get(place, {}))
    if listed is not None:
        keys = {f"registry/{entry['key']}" for entry in json.loads(listed)}
        assert keys == set(models), f"listed: {keys}; whole: {set(models)}"


def check_finished(writer: Writer, after: Contents, folder: Path) -> None:
    """Check a folder in which a command was run again until it was done: it is as if nothing had happened."""
    now = look(folder)
    _compare(_without(now, "registry", writer.log), _without(after, "registry", writer.log))
    models = _models_in(now)
    # A model that was registered just before the end is registered once more.
    assert _distinct(models) == _distinct(_models_in(after)), f"other models: {sorted(models)}"
    left = [
        path
        for path in _within(now, "registry")
        if not path.endswith(("/claim", "/")) and (REVISION.match(path) or [""])[0] not in models
    ]
    assert not left, f"left over: {left[:5]}"


def _distinct(models: dict[str, Contents]) -> list[Contents]:
    """Return different models, in each environment from the first revision to the last."""
    found: list[Contents] = []
    for model in models.values():
        if model not in found:
            found.append(model)
    return found


def is_registered(after: Contents, folder: Path) -> bool:
    """Whether a folder's registry holds already what it holds after the command."""
    return _within(look(folder), "registry") == _within(after, "registry")


def check_log(writer: Writer, prepared: Path, folder: Path, *, whole: bool) -> None:
    """Check that a command's log has all lines of earlier runs, and if it is to be whole that none is cut off."""
    if writer.log is None:
        return
    earlier, lines = (Path(place, writer.log).read_bytes().splitlines(True) for place in (prepared, folder))
    assert lines[: len(earlier)] == earlier, "lines of the log are lost"
    for line in lines if whole else []:
        assert line.startswith(b"{"), f"not from its beginning: {line!r}"
        assert line.endswith(b"}\n"), f"not to its end: {line!r}"


def take_advice(arguments: Sequence[str], line: str) -> Sequence[str] | None:
    """Return the arguments that an error's line tells to use in place of these; None if it tells of none."""
    if "without --resume" in line:
        return [argument for argument in arguments if argument != "--resume"]
    for option in ("--resume", "--overwrite"):
        if option in line and option not in arguments:
            return [*arguments, option]
    return None
