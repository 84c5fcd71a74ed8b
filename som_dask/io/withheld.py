"""A Zarr store that keeps its metadata documents back, so that nobody opens it before it is whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import Store
from zarr.storage import WrapperStore

__all__ = ["DOCUMENT", "WithheldMetadata"]

DOCUMENT = "zarr.json"


def _is_document(key: str) -> bool:
    return key.rpartition("/")[2] == DOCUMENT


class WithheldMetadata(WrapperStore[Store]):
    """A store whose chunks are those of another one, but whose metadata documents are kept in memory.

    Copies that are pickled have documents of their own; so workers can write chunks of the same store.

    Parameters
    ----------
    store : zarr.abc.store.Store
    documents : dict of str to bytes
        The metadata documents by key; those that are written come here.
    """

    def __init__(self, store: Store, documents: dict[str, bytes]) -> None:
        super().__init__(store)
        self.documents = documents

    def _with_store(self, store: Store) -> WithheldMetadata:
        return WithheldMetadata(store, self.documents)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithheldMetadata) and other.documents is self.documents

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read a chunk from the other store, or a document from memory."""
        if not _is_document(key):
            return await self._store.get(key, prototype, byte_range)
        data = self.documents.get(key)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def _get_many(self, requests: Iterable[tuple[str, Any, Any]]) -> AsyncGenerator[tuple[str, Any], None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        """Whether there is a chunk or document of this key."""
        return key in self.documents if _is_document(key) else await self._store.exists(key)

    async def is_empty(self, prefix: str) -> bool:
        """Whether there are no documents below a prefix."""
        return not any(key.startswith(prefix.strip("/")) for key in self.documents)

    async def set(self, key: str, value: Any) -> None:
        """Write a chunk to the other store, or a document to memory."""
        if _is_document(key):
            self.documents[key] = value.to_bytes()
        else:
            await self._store.set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """Write a chunk or document if there is none of this key."""
        if not await self.exists(key):
            await self.set(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Any]]) -> None:
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Remove a chunk from the other store, or a document from memory."""
        if _is_document(key):
            self.documents.pop(key, None)
        else:
            await self._store.delete(key)

    # What is listed are the groups and arrays: chunks are found by their keys.

    async def list(self) -> AsyncIterator[str]:
        """List the keys of the documents."""
        for key in list(self.documents):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the keys of the documents below a prefix."""
        for key in list(self.documents):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List the names of documents, groups and arrays in a group."""
        start = f"{prefix.strip('/')}/".lstrip("/")
        for name in {key.removeprefix(start).partition("/")[0] for key in self.documents if key.startswith(start)}:
            yield name
