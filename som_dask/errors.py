"""The exceptions of som_dask: one family, each with the exit status of the command line.

Every message is one line that names the thing at fault and what to do about it. Options in it stand between
backticks, as Python spells them: `dtype="float32"`, or `sample_dims` alone. The command line prints them as
``--dtype float32`` and ``--sample-dims``.
"""

from __future__ import annotations

import errno

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DataError",
    "Interrupted",
    "MemoryLimitError",
    "ModelExistsError",
    "ModelNotFoundError",
    "ParameterError",
    "SchemaError",
    "SomError",
    "StorageError",
    "is_out_of_memory",
]

NO_MEMORY = ("cannot allocate memory", "failed to map segment", "can't start new thread", "unable to allocate")


class SomError(Exception):
    """Base of all errors that som_dask raises on purpose.

    Examples
    --------
    >>> import som_dask as som
    >>> try:
    ...     som.Lattice(0, 5)
    ... except som.SomError as error:
    ...     print(error, "| exit status", error.exit_status)
    rows must be a positive integer, got 0 | exit status 2
    """

    exit_status = 1


class ParameterError(SomError, ValueError):
    """An argument, option or job-file entry is unusable."""

    exit_status = 2


class CheckpointError(SomError):
    """A checkpoint is missing, damaged, or belongs to another run."""

    exit_status = 3


class DataError(SomError, ValueError):
    """The input data can't be used: non-finite values, no rows, wrong dimensions."""

    exit_status = 4


class SchemaError(DataError):
    """The features of the data are not those that the model was trained on."""


class StorageError(SomError, OSError):
    """A store can't be opened, read, written or published."""

    exit_status = 5


class ModelExistsError(StorageError, FileExistsError):
    """A registry already has a model with this key."""


class ModelNotFoundError(StorageError, FileNotFoundError):
    """A registry holds no such model."""


class ClusterError(SomError, RuntimeError):
    """The Dask cluster can't be reached or lost its workers."""

    exit_status = 6


class MemoryLimitError(SomError, MemoryError):
    """A worker does not have enough memory for its work."""

    exit_status = 7


class Interrupted(SomError):
    """The run was asked to stop; its finished work is on disk, and it can be resumed."""

    exit_status = 75


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, says that there is no more memory.

    Under a limit on memory, libraries fail to be loaded and threads fail to be started, with errors of other kinds.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, (ImportError, OSError, RuntimeError)) and any(
            words in str(error).lower() for words in NO_MEMORY
        ):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
