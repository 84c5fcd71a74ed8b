"""Job files: a command's options in TOML."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection
from typing import Any

from som_dask.errors import ParameterError

__all__ = ["load_job"]


def load_job(path: str | os.PathLike[str], known: Collection[str]) -> dict[str, Any]:
    """Read a job file: one key for each option of the command, dashes as underscores.

    Parameters
    ----------
    path : path
    known : collection of str
        The command's options and arguments.

    Returns
    -------
    dict

    Raises
    ------
    ParameterError
        If the file can't be read, is not TOML, or has a key that the command does not know.
    """
    try:
        with open(path, "rb") as file:
            job = tomllib.load(file)
    except OSError as error:
        raise ParameterError(f"can't read the job file {path}: {error.strerror}") from error
    except RecursionError as error:
        raise ParameterError(f"the job file {path} is nested too deeply; job files are flat") from error
    except ValueError as error:  # no TOML, no UTF-8, or a number of too many digits
        raise ParameterError(f"the job file {path} is not TOML: {error}") from error
    for key, value in job.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(sorted(known))}"
            raise ParameterError(f"the job file {path} has an unknown key {key!r}; {hint}")
        if isinstance(value, dict):
            raise ParameterError(f"the job file {path} has a table [{key}]; job files are flat")
    return job
