"""Notes of what a run has finished: many records in each file, and few files however long the run.

Each writer gives its files names of its own, so several may write to one folder. A writer joins every eight of its
files of one size to one of the next size: of n files that it wrote about 8 log8(n) are left, and each record was
written log8(n) times.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from typing import Any

from som_dask.errors import StorageError
from som_dask.io.files import is_url, names_in, read_bytes, remove, remove_all, write_bytes

__all__ = ["Notes"]

SUFFIX = ".jsonl"
JOINED = 8  # files of one size that are joined
LONGEST_WAIT = 2.0  # seconds after which a record is written with the next one


class Notes:
    """The notes in a folder, to which this writer adds.

    Parameters
    ----------
    folder : path or URL
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._writer, self._written = uuid.uuid4().hex, 0
        self._files: list[list[tuple[str, bytes]]] = []  # names and contents of the own ones, by size
        self._waiting: list[bytes] = []
        self._since = 0.0

    def exist(self) -> bool:
        """Return whether there is anything in the folder, even of another kind."""
        return bool(names_in(self.folder))

    def read(self, *, join: bool = False) -> list[dict[str, Any]]:
        """Read the records of all writers; one is there twice if a writer was killed while it joined files.

        Parameters
        ----------
        join : bool
            Join all files to one when they are read. No other writer may be at work.

        Raises
        ------
        StorageError
            If a file can't be read, or is damaged.
        """
        texts = self._read_all()
        found = [record for name, text in texts.items() for record in self._parse(name, text)]
        if join and len(texts) > 1:
            self._save(b"".join(texts.values()))
            self._remove(texts)
        return found

    def _read_all(self) -> dict[str, bytes]:
        """Read all files; those that another writer has joined meanwhile are found under their new name."""
        texts: dict[str, bytes] = {}
        while True:
            names = [name for name in names_in(self.folder) if name.endswith(SUFFIX)]
            texts = {name: text for name, text in texts.items() if name in names}
            try:
                for name in names:
                    if name not in texts:
                        texts[name] = read_bytes(f"{self.folder}/{name}")
                return texts
            except StorageError:
                if name in names_in(self.folder):
                    raise

    def _parse(self, name: str, text: bytes) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in text.splitlines()]
        except ValueError as error:
            raise StorageError(
                f"{self.folder}/{name} is damaged; remove it, and what it tells is done again"
            ) from error

    def add(self, record: dict[str, Any], most_waiting: int) -> bool:
        """Add a record, and write all that wait if these are many or have waited for long.

        Parameters
        ----------
        record : dict
            JSON values.
        most_waiting : int
            Number of records at which they are written; a kill loses fewer.

        Returns
        -------
        bool
            Whether all records are written.
        """
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(json.dumps(record).encode() + b"\n")
        if len(self._waiting) < most_waiting and time.monotonic() - self._since < LONGEST_WAIT:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Write the records that wait.

        Raises
        ------
        StorageError
            If they can't be written; then they go on waiting.
        """
        if self._waiting:
            text = b"".join(self._waiting)
            name = self._save(text)
            self._waiting = []
            self._sort_in(0, name, text)

    def _sort_in(self, size: int, name: str, text: bytes) -> None:
        """Sort a file in by its size, and join those of this size if they are many."""
        if size == len(self._files):
            self._files.append([])
        files = self._files[size]
        files.append((name, text))
        if len(files) == JOINED:
            self._files[size] = []
            joined = b"".join(text for _, text in files)
            new = self._save(joined)
            self._remove(name for name, _ in files)
            self._sort_in(size + 1, new, joined)

    def _save(self, text: bytes) -> str:
        name = f"{self._writer}-{self._written:06d}{SUFFIX}"
        write_bytes(f"{self.folder}/{name}", text)
        self._written += 1
        return name

    def _remove(self, names: Iterable[str]) -> None:
        paths = [f"{self.folder}/{name}" for name in names]
        if is_url(self.folder):
            remove_all(paths)
            return
        for path in paths:
            remove(path)
