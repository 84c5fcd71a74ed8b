"""Keys of models in a registry: their parts, their order, and how users write them."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Any

from som_dask.errors import ParameterError

__all__ = ["ModelKey", "Reference", "check_name", "version_order"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
PIECE = re.compile(r"[0-9]+|[A-Za-z]+")
RULE = "use up to 100 letters, digits, dots, dashes and underscores, a letter or digit first, no '..'"


def check_name(kind: str, name: Any) -> str:
    """See that a part of a key can be a folder's name everywhere, and nothing but that.

    Parameters
    ----------
    kind : str
        What the part is, for the message.
    name : str

    Returns
    -------
    str
        The name.

    Raises
    ------
    ParameterError
        If it does not match ``[A-Za-z0-9][A-Za-z0-9._-]{0,99}`` or has two dots in a row.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise ParameterError(f"the {kind} {name!r} can't be used; {RULE}")
    return name


def version_order(version: str) -> tuple:
    """Sorts versions by their numbers: 1.9.0 before 1.10.0rc1 before 1.10.0; letters come before numbers."""
    pieces = [(2, int(piece), "") if piece.isdigit() else (0, 0, piece) for piece in PIECE.findall(version)]
    return (*pieces, (1, 0, "")), version


def _revision(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not NUMBER.fullmatch(str(value)):
        raise ParameterError(f"the revision {value!r} can't be used; give a whole number, 1 or more")
    return int(value)


@dataclass(frozen=True)
class ModelKey:
    """What names one model in a registry.

    Parameters
    ----------
    environment, name : str
    code_version : str
        Version of som_dask that saved it.
    model_version : str
        The user's: a set of features, a lattice.
    revision : int
        Counts the retrainings of one version, from 1.

    Raises
    ------
    ParameterError
        If a part can't be used.
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
        """The key that ``str`` gives as ``ENVIRONMENT/NAME/CODE_VERSION/MODEL_VERSION/REVISION``; keys pass.

        Raises
        ------
        ParameterError
            If it is no key.
        """
        if isinstance(text, ModelKey):
            return text
        parts = str(text).split("/")
        if len(parts) != 5:
            raise ParameterError(
                f"{text!r} is no key of a model; give ENVIRONMENT/NAME/CODE_VERSION/MODEL_VERSION/REVISION, "
                f"as som-dask models list tells it"
            )
        environment, name, code_version, model_version, revision = parts
        return cls(environment, name, code_version, model_version, _revision(revision))

    def order(self) -> tuple:
        """Sorts by environment and name, then oldest to newest by code version, model version and revision."""
        versions = version_order(self.code_version), version_order(self.model_version)
        return (self.environment, self.name, *versions, self.revision)


@dataclass(frozen=True)
class Reference:
    """A model as users name it; parts that are None stand for the newest.

    Parameters
    ----------
    name, environment : str
    code_version, model_version : str, optional
    revision : int, optional

    Raises
    ------
    ParameterError
        If a part can't be used.
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

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read ``NAME@ENVIRONMENT[:CODE_VERSION[/MODEL_VERSION[/REVISION]]]``, or a whole key.

        ``photo@dev`` is the newest there, ``photo@dev:1.2.3`` the newest that som_dask 1.2.3 saved,
        ``photo@dev:1.2.3/2/5`` revision 5 of its model version 2.

        Raises
        ------
        ParameterError
            If it is no reference.
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
