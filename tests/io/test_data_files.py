"""Paths of files that are read directly: of which kind they are, and which files they stand for."""

import os

import fsspec
import pytest
import zarr

from som_dask.errors import StorageError
from som_dask.io.data_files import find_files, kind_of_file
from som_dask.io.store_state import store_state


@pytest.fixture
def folder(tmp_path):
    for name in ("b.csv", "a.csv", ".a.csv", "_b.csv", "notes.txt", "deep/c.parquet", "deep/d=1/b.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "csv"),
        ("X.CSV.GZ", "csv"),
        ("x.tsv", "csv"),
        ("part-*.parquet", "parquet"),
        ("x.pq/", "parquet"),
        ("x.nc", "netcdf"),
        ("x.zarr", None),
        ("notes.txt", None),
        ("deep", "parquet"),
        ("", "csv"),
        ("s3://bucket", None),
    ],
)
def test_the_kind_is_that_of_the_name_or_of_what_is_in_the_folder(name, kind, folder):
    assert kind_of_file(name if "://" in name else f"{folder}/{name}") == kind


def test_a_store_is_a_store_whatever_its_name(tmp_path):
    zarr.open_group(tmp_path / "x.nc", mode="w")
    zarr.open_group("memory://kinds/x.csv", mode="w")
    assert kind_of_file(tmp_path / "x.nc") is None
    assert kind_of_file("memory://kinds/x.csv") is None


def test_files_are_in_the_order_of_their_names(folder):
    def names(path):
        return [os.path.relpath(name, folder) for name in find_files(path)]

    assert names(folder) == ["a.csv", "b.csv"]
    assert names(f"file://{folder}/*.csv") == ["a.csv", "b.csv"]
    assert names(folder / "deep") == ["deep/c.parquet", "deep/d=1/b.parquet"]
    assert names(folder / ".a.csv") == [".a.csv"]  # as it is named itself
    (folder / "x[1].csv").touch()
    assert names(folder / "x[1].csv") == ["x[1].csv"]


def test_objects_are_found_too(folder):
    filesystem = fsspec.filesystem("memory")
    for name in ("b.csv", "a.csv", "_c.csv"):
        filesystem.pipe_file(f"/found/{name}", b"1")
    wanted = ["memory://found/a.csv", "memory://found/b.csv"]
    assert [name.replace(":///", "://") for name in find_files("memory://found/*.csv")] == wanted
    assert find_files("memory://found", "csv") == wanted
    assert find_files("memory://found/a.csv") == wanted[:1]
    with pytest.raises(StorageError, match=r"memory://found/d\.csv does not exist"):
        find_files("memory://found/d.csv")


@pytest.mark.parametrize("path", ["a.csv", "*.csv", ""])
def test_the_state_changes_with_every_write(path, folder):
    before = store_state(folder / path, ["name of a variable"])
    assert before == store_state(folder / path)
    (folder / "notes.txt").write_text("others")
    assert store_state(folder / path) == before
    (folder / "a.csv").write_text("b.csv")
    assert store_state(folder / path) not in (before, None)


def test_objects_that_tell_nothing_have_no_state():
    fsspec.filesystem("memory").pipe_file("/state/a.csv", b"1")
    assert store_state("memory://state/a.csv") is None


def test_files_in_a_bucket(bucket):
    filesystem = fsspec.core.url_to_fs(bucket)[0]
    for name in ("b.csv", "a.csv"):
        filesystem.pipe_file(f"{bucket}/in/{name}", b"a,b\n1,2\n")
    assert find_files(f"{bucket}/in", "csv") == [f"{bucket}/in/a.csv", f"{bucket}/in/b.csv"]
    assert find_files(f"{bucket}/in/*.csv") == find_files(f"{bucket}/in", "csv")
    for path in (f"{bucket}/in/a.csv", f"{bucket}/in/*.csv"):
        assert kind_of_file(path) == "csv"
        before = store_state(path)
        assert before == store_state(path)
        filesystem.pipe_file(f"{bucket}/in/a.csv", path.encode())
        assert store_state(path) not in (before, None)
