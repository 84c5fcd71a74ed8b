"""Notes: few files and requests for any number of records, and no record lost by a kill."""

import json

import pytest

from som_dask.errors import StorageError
from som_dask.io import notes
from som_dask.io.files import names_in, write_bytes
from som_dask.io.notes import JOINED, Notes


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return f"{tmp_path}/done" if request.param == "local" else f"memory://{tmp_path.name}/done"


@pytest.fixture
def requests(monkeypatch):
    """What is asked of the storage."""
    seen = []
    for name in ("names_in", "read_bytes", "write_bytes", "remove", "remove_all"):
        plain = getattr(notes, name)
        monkeypatch.setattr(notes, name, lambda *a, name=name, plain=plain: seen.append(name) or plain(*a))
    return seen


def blocks_of(records):
    return sorted({record["block"] for record in records})


def test_thousands_of_records_are_a_few_dozen_files(folder, requests):
    writer, n = Notes(folder), 3000 if folder.startswith("memory") else 150
    for block in range(n):
        writer.add({"block": block, "distance": 0.1}, 1)
    writer.flush()
    assert requests.count("write_bytes") == n + n // JOINED + n // JOINED**2 + n // JOINED**3
    requests.clear()
    found = Notes(folder).read(join=True)
    assert blocks_of(found) == list(range(n))
    assert len(requests) < 40 or folder.startswith("/")  # where each file is removed by itself
    requests.clear()
    assert Notes(folder).read() == found
    assert requests == ["names_in", "read_bytes"]


def test_records_wait_for_others(folder):
    writer = Notes(folder)
    assert [writer.add({"block": i}, 4) for i in range(10)] == [False, False, False, True] * 2 + [False] * 2
    assert blocks_of(Notes(folder).read()) == list(range(8))
    writer.flush()
    writer.flush()
    assert blocks_of(Notes(folder).read()) == list(range(10))
    assert len(names_in(folder)) == 3


def test_a_record_that_has_waited_for_long_is_written(folder, monkeypatch):
    now = iter([0.0, 0.0, 1.0, 2.0])
    monkeypatch.setattr(notes.time, "monotonic", lambda: next(now))
    writer = Notes(folder)
    assert [writer.add({"block": i}, 100) for i in range(3)] == [False, False, True]


def test_several_writers_have_one_folder(folder):
    writers = [Notes(folder) for _ in range(3)]
    for block in range(60):
        writers[block % 3].add({"block": block}, 1)
    assert blocks_of(Notes(folder).read()) == list(range(60))


def test_a_kill_at_any_step_loses_no_record(folder, monkeypatch):
    """Between the writing of a joined file and the removal of the others, all are there."""

    class Killed(BaseException):
        pass

    for name in ("remove", "remove_all"):
        monkeypatch.setattr(notes, name, lambda _: (_ for _ in ()).throw(Killed))
    writer = Notes(folder)
    for block in range(JOINED - 1):
        writer.add({"block": block}, 1)
    with pytest.raises(Killed):
        writer.add({"block": JOINED - 1}, 1)
    monkeypatch.undo()
    assert blocks_of(Notes(folder).read(join=True)) == list(range(JOINED))
    assert len(names_in(folder)) == 1
    assert blocks_of(Notes(folder).read()) == list(range(JOINED))


def test_a_file_that_is_joined_while_it_is_read(folder, monkeypatch):
    writer = Notes(folder)
    for block in range(JOINED - 1):
        writer.add({"block": block}, 1)
    plain, last = notes.read_bytes, [JOINED - 1]

    def read(path):
        if last:
            writer.add({"block": last.pop()}, 1)
        return plain(path)

    monkeypatch.setattr(notes, "read_bytes", read)
    assert blocks_of(Notes(folder).read()) == list(range(JOINED))


def test_what_can_not_be_written_goes_on_waiting(folder, monkeypatch):
    writer = Notes(folder)
    with monkeypatch.context() as patched:
        patched.setattr(notes, "write_bytes", lambda *_: (_ for _ in ()).throw(StorageError("full")))
        with pytest.raises(StorageError):
            writer.add({"block": 1}, 1)
    writer.flush()
    assert blocks_of(Notes(folder).read()) == [1]


def test_a_damaged_file_is_named(folder):
    assert not Notes(folder).exist()
    write_bytes(f"{folder}/a.jsonl", json.dumps({"block": 1}).encode()[:-1])
    assert Notes(folder).exist()
    with pytest.raises(StorageError, match=r"done/a.jsonl is damaged; remove it, and"):
        Notes(folder).read()
