"""Keys of models in a registry: their parts, how they are sorted, and how users write them."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Any

from som_dask.errors import ParameterError

__all__ = ["ModelKey", "Reference", "check_name", "version_sort_key"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
PIECE = re.compile(r"[0-9]+|[A-Za-z]+")
RULE = "use up to 100 letters, digits, dots, dashes and underscores, a letter or digit first, no '..'"


def check_name(kind: str, name: Any) -> str:
    """Check that a part of a key is a valid name for a folder on every system.

    Parameters
    ----------
    kind : str
        What the message of the error calls the part.
    name : str

    Returns
    -------
    str
        The name, unchanged.

    Raises
    ------
    ParameterError
        If the name does not match ``[A-Za-z0-9][A-Za-z0-9._-]{0,99}`` or has two dots in a row.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise ParameterError(f"the {kind} {name!r} can't be used; {RULE}")
    return name


def version_sort_key(version: str) -> tuple:
    """Return a key for sorting versions by their numbers: 1.9.0 < 1.10.0rc1 < 1.10.0; letters come before numbers."""
    pieces = [(2, int(piece), "") if piece.isdigit() else (0, 0, piece) for piece in PIECE.findall(version)]
    return (*pieces, (1, 0, "")), version


def _revision(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not NUMBER.fullmatch(str(value)):
        raise ParameterError(f"the revision {value!r} can't be used; give a whole number, 1 or more")
    return int(value)


@dataclass(frozen=True)
class ModelKey:
    """The key of one model in a registry.

    Parameters
    ----------
    environment, name : str
    code_version : str
        Version of som_dask that saved the model.
    model_version : str
        A version that the user chooses, for example for a set of features or a lattice.
    revision : int
        Counts the trainings of one version, from 1.

    Raises
    ------
    ParameterError
        If a part is not valid.

    Examples
    --------
    >>> from som_dask.io.model_key import ModelKey
    >>> ModelKey.parse("dev/colors/0.1.0/1/2").revision
    2
    """

    environment: str
    name: str
    code_version: str
    model_version: str
    revision: int

    def __post_init__(self) -> None:
        check_name("environment", self.environment)
        check_name("name", self.name)
        check_name("code version", self.code_version)
        check_name("model version", self.model_version)
        object.__setattr__(self, "revision", _revision(self.revision))

    def __str__(self) -> str:
        return "/".join(str(part) for part in astuple(self))

    @classmethod
    def parse(cls, text: str | ModelKey) -> ModelKey:
        """Read a key from ``ENVIRONMENT/NAME/CODE_VERSION/MODEL_VERSION/REVISION``.

        Parameters
        ----------
        text : str or ModelKey
            A key is returned unchanged.

        Returns
        -------
        ModelKey

        Raises
        ------
        ParameterError
            If the text is not a key.
        """
        if isinstance(text, ModelKey):
            return text
        parts = str(text).split("/")
        if len(parts) != 5:
            raise ParameterError(
                f"{text!r} is no key of a model; give ENVIRONMENT/NAME/CODE_VERSION/MODEL_VERSION/REVISION, "
                f"as som-dask models list shows it"
            )
        environment, name, code_version, model_version, revision = parts
        return cls(environment, name, code_version, model_version, _revision(revision))

    def sort_key(self) -> tuple:
        """Return a key for sorting by environment and name, then by the versions and revision, oldest first."""
        versions = version_sort_key(self.code_version), version_sort_key(self.model_version)
        return (self.environment, self.name, *versions, self.revision)


@dataclass(frozen=True)
class Reference:
    """A model as users refer to it. Parts that are None mean the newest.

    Parameters
    ----------
    name, environment : str
    code_version, model_version : str, optional
    revision : int, optional

    Raises
    ------
    ParameterError
        If a part is not valid.
    """

    name: str
    environment: str
    code_version: str | None = None
    model_version: str | None = None
    revision: int | None = None

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("environment", self.environment)
        for kind in ("code_version", "model_version"):
            if getattr(self, kind) is not None:
                check_name(kind.replace("_", " "), getattr(self, kind))
        if self.revision is not None:
            object.__setattr__(self, "revision", _revision(self.revision))

    def __str__(self) -> str:
        """The reference as users write it, with ``*`` for a missing part that is followed by a given one."""
        parts = [self.code_version, self.model_version, self.revision]
        while parts and parts[-1] is None:
            parts.pop()
        versions = "/".join("*" if part is None else str(part) for part in parts)
        return f"{self.name}@{self.environment}{':' if versions else ''}{versions}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference from ``NAME@ENVIRONMENT[:CODE_VERSION[/MODEL_VERSION[/REVISION]]]``, or from a key.

        ``photo@dev`` is the newest model of that name in that environment, ``photo@dev:1.2.3`` the newest that
        som_dask 1.2.3 saved, and ``photo@dev:1.2.3/2/5`` is revision 5 of its model version 2.

        Parameters
        ----------
        text : str

        Returns
        -------
        Reference

        Raises
        ------
        ParameterError
            If the text is not a reference.
        """
        if "@" not in text:
            key = ModelKey.parse(text)
            return cls(key.name, key.environment, key.code_version, key.model_version, key.revision)
        name, _, rest = text.partition("@")
        environment, colon, versions = rest.partition(":")
        parts = versions.split("/") if colon else []
        if len(parts) > 3:
            raise ParameterError(
                f"{text!r} is no reference to a model; "
                f"give NAME@ENVIRONMENT[:CODE_VERSION[/MODEL_VERSION[/REVISION]]]"
            )
        code_version, model_version, revision = (*parts, None, None, None)[:3]
        return cls(name, environment, code_version, model_version, None if revision is None else _revision(revision))
